"""Photo -> head boxes: the first look, at the whole photo and then at its parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headcut.errors import ModelError
from headcut.geometry import (
    Box,
    FloatArray,
    U8Array,
    centred_square,
    crop_for_model,
    scaled_box,
    shrunk_to,
    whole_photo_box,
)
from headcut.model_file import Network

OVERLAP_OF_ONE_HEAD = 0.45
"""Two boxes with a larger intersection over union are the same head, found twice."""

PART_OF_ONE_HEAD = 0.8
"""A box with a larger share of itself inside another may be an ear or a mouth taken for a head."""

FAINT = 0.05
"""Confidence below which a look has no opinion."""

PROPOSED = 0.15
"""Confidence from which a head is worth a closer look."""

VISIBLE = (0.03, 0.95)
"""Heights of heads, as shares of a look, that the look has an opinion on."""

WIDE_SIDES, WIDE_VISIBLE = 2, 0.28
"""Side of the widest look, in longest sides of the photo, and the least height, as a share of that
look, of heads that it is asked about: those that fill their photo, or are cut by it, which need
room around them. Of 122 faces of FASSEG, turned or tight, 121 are found; with 1.5 and
0.35 they were 115. Scenes, CelebAMask-HQ and ordinary photos score alike with both."""

TILE_SHARE = 0.5
"""Side of a tile as a share of the photo's `searched_side`."""

CLOSER_SHARE = 0.3
"""Side of a closer look, where small heads may be, as a share of the photo's `searched_side`."""

SMALL = 0.09
"""Height of a head, as a share of a look, below which a closer look shows more of it."""

MOST_CLOSER = 24
"""The most closer looks at a photo. In pictures of sixteen lecture halls each, 1664x1120 pixels,
the finder's average precision rose from 0.44 without any to 0.73; in single ones from 0.961 to
0.969."""

SEEN_PX = 1024
"""`searched_side` of what is looked at: even closer looks are shrunk, so more would not be seen."""

IN_COMPANY, COMPANY_HEIGHT = 0.33, 4
"""Share of the threshold that is enough where another head is sure, and by how much the tallest of
the sure ones may be taller: people come together; no photo without people has a head for that. In
lecture halls 1363 heads of 1504 are found, and 80 false ones; with 0.4 and 4 1356 and 73, with 0.4
and 3, at another threshold, 1337 and 62."""

WORTH_TILES_PX = 320
"""In photos with a longer side, tiles show more than the look at the whole does."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a head is: its box from crown to chin, and how sure that is, in [0, 1].

    What a finder proposes has the network's own confidence; what a `HeadCutter` gives, that of both
    looks together.
    """

    box_px: Box
    confidence: float


Look = tuple[Box, list[Head]]
"""A square of the photo, and what the finder took for heads in it."""


def log_odds(chance: float) -> float:
    """Return the log odds of a chance, which is taken for at least 1 % and at most 99 %."""
    chance = min(max(chance, 0.01), 0.99)
    return math.log(chance / (1 - chance))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What chance a proposed head has, by what the looks said of it (logistic regression).

    Fitted by `headcut-train calibrate` on held-out photos, and kept in the finder's file as
    "calibration": four numbers in this order. Without them, what the segmenter confirms wholly
    keeps the finder's confidence.
    """

    constant: float = -log_odds(1)
    proposed: float = 1.0
    confirmed: float = 1.0
    size: float = 0.0

    def chance(self, proposed: float, share: float, size: float) -> float:
        """Return how sure both looks together are, in [0, 1].

        Args:
            proposed: the finder's own confidence, in [0, 1].
            share: of the middle of the box, what the segmenter calls head, in [0, 1].
            size: height of the box by the photo's `searched_side`.
        """
        evidence = (
            self.constant
            + self.proposed * log_odds(proposed)
            + self.confirmed * log_odds(share)
            + self.size * math.log(size)
        )
        return 1 / (1 + math.exp(-evidence))


class HeadFinder:
    """Proposes every head in a photo.

    Args:
        model: a finder's model file.
        threshold: confidence from which a head alone counts, after the closer look; the model's
            own by default.
        proposes: the network's confidence from which a head is worth a closer look.

    Raises:
        ModelError: the calibration in the file is damaged.
    """

    def __init__(
        self, model: Network, threshold: float | None = None, *, proposes: float = PROPOSED
    ):
        self.model = model
        self.threshold = model.threshold if threshold is None else threshold
        self.proposes = proposes
        try:
            numbers = [float(n) for n in model.metadata.get("calibration", "").split()]
            if numbers and not (len(numbers) == 4 and np.isfinite(numbers).all()):
                raise ValueError(numbers)
            self.calibration = Calibration(*numbers)
        except ValueError as error:
            raise ModelError(f"{model.path}: damaged calibration; export it again") from error

    def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
        """Return how sure both looks together are of a proposed head, in [0, 1].

        Args:
            head: as proposed.
            share: of the middle of its box, what the segmenter calls head, in [0, 1].
            photo_shape: (height, width) of the photo.
        """
        return self.calibration.chance(head.confidence, share, size_in(head, photo_shape))

    def find(self, photo: U8Array) -> list[Head]:
        """Return the heads that a photo may hold, from left to right; none is a valid answer.

        Args:
            photo: (H, W, 3) uint8 sRGB.
        """
        whole = (photo.shape[0], photo.shape[1])
        seen = shrunk_to(photo, round(SEEN_PX * max(whole) / searched_side(whole)))
        shape = (seen.shape[0], seen.shape[1])
        looks = [self._look(seen, box) for box in looks_at(shape)]
        looks += [self._look(seen, box) for box in closer_looks(looks, shape, self.proposes)]
        sure = [h for _, heads in looks for h in heads if h.confidence >= self.proposes]
        agreed = [_agreed(head, looks, shape) for head in _distinct(sure)]
        found = [head for head in agreed if head.confidence >= self.proposes]
        scale = max(whole) / max(shape)  # the longer side is rounded less
        ordered = sorted(found, key=lambda head: head.box_px[0] + head.box_px[2])
        return [Head(scaled_box(head.box_px, scale), head.confidence) for head in ordered]

    def _look(self, photo: U8Array, box: Box) -> Look:
        crop = crop_for_model(photo, box, self.model.size)
        centre, sizes = self.model.run(crop)
        if (centre >= self.proposes).any():
            # In ordinary photos, recall at a precision of 0.9 rose from 0.70 to 0.74 by the finder
            # alone, for half as many looks more.
            mirrored, _ = self.model.run(np.ascontiguousarray(crop[:, ::-1]))
            centre = _mean_chance(centre, mirrored[..., ::-1])
        heads = heads_in_maps(centre[0], sizes, box, FAINT)
        shape = (photo.shape[0], photo.shape[1])
        return box, [head for head in heads if _is_for(box, head.box_px, shape)]


def _mean_chance(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the chances whose log odds are the mean of two's, held off 0 and 1."""
    x, y = (np.clip(chance.astype(np.float64), 1e-4, 1 - 1e-4) for chance in (a, b))
    yes, no = np.sqrt(x * y), np.sqrt((1 - x) * (1 - y))
    mean: FloatArray = (yes / (yes + no)).astype(np.float32)
    return mean


