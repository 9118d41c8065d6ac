"""Scores by set, with stand-ins for the finder and the cutter on made samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_data import HEAD_BOX, portrait_photo, red_head_sample, write_data

from headcut.cutout import CutOut
from headcut.find import Head
from headcut.geometry import U8Array
from headcut_train import evaluate as evaluation
from headcut_train.evaluate import (
    FoundScores,
    MaskScores,
    as_text,
    contact_sheet,
    evaluate,
    main_head,
)
from headcut_train.far import Composed
from headcut_train.sources import HEAD, KNOWN, NECK, Sample

BOX = (60.0, 50.0, 120.0, 130.0)


def cut_of(alpha: np.ndarray) -> CutOut:
    """A cut-out of which only the alpha counts here."""
    return SimpleNamespace(alpha=alpha.astype(np.float32))  # type: ignore[return-value]


class RedCutter:
    """Cuts what is red, and what is skin coloured too, if told to."""

    def __init__(self, *, neck_too: bool = False) -> None:
        self.neck_too = neck_too
        self.finder = SimpleNamespace(threshold=0.5)

    def cut(self, photo: U8Array) -> list[CutOut]:
        head = photo[..., 0] > (140 if self.neck_too else 200)
        return [cut_of(head)] if head.any() else []


class FixedFinder:
    """Finds the same heads in every photo."""

    def __init__(self, *heads: Head) -> None:
        self.heads = list(heads)

    def find(self, photo: U8Array) -> list[Head]:
        return self.heads


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


# ---------------------------------------------------------------- masks


def test_right_mask_scores_one() -> None:
    sample = red_head_sample(BOX)
    scores = MaskScores()
    scores.add((sample.plane & HEAD) > 0, sample)
    assert scores.row() == {"photos": 1, "missed": 0, "iou": 1.0, "boundary_f": 1.0}


def test_head_that_was_not_found_scores_zero() -> None:
    """Leaving it out would reward a finder that takes the easy ones."""
    sample = red_head_sample(BOX)
    scores = MaskScores()
    scores.add((sample.plane & HEAD) > 0, sample)
    scores.add(np.zeros(sample.plane.shape, bool), sample)
    row = scores.row()
    assert (row["photos"], row["missed"], row["iou"]) == (2, 1, 0.5)


def test_unknown_pixels_are_in_no_score() -> None:
    sample = red_head_sample(BOX, unknown=(0, 140, 180, 200))
    head = (sample.plane & HEAD) > 0
    scores = MaskScores()
    scores.add(head | ((sample.plane & KNOWN) == 0), sample)
    assert scores.row()["iou"] == 1


def test_neck_leak_is_the_share_of_neck_called_head() -> None:
    sample = red_head_sample(BOX)
    sample.plane[130:150, 80:100] |= NECK
    found = (sample.plane & HEAD) > 0
    found[130:135, 80:100] = True
    scores = MaskScores()
    scores.add(found, sample)
    assert scores.row()["neck_leak"] == 0.25


def test_of_several_cut_outs_the_labelled_persons_counts() -> None:
    """Other people in the photo are not labelled: cutting them is neither right nor wrong."""
    sample = red_head_sample(BOX)
    head = (sample.plane & HEAD) > 0
    other = np.zeros_like(head)
    other[:40] = True
    assert (main_head([cut_of(other), cut_of(head)], sample) == head).all()
    assert not main_head([], sample).any()


# ---------------------------------------------------------------- found heads


def found_scores(heads: Sequence[Head], sample: Sample) -> dict[str, float]:
    scores = FoundScores()
    scores.add(heads, sample, 0.5)
    return scores.row()


def test_found_missed_and_false_heads_are_counted() -> None:
    sample = red_head_sample(BOX, (0.0, 150.0, 20.0, 170.0))
    row = found_scores([Head(BOX, 0.9), Head((120, 150, 170, 200), 0.8)], sample)
    assert (row["heads"], row["recall"]) == (2, 0.5)
    assert (row["false_a_photo"], row["photos_with_false"]) == (1, 1)


def test_head_below_the_threshold_enters_the_curve_alone() -> None:
    sample = red_head_sample(BOX)
    row = found_scores([Head(BOX, 0.3), Head((120, 150, 170, 200), 0.2)], sample)
    assert (row["recall"], row["false_a_photo"]) == (0, 0)
    assert row["average_precision"] == 1


def test_head_in_company_counts_as_it_does_for_users() -> None:
    other = (120.0, 40.0, 160.0, 80.0)
    sample = red_head_sample(BOX, other)
    assert found_scores([Head(BOX, 0.9), Head(other, 0.3)], sample)["recall"] == 1


def test_small_heads_are_counted_apart() -> None:
    """Of 200 rows, a head of 10 has 5 %, one of 80 has 40 %."""
    sample = red_head_sample(BOX, (0.0, 150.0, 8.0, 160.0))
    row = found_scores([Head(BOX, 0.9)], sample)
    assert (row["recall_from_4%"], row["recall_from_6%"]) == (0.5, 1)


def test_recall_at_a_precision_leaves_small_heads_out() -> None:
    """The small head counts neither as found nor as missed; the false one would, were it surer."""
    small = (0.0, 150.0, 6.0, 157.0)
    heads = [Head(small, 0.9), Head(BOX, 0.3), Head((120, 150, 170, 200), 0.2)]
    assert found_scores(heads, red_head_sample(BOX, small))["recall_from_4%_at_precision_0.9"] == 1


def test_recall_of_sizes_that_no_head_has_is_left_out() -> None:
    row = found_scores([], red_head_sample((0.0, 150.0, 8.0, 160.0)))
    assert "recall_from_4%" in row
    assert "recall_from_4%_at_precision_0.9" in row
    assert not any(name.startswith("recall_from_6%") for name in row)


def test_head_where_nobody_searched_is_not_false() -> None:
    sample = red_head_sample(BOX, unknown=(130, 0, 180, 100))
    row = found_scores([Head(BOX, 0.9), Head((135, 20, 175, 70), 0.9)], sample)
    assert row["false_a_photo"] == 0


def test_doubtful_head_is_neither_right_nor_wrong() -> None:
    sample = red_head_sample(BOX)
    doubtful = (10.0, 10.0, 40.0, 45.0)
    sample = replace(sample, ignored=np.array([doubtful], np.float32))
    row = found_scores([Head(BOX, 0.9), Head(doubtful, 0.95)], sample)
    assert (row["heads"], row["false_a_photo"], row["average_precision"]) == (1, 0, 1)


def test_second_box_on_one_head_is_false() -> None:
    row = found_scores([Head(BOX, 0.9), Head(BOX, 0.8)], red_head_sample(BOX))
    assert (row["recall"], row["false_a_photo"]) == (1, 1)


def test_false_heads_are_counted_by_photo_too() -> None:
    scores = FoundScores()
    empty = red_head_sample()
    scores.add([Head((10, 10, 50, 60), 0.9), Head((100, 100, 150, 160), 0.9)], empty, 0.5)
    scores.add([], empty, 0.5)
    row = scores.row()
    assert (row["false_a_photo"], row["photos_with_false"]) == (1, 0.5)
    assert "recall" not in row


# ---------------------------------------------------------------- the table


@pytest.fixture(autouse=True)
def few_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "COMPOSED_PHOTOS", 2)
    monkeypatch.setattr(evaluation, "COMPOSED_PX", 128)


def test_every_set_is_scored_on_its_held_out_photos(data: Path, cache: Path) -> None:
    box = tuple(map(float, HEAD_BOX))
    table = evaluate(RedCutter(), FixedFinder(Head(box, 0.9)), data=data, cache=cache)  # type: ignore[arg-type]
    sets = (*evaluation.MASKED_SETS, *evaluation.FOUND_SETS)
    counted = {name: row["photos"] for name, row in table.items()}
    assert counted == dict.fromkeys((*sets, "composed"), 2) | {"fasseg": 0}
    assert table["celebamask"]["iou"] > 0.97
    assert table["celebamask"]["neck_leak"] == 0
    assert table["clothing_coparsing"]["iou"] > 0.9
    assert table["scenes"]["photos_with_false"] == 1
    assert table["scut_heads"]["recall"] == table["wild"]["recall"] == 1
    assert table["wild"]["false_a_photo"] == 0


def test_cutter_that_takes_the_neck_is_caught(data: Path, cache: Path) -> None:
    table = evaluate(RedCutter(neck_too=True), FixedFinder(), data=data, cache=cache)  # type: ignore[arg-type]
    assert table["celebamask"]["neck_leak"] > 0.9
    assert table["celebamask"]["iou"] < 0.95
    assert table["scut_heads"]["recall"] == 0
    assert table["scenes"]["false_a_photo"] == 0


def test_limit_bounds_the_photos_a_set(data: Path, cache: Path) -> None:
    table = evaluate(RedCutter(), FixedFinder(), data=data, cache=cache, limit=1)  # type: ignore[arg-type]
    assert {row["photos"] for name, row in table.items() if name != "fasseg"} == {1}


def test_recall_is_told_by_view_and_note() -> None:
    """Ten heads seen from behind, all missed; ten with a hat from the front, all found."""
    scores = FoundScores()
    sample = red_head_sample(BOX)
    for tags in ((("back",),), (("front", "hat"),)) * 10:
        found = [Head(BOX, 0.9)] if "front" in tags[0] else []
        scores.add(found, replace(sample, tags=tags), 0.5)
    rows = scores.rows_by_tag()
    assert {word: (row["heads"], row["recall_from_4%"]) for word, row in rows.items()} == {
        "back": (10, 0),
        "front": (10, 1),
        "hat": (10, 1),
    }
    assert scores.row()["recall_not_tiny"] == 0.5


def test_words_that_few_heads_have_get_no_row() -> None:
    scores = FoundScores()
    scores.add([], replace(red_head_sample(BOX), tags=(("veil",),)), 0.5)
    assert scores.rows_by_tag() == {}


def test_composed_heads_are_compared_with_their_masks() -> None:
    heads = np.zeros((2, 40, 40), np.uint8)
    heads[0, 5:15, 5:15] = heads[1, 20:30, 20:30] = 255
    boxes = np.array([[5, 5, 15, 15], [20, 20, 30, 30]], np.float32)
    scene = Composed(
        np.zeros((40, 40, 3), np.uint8), boxes, np.zeros((0, 4)), heads, np.ones((2, 40, 40), bool)
    )
    half = heads[0] > 0
    half[5:10] = False
    scores = FoundScores()
    scores.add_cut_outs([cut_of(half)], scene)
    assert scores.iou == [0.5]  # the other head is missed, which recall tells


def test_table_is_text_and_json(data: Path, cache: Path) -> None:
    """NaN is no JSON: other programs refuse the file."""
    table = evaluate(RedCutter(), FixedFinder(), data=data, cache=cache)  # type: ignore[arg-type]
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    lines = as_text(table).splitlines()
    assert len(lines) == 2 + len(table)
    assert "| iou " in lines[0]
    assert lines[2].startswith("| celebamask ")
    assert len({line.count("|") for line in lines}) == 1


def test_contact_sheet_dims_what_is_no_head() -> None:
    photo = np.asarray(portrait_photo())
    sheet = contact_sheet(RedCutter(), [photo] * 9, side=96)  # type: ignore[arg-type]
    assert sheet.shape == (2 * 96, 8 * 96, 3)
    tile = sheet[:96, :96]
    head = photo[..., 0] > 200
    assert (tile[head] == photo[head]).all()
    assert tile[~head].max() < photo[~head].max() / 2
    assert not sheet[96:, 96:].any()
