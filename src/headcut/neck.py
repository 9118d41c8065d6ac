"""The neck below a head: where the chin ends, and how much of the neck a cut-out keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headcut.geometry import Box, FloatArray
from headcut.options import Neck

SHORT_NECK = 0.12
"""How far below the chin a short neck reaches, as a share of the head's height."""

SMOOTHED_COLUMNS = 9
"""Columns over whose median the chin line runs, so that a stray pixel does not notch it."""

CHIN_POINTS = 16
"""The most points of a chin line."""

CERTAIN_NECK = 0.1
"""Chance of being neck from which nothing of a pixel stays, where no neck is wanted: a sliver of
neck shows, and a rim of the chin is not missed. On every fourth of CelebAMask-HQ's held-out
portraits 1.4 % of the neck was called head for 3.8 %, with 0.003 less IoU; on every sixth of LFW's
1.2 % for 2.8 %, 0.006 less. On all of CelebAMask-HQ's, 0.12 gives 0.0002
more IoU than 0.1, and calls 0.13 % more of the neck head; on LFW's 0.0005 and 0.07 %."""

FADE_PX = 3.0
"""Over how many pixels of the mask a short neck ends."""


def with_neck(head: FloatArray, neck: FloatArray, wanted: Neck, reach_px: float) -> FloatArray:
    """Return the mask of a head with as much of its neck as is wanted.

    Without any, what may be neck is left out of the head, too.

    Args:
        head: (S, S) float32 in [0, 1].
        neck: (S, S) float32 in [0, 1] of the same crop.
        wanted: `none`, `short` or `keep`.
        reach_px: how far a short neck reaches below the chin, in pixels of the mask.
    """
    if wanted == "none":
        return head * np.clip(1 - neck / CERTAIN_NECK, 0, 1)
    if wanted == "short":
        rows = np.arange(len(neck))[:, None]
        end = np.nan_to_num(without_dents(chin_rows(head, neck)) + reach_px, nan=-np.inf)
        neck = neck * np.clip((end - rows) / FADE_PX + 0.5, 0, 1).astype(np.float32)
    return np.minimum(head + neck, 1.0)


def chin_rows(head: FloatArray, neck: FloatArray) -> FloatArray:
    """Return, for each column of the masks, the row where head ends and neck begins; else NaN.

    Where the neck does not touch the head, between columns in which it does, the line goes on.
    """
    size = len(head)
    is_neck = neck > 0.5
    top = is_neck.argmax(axis=0)
    columns = np.arange(size)
    above = np.stack([head[np.maximum(top - step, 0), columns] for step in (1, 2, 3)]).max(axis=0)
    rows = np.where(is_neck.any(axis=0) & (above > 0.3), top, np.nan)
    if np.isnan(rows).all():
        return rows.astype(np.float32)
    half = SMOOTHED_COLUMNS // 2
    padded = np.pad(rows, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHED_COLUMNS)
    smooth = rows.copy()
    known = ~np.isnan(rows)
    smooth[known] = np.nanmedian(windows[known], axis=1)
    gaps = is_neck.any(axis=0) & ~known
    smooth[gaps] = np.interp(
        columns[gaps], columns[known], smooth[known], left=np.nan, right=np.nan
    )
    return smooth.astype(np.float32)


def without_dents(rows: FloatArray) -> NDArray[np.float64]:
    """Return a line, by columns, with straight pieces where it bends upwards: its hull from below.

    In profile a chin line climbs to the ear and falls to the nape; a neck cut along it looks torn.

    Args:
        rows: (S,) row in each column, NaN where the line is not; there the answer has NaN, too.
    """
    line = rows.astype(np.float64)

    def sticks_out(a: int, b: int, c: int) -> bool:
        """Whether the line is lower at b than straight from a to c."""
        return bool((line[b] - line[a]) * (c - a) > (line[c] - line[a]) * (b - a))

    columns = np.flatnonzero(~np.isnan(rows))
    corners: list[int] = []
    for column in columns:
        while len(corners) > 1 and not sticks_out(corners[-2], corners[-1], column):
            corners.pop()
        corners.append(int(column))
    if corners:
        line[columns] = np.interp(columns, corners, line[corners])
    return line


def chin_line(head: FloatArray, neck: FloatArray, box: Box) -> list[tuple[float, float]]:
    """Return the line between head and neck, left to right, in photo pixels; empty if unseen.

    Args:
        head: (S, S) float32 in [0, 1].
        neck: (S, S) float32 in [0, 1] of the same crop.
        box: the crop's square, in photo pixels.
    """
    rows = chin_rows(head, neck)
    columns = np.flatnonzero(~np.isnan(rows))
    if not len(columns):
        return []
    chosen = columns[np.linspace(0, len(columns) - 1, min(len(columns), CHIN_POINTS)).astype(int)]
    pixel = (box[2] - box[0]) / len(head)
    return [
        (float(box[0] + (column + 0.5) * pixel), float(box[1] + rows[column] * pixel))
        for column in chosen
    ]
