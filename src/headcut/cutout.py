"""Cut-outs: what a cut gives, and how it becomes a picture and the bytes of a file.

A cut-out keeps its photo by reference and its alpha only inside the tight box of the head, so
thirty heads in a 12 megapixel photo cost little more than the photo.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headcut.edge import clean_colours
from headcut.errors import HeadChoiceError, OutputError
from headcut.finish import Frame, feathered, finished, frame_of
from headcut.geometry import FloatArray, IntBox, U8Array, tight_box
from headcut.options import Heads, Point, SaveOptions, format_for
from headcut.photo import Photo
from headcut.writing import file_id, refuse_to_replace, write_whole

PNG_ZLIB_LEVEL = 1
"""zlib level of a PNG. Measured on a 12 megapixel cut-out: level 1 0.31 s and 2.7 MB, level 4
0.46 s and 2.5 MB, level 6 0.62 s and 2.4 MB."""

WEBP_QUALITIES = (90, 80, 65, 45, 25)
"""Quality of a WebP's colours, the lower ones where it must be small; its alpha is lossless."""

PNG_COLOURS = (256, 64)
"""Colours of a PNG that must be small."""

WEBP_METHOD = 2
"""Effort of the WebP encoder. Measured on the same cut-out: 0 takes 0.6 s for 630 kB, 2 takes
1.2 s for 200 kB, 4 takes 1.6 s for 195 kB."""

WEBP_MAX_SIDE_PX = 16383
"""From the WebP specification."""

VISIBLE_ALPHA = 0.5 / 255
"""Alpha below this is rounded to 0 in every file, so it is no part of the head."""


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """One head cut out of a photo (or several, merged)."""

    photo: Photo = field(repr=False)
    """The photo it comes from, shared by all its cut-outs."""

    alpha_patch: FloatArray = field(repr=False)
    """Alpha inside `box_px`: (bottom - top, right - left) float32 in [0, 1]."""

    box_px: IntBox
    """(left, top, right, bottom) of what is visible, tight, in photo pixels, as in Pillow."""

    confidence: float
    """How sure both looks together are that this is a head, in [0, 1]."""

    chin_px: Sequence[tuple[float, float]] = ()
    """Points of the line between head and neck, left to right, in photo pixels; none if unseen."""

    parts: tuple[CutOut, ...] = ()
    """The single heads, if this is several merged: each keeps its own clean colours."""

    @property
    def alpha(self) -> FloatArray:
        """(H, W) float32 in [0, 1] at photo size, 1 is head; made anew at each call."""
        alpha = np.zeros(self.photo.shape, np.float32)
        alpha[_slices(self.box_px)] = self.alpha_patch
        return alpha

    @property
    def image(self) -> Image.Image:
        """RGBA at photo size, colours cleaned at the edge and 0 where transparent; made anew."""
        return self.render()

    def render(self, options: SaveOptions | None = None) -> Image.Image:
        """Return the picture as it would be saved.

        `cutout` is RGBA; `mask` is L, 255 where alpha is at least a half; `alpha` is L.

        Raises:
            PhotoError: the background's picture cannot be read.
            OutputError: as in `frame`.
        """
        options = options or SaveOptions()
        frame = self.frame(options)
        head = self._rgba(options.feather)
        picture = finished(head, self.box_px, self.photo.pixels, frame, options)
        if options.output == "cutout":
            return picture
        alpha = picture.getchannel("A")
        return alpha.point(lambda a: 255 * (a >= 128)) if options.output == "mask" else alpha

    def frame(self, options: SaveOptions) -> Frame:
        """Return which part of the photo a saved picture shows, and at what scale.

        Raises:
            OutputError: with so much padding, the picture is too large.
        """
        return frame_of(self.alpha_patch, self.box_px, self.photo.shape, options)

    def encode(self, options: SaveOptions | None = None) -> bytes:
        """Return the bytes of a PNG or WebP file; it holds no metadata of the photo.

        Raises:
            PhotoError: as in `render`.
            OutputError: the picture is too large: see `frame`; or for WebP, or `max_bytes`.
        """
        options = options or SaveOptions()
        picture = self.render(options)
        attempts = _webp(picture) if options.format == "webp" else _png(picture)
        data = next(attempts)
        if options.max_bytes is None:
            return data
        while len(data) > options.max_bytes:
            smaller = next(attempts, None)
            if smaller is None:
                raise OutputError(
                    f"{len(data)} bytes are over the {options.max_bytes} allowed; "
                    "choose a smaller square"
                )
            data = smaller
        return data

    def save(self, path: str | PathLike[str], options: SaveOptions | None = None) -> None:
        """Write a .png or .webp file, whole or not at all; its suffix says which.

        Raises:
            OptionError: another suffix.
            PhotoError: as in `render`.
            OutputError: it cannot be written, too large, or it would replace the photo.
        """
        path = Path(path)
        options = replace(options or SaveOptions(), format=format_for(path))
        refuse_to_replace(path, [file_id(self.photo.path)] if self.photo.path else [])
        write_whole(path, self.encode(options))

    def _rgba(self, feather_px: float) -> U8Array:
        """(h, w, 4) uint8 of the box, each head faded out over so many pixels."""
        height, width = self.alpha_patch.shape
        if not self.parts:
            rgba = np.empty((height, width, 4), np.uint8)
            rgba[..., :3] = clean_colours(self.photo.pixels[_slices(self.box_px)], self.alpha_patch)
            rgba[..., 3] = _to_8_bit(self.alpha_patch)
            if feather_px:
                rgba[..., 3] = feathered(rgba[..., 3], self.box_px, self.photo.shape, feather_px)
            rgba[rgba[..., 3] == 0] = 0  # nothing of the photo hides under clear pixels
            return rgba
        merged = np.zeros((height, width, 4), np.uint8)
        for part in self.parts:
            below, above = merged[_slices(part.box_px, self.box_px)], part._rgba(feather_px)
            np.copyto(below, above, where=above[..., 3:] > below[..., 3:])
        return merged


