"""The scores, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from headcut_train.metrics import (
    BoolArray,
    average_precision,
    boundary,
    boundary_f,
    dilated,
    iou,
    is_found,
    match_heads,
    recall_at_precision,
)

ALL = np.ones((4, 4), bool)


def mask(*rows: str) -> BoolArray:
    return np.array([[c == "#" for c in row] for row in rows])


def square(top: int, left: int, side: int = 20, shape: tuple[int, int] = (60, 80)) -> BoolArray:
    result = np.zeros(shape, bool)
    result[top : top + side, left : left + side] = True
    return result


def test_iou_counts_common_by_covered_pixels() -> None:
    a = mask("##..", "##..", "....", "....")
    b = mask(".##.", ".##.", "....", "....")
    assert iou(a, b, ALL) == pytest.approx(2 / 6)
    assert iou(a, a, ALL) == 1
    assert iou(a, ~a, ALL) == 0


def test_iou_leaves_unknown_pixels_out() -> None:
    head = mask("##..", "##..", "....", "....")
    found = mask("##.#", "##.#", "...#", "...#")
    known = np.ones((4, 4), bool)
    known[:, 3] = False
    assert iou(found, head, ALL) == 0.5
    assert iou(found, head, known) == 1


def test_nothing_found_where_nothing_is_is_right() -> None:
    nothing = np.zeros((4, 4), bool)
    assert iou(nothing, nothing, ALL) == 1
    assert iou(nothing, ALL, ALL) == 0


def test_boundary_is_the_rim_but_not_the_photos_border() -> None:
    """A head that leaves the photo has no edge there."""
    found = boundary(mask("####", "####", "####", "...."))
    assert (found == mask("....", "....", "####", "....")).all()
    ring = boundary(square(10, 10, 5))
    assert ring.sum() == 16
    assert not ring[12, 12]


def test_dilated_is_round() -> None:
    dot = np.zeros((9, 9), bool)
    dot[4, 4] = True
    grown = dilated(dot, 3)
    assert grown.sum() == 29  # pixels within a distance of 3
    assert grown[4, 7]
    assert grown[6, 6]
    assert not grown[6, 7]


def test_dilation_stops_at_the_border() -> None:
    corner = np.zeros((4, 4), bool)
    corner[0, 0] = True
    assert dilated(corner, 1).sum() == 3


def test_boundary_f_allows_the_tolerance_and_no_more() -> None:
    """A photo of 60x80 has a diagonal of 100, so 0.75 pixels, rounded to one, are allowed."""
    known = np.ones((60, 80), bool)
    head = square(20, 20)
    assert boundary_f(head, head, known) == 1
    assert boundary_f(square(20, 21), head, known) == 1
    assert 0 < boundary_f(square(20, 24), head, known) < 0.7
    assert boundary_f(square(0, 60), head, known) == 0


def test_boundary_f_by_hand() -> None:
    """Half of the found boundary is right, all of the head's is found: F1 of 1/2 and 1."""
    known = np.ones((60, 80), bool)
    head = square(5, 5, 10)
    found = head | square(40, 60, 10)
    assert boundary_f(found, head, known) == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_boundary_f_of_nothing() -> None:
    known = np.ones((60, 80), bool)
    nothing, head = np.zeros((60, 80), bool), square(20, 20)
    assert boundary_f(nothing, nothing, known) == 1
    assert boundary_f(nothing, head, known) == boundary_f(head, nothing, known) == 0


def test_boundary_f_leaves_unknown_pixels_out() -> None:
    head = square(20, 20)
    found = head | square(20, 60)
    known = np.ones((60, 80), bool)
    known[:, 50:] = False
    assert boundary_f(found, head, known) == 1


LABEL = (100.0, 100.0, 180.0, 200.0)


@pytest.mark.parametrize(
    ("box", "found"),
    [
        (LABEL, True),
        ((149.0, 100.0, 229.0, 200.0), True),  # 49 to the right: within half a height
        ((151.0, 100.0, 231.0, 200.0), False),
        ((120.0, 124.0, 160.0, 176.0), True),  # 52 high
        ((120.0, 126.0, 160.0, 174.0), False),  # 48 high
        ((40.0, 51.0, 240.0, 249.0), True),  # 198 high
        ((40.0, 49.0, 240.0, 251.0), False),
    ],
)
def test_head_is_found_by_centre_and_height(box: tuple[float, ...], found: bool) -> None:
    assert is_found(box, LABEL) is found


def test_each_label_is_taken_once_by_the_nearest() -> None:
    """Two boxes on one head are one hit and one false head."""
    labels = np.array([(0, 0, 40, 50), (100, 0, 140, 50)], np.float32)
    boxes = [(102.0, 0.0, 142.0, 50.0), (1.0, 0.0, 41.0, 50.0), (3.0, 0.0, 43.0, 50.0)]
    assert match_heads(boxes, labels) == [1, 0, None]


def test_of_two_labels_the_nearer_is_taken() -> None:
    labels = np.array([(0, 0, 40, 50), (20, 0, 60, 50)], np.float32)
    assert match_heads([(18.0, 0.0, 58.0, 50.0), (2.0, 0.0, 42.0, 50.0)], labels) == [1, 0]


def test_no_labels_match_nothing() -> None:
    assert match_heads([LABEL], np.zeros((0, 4), np.float32)) == [None]


@pytest.mark.parametrize(
    ("confidences", "right", "labelled", "area"),
    [
        ([0.9, 0.8], [True, True], 2, 1.0),
        ([0.9, 0.8], [True, True], 4, 0.5),
        ([0.9, 0.8], [True, False], 1, 1.0),
        ([0.8, 0.9], [True, False], 1, 0.5),  # the surer one is wrong
        ([0.9, 0.8, 0.7], [True, False, True], 2, (1 + 2 / 3) / 2),
        ([0.9, 0.8, 0.7], [False, True, True], 2, 2 / 3),  # precision rises: interpolated
        ([], [], 3, 0.0),
        ([0.9], [False], 0, 0.0),
    ],
)
def test_average_precision_by_hand(
    confidences: list[float], right: list[bool], labelled: int, area: float
) -> None:
    assert average_precision(confidences, right, labelled) == pytest.approx(area)


@pytest.mark.parametrize(
    ("confidences", "right", "labelled", "recall"),
    [
        ([0.9, 0.8], [True, True], 4, 0.5),
        ([0.9, 0.8, 0.7, 0.6], [True, False, True, True], 3, 1.0),  # 3 of 4 are right in the end
        ([0.9, 0.8, 0.7], [True, False, False], 2, 0.5),
        ([0.9], [False], 2, 0.0),
        ([], [], 2, 0.0),
        ([0.9], [False], 0, 0.0),
    ],
)
def test_recall_at_a_precision_by_hand(
    confidences: list[float], right: list[bool], labelled: int, recall: float
) -> None:
    assert recall_at_precision(confidences, right, labelled, 0.75) == recall
