"""READ FIRST. The way of a photo, as a table of contents.

photo -> heads -> square crops -> masks -> alpha at photo size -> cut-outs
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np

from headcut.cutout import CutOut, cut_out
from headcut.edge import refine_alpha
from headcut.find import Head, HeadFinder
from headcut.geometry import (
    Box,
    FloatArray,
    IntBox,
    U8Array,
    crop_box_for,
    crop_for_model,
    paste_alpha,
)
from headcut.model_file import open_model
from headcut.options import PhotoLimits
from headcut.photo import Photo, PhotoSource, read_photo
from headcut.segment import HeadSegmenter


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
        if not heads:
            return []
        boxes = [crop_box_for(head.box_px) for head in heads]
        crops = [crop_for_model(photo.pixels, box, self.segmenter.size) for box in boxes]
        masks = self.segmenter.segment(np.stack(crops))
        cut_outs = [
            cut_one(photo, head, box, mask)
            for head, box, mask in zip(heads, boxes, masks, strict=True)
        ]
        return [head for head in cut_outs if head is not None]


def cut_one(photo: Photo, head: Head, box: Box, mask: FloatArray) -> CutOut | None:
    """Return the cut-out of one head from the mask of its crop; None if nothing is left of it.

    Args:
        photo: where the head is.
        head: what the finder said of it.
        box: the square that was cropped, in photo pixels.
        mask: (size, size) float32 in [0, 1], what the segmenter said of the crop.
    """
    alpha, covered_px = paste_alpha(mask, box, photo.shape)
    alpha = refine_alpha(_patch(photo.pixels, covered_px), alpha)
    return cut_out(photo, alpha, covered_px, head.confidence)


def _patch(pixels: U8Array, box_px: IntBox) -> U8Array:
    left, top, right, bottom = box_px
    return pixels[top:bottom, left:right]


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
