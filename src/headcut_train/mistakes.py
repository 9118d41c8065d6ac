"""Hard examples: what a finder takes for heads in the training photos, and heads that it misses.

Random places without a head are landscapes and walls; wheels, hands and round signs are rare
among them, yet they are what the networks must learn to refuse. So are heads bent down or seen from
above among those that look into the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from headcut.find import Head, intersection_over_union
from headcut.geometry import Box, FloatArray
from headcut.pipeline import HeadCutter
from headcut_train.metrics import is_found
from headcut_train.sources import NO_BOXES, SEARCHED, Sample

MINED_SOURCES = ("scenes", "clothing_coparsing", "scut_heads", "person_crops", "figaro_hair")
"""Sources whose photos show more than a head, or heads from all sides."""

MOST_A_PHOTO = 12
"""The surest mistakes of a photo that are kept."""

TRAPPED = 0.05
"""How sure both networks together must be of one head, for a photo of nobody to be a trap."""

MISSED = 0.45
"""The finder's confidence in a labelled head below which that is hard: every eighth is."""

LEAST_MISSED = 0.03
"""Height of a head, as a share of its photo, below which it is missed for that alone."""


class Mined(NamedTuple):
    """What the networks get wrong in a photo.

    Attributes:
        mistaken: (K, 4) float32 boxes taken for heads, where by the labels none is. Those of a trap
            are what the cutter cuts out; of any other photo, what its finder proposes.
        missed: (L, 4) float32, those of the labelled boxes that the finder is not sure of.
        trap: whether nobody is in the photo, yet the cutter cuts out a head.
    """

    mistaken: FloatArray
    missed: FloatArray
    trap: bool


def mined(cutter: HeadCutter, sample: Sample) -> Mined:
    """Return what the networks get wrong in a photo of a training set.

    Args:
        cutter: its finder has the threshold `TRAPPED`, and proposes what it doubts, too.
        sample: the photo and its labels.
    """
    photo = np.array(sample.photo)
    if sample.shows_nobody:
        cut = mistakes(cutter.find(photo), sample)
        if len(cut):
            return Mined(cut, NO_BOXES, trap=True)
    heads = cutter.finder.find(photo)
    return Mined(mistakes(heads, sample), missed(heads, sample), trap=False)


def mistakes(heads: Sequence[Head], sample: Sample) -> FloatArray:
    """Return (K, 4) float32: those found heads that by the labels are none, the surest first."""
    surest_first = sorted(heads, key=lambda head: -head.confidence)
    wrong = [head.box_px for head in surest_first if _contradicted(head.box_px, sample)]
    return np.array(wrong[:MOST_A_PHOTO], np.float32).reshape(-1, 4)


def missed(heads: Sequence[Head], sample: Sample) -> FloatArray:
    """Return (L, 4) float32: those labelled heads that none of the found ones surely is."""
    sure = [head.box_px for head in heads if head.confidence >= MISSED]
    hard = [
        box
        for box in sample.boxes
        if box[3] - box[1] >= LEAST_MISSED * len(sample.photo)
        and not any(is_found(found, tuple(box)) for found in sure)
    ]
    return np.array(hard, np.float32).reshape(-1, 4)


def _contradicted(box: Box, sample: Sample) -> bool:
    """Whether a box lies where heads were searched, and apart from every labelled one."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    height, width = sample.plane.shape
    if not (0 <= x < width and 0 <= y < height and sample.plane[int(y), int(x)] & SEARCHED):
        return False
    return not any(
        intersection_over_union(box, tuple(b)) > 0.1 or (b[0] < x < b[2] and b[1] < y < b[3])
        for b in np.concatenate([sample.boxes, sample.ignored])
    )
