"""Cut-out -> the picture people want: framed, outlined, feathered, on a background.

A *layer* is the head's own RGBA picture and where it lies in the output. Everything that only
concerns the head is done on it, so a small head in a large photo costs little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageFilter, ImageOps

from headcut.errors import OutputError, PhotoError
from headcut.geometry import BoolArray, FloatArray, IntBox, U8Array, shrunk_to
from headcut.options import BLUR, TRANSPARENT, PhotoLimits, SaveOptions, is_colour
from headcut.photo import load_photo

BLUR_SHARE = 0.03
"""Radius of a blurred background, as a share of its longest side."""

BLUR_PX = 256
"""Longest side of the copy that is blurred."""

BACKGROUND_LIMITS = PhotoLimits(min_side_px=1)
"""Of a background's picture: it may be a single colour."""

MOST_PIXELS = 100_000_000
"""A picture that padding makes larger than this, and than its photo, is refused."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a photo that an output shows.

    Attributes:
        left, top: the output's top left corner, in photo pixels; may lie outside the photo.
        size: (width, height) of the output, in its own pixels.
        scale: output pixels per photo pixel.
    """

    left: float
    top: float
    size: tuple[int, int]
    scale: float = 1.0


def frame_of(
    alpha_patch: FloatArray, box_px: IntBox, photo_shape: tuple[int, int], options: SaveOptions
) -> Frame:
    """Return what the output shows: the photo, the head's box, or a square around the head.

    Padding is added in percent of the longer side of the box. An outline fits in, but for
    the photo's own frame, which shows what is in the photo.

    Args:
        alpha_patch: (bottom - top, right - left) float32, the head's alpha.
        box_px: where it lies in the photo.
        photo_shape: (height, width) of the photo.
        options: `crop`, `square`, `circle`, `padding` and `outline`.

    Raises:
        OutputError: it is far larger than the photo.
    """
    left, top, right, bottom = box_px
    longest = max(right - left, bottom - top)
    padding = longest * options.padding / 100
    outline = options.outline.width_px if options.outline else 0
    if options.circle or options.square:
        x, y = (left + right) / 2, (top + bottom) / 2
        side = longest + 2 * padding
        if options.circle:
            side = 2 * (_reach(alpha_patch) + padding)
        output = options.square or math.ceil(side) + 2 * outline
        scale = (output - 2 * outline) / side
        half = output / scale / 2
        frame = Frame(x - half, y - half, (output, output), scale)
    elif options.crop:
        more = round(padding) + outline
        width, height = right - left + 2 * more, bottom - top + 2 * more
        frame = Frame(left - more, top - more, (width, height))
    else:
        return Frame(0, 0, (photo_shape[1], photo_shape[0]))
    if math.prod(frame.size) > max(MOST_PIXELS, math.prod(photo_shape)):
        width, height = frame.size
        raise OutputError(f"{width}x{height} is too large a picture; give less padding")
    return frame


def finished(
    head: U8Array, box_px: IntBox, photo: U8Array, frame: Frame, options: SaveOptions
) -> Image.Image:
    """Return the RGBA picture of a frame.

    Args:
        head: (h, w, 4) uint8 RGBA of the head, h and w as in `box_px`.
        box_px: where it lies in the photo.
        photo: (H, W, 3) uint8, for a blurred background.
        frame: as from `frame_of`.
        options: `outline`, `background` and `circle`.

    Raises:
        PhotoError: the background's picture cannot be read.
    """
    layer = Image.fromarray(head)
    x, y = (box_px[0] - frame.left) * frame.scale, (box_px[1] - frame.top) * frame.scale
    if frame.scale != 1:
        layer, x, y = _scaled(layer, x, y, frame.scale)
    if options.outline:
        width = options.outline.width_px
        layer = _outlined(layer, width, _colour(options.outline.colour))
        x, y = x - width, y - width
    picture = _background(options.background, photo, frame)
    place = (round(x), round(y))
    if options.background == TRANSPARENT:
        picture.paste(layer, place)
    else:
        picture.paste(Image.alpha_composite(_part(picture, place, layer.size), layer), place)
    return _in_circle(picture) if options.circle else picture


def _reach(alpha: FloatArray) -> float:
    """Return how far the farthest visible pixel is from the middle of the patch."""
    height, width = alpha.shape
    rows, columns = np.nonzero(alpha)
    away = np.hypot(np.abs(columns + 0.5 - width / 2), np.abs(rows + 0.5 - height / 2))
    return float(away.max()) + 0.5


def _scaled(
    layer: Image.Image, x: float, y: float, scale: float
) -> tuple[Image.Image, float, float]:
    """Return the layer at another size, on whole pixels of the output."""
    left, top = math.floor(x), math.floor(y)
    right, bottom = math.ceil(x + layer.width * scale), math.ceil(y + layer.height * scale)
    # A transparent border, so that what is sampled beyond the layer is clear.
    border = math.ceil(1 / scale) + 1
    padded = Image.new("RGBA", (layer.width + 2 * border, layer.height + 2 * border))
    padded.paste(layer, (border, border))
    box = (
        (left - x) / scale + border,
        (top - y) / scale + border,
        (right - x) / scale + border,
        (bottom - y) / scale + border,
    )
    size = (right - left, bottom - top)
    # "RGBa" is premultiplied: clear pixels must not darken the edge.
    resized = padded.convert("RGBa").resize(size, Image.Resampling.LANCZOS, box=box)
    return resized.convert("RGBA"), left, top