def searched_side(photo_shape: tuple[int, int]) -> float:
    """Return what the parts of a photo are measured by: its longest side; in a panorama less.

    There it is twice the shorter side, for the heads are no smaller in their height; but at least
    a quarter of the longest, so that there are not many parts.
    """
    longest, shortest = max(photo_shape), min(photo_shape)
    return min(longest, max(2 * shortest, longest / 4))


def size_in(head: Head, photo_shape: tuple[int, int]) -> float:
    """Return the height of a head's box by the photo's `searched_side`."""
    return _height(head) / searched_side(photo_shape)


def looks_at(photo_shape: tuple[int, int]) -> list[Box]:
    """Return the squares to look at: the whole photo, more than it, and tiles of a large one."""
    height, width = photo_shape
    longest = max(height, width)
    wide = centred_square(width / 2, height / 2, WIDE_SIDES * longest)
    looks = [whole_photo_box(photo_shape), wide]
    if longest <= WORTH_TILES_PX:
        return looks
    side = TILE_SHARE * searched_side(photo_shape)
    return looks + [
        (left, top, left + side, top + side)
        for top in _tile_starts(height, side)
        for left in _tile_starts(width, side)
    ]


def closer_looks(looks: list[Look], photo_shape: tuple[int, int], proposes: float) -> list[Box]:
    """Return squares around the small heads that looks propose: around the surest first.

    Those near the middle of an earlier square need none of their own.

    Args:
        looks: at the whole photo and at its tiles.
        photo_shape: (height, width) of the photo.
        proposes: confidence from which a head is worth it.
    """
    side = CLOSER_SHARE * searched_side(photo_shape)
    small = [
        head
        for (left, _, right, _), heads in looks
        for head in heads
        if head.confidence >= proposes and _height(head) < SMALL * (right - left)
    ]
    chosen: list[Box] = []
    for head in sorted(small, key=lambda head: -head.confidence):
        left, top, right, bottom = head.box_px
        square = centred_square((left + right) / 2, (top + bottom) / 2, side)
        if len(chosen) < MOST_CLOSER and not any(_is_near(square, other) for other in chosen):
            chosen.append(square)
    return chosen


def _is_near(square: Box, other: Box) -> bool:
    """Whether the middle of a square lies well inside another of the same size."""
    reach = 0.35 * (square[2] - square[0])
    return abs(square[0] - other[0]) < reach and abs(square[1] - other[1]) < reach


def _tile_starts(extent: float, side: float) -> Iterator[float]:
    """Yield where tiles begin along one axis: centred if one is enough, else half overlapping."""
    if extent <= side:
        yield (extent - side) / 2
        return
    steps = int(np.ceil(2 * (extent - side) / side))
    for step in range(steps + 1):
        yield (extent - side) * step / steps


