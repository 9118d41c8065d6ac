"""Hard negatives: what is surely a mistake of a finder, and what may be a head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_data import scene_sample, write_data

from headcut.find import Head
from headcut.geometry import Box, FloatArray, U8Array
from headcut.pipeline import HeadCutter
from headcut_train.cache import CachedSource
from headcut_train.mistakes import MOST_A_PHOTO, mined, mistakes
from headcut_train.sources import NO_BOXES, PERSON, SEARCHED, Sample


class Claims:
    """A finder that gives fixed boxes, the last one the surest."""

    threshold = 0.1

    def __init__(self, *boxes: Box):
        self.boxes = boxes

    def find(self, photo: U8Array) -> list[Head]:
        """Return the boxes as heads."""
        return [Head(box, 0.1 + i / 100) for i, box in enumerate(self.boxes)]

    def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
        """Return its own, of which the closer look confirms a share."""
        return head.confidence * share


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


def test_mined_boxes_are_kept(tmp_path: Path) -> None:
    """Until they are mined anew."""
    data, cache = write_data(tmp_path / "data"), tmp_path / "cache"
    source = CachedSource(data, cache, "scenes", "train")
    first = [np.array([[1, 2, 3, 4]], np.float32)] * len(source)
    second = [np.array([[5, 6, 7, 8]], np.float32)] * len(source)
    for found in (first, second):
        source.remember(found, [True] * len(source))
    again = CachedSource(data, cache, "scenes", "train")[1]
    np.testing.assert_array_equal(again.mistaken, second[1])
    assert again.trap


class Says:
    """A segmenter that calls the whole crop head, or nothing."""

    size = 32

    def __init__(self, chance: float):
        self.chance = chance

    def segment(self, crops: U8Array) -> FloatArray:
        """Return the same for every pixel, and no neck."""
        masks = np.zeros((len(crops), 2, self.size, self.size), np.float32)
        masks[:, 0] = self.chance
        return masks


@pytest.mark.parametrize(("confirmed", "somebody"), [(1.0, False), (0.0, False), (1.0, True)])
def test_a_trap_is_a_photo_of_nobody_of_which_a_head_is_cut(
    confirmed: float, somebody: bool
) -> None:
    """What both networks believe; in a photo with people it may be one of them."""
    photo = scene_sample()
    if somebody:
        photo.plane[150:, 150:] |= PERSON
    cutter = HeadCutter(finder=Claims((20, 20, 60, 60)), segmenter=Says(confirmed))
    boxes, trap = mined(cutter, photo)
    np.testing.assert_array_equal(boxes, [[20, 20, 60, 60]])
    assert trap == (confirmed > 0 and not somebody)
