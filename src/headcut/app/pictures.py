"""What the window shows of a cut: small pictures, drawn on the worker's thread."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from headcut.cutout import CutOut, merge
from headcut.geometry import shrunk_to
from headcut.options import SaveOptions
from headcut.photo import Photo

LIFTED_PX = 1024
"""Longest side of the photo with its heads lifted out."""

RESULT_PX = 256
"""Longest side of the picture as it would be saved."""

THUMBNAIL_PX = 72

DIMMED = 0.35
"""Brightness of what is not cut out."""

GLOW_SHARE = 0.012
"""Width of the light around a lifted head, as a share of the picture's longest side."""

CHECK_PX = 12
"""Side of a square of the checkerboard that stands for clear."""


@dataclass(frozen=True, slots=True)
class View:
    """Files of pictures, PNG or JPEG."""

    lifted: bytes
    """The photo, dimmed around the chosen heads."""

    thumbnails: tuple[bytes, ...]
    """Every head, left to right, `THUMBNAIL_PX` square."""

    result: bytes
    """The picture that would be saved, on a checkerboard."""


def draw_view(heads: Sequence[CutOut], chosen: Collection[int], options: SaveOptions) -> View:
    """Return what the window shows of the cut-outs of one photo.

    Args:
        heads: all of them, at least one.
        chosen: which are in the picture, by their places.
        options: what the picture is to look like.

    Raises:
        PhotoError: the background's picture cannot be read.
    """
    kept = [heads[place] for place in sorted(chosen)]
    small = SaveOptions(square=THUMBNAIL_PX, padding=6)
    return View(
        _file(lifted(kept), "JPEG"),
        tuple(_file(on_checkerboard(head.render(small)), "PNG") for head in heads),
        _file(result(kept, options), "PNG"),
    )


def draw_preview(photo: Photo) -> bytes:
    """Return the file of a small, dark picture of a photo that is still being cut."""
    return _file(_dimmed(Image.fromarray(shrunk_to(photo.pixels, LIFTED_PX))), "JPEG")


def lifted(heads: Sequence[CutOut]) -> Image.Image:
    """Return the photo with these heads as they are and a little light around them, the rest dark.

    Args:
        heads: of one photo, at least one.
    """
    photo = Image.fromarray(shrunk_to(heads[0].photo.pixels, LIFTED_PX))
    alpha = Image.new("L", photo.size)
    scale = max(photo.size) / max(heads[0].photo.shape)
    for head in heads:
        left, top, right, bottom = (round(edge * scale) for edge in head.box_px)
        patch = Image.fromarray((head.alpha_patch * 255 + 0.5).astype(np.uint8))
        patch = patch.resize((max(1, right - left), max(1, bottom - top)))
        layer = Image.new("L", photo.size)
        layer.paste(patch, (left, top))
        alpha = ImageChops.lighter(alpha, layer)
    dimmed = _dimmed(photo)
    glow = alpha.filter(ImageFilter.GaussianBlur(GLOW_SHARE * max(photo.size)))
    dimmed.paste("white", mask=glow.point(lambda level: level * 0.7))
    dimmed.paste(photo, mask=alpha)
    return dimmed


def result(heads: Sequence[CutOut], options: SaveOptions) -> Image.Image:
    """Return the picture that these heads would be saved as, small, on a checkerboard."""
    picture = merge(heads).render(options)
    picture.thumbnail((RESULT_PX, RESULT_PX))
    return on_checkerboard(picture)


def on_checkerboard(picture: Image.Image) -> Image.Image:
    """Return an RGBA picture on grey and white squares."""
    rows, columns = np.indices((picture.height, picture.width)) // CHECK_PX
    grey = np.where((rows + columns) % 2 == 0, 255, 216).astype(np.uint8)
    board = Image.fromarray(grey).convert("RGB")
    board.paste(picture, mask=picture)
    return board


def _dimmed(photo: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(photo).enhance(DIMMED)


def _file(picture: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **({"quality": 92} if format == "JPEG" else {"compress_level": 1}))
    return file.getvalue()
