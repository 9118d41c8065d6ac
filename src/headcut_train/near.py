"""What segmenter and refiner see in training: crops that one head fills, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from headcut.geometry import (
    Box,
    FloatArray,
    U8Array,
    centred_square,
    crop_box_for,
    crop_for_model,
    tight_box,
    whole_photo_box,
)
from headcut_train.augment import Random, photometric
from headcut_train.disguises import from_behind, hatted, in_hat_of
from headcut_train.pictures import (
    BIT_TABLES,
    SURE,
    Picture,
    Sources,
    blend,
    mask_labels,
    person_alpha,
    pick_box,
    pick_mixed,
    random_angle,
    rendered_look,
    upturned,
)
from headcut_train.sources import HEAD, PERSON, SEARCHED, Sample
from headcut_train.surroundings import (
    beside_another,
    coloured_alike,
    other_background,
    partly_hidden,
)

NEAR_MIX = {
    "celebamask": 0.27,
    "lfw_parts": 0.13,
    "clothing_coparsing": 0.09,
    "figaro_hair": 0.08,
    "scut_heads": 0.12,
    "person_crops": 0.13,
    "guessed": 0.18,
}
"""Share of each source in near pictures, guessed masks (`guesses`) being there if asked for."""

FRAMED_MIX = {
    "celebamask": 0.37,
    "lfw_parts": 0.17,
    "clothing_coparsing": 0.15,
    "fasseg": 0.05,
    "figaro_hair": 0.02,
    "guessed": 0.24,
}
"""Share of each source in framed pictures: of what people drew masks of, heads or hair, and of
guessed masks, if they are asked for."""

COARSEST = 0.12
"""What the smallest heads show in a crop, by its size: a head of 16 pixels is seen enlarged."""

NECK_WEIGHT = 2.0
"""How much a neck's pixel counts: few they are, and a sliver of neck shows."""

ALIKE_SHARE = 0.05
"""Share of near pictures whose clothes or background have a colour of the head's rim."""

HATTED_SHARE = 0.1
"""Share of near pictures of whole people without a hat in which the head gets somebody else's, if
who is drawn wears one: about half do."""

EMPTY_SHARE = 0.25
"""Share of near pictures with no head in the middle: what the finder takes for one by mistake."""

MISTAKEN_SHARE = 0.85
"""Of the empty pictures of a photo with `Sample.mistaken`: how many show one of those."""

EMPTY_MIX = {
    "scenes": 0.5,
    "scut_heads": 0.15,
    "clothing_coparsing": 0.15,
    "person_crops": 0.2,
}
"""Share of each source in empty near pictures: hands, shoes and wheels, not only landscapes."""


@dataclass(frozen=True, slots=True)
class HeadPictures:
    """Pictures of one head: the share of each source in them, and the shares of some of them."""

    mix: Mapping[str, float]
    framed: float
    """Of one labelled head: framed by its mask."""
    frame: tuple[float, float]
    """The least and the largest side of such a frame, by the head's longer side."""
    hidden: float
    """Of whole people: somebody's body hides some of the head."""
    elsewhere: float = 0.25
    """Of whole people: before another background."""
    crowds: float = 0.0
    """Of those: a background with people."""
    beside: float = 0.08
    """Of whole people: with somebody else's head."""
    hats: float = 0.0
    """Of photos of one head without a hat: in somebody else's of CelebAMask-HQ."""
    behind: float = 0.0
    """Of photos of one head without a hat: as from behind, by somebody else's hair."""
    toned: float = 0.0
    """Of whole people: in another light than what is around."""
    warped: float = 0.0
    """Stretched here and there."""


NEAR = HeadPictures(
    NEAR_MIX,
    framed=0.6,
    frame=(1.05, 1.4),
    hidden=0.1,
    beside=0.12,
    hats=0.15,
    behind=0.1,
)
"""The segmenter's, which also learns from boxes."""

