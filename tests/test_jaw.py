"""Jaw lines, and necks cut along them; MediaPipe itself only where it is installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT
from made_data import HEAD_BOX, NECK_BOX, SIDE, portrait_photo, write_pair
from made_workshop import JAW, write_mut1ny
from PIL import Image

from headcut.errors import OptionError
from headcut.photo import load_photo
from headcut_train import jaw as jaws
from headcut_train import neck as necks
from headcut_train.jaw import CHIN, FOREHEAD, FoundJaw, below, find_jaw, jaw_line, joined
from headcut_train.manifest import (
    HEAD_LEVEL,
    NECK_LEVEL,
    Manifest,
    read_manifest,
    read_mask,
    write_manifest,
)
from headcut_train.neck import cut_necks, summary, write_sheets
from headcut_train.prepare import prepare


def with_lines(source: Path, out: Path, count: int | None = None) -> Manifest:
    """Prepare, and note the drawn portraits' jaw lines, as if landmarks had been recorded."""
    manifest, _ = prepare(source, "mut1ny", out, held_out_pct=40, workers=1)
    line = tuple((float(x), float(y)) for x, y in JAW)
    pairs = [
        replace(pair, jaw=line, confidence=0.9, chin_px=64.0) if i != count else pair
        for i, pair in enumerate(manifest.pairs)
    ]
    manifest = replace(manifest, pairs=tuple(pairs))
    write_manifest(manifest)
    return manifest


def test_joints_are_joined_without_a_gap() -> None:
    pixels = joined(np.array(JAW, np.float32))
    steps = np.abs(np.diff(pixels, axis=0))
    assert steps.max() == 1, "neighbours touch, if only by a corner"
    assert steps.sum(1).min() >= 1, "none is there twice"


def test_below_is_under_the_line_and_not_on_it() -> None:
    under = below(np.array(JAW, np.float32), (SIDE, SIDE))
    assert under[70, 48]
    assert under[-1].all(), "down to the border, in all columns"
    assert not under[63, 48]
    assert not any(under[y, x] for x, y in joined(np.array(JAW, np.float32)))
    assert not under[:40].any()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_lying_head_has_its_neck_on_the_same_side(turns: int) -> None:
    """The line's direction says where the neck is, not what is below in the picture."""
    upright = below(np.array(JAW, np.float32), (SIDE, SIDE))
    line = np.array(JAW, np.float32)
    for _ in range(turns):
        line = np.stack([line[:, 1], SIDE - 1 - line[:, 0]], axis=1)
    turned = np.rot90(below(line, (SIDE, SIDE)), -turns)
    assert (turned != upright).mean() < 0.02


def made_mesh(yaw_deg: float) -> np.ndarray:
    """A face of 100 pixels' height, its jaw a half circle around the neck, turned to a side."""
    mesh = np.zeros((468, 3), np.float32)
    angles = np.linspace(-np.pi / 2, np.pi / 2, len(jaws.JAW))
    yaw = np.radians(yaw_deg)
    across, ahead = np.sin(angles), np.cos(angles)
    x = across * np.cos(yaw) + ahead * np.sin(yaw)
    z = across * np.sin(yaw) - ahead * np.cos(yaw)
    y = 100 + 40 * (np.cos(angles) - 1)
    mesh[list(jaws.JAW)] = np.stack([100 + 40 * x, y + 20, 40 * z], axis=1)
    mesh[FOREHEAD] = mesh[CHIN] - np.array([0, 100, 0])
    return mesh


def test_line_goes_from_border_to_border() -> None:
    line = jaw_line(made_mesh(0), (200, 200))
    assert (line[0, 0], line[-1, 0]) == (0, 199)
    assert line[:, 1].max() == pytest.approx(121, abs=1), "the chin, lowered by 1 %"
    assert np.abs(line[1:-1, 0] - (200 - line[1:-1, 0][::-1])).max() < 1, "the same on both sides"


@pytest.mark.parametrize("yaw_deg", [-80, -45, 45, 80])
def test_hidden_half_of_a_jaw_does_not_fold_back(yaw_deg: float) -> None:
    """Behind the chin's contour the line goes straight on, or it would cut off the cheek."""
    line = jaw_line(made_mesh(yaw_deg), (200, 200))
    assert (np.diff(line[:, 0]) > 0).all(), "from left to right, never back"
    assert (line[0, 0], line[-1, 0]) == (0, 199)
    assert len(line) < len(jaws.JAW) + 2


@pytest.mark.parametrize("yaw_deg", [-80, -45, 0, 45, 80])
def test_turned_face_is_seen_to_be_turned(yaw_deg: float) -> None:
    assert jaws._yaw_deg(made_mesh(yaw_deg)) == pytest.approx(abs(yaw_deg), abs=1)


