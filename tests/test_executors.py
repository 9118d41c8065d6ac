"""The reference executors read Core ML's files, operator by operator, and give what torch gives."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_data import noise_photo
from torch import Tensor, nn

from headcut.errors import ModelError
from headcut.geometry import U8Array
from headcut_train.export.coreml_file import SUFFIXES, Format, _palettize_layers, _quietly
from headcut_train.export.mlprogram import MLProgram
from headcut_train.export.neuralnetwork import NeuralNetwork, weights

FORMATS: list[Format] = ["mlprogram", "neuralnetwork"]

few = settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Whole(nn.Module):
    """A function as a network, of pictures scaled to [-2, 2]."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image / 64 - 2)


def converted(network: nn.Module, format: Format, folder: Path, picture: U8Array) -> Path:
    """Write a network with one output as Core ML, weights in 32 bits."""
    shape = (1, 3, *picture.shape[:2])
    precise = {"compute_precision": ct.precision.FLOAT32} if format == "mlprogram" else {}
    with _quietly():
        model = ct.convert(
            torch.jit.trace(network.eval(), torch.zeros(shape)),
            inputs=[ct.ImageType(name="image", shape=shape)],
            outputs=[ct.TensorType(name="out")],
            convert_to=format,
            minimum_deployment_target=ct.target.iOS15 if precise else ct.target.iOS14,
            skip_model_load=True,
            **precise,
        )
    path = folder / f"model{SUFFIXES[format]}"
    model.save(str(path))
    return path


def opened(path: Path) -> MLProgram | NeuralNetwork:
    return MLProgram(path) if path.suffix == ".mlpackage" else NeuralNetwork(path)


def check(network: nn.Module, format: Format, folder: Path, size: tuple[int, int]) -> None:
    """Compare the executed file with torch on one picture of noise."""
    picture = noise_photo(size)
    given = opened(converted(network, format, folder, picture)).run(picture)
    planes = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()).float()
    with torch.inference_mode():
        wanted = network(planes)[0].numpy()
    np.testing.assert_allclose(given[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
@few
@given(data=st.data())
def test_convolution(format: Format, data: st.DataObject, tmp_path_factory: Any) -> None:
    """Rows and columns differ, so that none is taken for the other."""
    small = st.integers(1, 3)
    groups = data.draw(st.sampled_from([1, 3]))
    torch.manual_seed(data.draw(st.integers(0, 9)))
    layer = nn.Conv2d(
        3,
        3 * data.draw(small),
        (data.draw(small), data.draw(small)),
        stride=(data.draw(small), data.draw(small)),
        padding=(data.draw(small), data.draw(small)),
        dilation=(data.draw(small), data.draw(small)),
        groups=groups,
        bias=data.draw(st.booleans()),
    )
    size = (data.draw(st.integers(8, 16)), data.draw(st.integers(8, 16)))
    check(Whole(layer), format, tmp_path_factory.mktemp("conv"), size)


def slices(x: Tensor) -> Tensor:
    return x[:, 1:3]


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max pool": lambda x: F.max_pool2d(x, (2, 3), (2, 1), (1, 0)),
    "global pool": lambda x: F.adaptive_avg_pool2d(x, 1) * x,
    "bilinear": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "bilinear, aligned": lambda x: F.interpolate(
        x, scale_factor=(2.0, 4.0), mode="bilinear", align_corners=True
    ),
    "hard swish": F.hardswish,
    "hard sigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "sum and product": lambda x: (x + x[:, :1]) * x - 0.5,
    "slice": slices,
    "first channel": lambda x: x[:, :1],
    "last channels": lambda x: x[:, 1:],
    "at least": lambda x: (x >= 0.3).float(),
    "pixel shuffle": lambda x: F.pixel_shuffle(x[:, :1] * torch.arange(1.0, 9).view(1, 8, 1, 1), 2),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_operator(name: str, format: Format, tmp_path: Path) -> None:
    check(Whole(FUNCTIONS[name]), format, tmp_path, (6, 10))


@pytest.mark.parametrize("format", FORMATS)
def test_unknown_operator_is_named(format: Format, tmp_path: Path) -> None:
    """It is refused when the file is opened, before anything runs."""
    path = converted(Whole(torch.atan), format, tmp_path, noise_photo((4, 4)))
    with pytest.raises(ModelError, match=r"does not know the operator 'atan'; known are .*conv"):
        opened(path)


@pytest.mark.parametrize("format", FORMATS)
def test_picture_of_another_size_is_refused(format: Format, tmp_path: Path) -> None:
    path = converted(Whole(F.relu), format, tmp_path, noise_photo((4, 6)))
    with pytest.raises(ModelError, match=r"wants a picture of \(4, 6, 3\), got \(6, 4, 3\)"):
        opened(path).run(noise_photo((6, 4)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage.mlmodel").write_bytes(b"\xff\xff garbage")
    for name in ("none.mlmodel", "garbage.mlmodel", "none.mlpackage"):
        with pytest.raises(ModelError, match=name):
            opened(tmp_path / name)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    """A blob that is cut, or whose entry is not where the program says."""
    layer = nn.Conv2d(3, 64, 3)
    path = converted(Whole(layer), "mlprogram", tmp_path, noise_photo((8, 8)))
    blob = path / "Data/com.apple.CoreML/weights/weight.bin"
    whole = blob.read_bytes()
    assert struct.pack("<I", 0xDEADBEEF) in whole
    for spoiled in (whole[:-100], whole.replace(struct.pack("<I", 0xDEADBEEF), b"\0" * 4), b""):
        blob.write_bytes(spoiled)
        with pytest.raises(ModelError, match="damaged weights"):
            MLProgram(path)


def test_palettes_of_a_neural_network_are_packed_as_coremltools_packs_them() -> None:
    """Our packing and our reading could share a mistake; their packing is Apple's word."""
    from coremltools.models.neural_network import quantization_utils

    spec = ct.proto.NeuralNetwork_pb2.NeuralNetwork()
    layer = spec.layers.add()
    weight = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    layer.convolution.weights.floatValue.extend(weight.ravel().tolist())
    _palettize_layers(spec.layers)
    kept = layer.convolution.weights
    table = np.array(kept.quantization.lookupTableQuantization.floatValue, np.float32)
    ours = weights(kept, weight.shape)
    np.testing.assert_allclose(ours, weight, atol=0.5)
    indices = np.searchsorted(table, ours.ravel())
    theirs = quantization_utils._convert_array_to_nbit_quantized_bytes(indices, 6)
    assert theirs.astype(np.uint8).tobytes() == kept.rawValue