def feathered(
    alpha: U8Array, box_px: IntBox, photo_shape: tuple[int, int], width_px: float
) -> U8Array:
    """Return a head's alpha, faded out inside its edge, but not where the photo cuts it off.

    Args:
        alpha: (h, w) uint8 of the head, h and w as in `box_px`.
        box_px: where it lies in the photo.
        photo_shape: (height, width) of the photo.
        width_px: over how many pixels; at most a quarter of the head's shorter side.
    """
    width_px = min(width_px, min(alpha.shape) / 4)
    margin = math.ceil(2 * width_px)
    height, width = photo_shape
    at_border = (box_px[0] == 0, box_px[1] == 0, box_px[2] == width, box_px[3] == height)
    left, top, right, bottom = (0 if touches else margin for touches in at_border)
    padded = Image.fromarray(np.pad(alpha, ((top, bottom), (left, right))))
    blurred = np.asarray(padded.filter(ImageFilter.GaussianBlur(width_px / 2)))
    inner = blurred[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    share = np.clip(inner.astype(np.float32) * (2 / 255) - 1, 0, 1)
    return (alpha * share + 0.5).astype(np.uint8)


def _outlined(layer: Image.Image, width_px: int, colour: tuple[int, ...]) -> Image.Image:
    """Return the layer, `width_px` larger on each side, with a line of that width around it."""
    grown = ImageOps.expand(layer, width_px, (0, 0, 0, 0))
    inside = np.asarray(grown.getchannel("A")) > 127
    share = np.clip(width_px + 0.5 - distance_to(inside, width_px + 1), 0, 1)
    line = Image.new("RGBA", grown.size, colour[:3])
    line.putalpha(Image.fromarray((share * colour[3] + 0.5).astype(np.uint8)))
    return Image.alpha_composite(line, grown)


def distance_to(inside: BoolArray, most: int) -> FloatArray:
    """Return each pixel's Euclidean distance to the nearest pixel of a mask, up to `most`.

    First along columns, then over the rows' parabolas (Felzenszwalb and Huttenlocher, 2012), tried
    one by one since few are near.

    Args:
        inside: (H, W) bool.
        most: in pixels; what lies farther is given as `most`.
    """
    rows = np.arange(len(inside), dtype=np.float32)[:, None]
    above = np.maximum.accumulate(np.where(inside, rows, -np.inf), axis=0)
    below = np.minimum.accumulate(np.where(inside, rows, np.inf)[::-1], axis=0)[::-1]
    vertical = np.minimum(np.minimum(rows - above, below - rows), most) ** 2
    squared = vertical.copy()
    for step in range(1, min(most, inside.shape[1] - 1) + 1):
        squared[:, step:] = np.minimum(squared[:, step:], vertical[:, :-step] + step * step)
        squared[:, :-step] = np.minimum(squared[:, :-step], vertical[:, step:] + step * step)
    distance: FloatArray = np.minimum(np.sqrt(squared), most).astype(np.float32)
    return distance


def _background(background: str, photo: U8Array, frame: Frame) -> Image.Image:
    if background == TRANSPARENT:
        return Image.new("RGBA", frame.size)
    if background == BLUR:
        return _blurred(photo, frame)
    if is_colour(background):
        return Image.new("RGBA", frame.size, _colour(background))
    try:
        picture = Image.fromarray(load_photo(Path(background), BACKGROUND_LIMITS))
    except PhotoError as error:
        raise PhotoError(f"background {background}: {error}") from error
    return ImageOps.fit(picture, frame.size, Image.Resampling.LANCZOS).convert("RGBA")


def _blurred(photo: U8Array, frame: Frame) -> Image.Image:
    """Return the photo behind the frame, out of focus; beyond the photo its border goes on."""
    small = shrunk_to(photo, 2 * BLUR_PX)
    shrink_x, shrink_y = small.shape[1] / photo.shape[1], small.shape[0] / photo.shape[0]
    width, height = frame.size
    fit = BLUR_PX / max(frame.size)
    size = (max(1, round(width * fit)), max(1, round(height * fit)))
    columns = (np.arange(size[0]) + 0.5) / size[0] * width / frame.scale + frame.left
    rows = (np.arange(size[1]) + 0.5) / size[1] * height / frame.scale + frame.top
    columns = np.clip(columns * shrink_x, 0, small.shape[1] - 1).astype(int)
    rows = np.clip(rows * shrink_y, 0, small.shape[0] - 1).astype(int)
    picture = Image.fromarray(small[rows[:, None], columns])
    blurred = picture.filter(ImageFilter.GaussianBlur(BLUR_SHARE * BLUR_PX))
    return blurred.resize(frame.size, Image.Resampling.BICUBIC).convert("RGBA")


def _part(picture: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    return picture.crop((place[0], place[1], place[0] + size[0], place[1] + size[1]))


def _in_circle(picture: Image.Image) -> Image.Image:
    """Return a square picture with only its largest circle left."""
    side = picture.width
    offset = np.arange(side, dtype=np.float32) + 0.5 - side / 2
    share = np.clip(side / 2 - np.hypot(offset, offset[:, None]) + 0.5, 0, 1)
    round_picture = np.array(picture)
    round_picture[..., 3] = round_picture[..., 3] * share + 0.5
    round_picture[round_picture[..., 3] == 0] = 0
    return Image.fromarray(round_picture)


def _colour(text: str) -> tuple[int, ...]:
    """Return RGBA."""
    return ImageColor.getcolor(text, "RGBA")  # type: ignore[return-value]