def test_necks_are_cut_hair_and_face_stay(tmp_path: Path) -> None:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 3), tmp_path / "out")
    before = [(manifest.file(p.mask)).read_bytes() for p in manifest.pairs]
    cut = cut_necks(tmp_path / "out", workers=1)
    assert cut.path.name == "neck.jsonl"
    for pair in cut.pairs:
        mask = read_mask(cut.file(pair.mask))
        assert mask[NECK_BOX[3] - 12, 48] == NECK_LEVEL
        assert mask[40, 48] == HEAD_LEVEL
        assert mask[HEAD_BOX[1] + 3, 48] == HEAD_LEVEL
        assert (pair.neck, pair.used) == ("labelled", True)
    assert [(manifest.file(p.mask)).read_bytes() for p in manifest.pairs] == before
    assert summary(cut).endswith("3 of 3 necks cut, 0 aside")


def test_hair_below_the_line_stays(tmp_path: Path) -> None:
    source = write_mut1ny(tmp_path / "source", 1)
    label = Image.open(source / "labels" / "00.png").convert("RGB")
    label.paste((255, 255, 0), (20, 40, 34, 90))
    label.paste((255, 192, 192), (44, 60, 52, 72))
    label.save(source / "labels" / "00.png")
    cut = cut_necks(with_lines(source, tmp_path / "out").path, workers=1)
    mask = read_mask(cut.file(cut.pairs[0].mask))
    assert (mask[60:88, 24:30] == HEAD_LEVEL).all(), "long hair"
    assert (mask[66:70, 46:50] == HEAD_LEVEL).all(), "a beard"


