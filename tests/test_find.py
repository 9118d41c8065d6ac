"""From a finder's maps to head boxes, and the looks that cover a photo.

The model is a stand-in: in a look it sees every red square, as a head of the square's size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headcut.errors import ModelError
from headcut.find import (
    CLOSER_SHARE,
    MOST_CLOSER,
    Head,
    HeadFinder,
    believed,
    closer_looks,
    heads_in_maps,
    intersection_over_union,
    looks_at,
    may_be_part,
)
from headcut.geometry import Box, FloatArray, U8Array

CELLS = 64
FAR = (0.0, 0.0, 256.0, 256.0)


def empty_maps() -> tuple[FloatArray, FloatArray]:
    return np.zeros((CELLS, CELLS), np.float32), np.zeros((4, CELLS, CELLS), np.float32)


class SquareModel:
    """Sees heads as a trained finder does: the whole box, also of one that the look cuts.

    A head is a rectangle of full red; green and blue say how far in it a pixel lies, so it knows a
    mirror image, and sees the same in it.
    """

    size = 256
    threshold = 0.5

    path = Path("made.onnx")

    def __init__(
        self, confidence: float = 0.9, cut_confidence: float = 0.9, calibration: str = ""
    ) -> None:
        self.confidence, self.cut_confidence = confidence, cut_confidence
        self.metadata = {"calibration": calibration}
        self.looks = 0

    def run(self, image: U8Array) -> list[FloatArray]:
        assert image.shape == (256, 256, 3)
        inside = image[..., 0] > 250
        slope = np.diff(image[..., 1].astype(int), axis=1)[inside[:, 1:] & inside[:, :-1]].sum()
        self.mirrored = bool(slope < 0)
        if self.mirrored:
            return [np.flip(part, axis=-1) for part in self.maps(image[:, ::-1])]
        self.looks += 1
        return self.maps(image)

    def maps(self, image: U8Array) -> list[FloatArray]:
        centre, box = empty_maps()
        red = image[..., 0] > 250
        for rows in _runs(red.any(1)):
            for columns in _runs(red[rows].any(0)):
                left, right = _extent(image[rows, columns, 1].mean(0), columns.start)
                top, bottom = _extent(image[rows, columns, 2].mean(1), rows.start)
                x, y = (left + right) / 8, (top + bottom) / 8
                if not (0 <= x < CELLS and 0 <= y < CELLS):
                    continue
                row, column = int(y), int(x)
                cut = min(left, top, 256 - right, 256 - bottom) < 0
                centre[row, column] = self.cut_confidence if cut else self.confidence
                width, height = self.seen_size(right - left, bottom - top, cut)
                offsets = (x - column - 0.5, y - row - 0.5, np.log(width / 4), np.log(height / 4))
                box[:, row, column] = offsets
        return [centre[None], box]

    def seen_size(self, width: float, height: float, cut: bool) -> tuple[float, float]:
        return width, height


def _runs(line: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 3]


def _extent(shares: np.ndarray, start: int) -> tuple[float, float]:
    """Return where the shares would be 0 and 255, were the line not cut."""
    slope, offset = np.polyfit(start + np.arange(len(shares)) + 0.5, shares, 1)
    return -offset / slope, (255 - offset) / slope


def photo_with(*boxes: tuple[int, int, int, int], shape: tuple[int, int]) -> U8Array:
    """Black, with a head in each box; boxes may reach outside."""
    photo = np.zeros((*shape, 3), np.uint8)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    for left, top, right, bottom in boxes:
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        red = np.full(shape, 255)
        ramps = np.clip(
            [255 * (x - left) / (right - left), 255 * (y - top) / (bottom - top)], 0, 255
        )
        photo[inside] = np.dstack([red, *ramps])[inside]
    return photo


def found_boxes(photo: U8Array, model: SquareModel | None = None) -> list[Box]:
    return [head.box_px for head in HeadFinder(model or SquareModel()).find(photo)]


# ---------------------------------------------------------------- maps


def test_peak_becomes_a_box_in_photo_pixels() -> None:
    """The inverse of what training draws: centre of the cell, plus offset, times the cell."""
    centre, box = empty_maps()
    centre[10, 20] = 0.75
    box[:, 10, 20] = (0.25, -0.5, np.log(6), np.log(8))
    look = (100.0, 50.0, 100.0 + 128, 50.0 + 128)  # a cell is two pixels
    (head,) = heads_in_maps(centre, box, look, 0.5)
    x, y = 100 + 20.75 * 2, 50 + 10 * 2
    assert head.box_px == pytest.approx((x - 6, y - 8, x + 6, y + 8), abs=1e-4)
    assert head.confidence == 0.75


def test_only_the_peak_of_a_hill_is_a_head() -> None:
    centre, box = empty_maps()
    centre[30:33, 30:33] = 0.6
    centre[31, 31] = 0.9
    assert [head.confidence for head in heads_in_maps(centre, box, FAR, 0.5)] == [
        pytest.approx(0.9)
    ]


def test_peaks_at_the_border_count() -> None:
    centre, box = empty_maps()
    centre[0, 0] = centre[63, 63] = 0.8
    assert len(heads_in_maps(centre, box, FAR, 0.5)) == 2


@pytest.mark.parametrize(("threshold", "count"), [(0.5, 1), (0.3, 2), (0.95, 0)])
def test_threshold_is_the_least_confidence(threshold: float, count: int) -> None:
    centre, box = empty_maps()
    centre[5, 5], centre[40, 40] = 0.9, 0.3
    assert len(heads_in_maps(centre, box, FAR, np.float32(threshold))) == count


def test_box_of_a_mad_network_stays_bounded() -> None:
    """A crop of e^60 pixels would end the process, not the cut."""
    centre, box = empty_maps()
    centre[32, 32] = 1
    box[2:, 32, 32] = 60, 1000
    (head,) = heads_in_maps(centre, box, FAR, 0.5)
    left, top, right, bottom = head.box_px
    assert right - left == pytest.approx(384)
    assert bottom - top == pytest.approx(384)


# ---------------------------------------------------------------- looks


@settings(max_examples=200, deadline=None, derandomize=True)
@given(height=st.integers(1, 30_000), width=st.integers(1, 30_000))
def test_looks_are_few_and_show_the_whole_photo(height: int, width: int) -> None:
    """Work is bounded whatever the shape; every point of a large photo is also in a tile."""
    looks = looks_at((height, width))
    assert len(looks) <= 17
    whole, wide, tiles = looks[0], looks[1], looks[2:]
    assert wide[2] - wide[0] == pytest.approx(2 * (whole[2] - whole[0]))
    assert whole[0] <= 0
    assert whole[1] <= 0
    assert whole[2] >= width
    assert whole[3] >= height
    assert all(look[2] - look[0] == pytest.approx(look[3] - look[1]) for look in looks)
    if tiles:
        assert _covers([(tile[0], tile[2]) for tile in tiles], width)
        assert _covers([(tile[1], tile[3]) for tile in tiles], height)
        rows = {tile[1] for tile in tiles}
        columns = {tile[0] for tile in tiles}
        assert len(tiles) == len(rows) * len(columns)


def _covers(spans: list[tuple[float, float]], extent: int) -> bool:
    reached = 0.0
    for start, end in sorted(set(spans)):
        if start > reached + 1e-6:
            return False
        reached = max(reached, end)
    return reached >= extent - 1e-6


@pytest.mark.parametrize("shape", [(1200, 1200), (800, 1200), (1200, 600), (700, 4000)])
def test_head_of_half_a_tile_is_whole_in_some_tile(shape: tuple[int, int]) -> None:
    """Tiles overlap by half: no head that a tile is for falls between two of them."""
    tiles = looks_at(shape)[2:]
    half = (tiles[0][2] - tiles[0][0]) / 2
    for x in np.linspace(half / 2, shape[1] - half / 2, 23):
        for y in np.linspace(half / 2, shape[0] - half / 2, 23):
            head = (x - half / 2, y - half / 2, x + half / 2, y + half / 2)
            assert any(
                tile[0] <= head[0] + 1e-6
                and tile[1] <= head[1] + 1e-6
                and tile[2] >= head[2] - 1e-6
                and tile[3] >= head[3] - 1e-6
                for tile in tiles
            ), head


def test_small_photo_has_no_tiles() -> None:
    assert looks_at((300, 200)) == [(-50.0, 0.0, 250.0, 300.0), (-200.0, -150.0, 400.0, 450.0)]


# ---------------------------------------------------------------- the finder


def test_photo_without_heads_gives_none() -> None:
    model = SquareModel()
    assert HeadFinder(model).find(photo_with(shape=(900, 700))) == []
    assert 1 < model.looks <= 11


@pytest.mark.parametrize("shape", [(200, 200), (900, 900), (600, 1300), (1300, 600)])
def test_head_is_found_once_where_it_is(shape: tuple[int, int]) -> None:
    """The whole photo and several tiles all see it: it stays one head."""
    height, width = shape
    box = (width // 2 - 30, height // 3 - 40, width // 2 + 30, height // 3 + 40)
    (found,) = found_boxes(photo_with(box, shape=shape))
    assert intersection_over_union(found, box) > 0.85


def test_heads_come_from_left_to_right() -> None:
    boxes = [(800, 100, 880, 200), (100, 400, 180, 500), (450, 700, 530, 800)]
    found = found_boxes(photo_with(*boxes, shape=(900, 1000)))
    for box, drawn in zip(found, sorted(boxes), strict=True):
        assert intersection_over_union(box, drawn) > 0.85


def test_small_head_is_found_by_a_tile_alone() -> None:
    """In the whole photo it has 7 pixels; that is what tiles are for."""
    box = (1030, 230, 1058, 260)
    (found,) = found_boxes(photo_with(box, shape=(800, 1600)))
    assert intersection_over_union(found, box) > 0.8


class Shortsighted(SquareModel):
    """Is sure of heads of at least 12 pixels of its 256 alone."""

    def run(self, image: U8Array) -> list[FloatArray]:
        centre, box = super().run(image)
        return [np.where(np.exp(box[3]) * 4 < 12, np.minimum(centre, 0.2), centre), box]


def test_small_head_is_looked_at_closer() -> None:
    """In its tile it has 9 pixels, and is doubtful; one closer look at it makes sure."""
    box = (1030, 230, 1058, 260)
    model = Shortsighted()
    (found,) = HeadFinder(model).find(photo_with(box, shape=(800, 1600)))
    assert found.confidence > 0.5
    without = Shortsighted()
    assert HeadFinder(without).find(photo_with(shape=(800, 1600))) == []
    assert model.looks == without.looks + 1


def test_what_the_mirror_image_does_not_show_is_doubted() -> None:
    class OneSided(SquareModel):
        def run(self, image: U8Array) -> list[FloatArray]:
            centre, box = super().run(image)
            return [np.minimum(centre, 0.3) if self.mirrored else centre, box]

    photo = photo_with((80, 80, 180, 190), shape=(256, 256))
    (both,) = HeadFinder(SquareModel()).find(photo)
    (one,) = HeadFinder(OneSided()).find(photo)
    assert both.confidence == pytest.approx(0.9, abs=1e-3)
    assert one.confidence == pytest.approx(0.663, abs=1e-3)  # log odds 2.197 and -0.847


def small_heads(count: int, *, height: float = 10.0, apart: float = 200.0) -> list[Head]:
    """Return heads in rows of ten, the later the surer."""
    places = [(apart * (i % 10), apart * (i // 10)) for i in range(count)]
    return [Head((x, y, x + height, y + height), 0.3 + 0.01 * i) for i, (x, y) in enumerate(places)]


def test_closer_looks_are_around_the_surest_small_heads_and_few() -> None:
    shape, whole = (2000, 2000), (0.0, 0.0, 2000.0, 2000.0)
    looks = closer_looks([(whole, small_heads(50, apart=220))], shape, 0.15)
    assert len(looks) == MOST_CLOSER
    left, top, right, bottom = looks[0]
    assert right - left == bottom - top == CLOSER_SHARE * 2000
    assert ((left + right) / 2, (top + bottom) / 2) == (9 * 220 + 5, 4 * 220 + 5)
    assert closer_looks([(whole, small_heads(50, height=200))], shape, 0.15) == []
    assert closer_looks([(whole, small_heads(50))], shape, 0.9) == []


def test_one_closer_look_is_enough_for_neighbours() -> None:
    whole = (0.0, 0.0, 2000.0, 2000.0)
    looks = closer_looks([(whole, small_heads(50, apart=15))], (2000, 2000), 0.15)
    assert len(looks) == 1


def test_head_far_down_a_narrow_photo_is_not_shifted() -> None:
    """The photo is shrunk to look at it, to 22 columns: not the side to measure the scale by."""
    box = (8, 2430, 54, 2500)
    (found,) = found_boxes(photo_with(box, shape=(3000, 63)))
    assert intersection_over_union(found, box) > 0.75


def test_panorama_does_not_cost_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """The square around 40000x10 pixels has 1600 million: 6 GB, nearly all of it padding."""
    largest = 0
    new = Image.new

    def watched(mode: str, size: tuple[int, int], *rest: object) -> Image.Image:
        nonlocal largest
        largest = max(largest, size[0] * size[1])
        return new(mode, size, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "new", watched)
    assert found_boxes(photo_with(shape=(10, 40_000))) == []
    assert 0 < largest < 10_000_000


def test_head_larger_than_a_tile_is_found_by_the_look_at_the_whole() -> None:
    box = (200, 150, 700, 770)
    (found,) = found_boxes(photo_with(box, shape=(900, 900)))
    assert intersection_over_union(found, box) > 0.85


class GuessingModel(SquareModel):
    """Is sure, and wrong, about the size of heads that a look cuts."""

    def seen_size(self, width: float, height: float, cut: bool) -> tuple[float, float]:
        return (3 * width, height) if cut else (width, height)


def test_widest_look_is_for_heads_that_fill_the_photo() -> None:
    """With no room around it, a head is hardly seen; small heads are for the other looks."""

    class NeedsRoom(SquareModel):
        def run(self, image: U8Array) -> list[FloatArray]:
            centre, box = super().run(image)
            tall = (image[..., 0] > 250).any(1).mean()
            return [centre * (tall < 0.7), box]

    box = (20, 10, 280, 290)
    (found,) = found_boxes(photo_with(box, shape=(300, 300)), NeedsRoom())
    assert intersection_over_union(found, box) > 0.85


def test_head_cut_by_a_tile_is_dropped() -> None:
    """Its box would be a guess, and a surer one at that; another look shows the head whole."""
    box = (400, 300, 480, 400)  # the first tile ends at 450
    photo = photo_with(box, shape=(900, 900))
    (found,) = found_boxes(photo, GuessingModel(confidence=0.8, cut_confidence=0.95))
    assert intersection_over_union(found, box) > 0.85


def test_head_that_leaves_the_photo_is_kept() -> None:
    """Beyond the photo's own border no other look sees more."""
    box = (850, 300, 930, 400)
    (found,) = found_boxes(photo_with(box, shape=(900, 900)))
    assert intersection_over_union(found, box) > 0.85


