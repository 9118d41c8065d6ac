"""Real pictures to compare a file with its network on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headcut.doctor import SAMPLE_HEAD_PX, SAMPLE_PHOTO
from headcut.geometry import BoolArray, U8Array, centred_square, crop_box_for, crop_for_model
from headcut.photo import load_photo
from headcut_train.pictures import Sources
from headcut_train.sources import HEAD, KNOWN, Sample
from headcut_train.train import PICTURES

Labelled = Sequence[tuple[U8Array, BoolArray, BoolArray]]
"""Crops of heads, (S, S, 3) uint8, which pixels people call head, and which they know of."""


def crops_of_training(pictures: str, sources: Sources, size: int, count: int, seed: int) -> U8Array:
    """Return pictures of a name in `train.PICTURES`: (count, size, size, 3) uint8."""
    rngs = (np.random.default_rng([seed, i]) for i in range(count))
    return np.stack([PICTURES[pictures](sources, rng, size).image for rng in rngs])


def crops_of_sample(size: int, count: int, seed: int) -> U8Array:
    """Return squares of the sample photo, near its head, some mirrored, some darker.

    For those who have the weights but no data sets.

    Args:
        size: side of the crops in pixels.
        count: of the crops.
        seed: another one gives other crops.

    Returns:
        (count, size, size, 3) uint8.
    """
    photo, rng = load_photo(SAMPLE_PHOTO), np.random.default_rng(seed)
    left, top, right, bottom = SAMPLE_HEAD_PX
    height = bottom - top
    crops = []
    for _ in range(count):
        x, y = rng.normal([(left + right) / 2, (top + bottom) / 2], 0.2 * height)
        crop = crop_for_model(photo, centred_square(x, y, rng.uniform(1, 3) * height), size)
        crop = crop[:, ::-1] if rng.random() < 0.5 else crop
        crops.append((crop * rng.uniform(0.6, 1.0)).astype(np.uint8))
    return np.stack(crops)


def crops_with_masks(samples: Sequence[Sample], size: int, count: int | None = None) -> Labelled:
    """Return the crops that the segmenter would see of labelled heads, with people's masks.

    Args:
        samples: with one labelled head each, such as held-out portraits.
        size: side of the crops in pixels.
        count: of the first samples to take; all if not given.
    """
    crops = []
    for sample in (samples[i] for i in range(min(len(samples), count or len(samples)))):
        box = crop_box_for(tuple(sample.boxes[0]))
        planes = [(sample.plane & bit > 0) * np.uint8(255) for bit in (HEAD, KNOWN, KNOWN)]
        labels = crop_for_model(np.stack(planes, axis=-1), box, size)
        image = crop_for_model(np.array(sample.photo), box, size)
        crops.append((image, labels[..., 0] > 127, labels[..., 1] > 250))
    return crops
