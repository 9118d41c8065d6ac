"""The readers, on tiny data sets drawn here in the folder layout of the real ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import (
    BODY_BOX,
    FULL_BODY,
    HEAD_BOX,
    NECK_BOX,
    SIDE,
    drawn_portrait,
    figaro_label,
    fraction_box,
    full_body_label,
    full_body_photo,
    head_line,
    lfw_label,
    portrait_photo,
    write_data,
    write_pair,
)
from PIL import Image

from headcut.errors import OptionError
from headcut.find import intersection_over_union
from headcut_train import cache, sources
from headcut_train.cache import CachedSource
from headcut_train.jaw import FoundJaw
from headcut_train.sources import (
    HEAD,
    KNOWN,
    NECK,
    PERSON,
    READERS,
    SEARCHED,
    Sample,
)

MIDDLE = (HEAD_BOX[0] + HEAD_BOX[2]) // 2
FACE, HAIR, NECK_AT, BODY_AT, WALL = (50, MIDDLE), (20, MIDDLE), (70, MIDDLE), (90, 30), (5, 5)
"""(row, column) of pixels in every drawn portrait."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def read(data: Path, source: str, split: str = "train") -> list[Sample]:
    return list(READERS[source](data, split))


def bits(sample: Sample, place: tuple[int, int]) -> int:
    return int(sample.plane[place])


