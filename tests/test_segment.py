"""Crops to soft masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_model import MADE_SIZE, write_model

from headcut.errors import ModelError
from headcut.geometry import FloatArray
from headcut.model_file import Model
from headcut.segment import HeadSegmenter, share_in_other, without_holes, without_islands


@pytest.fixture
def segmenter(tmp_path: Path) -> HeadSegmenter:
    return HeadSegmenter(Model(write_model(tmp_path / "red.onnx")))


def test_each_crop_has_its_own_mask_in_order(segmenter: HeadSegmenter) -> None:
    crops = np.zeros((3, MADE_SIZE, MADE_SIZE, 3), np.uint8)
    crops[..., 0] = np.array([0, 51, 255])[:, None, None]
    masks = segmenter.segment(crops)
    assert masks.shape == (3, 2, MADE_SIZE, MADE_SIZE)
    assert masks.dtype == np.float32
    np.testing.assert_allclose(masks[:, 0, 5, 9], [0, 0.2, 1], atol=1e-6)
    assert not masks[:, 1].any()  # this network knows nothing of necks


def test_masks_are_not_stretched(segmenter: HeadSegmenter) -> None:
    """A min-max stretch would make a head of the surest noise."""
    faint = np.full((1, MADE_SIZE, MADE_SIZE, 3), 2, np.uint8)
    faint[0, 0, 0] = 3
    assert segmenter.segment(faint).max() < 0.02


def test_no_crops_give_no_masks(segmenter: HeadSegmenter) -> None:
    masks = segmenter.segment(np.zeros((0, MADE_SIZE, MADE_SIZE, 3), np.uint8))
    assert masks.shape == (0, 2, MADE_SIZE, MADE_SIZE)


def test_crops_of_another_size_are_refused(segmenter: HeadSegmenter) -> None:
    with pytest.raises(ModelError, match="wants 32x32x3"):
        segmenter.segment(np.zeros((1, 64, 64, 3), np.uint8))


def disc(x: float, y: float, radius: float) -> FloatArray:
    rows, columns = np.mgrid[0:256, 0:256]
    return (np.hypot(columns - x, rows - y) < radius).astype(np.float32)


def test_heads_beside_the_one_that_is_cut_are_dropped() -> None:
    """The crop of a head shows its neighbours too."""
    head, neighbour = disc(128, 120, 50), disc(230, 60, 20)
    cleaned = without_islands(head + neighbour, (0, 0, 512, 512), (156, 140, 356, 340))
    assert (cleaned == head).all()


def test_hair_that_hangs_on_the_head_stays() -> None:
    head = disc(128, 100, 50)
    head[140:250, 100:104] = 1.0
    assert (without_islands(head, (0, 0, 256, 256), (78, 50, 178, 150)) == head).all()


def test_mask_that_misses_the_middle_of_its_box_is_no_head() -> None:
    elsewhere = disc(30, 30, 20)
    assert not without_islands(elsewhere, (0, 0, 256, 256), (100, 100, 200, 200)).any()


def test_small_holes_are_filled_and_no_others() -> None:
    """A spot of doubt amid hair is hair; the neck that long hair falls around is not."""
    head = disc(128, 128, 90)
    torn = head.copy()
    torn[100:108, 100:108] = 0.4
    torn[150:190, 110:140] = 0.1
    filled = without_holes(torn)
    assert (filled[100:108, 100:108] == 1).all()
    assert (filled[150:190, 110:140] == torn[150:190, 110:140]).all()
    torn[:104, 104] = 0.0
    assert (without_holes(torn)[100:108, 100:108] == torn[100:108, 100:108]).all(), "a gap"


def test_larger_holes_are_filled_where_no_neck_is() -> None:
    """A badge on a cap; what is as large below the upper third, or much larger, stays."""
    head = disc(128, 128, 90)
    for top, side, is_filled in ((60, 20, True), (90, 20, False), (42, 40, False)):
        torn = head.copy()
        torn[top : top + side, 118 : 118 + side] = 0.1
        filled = without_holes(torn)[top : top + side, 118 : 118 + side]
        assert (filled == 1).all() == is_filled


def test_share_in_another_mask_counts_what_both_call_head() -> None:
    """All of an ear, nothing of a neighbour, nothing beyond the other crop; all where none is."""
    square, beside = (0.0, 0.0, 64.0, 64.0), (64.0, 0.0, 128.0, 64.0)
    left, right, nothing = np.zeros((3, 32, 32), np.float32)
    left[8:24, 4:16], right[8:24, 20:28] = 1.0, 1.0
    ear, box = (8.0, 20.0, 16.0, 30.0), (0.0, 0.0, 64.0, 64.0)
    assert share_in_other(left, square, ear, left, square) == 1
    assert share_in_other(right, square, box, left, square) == 0
    assert share_in_other(left, square, box, np.ones_like(left), beside) == 0
    assert share_in_other(nothing, square, box, left, square) == 1
    left[8:24, 20:28] = right[8:24, 4:16] = 1.0
    right[8:16] = 0
    assert share_in_other(left, square, box, right, square) == pytest.approx(0.5)