def test_two_heads_that_touch_stay_two() -> None:
    """Merging is for boxes that are the same head, not for people who stand close."""
    a, b = (0.0, 0.0, 80.0, 100.0), (45.0, 0.0, 125.0, 100.0)
    centre, box = empty_maps()
    for left, _, right, bottom in (a, b):
        row, column = int(bottom / 8), int((left + right) / 8)
        centre[row, column] = 0.9
        x, y = (left + right) / 8 - column - 0.5, bottom / 8 - row - 0.5
        box[:, row, column] = (x, y, np.log(80 / 4), np.log(100 / 4))

    class Fixed(SquareModel):
        def run(self, image: U8Array) -> list[FloatArray]:
            self.looks += 1  # at the whole photo, at its mirror image, and at more than it
            seen = [centre[None] * (self.looks <= 2), box]
            return [np.flip(part, axis=-1) for part in seen] if self.looks == 2 else seen

    found = HeadFinder(Fixed()).find(np.zeros((256, 256, 3), np.uint8))
    assert [head.box_px for head in found] == [
        pytest.approx(a, abs=1e-3),
        pytest.approx(b, abs=1e-3),
    ]


def test_of_two_boxes_for_one_head_the_surer_stays() -> None:
    centre, box = empty_maps()
    centre[30, 30], centre[30, 33] = 0.6, 0.8
    box[2:] = np.log(16)

    class Fixed(SquareModel):
        def run(self, image: U8Array) -> list[FloatArray]:
            self.looks += 1  # every second one is at a mirror image
            return [centre[None] if self.looks % 2 else centre[None, :, ::-1], box]

    (head,) = HeadFinder(Fixed()).find(np.zeros((256, 256, 3), np.uint8))
    assert head.confidence == pytest.approx(0.8)


