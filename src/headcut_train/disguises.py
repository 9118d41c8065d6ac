"""Hats, and hair from behind, put on heads that are bare or look at the camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from headcut.geometry import (
    BoolArray,
    Box,
    FloatArray,
    U8Array,
)
from headcut_train.augment import Random, photometric
from headcut_train.pictures import Sources, blend, pick
from headcut_train.sources import HAT, HEAD, KNOWN, NECK, PERSON, Sample


def hatted(sample: Sample, sources: Sources, rng: Random) -> Sample:
    """Put somebody else's hat on a head: a part of it from there on, but for a rim nobody knows."""
    hat = real_hat(sources, rng)
    if hat is None:
        return sample
    left, top, right, bottom = sample.boxes[0]
    over = hat_box((left, top, right, bottom), rng, highest=0.35)
    rim = 0.08 * (over[2] - over[0])
    photo = Image.fromarray(sample.photo)
    worn = photo.copy()
    paste_hat(worn, hat, over)
    shape = sample.plane.shape[0], sample.plane.shape[1]
    mask, core, ring = (hat_mask(shape, over, reach) for reach in (0, -rim, rim))
    plane = np.where(np.asarray(ring), sample.plane & ~np.uint8(KNOWN), sample.plane)
    return replace(
        sample,
        photo=np.asarray(Image.composite(worn, photo, mask.filter(ImageFilter.GaussianBlur(1)))),
        plane=np.where(np.asarray(core), _as_head(sample.plane), plane),
        boxes=np.array([(left, min(top, over[1]), right, bottom)], np.float32),
        tags=(("hat",),),
    )


def _as_head(plane: U8Array) -> U8Array:
    """Return the bits of a plane all of which is head."""
    return (plane & ~np.uint8(NECK)) | np.uint8(HEAD | KNOWN | PERSON)


HAT_STRETCH = (1.5, 1.25)
"""How much wider and higher a hat may get that is put on somebody else."""

ALIGNED = (0.1, 0.0, 0.9, 0.93)
"""Where heads are in CelebAMask-HQ, as shares of the photo: all are aligned by their faces."""


def in_hat_of(portraits: Sequence[Sample], sample: Sample, rng: Random) -> Sample:
    """Put a hat of a portrait on the first head; on another portrait it sits where it sat."""
    is_portrait = sample.name.startswith("celebamask/")
    for _ in range(40 if is_portrait else 160):  # one in 25 wears one, one in 100 all of one
        wearer = portraits[int(rng.integers(len(portraits)))]
        if wearer.shows_hat and (is_portrait or not (wearer.plane[0] & HAT).any()):
            break
    else:
        return sample
    colours = photometric(wearer.photo, rng, coarsest=0.8)
    if rng.random() < 0.5:
        colours = colours[..., rng.permutation(3)]
    mirror = int(rng.choice((1, -1)))
    colours, hat = colours[:, ::mirror], ((wearer.plane & HAT) > 0)[:, ::mirror]
    box = np.array(ALIGNED) * len(hat)
    left, top, right, bottom = box if is_portrait else sample.boxes[0]
    wider, higher = np.exp(rng.uniform(0, np.log(HAT_STRETCH)))
    x, out = (left + right) / 2, (right - left) / 2 * wider
    scale = (bottom - top) / (box[3] - box[1])
    brim = top + scale * (np.flatnonzero(hat.any(axis=1))[-1] + 1 - box[1])
    over = (x - out, brim + (top - brim) * higher, x + out, brim + (bottom - brim) * higher)
    return _put_on(sample, colours, hat, box, np.array(over))


def _put_on(
    sample: Sample, colours: U8Array, mask: BoolArray, box: FloatArray, over: FloatArray
) -> Sample:
    """Lay what a mask shows over a photo so that `box` comes to lie at `over`: it is head there."""
    scale = (over[2:] - over[:2]) / (box[2:] - box[:2])
    fewer = max(1, int(1 / scale.max()))  # of its pixels, so that thin hair is not lost
    shift = box[:2] - over[:2] / scale
    placed = np.array((1 / scale[0], 0, shift[0], 0, 1 / scale[1], shift[1])) / fewer
    front, shown = (
        np.asarray(
            Image.fromarray(np.ascontiguousarray(plane))
            .reduce(fewer)
            .transform(
                sample.plane.shape[::-1],
                Image.Transform.AFFINE,
                tuple(placed),
                Image.Resampling.BILINEAR,
            )
        )
        for plane in (colours, mask * np.uint8(255))
    )
    rows = np.flatnonzero((shown > 127).any(axis=1))
    if not len(rows):
        return sample
    boxes = sample.boxes.copy()
    boxes[0, 1] = min(boxes[0, 1], rows[0])
    return replace(
        sample,
        photo=blend(front, sample.photo, shown[..., None].astype(np.float32) / 255),
        plane=np.where(shown > 127, _as_head(sample.plane), sample.plane),
        boxes=boxes,
    )


