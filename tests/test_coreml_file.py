"""The Core ML export: executed from the disk it equals its network, or it does not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_network import drawn_crops, used_network
from torch import Tensor, nn

import headcut
from headcut.errors import ModelError, OptionError, OutputError
from headcut_train.export import coreml_file
from headcut_train.export.coreml_file import SUFFIXES, Format, Quantize, export_coreml
from headcut_train.export.description import describe
from headcut_train.export.mlprogram import MLProgram
from headcut_train.export.neuralnetwork import NeuralNetwork
from headcut_train.export.parity import LIMITS, compare, outputs_of, weights_sha256

CROPS = drawn_crops()


@pytest.fixture(scope="module")
def segmenter() -> nn.Module:
    return used_network("segmenter")


@pytest.fixture(scope="module")
def package(segmenter: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The segmenter as most will take it: an ML Program in half precision."""
    path = tmp_path_factory.mktemp("models") / "new" / "headcut.mlpackage"
    export_coreml(segmenter, "segmenter", path, crops=CROPS)
    return path


def opened(path: Path) -> MLProgram | NeuralNetwork:
    return MLProgram(path) if path.suffix == ".mlpackage" else NeuralNetwork(path)


def test_file_gives_what_the_network_gives(package: Path, segmenter: nn.Module) -> None:
    program = MLProgram(package)
    for crop in CROPS:
        for ours, theirs in zip(program.run(crop), outputs_of(segmenter, crop), strict=True):
            assert ours.shape == theirs.shape == (1, 256, 256)
            assert theirs.std() > 0.01, "answers that differ from place to place"
            np.testing.assert_allclose(ours, theirs, atol=0.02)