def test_ear_may_be_a_part_of_a_surer_head_and_a_friend_may_not() -> None:
    """An ear, seen large in a tile, is taken for a head; so is the body around a head."""
    face, ear = Head((0.0, 0.0, 100.0, 120.0), 0.9), Head((80.0, 40.0, 100.0, 70.0), 0.5)
    body, friend = Head((-100.0, 0.0, 200.0, 400.0), 0.6), Head((70.0, 0.0, 170.0, 120.0), 0.7)
    assert may_be_part(ear, face)
    assert not may_be_part(face, ear)
    assert may_be_part(body, face)
    assert not may_be_part(friend, face)


def head_of(height_px: float, confidence: float) -> Head:
    return Head((0.0, 0.0, height_px, height_px), confidence)


def test_heads_in_company_need_less() -> None:
    friend, child, speck = head_of(90, 0.3), head_of(26, 0.3), head_of(24, 0.3)
    sure, faint = head_of(100, 0.6), head_of(100, 0.1)
    assert believed([friend, sure, child, speck, faint], 0.5) == [friend, sure, child]


def test_doubtful_heads_are_no_company() -> None:
    assert believed([head_of(100, 0.49), head_of(100, 0.49)], 0.5) == []


@pytest.mark.parametrize(("proposes", "count"), [(0.5, 0), (0.3, 1)])
def test_what_the_network_doubts_is_not_proposed(proposes: float, count: int) -> None:
    photo = photo_with((80, 80, 120, 130), shape=(256, 256))
    finder = HeadFinder(SquareModel(confidence=0.4), proposes=proposes)
    assert len(finder.find(photo)) == count