@pytest.mark.parametrize("source", list(READERS))
def test_photo_and_plane_have_one_form_in_every_source(
    source: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenes and scores treat all sources alike."""
    _find_jaw_at(monkeypatch, 66, 0.9)
    samples = read(data, source) + read(data, source, "val")
    assert samples
    for sample in samples:
        assert sample.photo.dtype == sample.plane.dtype == np.uint8
        assert sample.photo.shape == (*sample.plane.shape, 3)
        assert sample.boxes.dtype == sample.ignored.dtype == np.float32
        assert sample.boxes.shape[1] == sample.ignored.shape[1] == 4
        assert not np.any((sample.plane & HEAD > 0) & (sample.plane & KNOWN == 0))
        assert not np.any((sample.plane & HEAD > 0) & (sample.plane & NECK > 0))
    assert len({sample.name for sample in samples}) == len(samples)


@pytest.mark.parametrize("source", list(READERS))
def test_splits_share_no_photo(source: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score on photos that were trained on says nothing."""
    _find_jaw_at(monkeypatch, 66, 0.9)
    train = {sample.name.split("/")[-1] for sample in read(data, source)}
    val = {sample.name.split("/")[-1] for sample in read(data, source, "val")}
    assert not train & val


@pytest.mark.parametrize("source", ["figaro_hair", "clothing_coparsing", "scut_heads", "scenes"])
def test_one_in_seven_is_held_out_where_there_is_no_folder_for_it(source: str, data: Path) -> None:
    assert (len(read(data, source)), len(read(data, source, "val"))) == (6, 2)


@pytest.mark.parametrize(("source", "train", "val"), [("person_crops", 2, 0), ("wild", 0, 2)])
def test_sets_for_one_purpose_stay_out_of_the_other(
    source: str, train: int, val: int, data: Path
) -> None:
    """All person crops are for training; `wild` is never trained on."""
    assert (len(read(data, source)), len(read(data, source, "val"))) == (train, val)


# ---------------------------------------------------------------- CelebAMask-HQ


def test_celebamask_neck_is_not_head(data: Path) -> None:
    sample = read(data, "celebamask")[0]
    assert bits(sample, FACE) == bits(sample, HAIR) == HEAD | KNOWN | PERSON | SEARCHED
    assert bits(sample, NECK_AT) == KNOWN | PERSON | SEARCHED | NECK
    assert bits(sample, BODY_AT) == KNOWN | PERSON | SEARCHED
    assert bits(sample, WALL) == KNOWN | SEARCHED


@pytest.mark.parametrize("worn", [3, 14, 15])
def test_celebamask_glasses_hats_and_earrings_are_head(worn: int, tmp_path: Path) -> None:
    label = drawn_portrait(0, 18, 17, 1, worn)
    write_pair(tmp_path / "celebamask/train", "0", portrait_photo(), label)
    assert bits(read(tmp_path, "celebamask")[0], HAIR) & HEAD


@pytest.mark.parametrize("not_head", [16, 17, 18])
def test_celebamask_necklace_neck_and_cloth_are_not(not_head: int, tmp_path: Path) -> None:
    label = drawn_portrait(0, 18, not_head, 1, 13)
    write_pair(tmp_path / "celebamask/train", "0", portrait_photo(), label)
    assert not bits(read(tmp_path, "celebamask")[0], NECK_AT) & HEAD


def test_celebamask_box_goes_from_crown_to_chin(data: Path) -> None:
    (box,) = read(data, "celebamask")[0].boxes
    assert np.abs(box - HEAD_BOX).max() <= 2


def test_long_hair_does_not_lengthen_the_box(tmp_path: Path) -> None:
    """The box is where a head is; the crop below it has room for hair."""
    label = drawn_portrait(0, 18, 17, 1, 13)
    label.paste(13, (22, 30, 29, 94))
    write_pair(tmp_path / "celebamask/train", "0", portrait_photo(), label)
    sample = read(tmp_path, "celebamask")[0]
    assert bits(sample, (90, 25)) & HEAD
    assert abs(sample.boxes[0][3] - HEAD_BOX[3]) <= 2


def test_celebamask_without_a_face_is_left_out(tmp_path: Path) -> None:
    """Without a chin nobody knows its box."""
    write_pair(
        tmp_path / "celebamask/train", "0", portrait_photo(), drawn_portrait(0, 18, 17, 0, 13)
    )
    assert read(tmp_path, "celebamask") == []


# ---------------------------------------------------------------- jaw lines


def _find_jaw_at(monkeypatch: pytest.MonkeyPatch, row: float, confidence: float) -> None:
    """Let a jaw line be found that is level."""
    line = np.array([(0, row), (SIDE - 1, row)], np.float32)
    jaw = FoundJaw(line, chin_px=row, confidence=confidence)
    monkeypatch.setattr(sources, "find_jaw", lambda *_: jaw)


@pytest.mark.parametrize(
    ("source", "below"),
    [("lfw_parts", NECK), ("clothing_coparsing", NECK), ("fasseg", NECK | KNOWN)],
)
def test_jaw_line_parts_face_and_neck(
    source: str, below: int, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have one colour in these masks."""
    column, row = (40, 34) if source == "clothing_coparsing" else (MIDDLE, 68)
    _find_jaw_at(monkeypatch, row, 0.6)
    sample = read(data, source)[0]
    assert bits(sample, (row - 2, column)) & (HEAD | KNOWN | NECK) == HEAD | KNOWN
    assert bits(sample, (row, column)) & (HEAD | KNOWN | NECK) == 0
    assert bits(sample, (row + 2, column)) & (HEAD | KNOWN | NECK) == below
    assert sample.boxes[0][3] == row


@pytest.mark.parametrize("source", ["lfw_parts", "clothing_coparsing"])
def test_doubtful_jaw_line_parts_nothing(
    source: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = read(data, source)[0]
    _find_jaw_at(monkeypatch, 50, 0.4)
    assert (read(data, source)[0].plane == without.plane).all()


# ---------------------------------------------------------------- LFW parts


def test_lfw_skin_below_the_chin_is_unknown(data: Path) -> None:
    """Green is face and neck alike: without a jaw line nobody knows, until below any chin."""
    sample = read(data, "lfw_parts")[0]
    assert bits(sample, FACE) & (HEAD | KNOWN) == HEAD | KNOWN
    assert bits(sample, HAIR) & (HEAD | KNOWN) == HEAD | KNOWN
    assert bits(sample, NECK_AT) & (HEAD | KNOWN | NECK) == 0
    assert bits(sample, (75, MIDDLE)) & (HEAD | KNOWN | NECK) == NECK
    assert bits(sample, BODY_AT) & (HEAD | KNOWN) == KNOWN
    assert bits(sample, WALL) & (HEAD | KNOWN) == KNOWN


def test_lfw_looks_for_no_second_head_far_from_the_first(tmp_path: Path) -> None:
    """Only the main person is labelled: a second face at the border is not a false head."""
    label = Image.new("RGB", (300, SIDE), (0, 0, 255))
    label.paste(lfw_label(), (100, 0))
    write_pair(tmp_path / "lfw_parts/train", "0", Image.new("RGB", label.size), label)
    (sample,) = read(tmp_path, "lfw_parts")
    assert bits(sample, (50, 100 + MIDDLE)) & SEARCHED
    assert not bits(sample, (50, 30)) & SEARCHED


def test_lfw_hat_is_unknown(tmp_path: Path) -> None:
    """Hats are labelled as background, which is wrong: a head that begins at the brows has one."""
    label = lfw_label()
    label.paste((0, 0, 255), (0, 0, SIDE, 40))
    write_pair(tmp_path / "lfw_parts/train", "0", portrait_photo(), label)
    (sample,) = read(tmp_path, "lfw_parts")
    assert not bits(sample, HAIR) & (HEAD | KNOWN)
    assert bits(sample, FACE) & (HEAD | KNOWN) == HEAD | KNOWN
    assert bits(sample, WALL) & (HEAD | KNOWN) == KNOWN
    assert sample.boxes[0][1] < 25


def test_lfw_hat_that_somebody_saw_is_unknown(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cap beside which hair shows, or that is labelled in part, hides from the rule."""
    _draw_by_eye(monkeypatch, tmp_path, "lfw_parts", {"hats": ["train0"], "wrong": []})
    capped, bare = read(data, "lfw_parts")
    for sample, known in ((capped, 0), (bare, KNOWN)):
        assert bits(sample, (12, MIDDLE)) & (HEAD | KNOWN) == known
        assert bits(sample, HAIR) & (HEAD | KNOWN) == HEAD | KNOWN
        assert bits(sample, WALL) & (HEAD | KNOWN) == KNOWN


@pytest.mark.parametrize("source", ["celebamask", "lfw_parts"])
def test_wrong_masks_are_left_out(
    source: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _draw_by_eye(monkeypatch, tmp_path, source, {"hats": [], "wrong": ["train0"]})
    assert [sample.name for sample in read(data, source)] == [f"{source}/train/train1"]


def test_heads_that_scut_missed_are_boxed_for_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores go by the set's own boxes."""
    drawn = {stem: [[0, 0, 500, 250]] for stem in "0123"}
    _draw_by_eye(monkeypatch, tmp_path, "scut_heads", {"heads": drawn, "doubtful": drawn})
    training = read(data, "scut_heads")[0]
    np.testing.assert_allclose(training.boxes[1:], [[0, 0, SIDE / 2, SIDE / 4]])
    np.testing.assert_allclose(training.ignored, [[0, 0, SIDE / 2, SIDE / 4]])
    assert training.tags == ((), ())
    held_out = read(data, "scut_heads", "val")[0]
    assert (len(held_out.boxes), len(held_out.ignored)) == (1, 0)


def _draw_by_eye(
    monkeypatch: pytest.MonkeyPatch, folder: Path, source: str, drawn: dict[str, object]
) -> None:
    """Let a source's .json hold this."""
    (folder / f"{source}.json").write_text(json.dumps(drawn))
    monkeypatch.setattr(sources, "LABELS", folder)


def test_lfw_dark_lenses_are_unknown(tmp_path: Path) -> None:
    """They are labelled as background, in the middle of a face."""
    label = lfw_label()
    label.paste((0, 0, 255), (MIDDLE - 8, 40, MIDDLE + 8, 44))
    write_pair(tmp_path / "lfw_parts/train", "0", portrait_photo(), label)
    (sample,) = read(tmp_path, "lfw_parts")
    assert not bits(sample, (42, MIDDLE)) & (HEAD | KNOWN)
    assert bits(sample, (5, MIDDLE)) & (HEAD | KNOWN) == KNOWN


def test_lfw_box_is_the_skull(data: Path) -> None:
    (box,) = read(data, "lfw_parts")[0].boxes
    assert np.abs(box[:3] - HEAD_BOX[:3]).max() <= 4
    assert 0.64 * SIDE <= box[3] <= 0.721 * SIDE


# ---------------------------------------------------------------- FASSEG


def test_fasseg_without_a_sure_jaw_line_is_left_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doubtful one lies above the chin as often as on it."""
    monkeypatch.setattr(sources, "find_jaw", lambda *_: None)
    assert read(data, "fasseg") == []
    _find_jaw_at(monkeypatch, 66, 0.4)
    assert read(data, "fasseg") == []


def test_fasseg_line_that_somebody_saw_too_high_is_left_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _find_jaw_at(monkeypatch, 66, 0.9)
    _draw_by_eye(monkeypatch, tmp_path, "fasseg", {"wrong": ["personne01146p0p0"]})
    assert "fasseg/train/personne01146p0p0" not in {s.name for s in read(data, "fasseg")}
    assert len(read(data, "fasseg")) == 4


def test_fasseg_head_and_neck_are_the_person(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _find_jaw_at(monkeypatch, 66, 0.9)
    sample = read(data, "fasseg")[0]
    assert bits(sample, FACE) == bits(sample, HAIR) == HEAD | KNOWN | PERSON | SEARCHED
    assert bits(sample, NECK_AT) == KNOWN | PERSON | SEARCHED | NECK
    assert bits(sample, BODY_AT) == bits(sample, WALL) == KNOWN | SEARCHED


def test_two_people_of_fasseg_and_all_frontal_faces_are_held_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _find_jaw_at(monkeypatch, 66, 0.9)
    people = [sample.name.split("/")[-1][:10] for sample in read(data, "fasseg")]
    assert people == [f"personne0{i}" for i in (1, 2, 4, 5, 7)]
    held_out = [sample.name.split("/")[-1][:10] for sample in read(data, "fasseg", "val")]
    assert held_out == ["test_1", "personne03", "personne06"]


# ---------------------------------------------------------------- Figaro


def test_figaro_hair_is_head_and_of_all_else_boxes_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hair apart from the first head is another's."""
    label = figaro_label()
    label.paste(255, (80, 10, 90, 20))
    for stem in "01":  # the first is held out
        write_pair(tmp_path / "figaro_hair/train", stem, portrait_photo(), label)
    box = [v / SIDE * 1000 for v in HEAD_BOX]
    drawn = {"heads": {"1": [box]}, "doubtful": {}, "hats": [], "open": []}
    _draw_by_eye(monkeypatch, tmp_path, "figaro_hair", drawn)
    (sample,) = read(tmp_path, "figaro_hair")
    assert bits(sample, HAIR) == HEAD | KNOWN | SEARCHED
    assert bits(sample, FACE) == bits(sample, WALL) == bits(sample, (15, 85)) == SEARCHED
    np.testing.assert_allclose(sample.boxes, [HEAD_BOX], rtol=1e-5)
    assert not sample.masked


# ---------------------------------------------------------------- Clothing Co-Parsing

FULL_HAIR, FULL_FACE, FULL_NECK, FULL_HAND = (12, 40), (20, 40), (36, 40), (110, 13)
FULL_CHEST, FULL_WALL = (80, 40), (50, 5)


def test_clothing_face_is_head_and_neck_is_unknown(data: Path) -> None:
    """Both have one class: skin. The upper part of the skin below hair is face."""
    sample = read(data, "clothing_coparsing")[0]
    assert bits(sample, FULL_HAIR) & (HEAD | KNOWN) == HEAD | KNOWN
    assert bits(sample, FULL_FACE) & (HEAD | KNOWN) == HEAD | KNOWN
    assert bits(sample, FULL_NECK) & (HEAD | KNOWN | NECK) == 0
    assert bits(sample, (44, 40)) & (HEAD | KNOWN | NECK) == NECK  # well below the chin


def test_clothing_hands_and_clothes_are_surely_not_head(data: Path) -> None:
    sample = read(data, "clothing_coparsing")[0]
    for place in (FULL_HAND, FULL_CHEST):
        assert bits(sample, place) == KNOWN | PERSON | SEARCHED
    assert bits(sample, FULL_WALL) == KNOWN  # passers-by have no box


def test_clothing_box_is_one_head_of_a_standing_body(data: Path) -> None:
    ((left, top, right, bottom),) = read(data, "clothing_coparsing")[0].boxes
    body = 180
    assert top == 10
    assert body / 10 <= bottom - top <= body / 6
    assert (left + right) / 2 == FULL_BODY[0] / 2


def test_clothing_without_a_head_is_left_out(tmp_path: Path) -> None:
    """Some photos are cut at the neck."""
    label = full_body_label().point([0 if v == 19 else v for v in range(256)])
    for i in range(2):
        write_pair(tmp_path / "clothing_coparsing/train", str(i), full_body_photo(), label)
    assert read(tmp_path, "clothing_coparsing") == []


# ---------------------------------------------------------------- boxes


def test_scut_boxes_are_pixels_and_everything_but_the_border_is_searched(data: Path) -> None:
    """Every head is boxed there, but for many that the border cuts; scores go by the boxes."""
    sample = read(data, "scut_heads")[0]
    np.testing.assert_allclose(sample.boxes, [HEAD_BOX], atol=1e-4)
    border = math.ceil(sources.SCUT_BORDER * len(sample.plane))
    assert (sample.plane[border:-border, border:-border] == SEARCHED).all()
    assert (sample.plane == SEARCHED).sum() == (len(sample.plane) - 2 * border) ** 2
    assert (read(data, "scut_heads", "val")[0].plane == SEARCHED).all()
    assert not sample.masked


def test_person_crops_are_as_they_were_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All heads are boxed there, but in photos that say so; without a head it is no use."""
    looked_at = {
        "heads": {"alone": [[100, 200, 300, 500]], "group": [[0, 0, 200, 200]] * 2, "nobody": []},
        "doubtful": {"alone": [[500, 0, 600, 100]]},
        "hats": ["alone"],
        "open": ["group"],
    }
    _draw_by_eye(monkeypatch, tmp_path, "person_crops", looked_at)

    (tmp_path / "person_crops/images").mkdir(parents=True)
    for stem in ("alone", "group", "nobody", "unseen"):
        Image.new("RGB", (100, 200)).save(tmp_path / f"person_crops/images/{stem}.webp")
    alone, group = read(tmp_path, "person_crops")
    np.testing.assert_allclose(alone.boxes, [[10, 40, 30, 100]], rtol=1e-5)
    np.testing.assert_allclose(alone.ignored, [[50, 0, 60, 20]], rtol=1e-5)
    assert alone.tags == (("hat",),)
    assert (alone.plane == SEARCHED).all()
    assert (len(group.boxes), group.tags) == (2, ((), ()))
    assert group.plane[0, 0] == group.plane[79, 69] == SEARCHED
    assert not group.plane[80:].any()
    assert not group.plane[:, 70:].any()


@pytest.mark.parametrize(
    ("source", "least"), [("person_crops", 2000), ("figaro_hair", 800), ("scut_heads", 400)]
)
def test_heads_drawn_by_eye_are_in_the_photo(source: str, least: int) -> None:
    """And each of them once; who wears a hat, or is beside others, has a box."""
    seen = json.loads((sources.LABELS / f"{source}.json").read_text())
    photos = (*seen["heads"].values(), *seen["doubtful"].values())
    boxes = np.array([box for heads in photos for box in heads])
    assert len(boxes) > least
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centres.min() > -20
    assert centres.max() < 1020
    for heads in seen["heads"].values():
        assert all(intersection_over_union(a, b) < 0.5 for a, b in combinations(heads, 2))
    named = {*seen.get("hats", ()), *seen.get("open", ())}
    assert named <= {stem for stem, heads in seen["heads"].items() if heads}


def _one_of_scut(root: Path, line: str) -> Path:
    (root / "scut_heads/images").mkdir(parents=True)
    for stem in "01":  # the first is held out
        portrait_photo().save(root / f"scut_heads/images/{stem}.webp")
    (root / "scut_heads/heads.jsonl").write_text(line)
    return root


def test_doubtful_heads_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    doubtful = fraction_box((0, 0, 12, 12)) | {"ignore": True, "note": "statue"}
    (sample,) = read(_one_of_scut(tmp_path, head_line("1", fraction_box(), doubtful)), "scut_heads")
    assert len(sample.boxes) == 1
    np.testing.assert_allclose(sample.ignored, [(0, 0, 12, 12)], atol=1e-4)


def test_photo_that_nobody_labelled_is_left_out(tmp_path: Path) -> None:
    """A photo without a line is not a photo without heads."""
    root = _one_of_scut(tmp_path, head_line("another", fraction_box()))
    assert read(root, "scut_heads") == []


def test_crowd_is_not_searched(data: Path) -> None:
    """Where not all heads are listed, none that is found is surely wrong."""
    ordinary, crowd = read(data, "wild", "val")
    assert (ordinary.plane == SEARCHED).all()
    assert not (crowd.plane & SEARCHED).any()
    assert len(crowd.boxes) == 1


def test_scenes_have_no_head_and_know_it(data: Path) -> None:
    sample = read(data, "scenes")[0]
    assert (sample.plane == KNOWN | SEARCHED).all()
    assert len(sample.boxes) == 0


# ---------------------------------------------------------------- cache


@pytest.mark.parametrize("source", ["celebamask", "scut_heads", "wild"])
def test_cache_gives_what_the_reader_gives(source: str, data: Path, tmp_path: Path) -> None:
    wanted = read(data, source, "val")
    for _ in ("made", "read again"):
        cached = CachedSource(data, tmp_path, source, "val")
        assert len(cached) == len(wanted)
        for ours, theirs in zip(cached, wanted, strict=True):
            assert (ours.name, ours.masked) == (theirs.name, theirs.masked)
            for part in ("photo", "plane", "boxes", "ignored"):
                np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))


def test_cache_of_no_samples_is_empty(data: Path, tmp_path: Path) -> None:
    assert len(CachedSource(data, tmp_path, "wild", "train")) == 0


def test_cache_needs_the_data_only_once(data: Path, tmp_path: Path) -> None:
    CachedSource(data, tmp_path, "scenes", "val")
    assert len(CachedSource(tmp_path / "gone", tmp_path, "scenes", "val")) == 2


@pytest.mark.parametrize("index", ["[]", '{"format": 1, "samples": []}'])
def test_cache_of_another_version_is_refused(index: str, data: Path, tmp_path: Path) -> None:
    """Its planes lack bits, or hold others: training on them would be of something else."""
    (tmp_path / "scenes-val.json").write_text(index)
    with pytest.raises(OptionError, match=f"written by another version; delete {tmp_path}"):
        CachedSource(data, tmp_path, "scenes", "val")


def test_stopped_cache_is_made_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a cache that looks whole would train on half the data, silently."""
    first = read(data, "scenes", "val")[0]

    def stopped(root: Path, split: str) -> Iterator[Sample]:
        yield first
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(READERS, "scenes", stopped)
        with pytest.raises(KeyboardInterrupt):
            CachedSource(data, tmp_path, "scenes", "val")
    assert len(CachedSource(data, tmp_path, "scenes", "val")) == 2


def test_new_pixels_never_lie_under_an_older_index(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its labels would be of other photos."""
    CachedSource(data, tmp_path, "scenes", "val")

    def full(index: Path, rows: list[dict[str, Any]]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache, "_write_index", full)
        with pytest.raises(OptionError, match="No space left"):
            CachedSource(data, tmp_path, "scenes", "val", anew=True)
    assert not cache.is_kept(tmp_path, "scenes", "val")


def test_missing_data_set_is_named_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"cannot prepare celebamask/train: .*check --data") as e:
        CachedSource(tmp_path / "nowhere", tmp_path, "celebamask", "train")
    assert "\n" not in str(e.value)


def test_photo_that_is_damaged_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "celebamask/train"
    write_pair(folder, "0", portrait_photo(), drawn_portrait(0, 18, 17, 1, 13))
    (folder / "images/0.webp").write_bytes(b"RIFF")
    with pytest.raises(OptionError, match=r"images/0\.webp"):
        CachedSource(tmp_path, tmp_path / "cache", "celebamask", "train")


def test_label_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "celebamask/train"
    write_pair(folder, "0", portrait_photo(), drawn_portrait(0, 18, 17, 1, 13))
    (folder / "labels/0.png").unlink()
    with pytest.raises(OptionError, match=r"labels/0\.png"):
        CachedSource(tmp_path, tmp_path / "cache", "celebamask", "train")


def test_made_portrait_is_what_the_tests_say_it_is() -> None:
    """The places that the tests look at lie in the parts that they name."""
    label = np.asarray(drawn_portrait(1, 2, 3, 4, 5))
    assert [int(label[at]) for at in (WALL, BODY_AT, NECK_AT, FACE, HAIR)] == [1, 2, 3, 4, 5]
    assert NECK_BOX[3] > HEAD_BOX[3]
    assert BODY_BOX[1] > HEAD_BOX[3]
