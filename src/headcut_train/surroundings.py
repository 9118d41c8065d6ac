"""What is around a head or hides some of it: other backgrounds, colours, people, bodies."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from headcut.geometry import OUTSIDE_GREY, Box, FloatArray, U8Array, centred_square
from headcut_train.augment import Random
from headcut_train.pictures import (
    SURE,
    Sources,
    blend,
    mask_labels,
    person_alpha,
    pick,
    random_scene,
    rendered_look,
)
from headcut_train.sources import HEAD, KNOWN, PERSON, Sample

BEYOND_SHARE = 0.5
"""Of other backgrounds: how many go on beyond the photo, where there is grey else."""


def other_background(
    image: U8Array, channels: U8Array, sources: Sources, rng: Random, crowds: float
) -> tuple[U8Array, U8Array]:
    """Set the person before another scene; unknown pixels stay as they are.

    In a share `crowds` there are people in it, and half of the scenes are out of focus then.
    """
    stays = np.maximum(person_alpha(channels), channels[..., 1:2] <= SURE)
    if rng.random() < BEYOND_SHARE:
        grey = np.abs(channels[..., :3].astype(np.int16) - OUTSIDE_GREY).max(axis=-1) < 20
        # What is thin is a blend between what is known and what is not.
        beyond = Image.fromarray(grey * np.uint8(255)).filter(ImageFilter.MinFilter(3))
        with_rim = np.asarray(beyond.filter(ImageFilter.MaxFilter(7)))[..., None] > 0
        stays = np.where(with_rim & (channels[..., 1:2] <= SURE), 0, stays)
        channels = channels.copy()
        channels[np.asarray(beyond) > 0] = [0, 255, *[0] * (channels.shape[-1] - 2)]
    if crowds and "scut_heads" in sources and rng.random() < crowds:
        scene = random_scene(sources, rng, len(image), "scut_heads", (0.15, 0.7))
    else:
        scene = random_scene(sources, rng, len(image))
    if crowds and rng.random() < 0.5:
        scene = _blurred(scene, rng)
    return blend(image, scene, stays.astype(np.float32)), channels


def _blurred(image: U8Array, rng: Random) -> U8Array:
    """Return a picture as out of focus."""
    radius = len(image) * rng.uniform(0.004, 0.025)
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def coloured_alike(image: U8Array, channels: U8Array, rng: Random) -> U8Array:
    """Give clothes or background the colour of a spot at the head's rim: of hair, most often.

    Coats and hedges of the hair's colour were what the segmenter took for hair most.
    """
    head = channels[..., 0]
    rim = (head > SURE) & (np.asarray(Image.fromarray(head).filter(ImageFilter.BoxBlur(5))) < SURE)
    spots = np.argwhere(rim)
    beside = (channels[..., 1] > SURE) * (255.0 - head)
    person = channels[..., 2] / 255.0
    beside *= person if rng.random() < 0.65 else 1 - person
    beside *= 1 - channels[..., 3:4].max(-1, initial=0) / 255.0  # a neck stays like its face
    if not len(spots) or not beside.any():
        return image
    row, column = spots[int(rng.integers(len(spots)))]
    near = np.s_[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
    colour = image[near][head[near] > SURE].mean(axis=0)
    mean = np.tensordot(beside, image, axes=2) / beside.sum()
    tinted = mean + (image - mean) * rng.uniform(0.5, 1.1) + (colour - mean) * rng.uniform(0.6, 1)
    return blend(np.clip(tinted, 0, 255), image, (beside / 255)[..., None])


def beside_another(
    image: U8Array, channels: U8Array, sources: Sources, rng: Random
) -> tuple[U8Array, U8Array]:
    """Put somebody else's head around, behind or before this one: it is background here."""
    size = len(image)
    other = pick(sources, "celebamask", rng)
    box = tuple(float(v) for v in other.boxes[0])
    side = (box[3] - box[1]) * rng.uniform(1.4, 2.8)
    away, angle = side * rng.uniform(0.3, 0.6), rng.uniform(0, 2 * np.pi)
    x = (box[0] + box[2]) / 2 + away * np.cos(angle)
    look = centred_square(x, (box[1] + box[3]) / 2 + away * np.sin(angle), side)
    other_image, other_channels = rendered_look(other.photo, mask_labels(other), look, size, 0.0)
    alpha = person_alpha(other_channels)
    in_front = rng.random() < 0.3
    if not in_front:
        if rng.random() < 0.4:
            other_image = _blurred(other_image, rng)
        alpha = alpha * (1 - person_alpha(channels)) * (channels[..., 1:2] > SURE)
    return _laid_over(other_image, alpha, image, channels)


HIDDEN = (0.03, 0.4)
"""How much of a head somebody's body hides, where it hides some."""


def partly_hidden(
    image: U8Array, channels: U8Array, sources: Sources, rng: Random
) -> tuple[U8Array, U8Array]:
    """Put a part of somebody's body, as a hand or a sleeve, before a part of the head."""
    other = pick(sources, "clothing_coparsing", rng)
    head = channels[..., 0].astype(np.float32) / 255
    look = _hiding_look(other, head, rng)
    if look is None:
        return image, channels
    front, labels = rendered_look(other.photo, mask_labels(other), look, len(image), 0.0)
    alpha = person_alpha(labels) * (1 - labels[..., :1] / np.float32(255))
    return _laid_over(front, alpha, image, channels)


def _hiding_look(other: Sample, head: FloatArray, rng: Random) -> Box | None:
    """Return a square of a photo whose body hides some of an (S, S) head; None if it is not found.

    The head's upper quarter stays free: what is before that is a hat, as a rule.
    """
    body = np.pad((other.plane & (PERSON | KNOWN | HEAD)) == PERSON | KNOWN, 1)
    of_body, of_head = np.argwhere(body), np.argwhere(head > 0.5)
    if not len(of_body) or not len(of_head):
        return None
    upper = int(np.quantile(of_head[:, 0], 0.25))
    for _ in range(20):
        side = float(other.boxes[0][3] - other.boxes[0][1]) * rng.uniform(0.8, 2.2)
        at_head = of_head[int(rng.integers(len(of_head)))]
        corner = of_body[int(rng.integers(len(of_body)))] - at_head * (side / len(head))
        # Where each row and column of the head lies in the photo, the padding being no body.
        rows, columns = (c + np.arange(len(head)) * (side / len(head)) for c in corner)
        rows = np.clip(rows, 0, body.shape[0] - 1).astype(int)
        columns = np.clip(columns, 0, body.shape[1] - 1).astype(int)
        hidden = head * body[np.ix_(rows, columns)]
        of_hat = hidden[:upper].sum() > HIDDEN[0] * head[:upper].sum()
        if not of_hat and HIDDEN[0] < hidden.sum() / head.sum() < HIDDEN[1]:
            top, left = corner - 1
            return (left, top, left + side, top + side)
    return None


def _laid_over(
    front: U8Array, alpha: FloatArray, image: U8Array, channels: U8Array
) -> tuple[U8Array, U8Array]:
    """Lay what is surely not this head over a picture; its labels end there."""
    known = np.maximum(channels[..., 1], (alpha[..., 0] > 0.5) * np.uint8(255))
    channels = (channels * (1 - alpha)).astype(np.uint8)
    channels[..., 1] = known
    return blend(front, image, alpha), channels
