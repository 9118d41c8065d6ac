"""`headcut-train` from its arguments to its files, on tiny data drawn here."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from made_data import write_data
from made_model import write_model
from PIL import Image
from train_command import RECIPE, failed, run

from headcut.model_file import Model

FEW = ["--crops", "2"]


@dataclass
class Place:
    """Where the commands of this module work: data, cache, recipes and what they write."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def folders(self) -> list[str]:
        return ["--data", str(self.data), "--cache", str(self.root / "cache")]

    def recipe(self, network: str) -> Path:
        path = self.root / f"{network}.toml"
        path.write_text(RECIPE.format(network=network))
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("place"))
    write_data(place.data)
    return place


@pytest.fixture(scope="module")
def models(place: Place) -> dict[str, Path]:
    """Both networks, trained for two steps and exported, by the commands."""
    paths = {}
    for network in ("finder", "segmenter"):
        out, path = place.root / "runs" / network, place.root / f"{network}.onnx"
        recipe = place.recipe(network)
        assert run("train", recipe, "--out", out, "--workers", "0", *place.folders) == 0
        kept = place.root / f"{network}.pt"
        arguments = ["-o", path, "--weights", kept, "--threshold", "0.4", *FEW, *place.folders]
        assert run("export", "onnx", out / "last.pt", *arguments) == 0
        assert kept.is_file()
        paths[network] = path
    return paths


@pytest.mark.parametrize("network", ["finder", "segmenter"])
def test_samples_draws_a_sheet(network: str, place: Place, tmp_path: Path) -> None:
    """To be looked at: no score shows a label that lies beside its head."""
    sheet = tmp_path / "sheet.png"
    assert run("samples", place.recipe(network), "--sheet", sheet, *place.folders) == 0
    with Image.open(sheet) as image:
        assert image.size == (8 * 64, 5 * 64)
        assert len(np.unique(np.asarray(image))) > 50


def test_mine_keeps_mistakes_for_training(models: dict[str, Path], place: Place) -> None:
    assert run("mine", "--finder", models["finder"], *place.folders) == 0
    kept = json.loads((place.root / "cache" / "scenes-train.json").read_text())
    assert all("mistaken" in sample for sample in kept["samples"])
    assert (
        run("samples", place.recipe("finder"), "--sheet", place.root / "s.png", *place.folders) == 0
    )