def heads_in_maps(centre: FloatArray, box: FloatArray, look: Box, threshold: float) -> list[Head]:
    """Return the peaks of a finder's maps as heads in photo pixels.

    Args:
        centre: (s, s) chance that a head's centre is in the cell.
        box: (4, s, s) offset in x and y, log width and log height, all in cells.
        look: what the maps are of, in photo pixels.
        threshold: least chance.
    """
    padded = np.pad(centre, 1)
    cells = len(centre)
    around = [padded[y : y + cells, x : x + cells] for y in range(3) for x in range(3)]
    peaks = (centre >= threshold) & (centre >= np.max(around, axis=0))
    cell = (look[2] - look[0]) / cells
    heads = []
    for row, column in np.argwhere(peaks):
        dx, dy, log_width, log_height = (float(v) for v in box[:, row, column])
        x, y = look[0] + (column + 0.5 + dx) * cell, look[1] + (row + 0.5 + dy) * cell
        # No head that was trained on is larger; without a bound, a crop could be of any size.
        width, height = np.exp(np.clip((log_width, log_height), -1, np.log(1.5 * cells))) * cell
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        left, top, right, bottom = (float(corner) for corner in corners)
        heads.append(Head((left, top, right, bottom), float(centre[row, column])))
    return heads


def _is_for(look: Box, box: Box, photo_shape: tuple[int, int]) -> bool:
    """Whether a look is there for a head: it shows it whole, and the widest only large ones."""
    side = look[2] - look[0]
    large = box[3] - box[1] > WIDE_VISIBLE * side
    return (large or side <= 1.01 * max(photo_shape)) and not _cut_by_look(box, look, photo_shape)


def _cut_by_look(box: Box, look: Box, photo_shape: tuple[int, int]) -> bool:
    """Whether the box leaves the look where the photo goes on: another look sees it whole."""
    height, width = photo_shape
    slack = 0.1 * (box[3] - box[1])
    return (
        (look[0] > 0 and box[0] < look[0] - slack)
        or (look[1] > 0 and box[1] < look[1] - slack)
        or (look[2] < width and box[2] > look[2] + slack)
        or (look[3] < height and box[3] > look[3] + slack)
    )


def _agreed(head: Head, looks: list[Look], photo_shape: tuple[int, int]) -> Head:
    """Return the head, its confidence halfway from its surest look to the mean of its looks.

    A texture is taken for a head in one look, a head in all. Measured where 10 % of the scenes
    without people have a false head: in ordinary photos recall rose from 0.585 to 0.605 and false
    heads fell from 0.15 to 0.11 a photo.
    """
    votes = [
        max((h.confidence for h in heads if _is_same(h.box_px, head.box_px)), default=0.0)
        for box, heads in looks
        if _shows(box, head.box_px, photo_shape)
    ]
    if not votes:
        return head
    return Head(head.box_px, (head.confidence + sum(votes) / len(votes)) / 2)


def _shows(look: Box, box: Box, photo_shape: tuple[int, int]) -> bool:
    """Whether a look shows a head whole and neither too small nor too large to be found."""
    share = (box[3] - box[1]) / (look[3] - look[1])
    return VISIBLE[0] < share < VISIBLE[1] and _is_for(look, box, photo_shape)


def _is_same(a: Box, b: Box) -> bool:
    return intersection_over_union(a, b) >= OVERLAP_OF_ONE_HEAD


def _distinct(heads: list[Head]) -> list[Head]:
    """Return the surest of each group of boxes that are one head."""
    kept: list[Head] = []
    for head in sorted(heads, key=lambda head: -head.confidence):
        if not any(_is_same(head.box_px, k.box_px) for k in kept):
            kept.append(head)
    return kept


def believed(heads: list[Head], threshold: float) -> list[Head]:
    """Return the heads that are sure enough, alone or in company; order is kept.

    Args:
        heads: of one photo.
        threshold: confidence from which a head alone counts.
    """
    sure = [_height(head) for head in heads if head.confidence >= threshold]
    least_px = max(sure, default=math.inf) / COMPANY_HEIGHT
    return [
        head
        for head in heads
        if head.confidence >= threshold
        or (head.confidence >= IN_COMPANY * threshold and _height(head) >= least_px)
    ]


def _height(head: Head) -> float:
    return head.box_px[3] - head.box_px[1]


def may_be_part(head: Head, other: Head) -> bool:
    """Whether, by their boxes, a head is a part of a surer one, as an ear, or around it."""
    shared = _shared_area(head.box_px, other.box_px)
    smaller = min(box_area(head.box_px), box_area(other.box_px))
    return other.confidence > head.confidence and shared > PART_OF_ONE_HEAD * smaller


def intersection_over_union(a: Box, b: Box) -> float:
    """Return the area that two boxes share by the area that they cover, in [0, 1]."""
    shared = _shared_area(a, b)
    return shared / (box_area(a) + box_area(b) - shared) if shared else 0.0


def _shared_area(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def box_area(box: Box) -> float:
    """Return the area of a box, in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
