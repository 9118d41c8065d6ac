"""Guessed masks: what the networks cut of boxed heads, where they are sure, as labels.

People drew masks of faces in front of the camera, most of all. Of heads in helmets, in profile and
from behind there are boxes, of some the hair. So segmenter and refiner learn from what they say of
these themselves, in pictures that they have to cope with: blurred, turned, in another hat
("Self-training with Noisy Student", Xie et al., 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from headcut.errors import OptionError
from headcut.find import Head
from headcut.geometry import (
    BoolArray,
    Box,
    FloatArray,
    U8Array,
    centred_square,
    covered_pixels,
    inside_photo,
    paste_alpha,
    tight_box,
)
from headcut.pipeline import HeadCutter, SeenHead
from headcut.segment import share_of_head
from headcut_train.cache import CachedSource, is_kept
from headcut_train.sources import HEAD, KNOWN, NECK, NO_BOXES, Sample

GUESSED = "guessed"
"""Name of the source."""


@dataclass(frozen=True, slots=True)
class Large:
    """Which heads of a photo are guessed: so many, the largest, and none that is lower."""

    least_height_px: float
    most_heads: int


GUESSED_SOURCES = {
    "person_crops": Large(34, 2),
    "scut_heads": Large(44, 1),
    "figaro_hair": Large(34, 1),
}
"""Whose heads have boxes alone, or boxes and hair. Of 60 guesses drawn at random, all lie on their
head, by eye."""

DOUBTED = (0.12, 0.88)
"""Where head or neck has a chance between these, nobody knows."""

CONFIRMED = 0.7
"""Least share of the middle of a head's box that is called head."""

MOST_DOUBTED = 0.35
"""The most that may be in doubt of a head, by its area."""

LEAST_AREA_PX = 300
"""The least area of a mask, in photo pixels."""

APART = 0.35
"""How far from its box's top a mask may begin, and how far above its bottom it may end, by the
box's height; hair may fall lower."""

MARGIN = 0.4
"""How much of a photo is kept around the refiner's crop, by its side: the segmenter sees more."""


def keep_guesses(
    cutter: HeadCutter, sources: Mapping[str, Sequence[Sample]], cache: Path
) -> CachedSource:
    """Guess masks in all of `GUESSED_SOURCES`, and keep them in place of those kept before.

    Args:
        cutter: as in `guessed`.
        sources: by name; others than those are passed over.
        cache: folder of the decoded photos.
    """

    def all_guesses(_data: Path, _split: str) -> Iterator[Sample]:
        for name, large in GUESSED_SOURCES.items():
            for sample in tqdm(sources[name], desc=name, disable=None):
                yield from guessed(cutter, sample, large)

    return CachedSource(cache, cache, GUESSED, "train", all_guesses, anew=True)


def open_guesses(cache: Path) -> CachedSource:
    """Return what `keep_guesses` kept.

    Raises:
        OptionError: nothing was kept in this folder.
    """
    if not is_kept(cache, GUESSED, "train"):
        raise OptionError(f"{cache}: no guessed masks are there; run `headcut-train guess` first")
    return CachedSource(cache, cache, GUESSED, "train")


def guessed(cutter: HeadCutter, sample: Sample, large: Large) -> Iterator[Sample]:
    """Yield a masked sample of each large head of a photo that is cut without much doubt.

    Args:
        cutter: its segmenter and refiner say what is head.
        sample: a photo whose heads are boxed.
        large: which of them.
    """
    photo = np.array(sample.photo)
    heights = sample.boxes[:, 3] - sample.boxes[:, 1]
    for i in np.argsort(-heights)[: large.most_heads]:
        if heights[i] < large.least_height_px:
            return
        left, top, right, bottom = (float(v) for v in sample.boxes[i])
        box = (left, top, right, bottom)
        seen = _seen(cutter, photo, box)
        if seen is None:
            continue
        hair = ((sample.plane & HEAD) > 0) & (i == 0)  # the first head's, if any: see `Sample`
        plane = _labels(seen, hair)
        if plane is not None and _fits((plane & HEAD) > 0, box):
            yield _around(sample, int(i), plane, seen.box)


def _seen(cutter: HeadCutter, photo: U8Array, box: Box) -> SeenHead | None:
    """Return a boxed head after all looks at it; None if they do not confirm it."""
    seen = cutter.judged(photo, Head(box, confidence=1.0))
    if not (seen.masks[0] > 0.5).any():
        return None  # there is nothing to frame
    seen = cutter.framed(photo, seen)
    visible = inside_photo(box, (photo.shape[0], photo.shape[1]))
    return seen if share_of_head(seen.masks[0], seen.box, visible) >= CONFIRMED else None


def _labels(seen: SeenHead, hair: BoolArray) -> U8Array | None:
    """Return the (H, W) plane of a head, unknown beyond its crop; None if much is in doubt.

    Args:
        seen: the head after all looks.
        hair: (H, W), what is surely its hair.
    """
    shape = (hair.shape[0], hair.shape[1])
    left, top, right, bottom = covered_pixels(seen.box, shape)
    chances = np.stack([paste_alpha(mask, seen.box, shape)[0] for mask in seen.masks])
    own_hair = hair[top:bottom, left:right]
    chances[0][own_hair], chances[1][own_hair] = 1, 0
    head, neck = chances > 0.5
    doubted = (chances > DOUBTED[0]) & (chances < DOUBTED[1])
    if doubted[0].sum() > MOST_DOUBTED * head.sum():
        return None
    known = ~doubted.any(axis=0)
    plane = (hair * (HEAD | KNOWN)).astype(np.uint8)
    plane[top:bottom, left:right] = HEAD * head | KNOWN * known | NECK * (neck & known)
    return plane


def _fits(head: BoolArray, box: Box) -> bool:
    """Whether an (H, W) mask is large enough, and begins and ends about where its box does."""
    if head.sum() < LEAST_AREA_PX:
        return False
    _, top, _, bottom = box
    slack = APART * (bottom - top)
    _, first, _, last = tight_box(head)
    begins = abs(first - max(0, top)) <= slack
    return begins and last >= min(bottom - slack, len(head) - 2)


def _around(sample: Sample, i: int, plane: U8Array, crop: Box) -> Sample:
    """Return the part of a photo around the crop of its head `i`, with the labels of that head."""
    left, top, right, bottom = crop
    side = (1 + 2 * MARGIN) * (right - left)
    around = centred_square((left + right) / 2, (top + bottom) / 2, side)
    x, y, x_end, y_end = covered_pixels(around, (plane.shape[0], plane.shape[1]))
    boxes: FloatArray = sample.boxes[[i]] - np.array([x, y, x, y], np.float32)
    return Sample(
        name=f"{sample.name}/{i}",
        photo=np.ascontiguousarray(sample.photo[y:y_end, x:x_end]),
        plane=np.ascontiguousarray(plane[y:y_end, x:x_end]),
        boxes=boxes,
        ignored=NO_BOXES,
        masked=True,
        tags=(sample.tags[i],) if sample.tags else (),
    )
