"""A training picture, and what those of heads near by and far away have in common.

All render photos and labels with `headcut.geometry.crop_for_model`, the runtime's own
preprocess: labels travel as the channels of pictures, so they move with the photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from headcut.geometry import Box, FloatArray, U8Array, centred_square, crop_for_model
from headcut_train.augment import Random
from headcut_train.sources import HEAD, KNOWN, NECK, PERSON, Sample

Sources = Mapping[str, Sequence[Sample]]
"""Samples by the name of their source."""

SURE = 250
"""A rendered label bit (0 to 255) above this holds for the whole pixel."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A training picture.

    Attributes:
        image: (S, S, 3) uint8.
        target: segmenter: (2, S, S) float32, shares of head and of its neck. Finder: (5, s, s)
            float32, s = S / 4: the heat of head centres, and the box as in `networks.Finder`.
        weight: segmenter: like the target; finder: (1, s, s). How much a pixel counts, 0 where
            unknown.
        box_weight: finder: (s, s), how much a cell's box counts; segmenter: all zero, (1, 1).
    """

    image: U8Array
    target: FloatArray
    weight: FloatArray
    box_weight: FloatArray


HARD_TRIES = 4
"""Hats and traps are rare and hard: of so many samples drawn, the first with one is taken."""

COMMON_TRIES = {"person_crops": 2, "guessed": 2}
"""The same for sources in which they are common: a third there wears hats."""


def pick(sources: Sources, name: str, rng: Random) -> Sample:
    """Pick a sample of a source, hats and traps more often than they are there."""
    samples = sources[name]
    for _ in range(COMMON_TRIES.get(name, HARD_TRIES)):
        sample = samples[int(rng.integers(len(samples)))]
        if sample.trap or sample.shows_hat:
            break
    return sample


def pick_mixed(sources: Sources, mix: Mapping[str, float], rng: Random) -> Sample:
    """Pick from the sources in their shares; where none has one, from all samples alike."""
    shares = {name: share for name, share in mix.items() if sources.get(name)}
    shares = shares or {name: float(len(samples)) for name, samples in sources.items()}
    share = np.array(list(shares.values()))
    return pick(sources, str(rng.choice(list(shares), p=share / share.sum())), rng)


def pick_box(boxes: FloatArray, rng: Random) -> FloatArray:
    """Pick one (4,) of boxes (N, 4)."""
    box: FloatArray = boxes[int(rng.integers(len(boxes)))]
    return box


def random_angle(rng: Random) -> float:
    """Return by how many degrees to turn a picture; more than half are not turned."""
    return float(np.clip(rng.normal(0, 11), -30, 30)) if rng.random() < 0.45 else 0.0


BIT_TABLES = {
    bit: [255 * ((bits & bit) > 0) for bits in range(256)] for bit in (HEAD, KNOWN, PERSON, NECK)
}
"""For `Image.point`: 255 where a plane has the bit, else 0."""


def mask_labels(sample: Sample) -> tuple[U8Array, ...]:
    """Return one or two (H, W, 3) uint8 of 0 or 255: head, known, person; and the neck, thrice."""
    plane = Image.fromarray(sample.plane)
    bands = {bit: plane.point(table) for bit, table in BIT_TABLES.items()}
    labels = np.asarray(Image.merge("RGB", [bands[HEAD], bands[KNOWN], bands[PERSON]]))
    if bands[NECK].getbbox() is None:
        return (labels,)
    return labels, np.asarray(Image.merge("RGB", [bands[NECK]] * 3))


def rendered_look(
    photo: U8Array, labels: tuple[U8Array, ...], look: Box, size: int, angle: float
) -> tuple[U8Array, U8Array]:
    """Return a look at the photo and at its labels, turned by `angle` degrees around its middle.

    The labels come as one array, channels of the first picture first.
    """
    if angle == 0:
        image, *channels = (crop_for_model(plane, look, size) for plane in (photo, *labels))
        return image, np.concatenate(channels, axis=-1)
    reach = abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle)))
    wide = int(np.ceil(size * reach / 2)) * 2
    side = (look[2] - look[0]) * wide / size
    box = centred_square((look[0] + look[2]) / 2, (look[1] + look[3]) / 2, side)
    edge = (wide - size) // 2
    turned = []
    for plane in (photo, *labels):
        image = Image.fromarray(crop_for_model(plane, box, wide))
        image = image.rotate(angle, Image.Resampling.BILINEAR)
        turned.append(np.asarray(image.crop((edge, edge, edge + size, edge + size))))
    return turned[0], np.concatenate(turned[1:], axis=-1)


def upturned(image: U8Array, rng: Random) -> U8Array:
    """Turn a picture by some quarters: things that are no heads come in all positions."""
    return np.rot90(image, int(rng.integers(4)))


def random_scene(
    sources: Sources,
    rng: Random,
    size: int,
    name: str = "scenes",
    sides: tuple[float, float] = (0.5, 1.0),
) -> U8Array:
    """Return a random square of a photo, as a rule of one without people: (size, size, 3).

    Args:
        sources: by name.
        rng: chooses.
        size: side of the result in pixels.
        name: of the source.
        sides: the least and the largest side of the square, by the photo's shorter side.
    """
    photo = pick(sources, name, rng).photo
    height, width = photo.shape[:2]
    side = min(height, width) * rng.uniform(*sides)
    x = rng.uniform(side / 2, width - side / 2)
    y = rng.uniform(side / 2, height - side / 2)
    return crop_for_model(photo, centred_square(x, y, side), size)


def person_alpha(channels: U8Array) -> FloatArray:
    """Return (S, S, 1) in [0, 1]: how much of a pixel is the person; nothing outside its photo."""
    return (channels[..., 2:3] * (channels[..., 1:2] > SURE)).astype(np.float32) / 255


def blend(front: U8Array, back: U8Array, alpha: FloatArray) -> U8Array:
    """Lay (H, W, 3) `front` over `back`, as opaque as (H, W, 1) `alpha` in [0, 1] says."""
    return (front * alpha + back * (1 - alpha) + 0.5).astype(np.uint8)