FRAMED = HeadPictures(
    FRAMED_MIX,
    framed=1.0,
    frame=(1.05, 1.3),
    hidden=0.1,
    elsewhere=0.4,
    crowds=0.35,
    beside=0.3,
    hats=0.25,
    behind=0.06,
    toned=0.3,
    warped=0.5,
)
"""The refiner has few photos of its own kind and learns them by heart: so they change more."""


def near_picture(sources: Sources, rng: Random, size: int) -> Picture:
    """Return a crop for the segmenter: one head, others in it being background, or none."""
    if rng.random() < EMPTY_SHARE:
        empty = _empty_picture(sources, rng, size)
        if empty is not None:
            return empty
    return _head_picture(sources, NEAR, rng, size)


def framed_picture(sources: Sources, rng: Random, size: int) -> Picture:
    """Return a crop for the refiner: one head, others in it being background, that fills it."""
    return _head_picture(sources, FRAMED, rng, size)


def whole_picture(sources: Sources, rng: Random, size: int) -> Picture:
    """Return a whole photo, letterboxed, mirrored half the time: all that the original did."""
    sample = pick_mixed(sources, NEAR_MIX, rng)
    look = whole_photo_box((sample.plane.shape[0], sample.plane.shape[1]))
    image, channels = rendered_look(sample.photo, mask_labels(sample), look, size, 0.0)
    if rng.random() < 0.5:
        image, channels = image[:, ::-1], channels[:, ::-1]
    return _masked_picture(image, channels, sample)


def _head_picture(sources: Sources, kind: HeadPictures, rng: Random, size: int) -> Picture:
    sample = pick_mixed(sources, kind.mix, rng)
    whole_person = (sample.plane[::8, ::8] & PERSON).any()
    bare = whole_person and not sample.shows_hat
    if bare and "person_crops" in sources and rng.random() < HATTED_SHARE:
        sample = hatted(sample, sources, rng)
    sample = _disguised(sample, sources, rng, kind)
    target = int(rng.integers(len(sample.boxes)))
    labels = mask_labels(sample) if sample.masked else (_box_labels(sample, target),)
    look = _near_look(sample, target, rng, kind)
    angle = random_angle(rng)
    image, channels = rendered_look(sample.photo, labels, look, size, angle)
    if rng.random() < kind.warped:
        image, channels = _warped(image, channels, rng)
    if whole_person:
        if rng.random() < kind.toned:
            toned = photometric(image, rng, coarsest=0.8)
            whole = np.maximum(person_alpha(channels), channels[..., 2:3] > SURE)
            image = blend(toned, image, whole)  # with what nobody knows between face and neck
        if "scenes" in sources and rng.random() < kind.elsewhere:
            image, channels = other_background(image, channels, sources, rng, kind.crowds)
        if rng.random() < ALIKE_SHARE:
            image = coloured_alike(image, channels, rng)
        if "clothing_coparsing" in sources and rng.random() < kind.hidden:
            image, channels = partly_hidden(image, channels, sources, rng)
        if "celebamask" in sources and rng.random() < kind.beside:
            image, channels = beside_another(image, channels, sources, rng)
    if rng.random() < 0.5:
        image, channels = image[:, ::-1], channels[:, ::-1]
    return _masked_picture(photometric(image, rng, coarsest=COARSEST), channels, sample)


def _disguised(sample: Sample, sources: Sources, rng: Random, kind: HeadPictures) -> Sample:
    """Turn one person without a hat away, put on a portrait's hat, or both, in some cases."""
    if sample.shows_hat or len(sample.boxes) != 1 or not (sample.plane & HEAD).any():
        return sample  # of what is but boxed, nobody knows the hair around a disguise
    if "figaro_hair" in sources and rng.random() < kind.behind:
        sample = from_behind(sources["figaro_hair"], sample, rng)
    if "celebamask" in sources and rng.random() < kind.hats:
        sample = in_hat_of(sources["celebamask"], sample, rng)
    return sample