def cut_out(
    photo: Photo,
    alpha: FloatArray,
    box_px: IntBox,
    confidence: float,
    chin_px: Sequence[tuple[float, float]] = (),
) -> CutOut | None:
    """Return the cut-out of an alpha, trimmed to what is visible; None where nothing is.

    Args:
        photo: where the head is; its own transparency is multiplied in.
        alpha: (bottom - top, right - left) float32 in [0, 1], the part of the photo in `box_px`.
        box_px: that part, inside the photo.
        confidence: of the head, in [0, 1].
        chin_px: as in `CutOut`.
    """
    if photo.alpha is not None:
        alpha = alpha * (photo.alpha[_slices(box_px)] * np.float32(1 / 255))
    alpha = np.where(alpha >= VISIBLE_ALPHA, alpha, np.float32(0))
    visible = alpha > 0
    if not visible.any():
        return None
    left, top, right, bottom = tight_box(visible)
    x, y = box_px[:2]
    tight = alpha[top:bottom, left:right].copy()  # a view would keep the whole patch alive
    return CutOut(photo, tight, (x + left, y + top, x + right, y + bottom), confidence, chin_px)


def merge(cut_outs: Sequence[CutOut]) -> CutOut:
    """Return several heads of one photo as one cut-out: the largest alpha, the least confidence.

    Raises:
        HeadChoiceError: there is none.
    """
    if not cut_outs:
        raise HeadChoiceError("no heads to merge; give at least one")
    if len(cut_outs) == 1:
        return cut_outs[0]
    lefts, tops, rights, bottoms = zip(*(head.box_px for head in cut_outs), strict=True)
    box = (min(lefts), min(tops), max(rights), max(bottoms))
    alpha = np.zeros((box[3] - box[1], box[2] - box[0]), np.float32)
    for head in cut_outs:
        part = alpha[_slices(head.box_px, box)]
        np.maximum(part, head.alpha_patch, out=part)
    confidence = min(head.confidence for head in cut_outs)
    return CutOut(cut_outs[0].photo, alpha, box, confidence, parts=tuple(cut_outs))


