"""Guessed masks: what the networks cut of boxed heads, where they are sure, as labels.

People drew masks of faces in front of the camera, most of all. Of heads in helmets, in profile and
from behind there are boxes, so the refiner learns from what it says of these itself, in pictures
that it has to cope with: blurred, stretched, in another hat ("Self-training with Noisy Student",
Xie et al., 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from headcut.find import Head
from headcut.geometry import (
    BoolArray,
    Box,
    centred_square,
    covered_pixels,
    inside_photo,
    paste_alpha,
)
from headcut.pipeline import HeadCutter
from headcut.segment import share_of_head
from headcut_train.cache import CachedSource, forget
from headcut_train.sources import HEAD, KNOWN, NECK, NO_BOXES, Sample

GUESSED_SOURCES = {"person_crops": (34, 2), "scut_heads": (44, 1)}
"""Least height in pixels of the heads, and the most of a photo, the largest, by their source."""

DOUBTED = (0.12, 0.88)
"""Where head or neck has a chance between these, nobody knows."""

CONFIRMED = 0.7
"""Least share of the middle of a head's box that is called head."""

MOST_DOUBTED = 0.35
"""The most that may be in doubt of a head, by its area."""

LEAST_PX = 300
"""The least area of a mask, in pixels."""

APART = 0.35
"""How far a mask may end from its box, above or below, by the box's height."""

MARGIN = 0.15
"""How much of a photo is kept around the refiner's crop, by its side."""


def keep_guesses(
    cutter: HeadCutter, sources: Mapping[str, Sequence[Sample]], cache: Path
) -> CachedSource:
    """Guess the masks of all sources in `GUESSED_SOURCES`, and keep them as the source "guessed".

    Args:
        cutter: as in `guessed`.
        sources: by name; others than those are passed over.
        cache: folder of the decoded photos; guesses that are there are replaced.
    """

    def all_guesses(_data: Path, _split: str) -> Iterator[Sample]:
        for name, (least_px, most) in GUESSED_SOURCES.items():
            for sample in tqdm(sources[name], desc=name, disable=None):
                yield from guessed(cutter, sample, least_px, most)

    forget(cache, "guessed", "train")
    return CachedSource(cache, cache, "guessed", "train", reader=all_guesses)


def guessed(cutter: HeadCutter, sample: Sample, least_px: float, most: int) -> Iterator[Sample]:
    """Yield a masked sample of each large head of a photo that is cut without much doubt.

    Args:
        cutter: its segmenter and refiner say what is head.
        sample: a photo whose heads are boxed.
        least_px: height of a box from which its head is large.
        most: heads of a photo, the largest first.
    """
    heights = sample.boxes[:, 3] - sample.boxes[:, 1]
    for i in np.argsort(-heights)[:most]:
        guess = _guess(cutter, sample, int(i)) if heights[i] >= least_px else None
        if guess is not None:
            yield guess


def _guess(cutter: HeadCutter, sample: Sample, i: int) -> Sample | None:
    """Return the part of a photo around its head `i` with its mask; None if that is doubtful."""
    photo = np.array(sample.photo)
    shape = (photo.shape[0], photo.shape[1])
    box = tuple(float(v) for v in sample.boxes[i])
    seen = cutter.judged(photo, Head(box, confidence=1.0))
    if not (seen.masks[0] > 0.5).any():
        return None
    seen = cutter.framed(photo, seen)
    visible = inside_photo(seen.head.box_px, shape)
    if share_of_head(seen.masks[0], seen.box, visible) < CONFIRMED:
        return None
    x, y, x_end, y_end = covered_pixels(seen.box, shape)
    chances = np.stack([paste_alpha(mask, seen.box, shape)[0] for mask in seen.masks])
    head, neck = chances[0] > 0.5, chances[1] > 0.5
    doubted = (chances > DOUBTED[0]) & (chances < DOUBTED[1])
    plane = np.zeros(shape, np.uint8)  # beyond the square nobody knows
    known = ~doubted.any(axis=0)
    plane[y:y_end, x:x_end] = HEAD * head | KNOWN * known | NECK * (neck & known)
    if doubted[0].sum() > MOST_DOUBTED * head.sum() or not _fits((plane & HEAD) > 0, box):
        return None
    left, top, right, bottom = seen.box
    side = (1 + 2 * MARGIN) * (right - left)
    around = centred_square((left + right) / 2, (top + bottom) / 2, side)
    x, y, x_end, y_end = covered_pixels(around, shape)
    part = np.s_[y:y_end, x:x_end]
    return Sample(
        name=f"{sample.name}/{i}",
        photo=np.ascontiguousarray(photo[part]),
        plane=np.ascontiguousarray(plane[part]),
        boxes=sample.boxes[[i]] - np.array([x, y, x, y], np.float32),
        ignored=NO_BOXES,
        masked=True,
        tags=(sample.tags[i],) if sample.tags else (),
    )


def _fits(head: BoolArray, box: Box) -> bool:
    """Whether an (H, W) mask begins and ends about where its head's box does."""
    _, top, _, bottom = box
    rows = np.flatnonzero(head.any(axis=1))
    slack = APART * (bottom - top)
    begins = abs(rows[0] - max(0, top)) <= slack
    ends = rows[-1] + 1 >= min(bottom - slack, len(head) - 2)
    return bool(head.sum() >= LEAST_PX and begins and ends)
