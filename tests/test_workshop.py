"""The whole way of people with masks of their own, by its commands, on small made pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT
from made_data import portrait_photo, write_pair
from made_workshop import JAW, MUT1NY, coloured_label, write_mut1ny
from PIL import Image
from train_command import RECIPE, failed, run

from headcut import HeadCutter
from headcut.errors import OptionError, PhotoError
from headcut.geometry import FloatArray, U8Array
from headcut.model_file import open_model
from headcut.segment import HeadSegmenter
from headcut_train import review
from headcut_train.evaluate import score_manifests, whole_head
from headcut_train.manifest import open_manifests, read_manifest, sample_of, write_manifest
from headcut_train.near import near_picture, whole_picture
from headcut_train.sources import HEAD
from headcut_train.train import read_state


@dataclass
class Workshop:
    root: Path
    manifest: Path
    """Of 12 pairs, their necks cut."""

    def recipe(self, network: str = "segmenter", more: str = "") -> Path:
        path = self.root / f"{network}{len(more)}.toml"
        path.write_text(RECIPE.format(network=network) + more)
        return path


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    root = tmp_path_factory.mktemp("workshop")
    source, out = write_mut1ny(root / "source", 12), root / "set"
    options = ["--layout", "mut1ny", "--held-out", "40", "--workers", "1", "--strict"]
    assert run("prepare", source, out, *options) == 0
    prepared = read_manifest(out)
    line = tuple((float(x), float(y)) for x, y in JAW)
    pairs = tuple(replace(pair, jaw=line, confidence=0.9, chin_px=64.0) for pair in prepared.pairs)
    write_manifest(replace(prepared, pairs=pairs))
    assert run("neck", out, "--sheet", root / "sheet.png", "--workers", "1") == 0
    assert (root / "sheet.png").is_file()
    return Workshop(root, out / "neck.jsonl")


@pytest.fixture(scope="module")
def trained(workshop: Workshop) -> Path:
    """Trained for two steps, fine-tuned for two more."""
    first, second = workshop.root / "first", workshop.root / "second"
    cache = ["--cache", workshop.root / "cache", "--workers", "0"]
    options = ["--manifest", workshop.manifest, "--out", first, *cache]
    assert run("train", workshop.recipe(), *options) == 0
    options = ["--recipe", workshop.recipe(), "--out", second, *cache]
    assert run("finetune", first / "last.pt", workshop.manifest, *options) == 0
    return second


def test_from_a_folder_of_masks_to_a_cut_photo(
    workshop: Workshop, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = workshop.root / "mine.onnx"
    assert run("export", "onnx", trained / "last.pt", "-o", model, "--crops", "2") == 0
    scores = workshop.root / "scores.json"
    options = ["--manifest", workshop.manifest, "--json", scores]
    assert run("evaluate", model, *options) == 0
    table = json.loads(scores.read_text())
    assert set(table["set"]) == {"photos", "missed", "iou", "boundary_f", "neck_leak", "f1"}
    assert table["set"]["photos"] == len(read_manifest(workshop.manifest).used("val"))
    assert "| set " in capsys.readouterr().out
    cutter = HeadCutter(refiner=HeadSegmenter(open_model(model)))
    assert isinstance(cutter.cut(ASTRONAUT), list)


def test_finetune_begins_with_the_shipped_weights_and_resumes(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    out = workshop.root / "shipped"
    options = ["--recipe", workshop.recipe(more="learning_rate = 0\n"), "--out", out]
    command = ["finetune", "refiner", workshop.manifest, *options, "--steps", "1"]
    cache = ["--cache", workshop.root / "cache", "--workers", "0", "--threads", "1"]
    assert run(*command, *cache) == 0
    state = read_state(out / "last.pt")
    shipped = read_state(Path(__file__).parents[1] / "weights" / "refiner.pt")
    same = [
        state["network"][name].half().equal(value)
        for name, value in shipped["averaged"].items()
        if "weight" in name
    ]
    assert all(same)
    assert state["recipe"]["sizes"] == shipped["recipe"]["sizes"][-1:]
    assert state["step"] == 1
    assert run(*command, *cache) == 0, "there is nothing left to do"


def test_report_is_one_page_that_loads_nothing(
    workshop: Workshop, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, scores = workshop.root / "page.html", workshop.root / "report.json"
    options = ["--manifest", workshop.manifest, "-o", page, "--json", scores, "--limit", "2"]
    assert run("report", trained, *options) == 0
    text = page.read_text()
    assert "http" not in text
    assert text.count("data:image/jpeg;base64,") == 4, "two best, two worst"
    assert text.count("data:image/png;base64,") == 1, "the curves"
    for words in ("learning_rate", "2 steps in 0 min", "neck_leak", "set/"):
        assert words in text
    assert json.loads(scores.read_text())["set"]["photos"] == 2


def test_report_of_the_original_looks_at_whole_photos(workshop: Workshop) -> None:
    out = workshop.root / "original"
    recipe = workshop.recipe("encoder-decoder", 'loss = "square"\npictures = "whole"\n')
    cache = ["--cache", workshop.root / "cache", "--workers", "0"]
    assert run("train", recipe, "--manifest", workshop.manifest, "--out", out, *cache) == 0
    assert run("report", out, "--manifest", workshop.manifest, "--limit", "1") == 0
    assert (out / "report.html").is_file()


def test_left_out_pairs_are_a_table_and_strict_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_mut1ny(tmp_path / "source", 2), tmp_path / "out"
    portrait_photo().save(source / "images" / "alone.webp")
    command = ["prepare", source, out, "--layout", "mut1ny", "--workers", "1"]
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert "2 pairs" in said
    assert "1  no mask for the photo: alone" in said
    assert run(*command, "--strict") == 1
    write_pair(tmp_path / "bad", "a", portrait_photo(), Image.new("RGB", (96, 96)))
    command = ["prepare", tmp_path / "bad", tmp_path / "none", "--layout", "mut1ny"]
    assert run(*command) == 1, "nothing to train on"


def test_wrong_places_are_one_line(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = failed(capsys, "prepare", ASTRONAUT, tmp_path, "--layout", "folder")
    assert (code, "a file, not a folder" in line) == (2, True)
    code, line = failed(capsys, "neck", tmp_path / "none.jsonl")
    assert (code, "make one with prepare" in line) == (2, True)
    code, line = failed(capsys, "finetune", "nothing", workshop.manifest)
    assert (code, "no such checkpoint" in line) == (1, True)
    finder = workshop.recipe("finder")
    code, line = failed(capsys, "train", finder, "--manifest", workshop.manifest)
    assert (code, "manifests are for segmenters" in line) == (2, True)
    code, line = failed(capsys, "report", tmp_path, "--manifest", workshop.manifest)
    assert (code, "no such checkpoint" in line) == (1, True)


def test_a_photo_that_went_missing_is_named(workshop: Workshop) -> None:
    manifest = read_manifest(workshop.manifest)
    gone = replace(manifest.pairs[0], photo="gone.jpg")
    with pytest.raises(PhotoError, match=r"gone.jpg: no such file.*prepare again"):
        sample_of(manifest, gone)


def test_a_finder_does_not_learn_from_pairs(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "last.pt"
    recipe = {"network": "finder", "sizes": [(1.0, 256)]}
    torch.save({"recipe": recipe, "trained_on": [], "averaged": {}}, weights)
    code, line = failed(capsys, "finetune", weights, workshop.manifest, "--out", tmp_path / "run")
    assert (code, "manifests are for segmenters" in line) == (2, True)


def test_a_run_that_has_no_place_is_one_line(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    command = ["train", workshop.recipe(), "--manifest", workshop.manifest, "--out", file]
    code, line = failed(capsys, *command, "--cache", tmp_path / "cache")
    assert (code, f"{file}: " in line, "choose another place" in line) == (1, True, True)


def test_a_set_without_held_out_pairs_is_said(workshop: Workshop, tmp_path: Path) -> None:
    manifest = read_manifest(workshop.manifest)
    for other in ("train", "val"):
        pairs = tuple(replace(pair, split=other) for pair in manifest.pairs)
        path = manifest.path.with_name(f"{other}.jsonl")
        write_manifest(replace(manifest, path=path, pairs=pairs))
    with pytest.raises(OptionError, match="no pair is held out"):
        score_manifests(lambda sample: sample.plane > 0, [manifest.path.with_name("train.jsonl")])
    with pytest.raises(OptionError, match="no pair is in use for train"):
        open_manifests([manifest.path.with_name("val.jsonl")], tmp_path, "segmenter")


def test_two_manifests_of_one_folder_have_a_row_each(workshop: Workshop) -> None:
    paths = [workshop.manifest.with_name("manifest.jsonl"), workshop.manifest]
    table = score_manifests(lambda sample: sample.plane > 0, paths)
    assert list(table) == ["set", str(workshop.manifest)]


def test_necks_follow_what_is_held_out(workshop: Workshop) -> None:
    """`prepare` again with another --held-out, then `neck` again, is what a message advises."""
    manifest = read_manifest(workshop.manifest.with_name("manifest.jsonl"))
    held = read_manifest(workshop.manifest).used("val")
    assert held
    try:
        write_manifest(
            replace(manifest, pairs=tuple(replace(p, split="train") for p in manifest.pairs))
        )
        assert run("neck", workshop.manifest.parent, "--workers", "1") == 0
        assert not read_manifest(workshop.manifest).used("val")
    finally:
        write_manifest(manifest)
        assert run("neck", workshop.manifest.parent, "--workers", "1") == 0
    assert read_manifest(workshop.manifest).used("val") == held


def test_pictures_of_a_manifest_have_its_heads(workshop: Workshop, tmp_path: Path) -> None:
    """Near ones and whole ones; the neck counts where it is labelled, and nowhere else."""
    sources = open_manifests([workshop.manifest], tmp_path, "segmenter")
    rng = np.random.default_rng(3)
    near = [near_picture(sources, rng, 64) for _ in range(12)]
    assert sum(picture.target[0].mean() > 0.05 for picture in near) > 6
    whole = whole_picture(sources, rng, 96)
    assert whole.target[0, 40, 48] == 1
    assert whole.weight[1].max() > 0
    (source,) = sources.values()
    unlabelled = {"a": [replace(sample, neck_labelled=False) for sample in source]}
    assert not whole_picture(unlabelled, rng, 96).weight[1].any()


def test_a_changed_mask_is_not_taken_from_the_cache(workshop: Workshop, tmp_path: Path) -> None:
    source = write_mut1ny(tmp_path / "source", 1)
    options = ["--layout", "mut1ny", "--held-out", "0", "--workers", "1"]
    areas = []
    for label in (coloured_label(MUT1NY), coloured_label({**MUT1NY, "hair": (0, 0, 0)})):
        write_pair(source, "00", portrait_photo(), label)
        assert run("prepare", source, tmp_path / "out", *options) == 0
        opened = open_manifests([tmp_path / "out"], tmp_path / "cache", "segmenter")
        (samples,) = opened.values()
        areas.append(int((samples[0].plane & HEAD).astype(bool).sum()))
    assert areas[0] > areas[1]


class Half:
    """Calls the upper half of what it sees head."""

    size = 32

    def segment(self, crops: U8Array) -> FloatArray:
        masks = np.zeros((len(crops), 2, self.size, self.size), np.float32)
        masks[:, 0, : self.size // 2] = 1
        return masks


def test_whole_head_is_of_the_photos_size() -> None:
    head = whole_head(Half(), np.zeros((40, 80, 3), np.uint8), 0.7)
    assert head.shape == (40, 80)
    assert head[:19].all()
    assert not head[21:].any()


def test_review_says_where_its_page_is(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: review.ReviewServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(review.ReviewServer, "serve_forever", stopped)
    assert run("neck", workshop.manifest.parent, "--review", "--workers", "1") == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out
