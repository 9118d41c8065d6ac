"""All geometry between a photo and a network's square input: THE preprocess, of training too.

A *box* is (left, top, right, bottom) in photo pixels, as in Pillow: pixel (0, 0) covers 0 to 1. It
may be fractional and may reach outside the photo. A *look* is a square box that a network sees.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

BoolArray = npt.NDArray[np.bool_]
U8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
IntBox = tuple[int, int, int, int]

OUTSIDE_GREY = 127
"""What a look shows where it reaches outside the photo."""

REDUCING_GAP = 2.0
"""Shrinking averages whole blocks down to this many times the size: fast, and hardly different."""

WIDER_CROP = 1.6
"""How much the side of a crop grows when the head runs out of it."""

HEADS_PER_CROP = 2.0
"""Side of a head's crop in head heights: room for hair that falls below the chin."""

HEADS_PER_NEARER_CROP, HEADS_PER_FARTHER_CROP = 1.4, 2.8
"""The same, of the crops for a second and a third opinion."""

HEADS_PER_FRAME = 1.15
"""Side of the last look's square by the head's longer side, long hair included."""


def centred_square(centre_x: float, centre_y: float, side: float) -> Box:
    """Return the square box of that side, in pixels, around a point."""
    half = side / 2
    return (centre_x - half, centre_y - half, centre_x + half, centre_y + half)


def whole_photo_box(photo_shape: tuple[int, int]) -> Box:
    """Return the smallest square around a photo of (height, width): a letterbox."""
    height, width = photo_shape
    return centred_square(width / 2, height / 2, max(height, width))


def crop_box_for(head_box: Box, side: float = HEADS_PER_CROP) -> Box:
    """Return the square that the segmenter sees for a head from crown to chin.

    Args:
        head_box: of the head.
        side: of the square, in head heights.
    """
    left, top, right, bottom = head_box
    height = max(bottom - top, right - left)
    centre_y = (top + bottom) / 2 + 0.1 * height  # hair falls down, not up
    return centred_square((left + right) / 2, centre_y, side * height)


def wider_box(mask: FloatArray, box: Box, photo_shape: tuple[int, int]) -> Box | None:
    """Return a larger square, grown to where the head runs out of its crop; None if it does not.

    Long hair falls below the crop of a head; where the photo ends too, there is no more to see.

    Args:
        mask: (S, S) float32 in [0, 1] of the crop.
        box: the crop's square, in photo pixels.
        photo_shape: (height, width) of the photo.
    """
    left, top, right, bottom = box
    leaves = runs_out(mask > 0.5, box, photo_shape)
    if not any(leaves):
        return None
    leaves_left, leaves_top, leaves_right, leaves_bottom = map(int, leaves)
    growth = (WIDER_CROP - 1) * (right - left)
    to_left = growth * (0.5 + 0.5 * (leaves_left - leaves_right))
    to_top = growth * (0.5 + 0.5 * (leaves_top - leaves_bottom))
    return (left - to_left, top - to_top, right + growth - to_left, bottom + growth - to_top)


def framed_box(inside: BoolArray, box: Box, photo_shape: tuple[int, int]) -> Box:
    """Return the square that frames what is head in the photo, with some room around it.

    Beyond the photo a mask means nothing: no label was ever there.

    Args:
        inside: (S, S) bool, which pixels are head; at least one.
        box: their square, in photo pixels.
        photo_shape: (height, width) of the photo.
    """
    pixel = (box[2] - box[0]) / len(inside)
    left, top, right, bottom = scaled_box(tight_box(inside), pixel)
    x, y = box[:2]
    left, top, right, bottom = inside_photo((x + left, y + top, x + right, y + bottom), photo_shape)
    longest = max(right - left, bottom - top, 1.0)
    return centred_square((left + right) / 2, (top + bottom) / 2, HEADS_PER_FRAME * longest)


def runs_out(
    inside: BoolArray, box: Box, photo_shape: tuple[int, int]
) -> tuple[bool, bool, bool, bool]:
    """Return at which sides, left, top, right and bottom, a head leaves its crop inside the photo.

    Args:
        inside: (S, S) bool, which pixels of the crop are head.
        box: the crop's square, in photo pixels.
        photo_shape: (height, width) of the photo.
    """
    height, width = photo_shape
    touch = 0.03  # of a border line: not more than a grazing touch
    return (
        box[0] > 0 and bool(inside[:, 0].mean() > touch),
        box[1] > 0 and bool(inside[0].mean() > touch),
        box[2] < width and bool(inside[:, -1].mean() > touch),
        box[3] < height and bool(inside[-1].mean() > touch),
    )