def test_guesses_are_drawn_from_only_where_asked(
    models: dict[str, Path], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that ended goes on to be one, whatever was guessed since."""
    recipe = place.root / "refiner.toml"
    recipe.write_text(RECIPE.format(network="segmenter") + '\npictures = "framed"\n')
    train = ["train", recipe, "--out", place.root / "runs" / "refiner", "--workers", "0"]
    assert run(*train, *place.folders) == 0
    assert run(*train, "--guessed", *place.folders) == 2
    assert "run `headcut-train guess` first" in capsys.readouterr().err
    assert run("guess", "--segmenter", models["segmenter"], *place.folders) == 0
    assert run("samples", recipe, "--guessed", "--sheet", place.root / "g.png", *place.folders) == 0
    assert run(*train, "--guessed", *place.folders) == 2
    assert "not the same photos" in capsys.readouterr().err
    assert run(*train, *place.folders) == 0


def test_guesses_are_refused_where_none_would_be_drawn(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest's photos would not be drawn beside them; a finder learns from boxes."""
    segmenter, finder = place.recipe("segmenter"), place.recipe("finder")
    assert run("train", segmenter, "--guessed", "--manifest", "m.jsonl", *place.folders) == 2
    assert "leave one of --manifest and --guessed out" in capsys.readouterr().err
    for command in ("train", "samples"):
        assert run(command, finder, "--guessed", *place.folders) == 2
        assert "a finder learns from boxes" in capsys.readouterr().err


def test_train_then_export_gives_models_that_run(models: dict[str, Path]) -> None:
    """At the size that they were trained at last."""
    picture = np.zeros((64, 64, 3), np.uint8)
    finder, segmenter = Model(models["finder"]), Model(models["segmenter"])
    assert finder.threshold == segmenter.threshold == 0.4
    assert [output.shape for output in finder.run(picture)] == [(1, 16, 16), (4, 16, 16)]
    assert [output.shape for output in segmenter.run(picture)] == [(1, 64, 64), (1, 64, 64)]


def test_kept_weights_are_exported_as_their_checkpoint(
    models: dict[str, Path], place: Place, tmp_path: Path
) -> None:
    """They say of which network they are, and for pictures of which size; that may be another."""
    kept, path = place.root / "segmenter.pt", tmp_path / "again.onnx"
    command = ["export", "onnx", kept, "-o", path, *FEW, *place.folders]
    assert run(*command) == 0
    assert Model(path).metadata == Model(models["segmenter"]).metadata | {"threshold": "0.5"}
    assert run(*command, "--size", 100) == 2
    assert run(*command, "--size", 96) == 0
    assert Model(path).size == 96


def test_calibrate_needs_heads_to_learn_from(
    models: dict[str, Path], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finder of two steps proposes nothing: its file stays as it is."""
    before = models["finder"].read_bytes()
    arguments = [models["finder"], "--segmenter", models["segmenter"], *place.folders]
    assert run("calibrate", *arguments) == 2
    assert "calibration needs right and wrong heads" in capsys.readouterr().err
    assert models["finder"].read_bytes() == before


def test_core_ml_export_and_inspect(
    models: dict[str, Path], place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both files of one network name the same weights; without data the sample photo will do."""
    kept, path = place.root / "segmenter.pt", tmp_path / "headcut.mlpackage"
    again = tmp_path / "again.onnx"
    assert run("export", "coreml", kept, "-o", path, *FEW) == 0
    assert run("export", "onnx", kept, "-o", again, *FEW) == 0
    said = capsys.readouterr().out
    assert "on 2 crops of the sample photo" in said
    digests = []
    for file in (path, again):
        assert run("inspect", file) == 0
        lines = capsys.readouterr().out.splitlines()
        digests += [line for line in lines if "weights_sha256" in line]
        assert any("licence: research use only" in line for line in lines)
    assert len(digests) == 2
    assert digests[0] == digests[1]
    assert Model(models["segmenter"]).metadata["weights_sha256"] in digests[0], "of the checkpoint"


def test_int8_wants_real_photos(
    models: dict[str, Path],
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ranges of activations from one photo would be wrong for others."""
    monkeypatch.chdir(tmp_path)
    command = ["export", "onnx", place.root / "segmenter.pt"]
    code, line = failed(capsys, *command, "-o", "a.onnx", "--quantize", "int8")
    assert code == 2
    assert "name their folder with --data" in line


def test_few_bits_are_held_to_the_masks_of_people(
    models: dict[str, Path], place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether two steps of training pass or not, the IoU with them is said."""
    command = ["export", "coreml", place.root / "segmenter.pt", *FEW]
    run(*command, "-o", tmp_path / "a.mlpackage", "--quantize", "palette6", *place.folders)
    assert "IoU with people" in "".join(capsys.readouterr())
    run(*command, "-o", tmp_path / "b.mlpackage", "--quantize", "fp16", *place.folders)
    assert "IoU with people" not in "".join(capsys.readouterr())


def test_missing_coremltools_is_said(
    models: dict[str, Path],
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is an extra of its own: not every platform has it."""
    for name in [name for name in sys.modules if name.startswith("headcut_train.export.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    command = ["export", "coreml", place.root / "segmenter.pt"]
    code, line = failed(capsys, *command, "-o", tmp_path / "a.mlpackage", *FEW)
    assert code == 2
    assert 'pip install -e ".[coreml]"' in line


def test_core_ml_export_under_a_wrong_name(
    models: dict[str, Path], place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "coreml", place.root / "segmenter.pt", *FEW]
    code, line = failed(capsys, *command, "-o", tmp_path / "a.onnx")
    assert code == 2
    assert ".mlpackage; choose such a name" in line
    assert list(tmp_path.iterdir()) == []


def test_evaluate_prints_a_table_and_writes_json_and_a_sheet(
    models: dict[str, Path], place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, sheet = tmp_path / "scores.json", tmp_path / "wild.png"
    outputs = ["--json", scores, "--sheet", sheet, "--limit", "1"]
    segmenter = models["segmenter"]
    arguments = [segmenter, "--finder", models["finder"], "--segmenter", segmenter]
    arguments += ["--threshold", "0.9"]
    assert run("evaluate", *arguments, *outputs, *place.folders) == 0
    table = json.loads(scores.read_text())
    masked, found = (
        {"celebamask", "lfw_parts", "clothing_coparsing", "fasseg"},
        {"scenes", "scut_heads", "figaro_hair", "wild"},
    )
    assert set(table) == masked | found | {"composed"}
    assert table["celebamask"]["photos"] == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("| set ")
    assert printed[2].startswith("| celebamask ")
    with Image.open(sheet) as image:
        assert image.size == (8 * 240, 240)


# ---------------------------------------------------------------- bad input


def test_missing_data_folder(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", place.recipe("segmenter"), "--out", tmp_path / "run"]
    code, line = failed(capsys, *command, "--data", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere: no such folder; name the data with --data" in line
    assert list(tmp_path.iterdir()) == []


def test_folder_without_the_data_sets(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["samples", place.recipe("segmenter"), "--data", tmp_path]
    code, line = failed(capsys, *command, "--cache", tmp_path / "cache")
    assert code == 2
    assert "cannot prepare celebamask/train" in line
    assert "check --data" in line


def test_unknown_recipe_key(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "typo.toml"
    recipe.write_text(RECIPE.format(network="finder") + "batch_size = 4\n")
    code, line = failed(capsys, "train", recipe, *place.folders)
    assert code == 2
    assert "unknown key ['batch_size']; known are" in line


def test_missing_recipe(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failed(capsys, "train", tmp_path / "none.toml", *place.folders)
    assert code == 2
    assert "none.toml: cannot be read" in line


@pytest.mark.parametrize("content", [None, b"garbage"])
def test_missing_or_damaged_checkpoint(
    content: bytes | None, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "last.pt", tmp_path / "model.onnx"
    if content:
        path.write_bytes(content)
    code, line = failed(capsys, "export", "onnx", path, "-o", out, *place.folders)
    assert code == 1
    assert "last.pt: " in line
    assert "checkpoint" in line
    assert not out.exists()


def test_missing_weights_to_start_from(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", place.recipe("segmenter"), "--out", tmp_path / "run", *place.folders]
    code, line = failed(capsys, *command, "--start-from", tmp_path / "none.pt")
    assert code == 1
    assert "none.pt: no such checkpoint" in line


def test_model_that_is_missing_or_not_ours(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = failed(capsys, "evaluate", tmp_path / "none.onnx", *place.folders)
    assert code == 1
    assert "no such model file" in line
    other = write_model(tmp_path / "other.onnx", size="")
    code, line = failed(capsys, "evaluate", other, *place.folders)
    assert code == 1
    assert "not a headcut model" in line


def test_sheet_that_cannot_be_written(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "no" / "folder" / "sheet.png"
    command = ["samples", place.recipe("finder"), "--sheet", sheet, *place.folders]
    code, line = failed(capsys, *command)
    assert code == 1
    assert "sheet.png" in line


@pytest.mark.parametrize("arguments", [["fly"], ["train"], ["train", "r.toml", "--speed", "9"]])
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_tests_need_no_real_data() -> None:
    """A fresh clone has neither the data nor a run."""
    tests = ROOT / "tests"
    words = ["shared/" + "data", "runs/" + "cache"]
    for path in tests.glob("*.py"):
        text = path.read_text("utf-8")
        assert not any(word in text for word in words), path