def test_plain_masks_ask_the_network_what_is_neck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without labelled skin, hair and neck below the line look the same in the mask."""
    source, out = tmp_path / "source", tmp_path / "out"
    label = Image.new("L", (SIDE, SIDE))
    label.paste(255, (20, 10, 76, 90))
    write_pair(source, "a", portrait_photo(), label)
    prepare(source, "folder", out, workers=1)
    line = np.array(JAW, np.float32)
    monkeypatch.setattr(necks, "find_jaw", lambda *_: FoundJaw(line, 64.0, 0.9))
    monkeypatch.setattr(necks, "_segmenter", lambda: BlueIsNeck())
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    photo[:, 40:56, 2] = 255
    Image.fromarray(photo).save(source / "images" / "a.webp", lossless=True)
    cut = cut_necks(out, workers=1)
    mask = read_mask(cut.file(cut.pairs[0].mask))
    assert (mask[72:88, 42:54] == NECK_LEVEL).all()
    assert (mask[72:88, 22:36] == HEAD_LEVEL).all()
    assert (mask[20:45, 42:54] == HEAD_LEVEL).all(), "above the line nothing is cut"
    assert cut.pairs[0].confidence == pytest.approx(0.9 * necks.UNSEEN)


class BlueIsNeck:
    size = 64

    def segment(self, crops: np.ndarray) -> np.ndarray:
        neck = crops[..., 2] / np.float32(255)
        return np.stack([1 - neck, neck], axis=1)


def test_no_face_and_doubtful_lines_are_put_aside_never_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(write_mut1ny(tmp_path / "source", 2), "mut1ny", tmp_path / "out", workers=1)
    line = np.array(JAW, np.float32)
    found = iter([None, FoundJaw(line, 64.0, 0.2)])
    monkeypatch.setattr(necks, "find_jaw", lambda *_: next(found))
    cut = cut_necks(tmp_path / "out", workers=1)
    none, doubtful = cut.pairs
    assert (none.aside, none.used, none.mask) == ("no face was found", False, "masks/00.png")
    assert (doubtful.aside, doubtful.used) == ("doubtful: confidence 0.20", False)
    assert replace(doubtful, choice="accept").used
    assert summary(cut).splitlines()[1:] == [
        "     1  no face was found: 00",
        "     1  doubtful: 01",
    ]
    assert cut.used("train") + cut.used("val") == []


def test_a_second_run_keeps_what_is_cut_and_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 2), tmp_path / "out")
    cut = cut_necks(manifest.path, workers=1)
    chosen = replace(cut, pairs=(replace(cut.pairs[0], choice="drop"), cut.pairs[1]))
    write_manifest(chosen)
    done = []
    real = necks._cut
    monkeypatch.setattr(necks, "_cut", lambda job: done.append(job) or real(job))
    cut.file(cut.pairs[1].mask).unlink()
    again = cut_necks(manifest.path, workers=1)
    assert [job.pair.name for job in done] == ["01"]
    assert [pair.choice for pair in again.pairs] == ["drop", ""]
    assert again.used("train") + again.used("val") == [again.pairs[1]]


def test_a_stop_loses_no_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 3), tmp_path / "out")
    real, done = necks._cut, []

    def stopping(job: necks._Job) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.pair.name)
        return real(job)

    monkeypatch.setattr(necks, "_cut", stopping)
    with pytest.raises(KeyboardInterrupt):
        cut_necks(manifest.path, workers=1)
    assert not (tmp_path / "out" / "neck.jsonl").exists(), "an unfinished manifest is not one"
    done.clear()
    cut = cut_necks(manifest.path, workers=1)
    assert done == ["02"]
    assert len(cut.used("train") + cut.used("val")) == 3
    assert not (tmp_path / "out" / "neck.part.jsonl").exists()


def test_manifests_without_necks_to_cut(tmp_path: Path) -> None:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 1), tmp_path / "out")
    cut = cut_necks(manifest.path, workers=1)
    with pytest.raises(OptionError, match="cut already"):
        cut_necks(cut.path)
    apart = tuple(replace(pair, neck="apart") for pair in manifest.pairs)
    write_manifest(replace(manifest, pairs=apart))
    with pytest.raises(OptionError, match="train on it as it is"):
        cut_necks(manifest.path)


def test_a_photo_that_is_gone_is_put_aside(tmp_path: Path) -> None:
    source = write_mut1ny(tmp_path / "source", 2)
    manifest = with_lines(source, tmp_path / "out")
    (source / "images" / "00.webp").unlink()
    cut = cut_necks(manifest.path, workers=1)
    assert [pair.used for pair in cut.pairs] == [False, True]
    assert "no such file" in cut.pairs[0].aside
    (sheet,) = write_sheets(cut, tmp_path / "sheet.png")
    tile = necks.TILE_PX
    pixels = np.asarray(Image.open(sheet))[:tile]
    assert pixels[:, : 2 * tile].std() == 0
    assert pixels[:, 2 * tile : 4 * tile].std() > 10


def test_sheets_show_the_doubtful_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 3), tmp_path / "out")
    pairs = [replace(p, confidence=c) for p, c in zip(manifest.pairs, (0.9, 0.2, 0.6), strict=True)]
    write_manifest(replace(manifest, pairs=tuple(pairs)))
    cut = cut_necks(manifest.path, workers=1)
    assert [pair.name for pair in necks.by_doubt(cut.pairs)] == ["01", "02", "00"]
    monkeypatch.setattr(necks, "SHEET_PAIRS_A_ROW", 2)
    monkeypatch.setattr(necks, "SHEET_ROWS", 1)
    paths = write_sheets(cut, tmp_path / "sheet.png")
    assert [path.name for path in paths] == ["sheet.png", "sheet-2.png"]
    tile = necks.TILE_PX
    sheet = np.asarray(Image.open(paths[0]))
    assert sheet.shape == (tile + 16, 4 * tile, 3)
    blue = (sheet[..., 2] > 120) & (sheet[..., 0] < 90)
    green = (sheet[..., 1] > 230) & (sheet[..., 0] < 60)
    assert not blue[:, :tile].any(), "before"
    assert blue[:, tile : 2 * tile].any(), "after"
    assert green[:, tile : 2 * tile].any(), "the line"


def test_missing_mediapipe_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    jaws._face_mesh.cache_clear()
    with pytest.raises(OptionError, match=r'pip install -e "\.\[neck\]"'):
        find_jaw(np.zeros((50, 50, 3), np.uint8), np.ones((50, 50), bool))


FIND = """
import sys
import numpy as np
from headcut.photo import load_photo
from headcut_train.jaw import find_jaw
photo = load_photo(sys.argv[1])
head = np.zeros(photo.shape[:2], bool)
head[0:250, 130:330] = True
found = find_jaw(photo, head)
print(found.chin_px, found.confidence, found.line[0, 0], found.line[-1, 0])
print(find_jaw(np.full_like(photo, 90), head))
"""


def test_landmarks_of_a_real_face_without_a_word_on_standard_error() -> None:
    """In a process of its own: MediaPipe logs from C++, and leaves its threads behind."""
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("MediaPipe has no wheel for this Python")
    command = [sys.executable, "-c", FIND, str(ASTRONAUT)]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    first, second = ran.stdout.splitlines()
    chin, confidence, left, right = map(float, first.split())
    assert 160 < chin < 220, "looked at: her chin is at row 190"
    assert confidence > 0.7
    assert (left, right) == (0, load_photo(ASTRONAUT).shape[1] - 1)
    assert second == "None"


def test_cut_manifest_reads_back(tmp_path: Path) -> None:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 1), tmp_path / "out")
    cut = cut_necks(manifest.path, workers=1)
    assert read_manifest(cut.path) == cut