VEILED_SHARE = 0.3
"""Share of views from behind in which the hair is smooth and of any colour: a veil, a helmet."""


def from_behind(photos: Sequence[Sample], sample: Sample, rng: Random) -> Sample:
    """Put hair that was taken from behind before the first face: who it is has turned away.

    Labels tell views from behind: there, hair fills the middle of a head's box.
    """
    for _ in range(16):  # one in three
        other = photos[int(rng.integers(len(photos)))]
        if _shows_whole_hair(other):
            break
    else:
        return sample
    box, face = other.boxes[0], sample.boxes[0]
    scale = ((face[2:] - face[:2]) / (box[2:] - box[:2])).max() * rng.uniform(1, 1.15)
    middle, reach = (face[:2] + face[2:]) / 2, (box[2:] - box[:2]) / 2 * scale
    colours, hair = photometric(other.photo, rng, coarsest=0.8), (other.plane & HEAD) > 0
    if rng.random() < VEILED_SHARE:
        smooth = np.asarray(Image.fromarray(colours).convert("L").filter(ImageFilter.BoxBlur(6)))
        shade = smooth[..., None] / max(1.0, float(smooth[hair].mean()))
        colours = np.clip(shade * rng.uniform(0, 255, 3), 0, 255).astype(np.uint8)
    over = np.concatenate([middle - reach, middle + reach])
    return _put_on(sample, colours, hair, box, over)


def _shows_whole_hair(sample: Sample) -> bool:
    """Whether hair fills the middle of the first box, and ends within the photo."""
    if not len(sample.boxes):
        return False
    left, top, right, bottom = sample.boxes[0].clip(min=0)
    hair = (sample.plane & HEAD) > 0
    margin_x, margin_y = (right - left) / 4, (bottom - top) / 4
    middle = hair[
        int(top + margin_y) : int(bottom - margin_y), int(left + margin_x) : int(right - margin_x)
    ]
    at_border = hair[[0, -1]].sum() + hair[:, [0, -1]].sum()
    return bool(middle.size and middle.mean() > 0.95 and at_border < 0.1 * (right - left))


def hat_box(box: Box, rng: Random, highest: float = 0.1) -> Box:
    """Return the ellipse of a hat on a head, above its box by at most `highest` of its height."""
    left, top, right, bottom = box
    wider, height = (right - left) * rng.uniform(0.05, 0.2), bottom - top
    above, below = height * rng.uniform(0, highest), height * rng.uniform(0.35, 0.6)
    return left - wider, top - above, right + wider, top + below


def hat_mask(shape: tuple[int, int], over: Box, reach: float = 0.0) -> Image.Image:
    """Return (H, W), 255 in a hat's ellipse above its flat brim, `reach` pixels wider."""
    mask = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = over
    draw.ellipse((left - reach, top - reach, right + reach, bottom + reach), fill=255)
    brim = bottom - 0.3 * (bottom - top) + reach
    draw.rectangle((left - reach, brim, right + reach, bottom + reach), fill=0)
    return mask


def paste_hat(image: Image.Image, hat: Image.Image, over: Box) -> None:
    """Stretch a hat over a box of an image."""
    left, top, right, bottom = over
    size_px = max(1, round(right - left)), max(1, round(bottom - top))
    image.paste(hat.resize(size_px), (round(left), round(top)))


def real_hat(sources: Sources, rng: Random) -> Image.Image | None:
    """Return somebody's hat, cut from a photo; None if who is drawn wears none that is whole."""
    wearer = pick(sources, "person_crops", rng)
    left, top, right, bottom = wearer.boxes[0]
    height = bottom - top
    brim = top + height * rng.uniform(0.35, 0.6)
    if not wearer.shows_hat or top < -0.05 * height:
        return None
    hat = wearer.photo[max(0, int(top)) : int(brim) + 1, max(0, int(left)) : int(right) + 1]
    return Image.fromarray(hat)
