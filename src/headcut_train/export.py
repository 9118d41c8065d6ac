"""Trained network -> model file; nothing is written unless both give the same."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import headcut
from headcut.errors import ModelError, OutputError
from headcut.geometry import U8Array
from headcut.model_file import Model
from headcut_train.networks import INPUT_SIZE
from headcut_train.scenes import SEEN_BY

OPSET = 17
"""What ONNX Runtime Web runs on all its back ends."""

LARGEST_DIFFERENCE = 0.02
"""Between the network's outputs and the file's, whose weights are in half precision.

Probabilities, and for the finder also cells: 0.02 of a cell is 0.08 pixels of its input.
"""

RESEARCH = "research use only: some of the training photos are for non-commercial research"
"""Licence of weights trained on the project's own data sets."""


class _Exported(nn.Module):
    """A network as the file holds it: probabilities out."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.network.exported(image)  # type: ignore[no-any-return, operator]


def weights_sha256(network: nn.Module) -> str:
    """Return the sha-256 of a network's weights, in the order of its state."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def export_onnx(
    network: nn.Module,
    name: str,
    path: Path,
    *,
    threshold: float,
    crops: U8Array,
    licence: str = RESEARCH,
) -> float:
    """Write a network as an ONNX file in half precision; return the largest difference.

    Args:
        network: with `exported` and `output_names`.
        name: of the network, for the metadata.
        path: of the file; replaced whole or not at all.
        threshold: the probability from which an answer counts as yes.
        crops: (N, 256, 256, 3) uint8 real crops to compare on.
        licence: of the weights, for the metadata.

    Raises:
        ModelError: the file differs from the network; nothing was written.
        OutputError: the file cannot be written.
    """
    network = network.eval()
    model = _as_onnx(network)
    _store_weights_in_half(model)
    metadata = {
        "name": f"headcut-{name}",
        "network": name,
        "version": headcut.__version__,
        "size": str(INPUT_SIZE),
        "threshold": f"{threshold:g}",
        "trained_on": ", ".join(SEEN_BY[name]),
        "licence": licence,
        "weights_sha256": weights_sha256(network),
    }
    helper.set_model_props(model, metadata)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(model.SerializeToString())
            difference = largest_difference(network, Model(part), crops)
            if not difference <= LARGEST_DIFFERENCE:  # so that NaN is refused too
                raise ModelError(
                    f"{path}: differs from the network by {difference:.4f}, "
                    f"over {LARGEST_DIFFERENCE}; not written"
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    return difference


def largest_difference(network: nn.Module, model: Model, crops: U8Array) -> float:
    """Return the largest difference between the outputs of a network and of a file over crops."""
    worst = 0.0
    for crop in crops:
        planes = torch.from_numpy(np.array(crop.transpose(2, 0, 1)[None])).float()
        with torch.inference_mode():
            wanted = network.exported(planes)  # type: ignore[operator]
        for ours, theirs in zip(wanted, model.run(crop), strict=True):
            worst = float(np.maximum(worst, np.abs(theirs - ours[0].numpy()).max()))  # keeps NaN
    return worst


def _as_onnx(network: nn.Module) -> onnx.ModelProto:
    """Trace the network at its fixed size; batch norms are folded into the convolutions."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # torch's newer exporter needs onnxscript, and the older one writes the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Exported(network).eval(),
            (torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE),),
            file,
            input_names=["image"],
            output_names=list(network.output_names),  # type: ignore[arg-type]
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(file.getvalue())


def _store_weights_in_half(model: onnx.ModelProto) -> None:
    """Keep large weights in float16 and cast them when the file is opened: half the bytes."""
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < 256:
            continue
        half = numpy_helper.to_array(weight).astype(np.float16)
        full_name, half_name = weight.name, f"{weight.name}.half"
        weight.CopyFrom(numpy_helper.from_array(half, half_name))
        casts.append(helper.make_node("Cast", [half_name], [full_name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