def _masked_picture(image: U8Array, channels: U8Array, sample: Sample) -> Picture:
    """Return the picture of an image and its rendered labels, as from `mask_labels`."""
    head, known, _, *necks = channels.transpose(2, 0, 1)
    neck = necks[0] if necks else np.zeros_like(head)
    weight = np.where(neck > SURE, np.float32(NECK_WEIGHT), np.float32(known > SURE))
    return Picture(
        image=image,
        target=np.stack([head, neck]).astype(np.float32) / 255,
        weight=np.stack([weight, weight * sample.neck_labelled]),
        box_weight=np.zeros((1, 1), np.float32),
    )


def _empty_picture(sources: Sources, rng: Random, size: int) -> Picture | None:
    """Return a picture without a head in its middle; None if photos are full of their heads."""
    for _ in range(10):
        sample = pick_mixed(sources, EMPTY_MIX, rng)
        look = _empty_look(sample, rng)
        if look is not None:
            break
    else:
        return None
    image = crop_for_model(sample.photo, look, size)
    image = upturned(image, rng) if sample.shows_nobody else image
    image = image[:, ::-1] if rng.random() < 0.5 else image
    return Picture(
        image=photometric(image, rng, coarsest=COARSEST),
        target=np.zeros((2, size, size), np.float32),
        weight=np.ones((2, size, size), np.float32),
        box_weight=np.zeros((1, 1), np.float32),
    )


def _empty_look(sample: Sample, rng: Random) -> Box | None:
    """Return a square with no head around its middle; None if a few tries find none."""
    if len(sample.mistaken) and rng.random() < MISTAKEN_SHARE:
        return _crop_of(pick_box(sample.mistaken, rng), rng)
    height, width = sample.plane.shape
    left, top, right, bottom = np.concatenate([sample.boxes, sample.ignored]).T
    for _ in range(20):
        side = float(np.exp(rng.uniform(np.log(28), np.log(max(height, width)))))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        near = np.hypot((left + right) / 2 - x, (top + bottom) / 2 - y) < 0.3 * side
        inside = (left < x) & (x < right) & (top < y) & (y < bottom)
        if sample.plane[int(y), int(x)] & SEARCHED and not (near | inside).any():
            return centred_square(x, y, side)
    return None


def _box_labels(sample: Sample, target: int) -> U8Array:
    """Draw weak labels from boxes, as in `mask_labels`, with the target box's head alone as head.

    The core of the ellipse in a box is surely head; the ring around it (wider below, where hair
    falls) and doubtful heads are unknown, and what lies in no box is background. Later, larger
    heads stand in front. What the plane calls head is the first head's hair: around it little more
    than face and neck is unknown.
    """
    height, width = sample.plane.shape
    searched = ((sample.plane & SEARCHED) > 0) * np.uint8(255)
    known = Image.fromarray(searched)
    head = Image.new("L", (width, height))
    hair = Image.fromarray(sample.plane).point(BIT_TABLES[HEAD])
    draw_known, draw_head, draw_hair = (ImageDraw.Draw(plane) for plane in (known, head, hair))
    for box in sample.ignored:
        for draw in (draw_known, draw_hair):
            draw.rectangle(tuple(float(v) for v in box), fill=0)
    for i in np.argsort(sample.boxes[:, 3] - sample.boxes[:, 1]):
        left, top, right, bottom = (float(v) for v in sample.boxes[i])
        w, h = right - left, bottom - top
        ring = (left - 0.25 * w, top - 0.2 * h, right + 0.25 * w, bottom + 0.3 * h)
        core = (left + 0.14 * w, top + 0.12 * h, right - 0.14 * w, bottom - 0.14 * h)
        if i == target:
            ring = (left - 0.4 * w, top - 0.25 * h, right + 0.4 * w, bottom + 0.9 * h)
        shows_hair = i == target == 0 and hair.getbbox() is not None
        if shows_hair:
            ring = (left - 0.12 * w, top - 0.03 * h, right + 0.12 * w, bottom + 0.5 * h)
        draw_known.ellipse(ring, fill=0)
        draw_known.ellipse(core, fill=255)
        draw_head.ellipse(core, fill=255 if i == target else 0)
        if shows_hair:
            known.paste(255, mask=hair)
            head.paste(255, mask=hair)
    planes = (np.asarray(head), np.asarray(known), np.zeros_like(searched))
    return np.stack(planes, axis=-1)


