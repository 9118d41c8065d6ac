"""All geometry between a photo and a network's square input: THE preprocess, used by training too.

A *box* is (left, top, right, bottom) in photo pixels, as in Pillow: pixel (0, 0) covers 0 to 1. It may
be fractional and may reach outside the photo. A *look* is a square box that a network sees.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

U8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
IntBox = tuple[int, int, int, int]

OUTSIDE_GREY = 127
"""What a look shows where it reaches outside the photo."""

HEADS_PER_CROP = 2.0
"""Side of a head's crop in head heights: room for hair that falls below the chin."""


def centred_square(centre_x: float, centre_y: float, side: float) -> Box:
    """Return the square box of that side, in pixels, around a point."""
    half = side / 2
    return (centre_x - half, centre_y - half, centre_x + half, centre_y + half)


def whole_photo_box(photo_shape: tuple[int, int]) -> Box:
    """Return the smallest square around a photo of (height, width): a letterbox."""
    height, width = photo_shape
    return centred_square(width / 2, height / 2, max(height, width))


def crop_box_for(head_box: Box) -> Box:
    """Return the square that the segmenter sees for a head from crown to chin."""
    left, top, right, bottom = head_box
    height = max(bottom - top, right - left)
    centre_y = (top + bottom) / 2 + 0.1 * height  # hair falls down, not up
    return centred_square((left + right) / 2, centre_y, HEADS_PER_CROP * height)


def covered_pixels(box: Box, photo_shape: tuple[int, int]) -> IntBox:
    """Return the whole pixels of a photo of (height, width) that a box touches; may be empty."""
    height, width = photo_shape
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return (left, top, max(left, right), max(top, bottom))


def crop_for_model(photo: U8Array, box: Box, size: int) -> U8Array:
    """Return what a network sees of a square box: (size, size, 3) uint8.

    Shrinking averages (Pillow's triangle filter), so no detail aliases; pixels outside the photo
    are `OUTSIDE_GREY`.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        box: the square to show, in photo pixels.
        size: side of the result in pixels.
    """
    left, top, right, bottom = covered_pixels(box, (photo.shape[0], photo.shape[1]))
    origin_x, origin_y = math.floor(box[0]), math.floor(box[1])
    extent = (math.ceil(box[2]) - origin_x, math.ceil(box[3]) - origin_y)
    patch = Image.fromarray(photo[top:bottom, left:right])
    if patch.size != extent:
        canvas = Image.new("RGB", extent, (OUTSIDE_GREY,) * 3)
        if patch.width and patch.height:
            canvas.paste(patch, (left - origin_x, top - origin_y))
        patch = canvas
    inner = (box[0] - origin_x, box[1] - origin_y, box[2] - origin_x, box[3] - origin_y)
    small = patch.resize((size, size), Image.Resampling.BILINEAR, box=inner, reducing_gap=2.0)
    return np.asarray(small)


def paste_alpha(
    mask: FloatArray, box: Box, photo_shape: tuple[int, int]
) -> tuple[FloatArray, IntBox]:
    """Return a crop's mask at photo size, and the photo pixels it covers: `crop_for_model` undone.

    Args:
        mask: (S, S) float32 in [0, 1].
        box: the square the mask was made of, in photo pixels.
        photo_shape: (height, width) of the photo.

    Returns:
        (h, w) float32 in [0, 1], bicubic and so without stair-steps, and its whole-pixel
        (left, top, right, bottom) inside the photo.
    """
    covered = covered_pixels(box, photo_shape)
    left, top, right, bottom = covered
    if right == left or bottom == top:
        return np.zeros((bottom - top, right - left), np.float32), covered
    # Replicated borders let the outermost half pixel of the covered area be read too.
    margin = 2
    padded = Image.fromarray(np.pad(mask, margin, mode="edge"))
    scale_x, scale_y = mask.shape[1] / (box[2] - box[0]), mask.shape[0] / (box[3] - box[1])
    inner = (
        max(0.0, (left - box[0]) * scale_x + margin),
        max(0.0, (top - box[1]) * scale_y + margin),
        min(float(padded.width), (right - box[0]) * scale_x + margin),
        min(float(padded.height), (bottom - box[1]) * scale_y + margin),
    )
    alpha = padded.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=inner)
    return np.clip(np.asarray(alpha, np.float32), 0.0, 1.0), covered