def connected(inside: BoolArray, seed: BoolArray) -> BoolArray:
    """Return the pixels of an (H, W) mask that are connected, by edges, with the seed's in it."""
    reached = inside & seed
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= inside
        if (grown == reached).all():
            return reached
        reached = grown


def enclosed(gap: BoolArray) -> BoolArray:
    """Return the pixels of an (H, W) mask that are not connected with its border."""
    border = np.ones_like(gap)
    border[1:-1, 1:-1] = False
    return gap & ~connected(gap, border)


def tight_box(mask: BoolArray) -> IntBox:
    """Return the box around the pixels of an (H, W) mask, at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def inside_photo(box: Box, photo_shape: tuple[int, int]) -> Box:
    """Return the part of a box that lies inside a photo of (height, width)."""
    height, width = photo_shape
    left, top = max(0.0, box[0]), max(0.0, box[1])
    return (left, top, max(left, min(width, box[2])), max(top, min(height, box[3])))


def scaled_box(box: Box, scale: float) -> Box:
    """Return the box in a picture that is `scale` times as large."""
    left, top, right, bottom = box
    return (left * scale, top * scale, right * scale, bottom * scale)


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
    # Pillow takes five times as long to read a part of an array in place.
    patch = Image.fromarray(np.ascontiguousarray(photo[top:bottom, left:right]))
    # Whole blocks are averaged before the padding, which may be much larger than the photo.
    block = max(1, int((box[2] - box[0]) / size / REDUCING_GAP))
    if block > 1 and patch.width and patch.height:
        patch = patch.reduce(block)
    place = max(0, math.ceil((left - box[0]) / block)), max(0, math.ceil((top - box[1]) / block))
    x, y = left - place[0] * block, top - place[1] * block
    inner = ((box[0] - x) / block, (box[1] - y) / block, (box[2] - x) / block, (box[3] - y) / block)
    canvas = Image.new("RGB", (math.ceil(inner[2]), math.ceil(inner[3])), (OUTSIDE_GREY,) * 3)
    if patch.width and patch.height:
        canvas.paste(patch, place)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR, box=inner))


def shrunk_to(photo: U8Array, longest_px: int) -> U8Array:
    """Return the photo with its longest side at most `longest_px`, proportions kept."""
    height, width = photo.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return photo
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(photo).resize(
        size, Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP
    )
    return np.asarray(small)


def part_of_mask(mask: FloatArray, box: Box, covered: IntBox) -> FloatArray:
    """Return (h, w) float32: of a crop's mask, in its own pixels, what lies over a part of a photo.

    It is at least one pixel, and up to one more at each side.

    Args:
        mask: (S, S) float32.
        box: the square the mask was made of, in photo pixels.
        covered: left, top, right, bottom in photo pixels, as from `paste_alpha`.
    """
    scale = len(mask) / (box[2] - box[0])
    left, top = (
        min(len(mask) - 1, max(0, math.floor((covered[i] - box[i]) * scale))) for i in (0, 1)
    )
    right, bottom = (math.ceil((covered[i + 2] - box[i]) * scale) for i in (0, 1))
    return mask[top : max(bottom, top + 1), left : max(right, left + 1)]


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
    scale_x, scale_y = mask.shape[1] / (box[2] - box[0]), mask.shape[0] / (box[3] - box[1])
    # Replicated borders: the photo's outermost pixels reach up to one pixel out of the box.
    margin = math.ceil(max(scale_x, scale_y)) + 1
    padded = Image.fromarray(np.pad(mask, margin, mode="edge"))
    inner = (
        (left - box[0]) * scale_x + margin,
        (top - box[1]) * scale_y + margin,
        (right - box[0]) * scale_x + margin,
        (bottom - box[1]) * scale_y + margin,
    )
    alpha = padded.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=inner)
    return np.clip(np.asarray(alpha, np.float32), 0.0, 1.0), covered
