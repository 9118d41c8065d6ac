"""Trained network -> ONNX, run by ONNX Runtime and compared before it takes its name."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from headcut.errors import ModelError, OutputError
from headcut.geometry import FloatArray, U8Array
from headcut.model_file import Model
from headcut_train.export.crops import Labelled
from headcut_train.export.parity import LIMITS, RESEARCH, Parity, compare, metadata_of, refuse
from headcut_train.networks import Network

OPSET = 17
"""What ONNX Runtime Web runs on all its back ends."""

Quantize = Literal["none", "fp16", "int8"]

WEB_OPERATORS = {
    *("Add", "Cast", "Concat", "Constant", "Conv", "DepthToSpace", "DequantizeLinear", "Div"),
    *("GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "MaxPool", "Mul", "Relu"),
    *("Resize", "Sigmoid", "Slice", "Sub"),
}
"""Operators with a kernel in ONNX Runtime Web 1.30, on WASM and on WebGPU (its table of WebGPU
operators; constants and identities are folded when the file is opened)."""

WASM_OPERATORS = WEB_OPERATORS | {"QuantizeLinear"}
"""What a file with 8-bit activations may hold: it has no QuantizeLinear on WebGPU."""

QUANTIZED_OPERATORS = ("Add", "Conv", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Resize")
"""Computed in 8 bits; from the last convolution on all stays in 32."""


class _Exported(nn.Module):
    """A network as the file holds it: probabilities out."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.network.exported(image)


def export_onnx(
    network: Network,
    name: str,
    path: Path,
    *,
    threshold: float,
    crops: U8Array,
    quantize: Quantize = "fp16",
    calibration: U8Array | None = None,
    labelled: Labelled = (),
    licence: str = RESEARCH,
    trained_on: Sequence[str] = (),
) -> Parity:
    """Write a network as an ONNX file; return how far it is from the network.

    Args:
        network: with `exported` and `output_names`.
        name: of the network, for the metadata.
        path: of the file; replaced whole or not at all.
        threshold: the probability from which an answer counts as yes.
        crops: (N, S, S, 3) uint8 real crops to compare on; S becomes the file's input side.
        quantize: how the weights are kept: in 32 bits; in 16, and computed with in 32; or in 8
            with a scale per channel, and computed with in 8.
        calibration: (N, S, S, 3) uint8 real crops, other ones, whose activations give the
            ranges for int8; `crops` if not given.
        labelled: crops with people's masks, on which the file must be as good as the network.
        licence: of the weights, for the metadata.
        trained_on: names of the sources that it saw.

    Raises:
        ModelError: the file differs from the network, or has an operator that ONNX Runtime Web
            does not run; nothing was written.
        OutputError: the file cannot be written.
    """
    network = network.eval()
    model = _as_onnx(network, crops.shape[1])
    if quantize == "fp16":
        _store_weights_in_half(model)
    elif quantize == "int8":
        model = _in_eight_bits(model, crops if calibration is None else calibration)
    _check_operators(model, path, WASM_OPERATORS if quantize == "int8" else WEB_OPERATORS)
    metadata = metadata_of(
        network,
        name,
        size=crops.shape[1],
        threshold=threshold,
        licence=licence,
        trained_on=trained_on,
    )
    helper.set_model_props(model, metadata)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(model.SerializeToString())
            parity = compare(
                network, Model(part).run, crops, labelled=labelled, threshold=threshold
            )
            refuse(path, parity, LIMITS[quantize])
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    return parity


def _check_operators(model: onnx.ModelProto, path: Path, allowed: set[str]) -> None:
    """Raise if the file holds an operator that is not allowed."""
    foreign = sorted({node.op_type for node in model.graph.node} - allowed)
    if foreign:
        raise ModelError(f"{path}: ONNX Runtime Web does not run {', '.join(foreign)}; not written")


def _as_onnx(network: Network, size: int) -> onnx.ModelProto:
    """Trace the network at a fixed size; batch norms are folded into the convolutions."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # torch's newer exporter needs onnxscript, and the older one writes the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Exported(network).eval(),
            (torch.zeros(1, 3, size, size),),
            file,
            input_names=["image"],
            output_names=list(network.output_names),
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


class _Calibration:
    """Gives pictures to ONNX Runtime's calibration, one by one."""

    def __init__(self, crops: Iterable[U8Array]):
        self._planes: Iterator[dict[str, FloatArray]] = (
            {"image": np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32)}
            for crop in crops
        )

    def get_next(self) -> dict[str, FloatArray] | None:
        return next(self._planes, None)


def _in_eight_bits(model: onnx.ModelProto, crops: U8Array) -> onnx.ModelProto:
    """Return the model computing in 8 bits: weights per channel, activations by what crops give."""
    # Imported here, for only this needs it.
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "small.onnx"
        # What it would warn to do first, fold the norms, the exporter has done.
        helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        onnx.save(model, full)
        reader: Any = _Calibration(crops)
        # Rounding the answers themselves would double the finder's error of boxes.
        kinds = [node.op_type for node in model.graph.node]
        answers = [node.name for node in model.graph.node][-1 - kinds[::-1].index("Conv") :]
        quantize_static(
            full,
            small,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPERATORS),
            nodes_to_exclude=answers,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(small)
