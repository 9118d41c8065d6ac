"""Hard negatives: what is surely a mistake of a finder, and what may be a head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_data import write_data

from headcut.find import Head
from headcut.geometry import Box, FloatArray, U8Array
from headcut_train.cache import CachedSource
from headcut_train.mistakes import MOST_A_PHOTO, mistakes
from headcut_train.sources import NO_BOXES, SEARCHED, Sample


class Claims:
    """A finder that gives fixed boxes, the last one the surest."""

    threshold = 0.1

    def __init__(self, *boxes: Box):
        self.boxes = boxes

    def find(self, photo: U8Array) -> list[Head]:
        """Return the boxes as heads."""
        return [Head(box, 0.1 + i / 100) for i, box in enumerate(self.boxes)]


def sample(boxes: FloatArray = NO_BOXES, ignored: FloatArray = NO_BOXES) -> Sample:
    """A photo of which the left half was searched for heads."""
    plane = np.zeros((100, 100), np.uint8)
    plane[:, :50] = SEARCHED
    photo = np.zeros((100, 100, 3), np.uint8)
    return Sample(name="made", photo=photo, plane=plane, boxes=boxes, ignored=ignored, masked=False)


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        ((10.0, 10.0, 30.0, 30.0), True),
        ((60.0, 10.0, 80.0, 30.0), False),  # where nobody searched
        ((10.0, -30.0, 30.0, -10.0), False),  # outside the photo
    ],
)
def test_only_searched_places_are_surely_wrong(claim: Box, wrong: bool) -> None:
    assert len(mistakes(Claims(claim), sample())) == wrong


@pytest.mark.parametrize("kind", ["boxes", "ignored"])
def test_what_touches_a_labelled_head_is_no_mistake(kind: str) -> None:
    labelled = sample(**{kind: np.array([[10, 10, 40, 40]], np.float32)})
    inside, overlapping, apart = (20, 20, 24, 24), (20, 25, 45, 50), (10, 70, 30, 90)
    found = mistakes(Claims(inside, overlapping, apart), labelled)
    np.testing.assert_array_equal(found, [apart])


def test_the_surest_are_kept() -> None:
    claims = [(float(i), 0.0, float(i) + 10, 10.0) for i in range(MOST_A_PHOTO + 3)]
    found = mistakes(Claims(*claims), sample())
    assert found.shape == (MOST_A_PHOTO, 4)
    assert found[0, 0] == len(claims) - 1


@pytest.mark.parametrize("doubted", [True, False])
def test_where_labels_may_be_wrong_a_found_head_is_doubted(doubted: bool, tmp_path: Path) -> None:
    """Mined anew, the boxes take the place of the older ones."""
    source = CachedSource(write_data(tmp_path / "data"), tmp_path / "cache", "scenes", "train")
    found = [np.array([[1, 2, 3, 4 + i]], np.float32) for i in range(len(source))]
    for _ in range(2):
        source.remember(found, doubted=doubted)
    again = CachedSource(tmp_path / "data", tmp_path / "cache", "scenes", "train")
    kept, empty = (again[1].ignored, again[1].mistaken)[:: 1 if doubted else -1]
    np.testing.assert_array_equal(kept, found[1])
    assert len(empty) == 0
