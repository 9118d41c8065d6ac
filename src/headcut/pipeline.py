"""READ FIRST. The way of a photo, as a table of contents.

photo -> heads -> square crops -> masks -> alpha at photo size -> cut-outs
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from headcut.cutout import CutOut, cut_out
from headcut.edge import refine_alpha
from headcut.find import Head, HeadFinder
from headcut.geometry import (
    Box,
    FloatArray,
    U8Array,
    crop_box_for,
    crop_for_model,
    paste_alpha,
    wider_box,
)
from headcut.model_file import open_model
from headcut.options import PhotoLimits
from headcut.photo import Photo, PhotoSource, read_photo
from headcut.segment import HeadSegmenter, without_islands

MOST_WIDENINGS = 2
"""How often a crop grows for a head that runs out of it: to 2.6 times the side at the most."""


class Finder(Protocol):
    """Says where heads are; `HeadFinder` is the bundled one."""

    def find(self, photo: U8Array) -> list[Head]:
        """Return the heads of an (H, W, 3) uint8 sRGB photo, left to right; may be empty."""


class Segmenter(Protocol):
    """Says which pixels are head; `HeadSegmenter` is the bundled one."""

    @property
    def size(self) -> int:
        """Side of the square crops, in pixels."""

    def segment(self, crops: U8Array) -> FloatArray:
        """Return (N, size, size) float32 in [0, 1] of (N, size, size, 3) uint8 crops."""


class HeadCutter:
    """Cuts heads out of photos. Loads the models once; threads may share it.

    Args:
        finder: instead of the bundled one.
        segmenter: instead of the bundled one.
        limits: what photos to refuse.

    Raises:
        ModelError: a bundled model cannot be loaded.
    """

    def __init__(
        self,
        *,
        finder: Finder | None = None,
        segmenter: Segmenter | None = None,
        limits: PhotoLimits | None = None,
    ) -> None:
        self.finder: Finder = finder or HeadFinder(open_model("finder"))
        self.segmenter: Segmenter = segmenter or HeadSegmenter(open_model("segmenter"))
        self.limits = limits or PhotoLimits()

    def cut(self, source: PhotoSource) -> list[CutOut]:
        """Return one cut-out per head, left to right; none is a valid answer.

        Args:
            source: a path, the bytes of a file, an open binary file, a Pillow image, an
                (H, W, 3 or 4) uint8 RGB(A) array, or a `Photo`.

        Raises:
            PhotoError: the photo is missing, damaged, not a photo, or outside the limits.
        """
        photo = read_photo(source, self.limits)
        heads = self.finder.find(photo.pixels)
        cut_outs = [self._cut_one(photo, head) for head in heads]
        return [head for head in cut_outs if head is not None]

    def _cut_one(self, photo: Photo, head: Head) -> CutOut | None:
        """Return the cut-out of one head; None if nothing is left of it."""
        mask, box = self._look_closely(photo.pixels, head)
        alpha, covered_px = paste_alpha(mask, box, photo.shape)
        left, top, right, bottom = covered_px
        alpha = refine_alpha(photo.pixels[top:bottom, left:right], alpha)
        return cut_out(photo, alpha, covered_px, head.confidence)

    def _look_closely(self, pixels: U8Array, head: Head) -> tuple[FloatArray, Box]:
        """Return a head's mask and the square it is of: widened while the head runs out of it."""
        shape = (pixels.shape[0], pixels.shape[1])
        box = crop_box_for(head.box_px)
        mask = self._mask(pixels, head, box)
        for _ in range(MOST_WIDENINGS):
            wider = wider_box(mask, box, shape)
            if wider is None:
                break
            box, mask = wider, self._mask(pixels, head, wider)
        return mask, box

    def _mask(self, pixels: U8Array, head: Head, box: Box) -> FloatArray:
        crop = crop_for_model(pixels, box, self.segmenter.size)
        return without_islands(self.segmenter.segment(crop[None])[0], box, head.box_px)


def cut(photo: PhotoSource) -> list[CutOut]:
    """Return one cut-out per head, left to right, by a `HeadCutter` that is loaded once.

    Raises:
        PhotoError: the photo is missing, damaged, not a photo, or outside the default limits.
        ModelError: a bundled model cannot be loaded.
    """
    return shared_cutter().cut(photo)


@cache
def shared_cutter() -> HeadCutter:
    """Return the `HeadCutter` of `cut`, loaded at the first call."""
    return HeadCutter()
