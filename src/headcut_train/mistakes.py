"""Hard negatives: what a finder takes for heads in the training photos, though there is none.

Random places without a head are landscapes and walls; wheels, hands and round signs are rare
among them, yet they are what the networks must learn to refuse.
"""

from __future__ import annotations

import numpy as np

from headcut.find import intersection_over_union
from headcut.geometry import Box, FloatArray
from headcut.pipeline import Finder, HeadCutter
from headcut_train.sources import NO_BOXES, SEARCHED, Sample

MINED_SOURCES = ("scenes", "clothing_coparsing", "scut_heads", "person_crops")
"""Sources whose photos show more than a head."""

MOST_A_PHOTO = 12
"""The surest mistakes of a photo that are kept."""

TRAPPED = 0.05
"""How sure finder and segmenter must be of a head, for a photo of nobody to be a trap."""


def mined(cutter: HeadCutter, sample: Sample) -> tuple[FloatArray, bool]:
    """Return (K, 4) float32 boxes taken for heads by mistake, and whether the photo is a trap.

    Those of a trap are what the cutter cuts out; of any other photo, what its finder proposes.

    Args:
        cutter: its finder has the threshold `TRAPPED`, and proposes what it doubts, too.
        sample: a photo of a training set.
    """
    cut = mistakes(cutter, sample) if sample.shows_nobody else NO_BOXES
    return (cut, True) if len(cut) else (mistakes(cutter.finder, sample), False)


def mistakes(finder: Finder | HeadCutter, sample: Sample) -> FloatArray:
    """Return (K, 4) float32 boxes that the finder takes for heads, where by the labels none is.

    Args:
        finder: that gives its doubtful heads too.
        sample: a photo of a training set.
    """
    heads = sorted(finder.find(np.array(sample.photo)), key=lambda head: -head.confidence)
    wrong = [head.box_px for head in heads if _contradicted(head.box_px, sample)]
    return np.array(wrong[:MOST_A_PHOTO], np.float32).reshape(-1, 4)


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