@pytest.mark.parametrize(
    ("name", "format", "quantize"),
    [
        ("segmenter", "mlprogram", "none"),
        ("segmenter", "mlprogram", "int8"),
        ("segmenter", "mlprogram", "palette6"),
        ("segmenter", "neuralnetwork", "none"),
        ("segmenter", "neuralnetwork", "fp16"),
        ("segmenter", "neuralnetwork", "int8"),
        ("segmenter", "neuralnetwork", "palette6"),
        ("finder", "mlprogram", "fp16"),
        ("finder", "neuralnetwork", "fp16"),
        ("lr-aspp", "mlprogram", "fp16"),
        ("lr-aspp", "neuralnetwork", "fp16"),
        ("encoder-decoder", "mlprogram", "fp16"),
        ("encoder-decoder", "neuralnetwork", "fp16"),
    ],
)
def test_every_network_and_precision(
    name: str, format: Format, quantize: Quantize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights lie on the threshold, where trained ones rarely do: IoU is not asked here."""
    limits = LIMITS[quantize]
    easy = coreml_file.Parity(largest=limits.largest, mean=0.05, iou=0.0)
    monkeypatch.setitem(LIMITS, quantize, easy)
    path = tmp_path / f"model{SUFFIXES[format]}"
    network = used_network(name)
    parity = export_coreml(network, name, path, crops=CROPS[:1], format=format, quantize=quantize)
    written = opened(path)
    assert compare(network, written.run, CROPS[:1]) == parity
    said = written.spec.description.metadata.userDefined
    assert said["weights_sha256"] == weights_sha256(network)
    whole = sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file())
    a_weight = {"none": 4, "fp16": 2, "int8": 1, "palette6": 0.75}[quantize]
    parameters = sum(p.numel() for p in network.parameters())
    assert a_weight * parameters < whole * 1.05
    assert whole < a_weight * parameters * 1.15 + 120_000


# ---------------------------------------------------------------- broken files are refused

Spoil = Callable[[Any], None]


def _is_program(model: Any) -> bool:
    return model._spec.WhichOneof("Type") == "mlProgram"


def _flipped(weights: bytes, at: int = 0) -> bytes:
    """Half-precision numbers, one of which has another sign and size."""
    changed = bytearray(weights)
    changed[at + 1] ^= 0b11000000
    return bytes(changed)


def one_weight_changed(model: Any) -> None:
    if _is_program(model):
        blob = Path(model.weights_dir) / "weight.bin"
        blob.write_bytes(_flipped(blob.read_bytes(), at=128))
    else:
        layers = model._spec.neuralNetwork.layers
        first = next(layer.convolution for layer in layers if layer.HasField("convolution"))
        first.weights.float16Value = _flipped(first.weights.float16Value)


def resize_mode_swapped(model: Any) -> None:
    if _is_program(model):
        main = model._spec.mlProgram.functions["main"]
        for operation in main.block_specializations[main.opset].operations:
            if "align_corners" in operation.outputs[0].name:
                values = operation.attributes["val"].immediateValue.tensor.bools.values
                values[0] = not values[0]
    else:
        for layer in model._spec.neuralNetwork.layers:
            if layer.HasField("upsample"):
                layer.upsample.linearUpsampleMode = 1  # ALIGN_CORNERS_TRUE


def channels_swapped(model: Any) -> None:
    model._spec.description.input[0].type.imageType.colorSpace = 30  # BGR


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("spoil", [one_weight_changed, resize_mode_swapped, channels_swapped])
def test_broken_file_is_refused_and_nothing_is_written(
    spoil: Spoil,
    format: Format,
    segmenter: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    describe_well = coreml_file._describe

    def describe_and_spoil(model: Any, *arguments: Any, **more: Any) -> None:
        describe_well(model, *arguments, **more)
        spoil(model)

    monkeypatch.setattr(coreml_file, "_describe", describe_and_spoil)
    path = tmp_path / f"headcut{SUFFIXES[format]}"
    with pytest.raises(ModelError, match=r"differs from the network .*; not written"):
        export_coreml(segmenter, "segmenter", path, crops=CROPS, format=format)
    assert list(tmp_path.iterdir()) == []


class Strange(nn.Module):
    """A network with an operator that the executor does not know."""

    output_names = ("mask",)

    def exported(self, image: Tensor) -> tuple[Tensor, ...]:
        return (torch.atan(image[:, :1]),)


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_unknown_operator_is_named_and_nothing_is_written(format: Format, tmp_path: Path) -> None:
    path = tmp_path / f"strange{SUFFIXES[format]}"
    with pytest.raises(ModelError, match="does not know the operator 'atan'"):
        export_coreml(Strange(), "segmenter", path, crops=CROPS, format=format)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_converted_is_said(tmp_path: Path) -> None:
    class Stranger(Strange):
        def exported(self, image: Tensor) -> tuple[Tensor, ...]:
            return (torch.special.i0(image[:, :1]),)

    with pytest.raises(ModelError, match=r"coremltools cannot convert the network: .*i0"):
        export_coreml(Stranger(), "segmenter", tmp_path / "a.mlpackage", crops=CROPS)
    assert list(tmp_path.iterdir()) == []


def test_new_package_replaces_the_old_one_whole(package: Path, segmenter: nn.Module) -> None:
    (package / "left over").touch()
    export_coreml(segmenter, "segmenter", package, crops=CROPS[:1])
    assert not (package / "left over").exists()
    assert list(package.parent.iterdir()) == [package]


@pytest.mark.parametrize("name", ["headcut.mlmodel", "headcut.onnx", "headcut"])
def test_name_must_fit_the_format(name: str, segmenter: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"a mlprogram is a \.mlpackage; choose such a name"):
        export_coreml(segmenter, "segmenter", tmp_path / name, crops=CROPS)


def test_folder_of_somebody_else_is_not_replaced(segmenter: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "photos.mlpackage"
    path.mkdir()
    (path / "photo.jpg").touch()
    with pytest.raises(OutputError, match="is a folder, not a Core ML package"):
        export_coreml(segmenter, "segmenter", path, crops=CROPS[:1])
    assert (path / "photo.jpg").exists()


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_binary_image(format: Format, segmenter: nn.Module, tmp_path: Path) -> None:
    """Black and white where the probability is below and above."""
    path = tmp_path / f"mask{SUFFIXES[format]}"
    more = {"quantize": "none", "output": "image", "threshold": 0.6}
    export_coreml(segmenter, "segmenter", path, crops=CROPS, format=format, **more)
    mask = opened(path).run(CROPS[0])[0]
    wanted = outputs_of(segmenter, CROPS[0])[0] >= 0.6
    assert set(np.unique(mask)) == {0, 1}
    assert (mask.astype(bool) == wanted).mean() > 0.999
    feature = opened(path).spec.description.output[0]
    assert feature.type.imageType.colorSpace == 10  # greyscale
    assert (feature.type.imageType.width, feature.type.imageType.height) == (256, 256)


def test_grey_image(segmenter: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "grey.mlpackage"
    export_coreml(segmenter, "segmenter", path, crops=CROPS, output="image")
    grey = MLProgram(path).run(CROPS[0])[0]
    assert len(np.unique(grey)) > 10
    np.testing.assert_allclose(grey, outputs_of(segmenter, CROPS[0])[0], atol=0.01)


def test_finder_gives_no_image(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="finder gives no mask"):
        export_coreml(
            used_network("finder"), "finder", tmp_path / "a.mlpackage", crops=CROPS, output="image"
        )


# ---------------------------------------------------------------- what the file says


def test_file_says_what_it_is(package: Path, segmenter: nn.Module) -> None:
    metadata = MLProgram(package).spec.description.metadata
    said = metadata.userDefined
    assert metadata.author == "headcut"
    assert metadata.versionString == said["version"] == headcut.__version__
    assert "research" in metadata.license
    assert said["weights_sha256"] == weights_sha256(segmenter)
    assert (said["threshold"], said["labels"]) == ("0.5", "background, head")
    preview = json.loads(said["com.apple.coreml.model.preview.params"])
    assert preview["labels"] == ["background", "head"]


def convolutions(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in network.modules())


def test_inspect_tells_it(package: Path, segmenter: nn.Module) -> None:
    text = describe(package)
    lines = text.splitlines()
    assert "ML Program" in lines[0]
    assert any(line.startswith("  image: RGB image 256x256") for line in lines)
    assert any(
        line.startswith("  mask: float32 1x1x256x256 (probability of head)") for line in lines
    )
    assert f"conv {convolutions(segmenter)}" in text
    whole = sum(f.stat().st_size for f in package.rglob("*") if f.is_file())
    assert f"  whole: {whole}" in lines
    assert f"  weights_sha256: {weights_sha256(segmenter)}" in lines
    assert any(line.startswith("  licence: research use only") for line in lines)


def test_inspect_tells_a_neural_network(segmenter: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "headcut.mlmodel"
    more: dict[str, Any] = {"format": "neuralnetwork", "threshold": 0.5, "licence": "mine"}
    export_coreml(segmenter, "segmenter", path, crops=CROPS[:1], **more)
    lines = describe(path).splitlines()
    assert "neural network" in lines[0]
    assert "  image: RGB image 256x256 (256x256 RGB; the network scales it itself)" in lines
    assert any("1 where the probability of head is at least 0.5, else 0" in line for line in lines)
    assert f"convolution {convolutions(segmenter)}" in lines[lines.index("operators") + 1]
    assert {"  licence: mine", f"  weights_sha256: {weights_sha256(segmenter)}"} <= set(lines)
    assert f"  whole: {path.stat().st_size}" in lines


def test_overflow_of_half_precision_is_refused(tmp_path: Path) -> None:
    """A weight that 16 bits cannot hold gives infinities, and of them NaN: within no limit."""
    network = used_network("segmenter")
    with torch.no_grad():
        network.trunk.stem[0].weight *= 1e6
        network.trunk.stem[1].running_var *= 1e6
    with pytest.raises(ModelError, match=r"differs from the network \(difference (nan|0\.|1\.)"):
        export_coreml(network, "segmenter", tmp_path / "a.mlpackage", crops=CROPS[:1])
    assert list(tmp_path.iterdir()) == []