FRAME_ERROR, FRAME_ERROR_SHARE = (-0.1, 0.3), 0.3
"""By how much a side of a frame is off, outwards, by the head's longer side; share of sides."""


def _near_look(sample: Sample, target: int, rng: Random, kind: HeadPictures) -> Box:
    """Frame the head by its mask, in such a share of the cases, or by its box.

    The runtime does so too, but more exactly. Its mask is a first one, which runs out of the head
    at some sides and lacks a part at others: a network that is always shown the exact frame takes
    for head what reaches to it.
    """
    head = sample.plane & HEAD
    if not (target == 0 and head.any() and rng.random() < kind.framed):
        return _crop_of(sample.boxes[target], rng)
    exact: Box = tight_box(head > 0)
    if not sample.masked:  # it is but the hair
        left, top, right, bottom = (float(v) for v in sample.boxes[0])
        exact = min(exact[0], left), min(exact[1], top), max(exact[2], right), max(exact[3], bottom)
    longest = max(exact[2] - exact[0], exact[3] - exact[1])
    wrong = longest * rng.uniform(*FRAME_ERROR, 4) * (rng.random(4) < FRAME_ERROR_SHARE)
    left, top, right, bottom = exact + wrong * (-1, -1, 1, 1)
    longest = max(right - left, bottom - top)
    return _shifted((left, top, right, bottom), float(longest * rng.uniform(*kind.frame)), rng)


CROPPED = (1.1, 2.9)
"""The least and the largest side of a crop around a box, in heads: the runtime's, 1.15 to 2.8."""


def _crop_of(box: FloatArray, rng: Random) -> Box:
    """Return a crop around a box: of any side, for the runtime's differ, and not quite centred."""
    side = float(np.exp(rng.uniform(*np.log(CROPPED))))
    crop = crop_box_for(tuple(box), side)
    return _shifted(crop, crop[2] - crop[0], rng)


def _shifted(box: Box, side: float, rng: Random) -> Box:
    shift_x, shift_y = rng.uniform(-0.07, 0.07, 2) * side
    return centred_square((box[0] + box[2]) / 2 + shift_x, (box[1] + box[3]) / 2 + shift_y, side)


WARP_CELLS, WARP = 3, 0.04
"""A warped picture's nodes, as cells a side, and by how much of its side they move."""


def _warped(image: U8Array, channels: U8Array, rng: Random) -> tuple[U8Array, U8Array]:
    """Stretch a picture and its labels here and there: hair and faces of other shapes."""
    size = len(image)
    edges = np.linspace(0, size, WARP_CELLS + 1).round().astype(int)
    nodes = np.stack(np.meshgrid(edges, edges), axis=-1)  # x, y by row and column
    nodes = np.clip(nodes + rng.normal(0, WARP * size, nodes.shape), 0, size)
    mesh = []
    for i, j in np.ndindex(WARP_CELLS, WARP_CELLS):
        cell = edges[j], edges[i], edges[j + 1], edges[i + 1]
        corners = nodes[[i, i + 1, i + 1, i], [j, j, j + 1, j + 1]]  # against the clock
        mesh.append((tuple(cell), tuple(corners.ravel())))
    warped = []
    for plane in (image, *np.split(channels, channels.shape[-1] // 3, axis=-1)):
        picture = Image.fromarray(np.ascontiguousarray(plane))
        moved = picture.transform(
            (size, size), Image.Transform.MESH, mesh, Image.Resampling.BILINEAR
        )
        warped.append(np.asarray(moved))
    return warped[0], np.concatenate(warped[1:], axis=-1)
