"""Crops -> soft masks: the second look, at one head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headcut.geometry import BoolArray, Box, FloatArray, U8Array, connected, enclosed
from headcut.model_file import Network

CELL_PX = 4
"""What is connected is decided on cells of this side, so that a thin gap does not part hair."""

FAINT = 0.1
"""Share of head below which a pixel connects nothing."""

HOLE = 0.005
"""A hole's largest area, by the mask's: what hair falls around, as a neck, is larger."""

HOLE_ABOVE = 0.03
"""The same in the mask's upper third, where no neck is: a badge on a cap."""

COMPARED_POINTS = 24
"""Points a side at which two masks are compared in a head's box."""


class HeadSegmenter:
    """Says which pixels of a crop belong to the head in its middle.

    Attributes:
        size: side of the square crops in pixels.
    """

    def __init__(self, model: Network):
        self.model = model
        self.size = model.size

    def segment(self, crops: U8Array) -> FloatArray:
        """Return soft masks of head and neck: (N, 2, S, S) float32 in [0, 1].

        The neck's is empty if the network does not know it.

        Args:
            crops: (N, S, S, 3) uint8 sRGB, S = `size`.

        Raises:
            ModelError: the crops have another size.
        """
        masks = np.zeros((len(crops), 2, self.size, self.size), np.float32)
        for mask, crop in zip(masks, crops, strict=True):
            outputs = self.model.run(crop)
            mask[: len(outputs)] = np.concatenate(outputs)
        return masks


def share_of_head(mask: FloatArray, box: Box, head_box: Box) -> float:
    """Return how much of the middle of the head's box the mask calls head, in [0, 1].

    Little, where the finder took something else for a head: the second look is the closer one.

    Args:
        mask: (S, S) float32 in [0, 1].
        box: the mask's square, in photo pixels.
        head_box: the head's box, in photo pixels.
    """
    middle = mask[_middle(head_box, box, len(mask))]
    return float(middle.mean()) if middle.size else 0.0


def share_in_other(
    mask: FloatArray, box: Box, head_box: Box, other_mask: FloatArray, other_box: Box
) -> float:
    """Return how much of what a mask calls head, in the head's box, another mask calls head, too.

    In [0, 1]; 1 where the mask calls nothing head.

    Args:
        mask: (S, S) float32 in [0, 1].
        box: the mask's square, in photo pixels.
        head_box: the head's box, in photo pixels.
        other_mask: (S, S) float32 in [0, 1].
        other_box: the square of the other mask, in photo pixels.
    """
    left, top, right, bottom = head_box
    at = (np.arange(COMPARED_POINTS) + 0.5) / COMPARED_POINTS
    x, y = left + at * (right - left), top + at * (bottom - top)
    own, others = _head_at(mask, box, x, y), _head_at(other_mask, other_box, x, y)
    return float((own & others).sum() / own.sum()) if own.any() else 1.0


def _head_at(
    mask: FloatArray, box: Box, x: NDArray[np.float64], y: NDArray[np.float64]
) -> BoolArray:
    """Return (Y, X): whether a mask calls head what is at such columns and rows of the photo."""
    scale, padded = len(mask) / (box[2] - box[0]), np.pad(mask > 0.5, 1)
    columns, rows = (
        np.clip(np.floor((at - start) * scale) + 1, 0, len(mask) + 1).astype(int)
        for at, start in ((x, box[0]), (y, box[1]))
    )
    return padded[np.ix_(rows, columns)]


def without_islands(mask: FloatArray, box: Box, head_box: Box) -> FloatArray:
    """Return the mask with only what is connected with the middle of the head's box.

    Args:
        mask: (S, S) float32 in [0, 1], S a multiple of `CELL_PX`.
        box: the mask's square, in photo pixels.
        head_box: the head's box, in photo pixels.
    """
    cells = len(mask) // CELL_PX
    coarse = mask.reshape(cells, CELL_PX, cells, CELL_PX).max(axis=(1, 3)) > FAINT
    seed = np.zeros_like(coarse)
    seed[_middle(head_box, box, cells)] = True
    kept = connected(coarse, seed)
    return mask * kept.repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)


def without_holes(mask: FloatArray) -> FloatArray:
    """Return the mask with small holes filled: the network doubts a spot amid hair, not a gap.

    Args:
        mask: (S, S) float32 in [0, 1].
    """
    outside = mask <= 0.5
    holes = enclosed(outside)
    area = (~outside).sum()
    rows = np.flatnonzero(~outside.all(axis=1))
    filled = mask.copy()
    while holes.any():
        first = np.zeros_like(holes)
        first.flat[holes.argmax()] = True
        hole = connected(holes, first)
        last_row = np.flatnonzero(hole.any(axis=1))[-1]
        is_above = last_row < rows[0] + (rows[-1] + 1 - rows[0]) / 3
        if hole.sum() <= (HOLE_ABOVE if is_above else HOLE) * area:
            filled[hole] = 1.0
        holes &= ~hole
    return filled


def _middle(head_box: Box, box: Box, side: int) -> tuple[slice, slice]:
    """Return rows and columns of the inner half of a head's box in a map of its crop."""
    scale = side / (box[2] - box[0])
    left, right = ((x - box[0]) * scale for x in (head_box[0], head_box[2]))
    top, bottom = ((y - box[1]) * scale for y in (head_box[1], head_box[3]))
    margin_x, margin_y = (right - left) / 4, (bottom - top) / 4
    rows = slice(max(0, int(top + margin_y)), max(0, int(bottom - margin_y) + 1))
    return rows, slice(max(0, int(left + margin_x)), max(0, int(right - margin_x) + 1))
