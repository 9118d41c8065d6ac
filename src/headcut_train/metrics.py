"""Scores of masks and of found heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headcut.finish import distance_to
from headcut.geometry import BoolArray, Box, FloatArray

IntArray = NDArray[np.int64]

BOUNDARY_TOLERANCE = 0.0075
"""Of a photo's diagonal: how far apart two boundaries may lie and still agree (as in DAVIS)."""


def iou(found: BoolArray, head: BoolArray, known: BoolArray) -> float:
    """Return intersection over union of two (H, W) masks over the known pixels; 1 if both empty."""
    union = ((found | head) & known).sum()
    return float((found & head & known).sum() / union) if union else 1.0


def boundary_f(found: BoolArray, head: BoolArray, known: BoolArray) -> float:
    """Return the F1 of boundary pixels within `BOUNDARY_TOLERANCE`, over the known pixels."""
    reach = max(1, round(BOUNDARY_TOLERANCE * float(np.hypot(*head.shape))))
    found_edge, head_edge = boundary(found) & known, boundary(head) & known
    if not found_edge.any() or not head_edge.any():
        return float(found_edge.any() == head_edge.any())
    # Boundaries beyond the known pixels may still be what a known one agrees with.
    precision = (found_edge & dilated(boundary(head), reach)).sum() / found_edge.sum()
    recall = (head_edge & dilated(boundary(found), reach)).sum() / head_edge.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def boundary(mask: BoolArray) -> BoolArray:
    """Return the pixels of a mask that touch, by an edge, a pixel of the photo outside it."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def dilated(mask: BoolArray, reach: int) -> BoolArray:
    """Return the pixels within `reach` pixels of a mask, by Euclidean distance."""
    return distance_to(mask, reach + 1) <= reach


def is_found(box: Box, label: Box) -> bool:
    """Whether a found box is a labelled head: its centre well inside, its height within twice."""
    height = label[3] - label[1]
    dx = (box[0] + box[2]) / 2 - (label[0] + label[2]) / 2
    dy = (box[1] + box[3]) / 2 - (label[1] + label[3]) / 2
    ratio = (box[3] - box[1]) / height
    return bool(np.hypot(dx, dy) <= 0.5 * height and 0.5 <= ratio <= 2.0)


def match_heads(boxes: list[Box], labels: FloatArray) -> list[int | None]:
    """Return, for each found box in its order, the label it takes; each label is taken once."""
    free = set(range(len(labels)))
    taken: list[int | None] = []
    for box in boxes:
        near = [i for i in free if is_found(box, tuple(labels[i]))]
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        best = min(
            near,
            key=lambda i: np.hypot(
                middle[0] - (labels[i][0] + labels[i][2]) / 2,
                middle[1] - (labels[i][1] + labels[i][3]) / 2,
            ),
            default=None,
        )
        free.discard(best)  # type: ignore[arg-type]
        taken.append(best)
    return taken


def recall_at_precision(
    confidences: Sequence[float], right: Sequence[bool], labelled: int, least: float
) -> float:
    """Return the largest recall of found heads at a precision of at least `least`."""
    hits, precision = _curve(confidences, right)
    return float(hits[precision >= least].max(initial=0) / labelled) if labelled else 0.0


def _curve(confidences: Sequence[float], right: Sequence[bool]) -> tuple[IntArray, FloatArray]:
    """Return how many of the surest 1, 2, 3... found heads are right, and which share of them."""
    order = np.argsort(-np.array(confidences), kind="stable")
    hits = np.array(right, int)[order].cumsum()
    return hits, hits / np.arange(1, len(hits) + 1)


def average_precision(confidences: Sequence[float], right: Sequence[bool], labelled: int) -> float:
    """Return the area under the precision-recall curve of found heads, all points interpolated."""
    if not labelled or not confidences:
        return 0.0
    hits, precision = _curve(confidences, right)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    gained = np.diff(np.concatenate([[0], hits]))
    return float((envelope * gained).sum() / labelled)
