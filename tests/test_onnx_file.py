"""The exported file: it equals its network, or it does not exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from made_data import noise_photo
from made_network import drawn_crops, used_network
from onnx import TensorProto, numpy_helper
from PIL import Image
from torch import nn

import headcut
from headcut.errors import ModelError, OutputError
from headcut.geometry import U8Array
from headcut.model_file import Model
from headcut_train.export import onnx_file
from headcut_train.export.description import describe
from headcut_train.export.onnx_file import OPSET, Quantize, export_onnx
from headcut_train.export.parity import LIMITS, Parity, compare, weights_sha256


@pytest.fixture(scope="module")
def crops() -> U8Array:
    return drawn_crops()


@pytest.fixture(scope="module", params=["finder", "segmenter"])
def exported(
    request: pytest.FixtureRequest, crops: U8Array, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, nn.Module, Path, Parity]:
    """Name, network, its file, and the parity that the export reported."""
    network = used_network(request.param)
    path = tmp_path_factory.mktemp("models") / "new" / f"{request.param}.onnx"
    parity = export_onnx(
        network, request.param, path, threshold=0.3, crops=crops, trained_on=["scenes", "mine"]
    )
    return request.param, network, path, parity


Exported = tuple[str, nn.Module, Path, Parity]


def test_file_gives_what_the_network_gives(exported: Exported, crops: U8Array) -> None:
    _, network, path, parity = exported
    model = Model(path)
    for crop in crops:
        planes = torch.from_numpy(crop.transpose(2, 0, 1)[None].copy()).float()
        with torch.inference_mode():
            wanted = network.exported(planes)
        for ours, theirs in zip(model.run(crop), wanted, strict=True):
            assert np.abs(ours - theirs[0].numpy()).max() <= parity.largest
    assert parity.within(LIMITS["fp16"])
    assert compare(network, model.run, crops, threshold=0.3) == parity


def test_answers_that_are_compared_differ_from_place_to_place(
    exported: Exported, crops: U8Array
) -> None:
    """Two files that say one half everywhere would agree too."""
    answer = Model(exported[2]).run(crops[0])[0]
    assert answer.std() > 0.01


def test_file_says_what_it_is(exported: Exported) -> None:
    name, network, path, _ = exported
    model = Model(path)
    assert model.metadata["name"] == f"headcut-{name}"
    assert (model.size, model.threshold) == (256, 0.3)
    assert model.metadata["version"] == headcut.__version__
    assert model.metadata["weights_sha256"] == weights_sha256(network)
    assert model.metadata["trained_on"] == "scenes, mine"
    assert "research" in model.metadata["licence"]


def test_weights_are_in_half_precision(exported: Exported) -> None:
    """Half the bytes in the wheel; a float per parameter would be over 10 MB."""
    path = exported[2]
    graph = onnx.load(path).graph
    large = [weight for weight in graph.initializer if np.prod(weight.dims) >= 256]
    assert large
    assert {weight.data_type for weight in large} == {TensorProto.FLOAT16}
    assert path.stat().st_size < 6_000_000


def test_file_is_valid_onnx_of_the_promised_version(exported: Exported) -> None:
    model = onnx.load(exported[2])
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [OPSET]


def test_only_the_file_is_left(exported: Exported) -> None:
    path = exported[2]
    assert list(path.parent.iterdir()) == [path]


Spoil = Callable[[onnx.ModelProto], None]


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    """Let something go wrong on the way from the network to the file."""
    convert = onnx_file._store_weights_in_half

    def convert_and_spoil(model: onnx.ModelProto) -> None:
        convert(model)
        spoil(model)

    monkeypatch.setattr(onnx_file, "_store_weights_in_half", convert_and_spoil)


def changed(part: str, by: float = 1.0) -> Spoil:
    """Change the last numbers of the first weight whose name holds `part`."""

    def spoil(model: onnx.ModelProto) -> None:
        weight = next(w for w in model.graph.initializer if part in w.name)
        values = numpy_helper.to_array(weight).copy()
        values[-1] += by
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    return spoil


def channels_swapped(model: onnx.ModelProto) -> None:
    weight = next(w for w in model.graph.initializer if list(w.dims)[1:] == [3, 3, 3])
    values = numpy_helper.to_array(weight)[:, ::-1]
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), weight.name))


def resize_mode_swapped(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "coordinate_transformation_mode":
                attribute.s = b"align_corners"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("segmenter", changed("head.weight")),
        ("segmenter", changed("head.weight", np.inf)),  # as a large weight in half precision
        ("segmenter", changed("Conv")),
        ("segmenter", channels_swapped),
        ("segmenter", resize_mode_swapped),
        ("finder", changed("head.bias")),
    ],
    ids=["last layer", "overflow", "first layer", "channels", "resize", "box of the finder"],
)
def test_broken_conversion_is_refused_and_nothing_is_written(
    name: str, spoil: Spoil, crops: U8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every output is compared: a shifted box is as wrong as a shifted mask."""
    spoiled(monkeypatch, spoil)
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"differs from the network .*; not written"):
        export_onnx(used_network(name), name, path, threshold=0.5, crops=crops)
    assert list(tmp_path.iterdir()) == []