def test_threshold_is_the_models_own_unless_given() -> None:
    assert HeadFinder(SquareModel()).threshold == 0.5
    assert HeadFinder(SquareModel(), 0.3).threshold == 0.3


def test_confidence_grows_with_what_both_looks_say() -> None:
    finder = HeadFinder(SquareModel(calibration="1 2 0.5 1"))
    faint, sure = Head((0, 0, 50, 60), 0.2), Head((0, 0, 50, 60), 0.9)
    large = Head((0, 0, 500, 600), 0.2)
    shape = (1000, 800)
    assert finder.confidence(faint, 0.9, shape) < finder.confidence(sure, 0.9, shape)
    assert finder.confidence(faint, 0.5, shape) < finder.confidence(faint, 0.9, shape)
    assert finder.confidence(faint, 0.9, shape) < finder.confidence(large, 0.9, shape)
    evidence = 1 + 2 * np.log(0.2 / 0.8) + 0.5 * np.log(9) + np.log(0.06)
    assert finder.confidence(faint, 0.9, shape) == pytest.approx(1 / (1 + np.exp(-evidence)))
    assert 0 < finder.confidence(faint, 0.0, shape) < finder.confidence(sure, 1.0, shape) < 1


def test_damaged_calibration_is_named() -> None:
    for text in ("1 2 x 4", "1 2 3 4 5"):
        with pytest.raises(ModelError, match="damaged calibration"):
            HeadFinder(SquareModel(calibration=text))


@pytest.mark.parametrize(
    ("other", "share"),
    [((0, 0, 10, 10), 1.0), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0.0), ((2, 2, 4, 4), 0.04)],
)
def test_intersection_over_union_by_hand(other: Box, share: float) -> None:
    assert intersection_over_union((0, 0, 10, 10), other) == pytest.approx(share)
    assert intersection_over_union(other, (0, 0, 10, 10)) == pytest.approx(share)