def choose_heads(cut_outs: Sequence[CutOut], heads: Heads) -> list[list[CutOut]]:
    """Return the heads of each picture to write, for the cut-outs of one photo, left to right.

    Args:
        cut_outs: at least one.
        heads: `all`: one picture of all; `largest`: of that with the largest box; `each`: one
            picture a head; N: of the N-th from the left, from 1; a point: of the head there.

    Raises:
        HeadChoiceError: there is no such head.
    """
    if isinstance(heads, Point):
        return [[_head_at(cut_outs, heads)]]
    if heads == "all":
        return [list(cut_outs)]
    if heads == "each":
        return [[head] for head in cut_outs]
    if heads == "largest":
        return [[max(cut_outs, key=_box_area)]]
    if heads > len(cut_outs):
        count = len(cut_outs)
        found, choice = ("1 head", "1") if count == 1 else (f"{count} heads", f"1 to {count}")
        raise HeadChoiceError(f"has {found}, no number {heads}; choose {choice}")
    return [[cut_outs[heads - 1]]]


def _slices(box_px: IntBox, inside: IntBox = (0, 0, 0, 0)) -> tuple[slice, slice]:
    """Return the rows and columns of a box in the photo, or in the box that it lies inside of."""
    left, top, right, bottom = box_px
    x, y = inside[:2]
    return slice(top - y, bottom - y), slice(left - x, right - x)


def _head_at(cut_outs: Sequence[CutOut], point: Point) -> CutOut:
    """Return the head that shows at a point, or the one in whose box it lies."""
    held = [head for head in cut_outs if _holds(head.box_px, point)]
    if not held:
        raise HeadChoiceError(
            f"has no head at {point.x:g},{point.y:g}; "
            "JSON without a point has the boxes of all heads"
        )
    return max(held, key=lambda head: (_alpha_at(head, point), -_box_area(head)))


def _holds(box_px: IntBox, point: Point) -> bool:
    left, top, right, bottom = box_px
    return left <= point.x < right and top <= point.y < bottom


def _alpha_at(head: CutOut, point: Point) -> float:
    return float(head.alpha_patch[int(point.y) - head.box_px[1], int(point.x) - head.box_px[0]])


def _box_area(head: CutOut) -> int:
    left, top, right, bottom = head.box_px
    return (right - left) * (bottom - top)


def _to_8_bit(alpha: FloatArray) -> U8Array:
    return (alpha * 255 + 0.5).astype(np.uint8)


def _png(picture: Image.Image) -> Iterator[bytes]:
    """Yield the file, then smaller ones."""
    yield _encoded(picture, "PNG", compress_level=PNG_ZLIB_LEVEL)
    yield _encoded(picture, "PNG", compress_level=9)
    for colours in PNG_COLOURS:
        yield _encoded(picture.quantize(colours), "PNG", compress_level=9)


def _webp(picture: Image.Image) -> Iterator[bytes]:
    """Yield the file, then smaller ones.

    Cut-outs with loss, since people choose WebP for its size; masks exactly as they are.
    """
    if max(picture.size) > WEBP_MAX_SIDE_PX:
        raise OutputError(
            f"{picture.width}x{picture.height} is too large for WebP, whose sides end at "
            f"{WEBP_MAX_SIDE_PX} pixels; use PNG or --crop"
        )
    exact = picture.mode != "RGBA"
    for quality in WEBP_QUALITIES[: 1 if exact else None]:
        yield _encoded(picture, "WEBP", lossless=exact, quality=quality, method=WEBP_METHOD)


def _encoded(picture: Image.Image, format: str, **choices: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **choices)
    return file.getvalue()