def test_refused_file_leaves_the_old_one(
    crops: U8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the old one")
    spoiled(monkeypatch, changed("head.weight"))
    with pytest.raises(ModelError):
        export_onnx(used_network("segmenter"), "segmenter", path, threshold=0.5, crops=crops)
    assert path.read_bytes() == b"the old one"


def test_folder_that_cannot_be_made_is_named(crops: U8Array, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "model.onnx"
    with pytest.raises(OutputError, match=r"model\.onnx: cannot be written"):
        export_onnx(used_network("segmenter"), "segmenter", path, threshold=0.5, crops=crops)


def test_digest_follows_the_weights() -> None:
    """It says whether two files hold the same training."""
    one, other = used_network("segmenter"), used_network("segmenter")
    assert weights_sha256(one) == weights_sha256(other)
    with torch.no_grad():
        other.head.bias[0] += 1e-3
    assert weights_sha256(one) != weights_sha256(other)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_other_precisions(
    quantize: Quantize, crops: U8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 8 bits random weights lie on the threshold, where trained ones rarely do."""
    limits = Parity(largest=0.5, mean=0.1, iou=0.0) if quantize == "int8" else LIMITS["none"]
    monkeypatch.setitem(LIMITS, quantize, limits)
    path, network = tmp_path / "model.onnx", used_network("segmenter")
    export_onnx(network, "segmenter", path, threshold=0.5, crops=crops, quantize=quantize)
    model = onnx.load(path)
    kinds = [w.data_type for w in model.graph.initializer if np.prod(w.dims) >= 256]
    in_full = 1 if quantize == "int8" else len(kinds)  # the layer that answers
    assert sorted(kinds) == [TensorProto.FLOAT] * in_full + [TensorProto.INT8] * (
        len(kinds) - in_full
    )
    assert Model(path).metadata["weights_sha256"] == weights_sha256(network)
    assert {node.op_type for node in model.graph.node} <= onnx_file.WASM_OPERATORS
    scales = [w for w in model.graph.initializer if w.name.endswith("_scale") and w.dims]
    assert bool(scales) == (quantize == "int8"), "a scale per channel"


def test_operator_that_the_web_lacks_is_named(crops: U8Array, tmp_path: Path) -> None:
    class Strange(nn.Module):
        output_names = ("mask",)

        def exported(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (torch.round(image[:, :1] / 255),)

    with pytest.raises(ModelError, match="ONNX Runtime Web does not run Round; not written"):
        export_onnx(Strange(), "segmenter", tmp_path / "a.onnx", threshold=0.5, crops=crops)
    assert list(tmp_path.iterdir()) == []


def test_inspect_tells_what_is_in_the_file(exported: Exported) -> None:
    _, network, path, _ = exported
    lines = describe(path).splitlines()
    assert lines[0] == f"{path}: ONNX, opset ai.onnx {OPSET}"
    assert "  image: float 1x3x256x256" in lines
    assert f"  whole: {path.stat().st_size}" in lines
    assert f"  weights_sha256: {weights_sha256(network)}" in lines
    assert any(line.startswith("  licence: research use only") for line in lines)
    operators = lines[lines.index("operators") + 1]
    assert f"Conv {sum(isinstance(m, nn.Conv2d) for m in network.modules())}" in operators


def test_inspect_of_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"\xff\xff garbage")
    for name, reason in (
        ("garbage.onnx", "not an ONNX file"),
        ("none.onnx", "no such file"),
        ("photo.jpg", r"not one of \.onnx, \.mlpackage, \.mlmodel"),
    ):
        with pytest.raises(ModelError, match=reason):
            describe(tmp_path / name)


def test_python_of_the_docs_cuts(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a developer pastes runs as it stands."""
    if exported[0] != "segmenter":
        return
    text = (ROOT / "docs" / "export.md").read_text("utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headcut.onnx").write_bytes(exported[2].read_bytes())
    Image.fromarray(noise_photo((300, 300))).save("crop.png")
    exec(compile(code, "export.md", "exec"), {})
    with Image.open("head.png") as image:
        assert (image.mode, image.size) == ("RGBA", (256, 256))
        assert set(np.unique(np.asarray(image)[..., 3])) == {0, 255}
