"""What the networks see in training: heads near by for the segmenter and the refiner, or far.

All render photos and labels with `headcut.geometry.crop_for_model`, the runtime's own
preprocess: labels travel as the channels of pictures, so they move with the photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from headcut.geometry import (
    OUTSIDE_GREY,
    BoolArray,
    Box,
    FloatArray,
    U8Array,
    centred_square,
    crop_box_for,
    crop_for_model,
    whole_photo_box,
)
from headcut_train.augment import Random, photometric
from headcut_train.networks import FINDER_STRIDE
from headcut_train.sources import HAT, HEAD, KNOWN, NECK, PERSON, SEARCHED, Sample

Sources = Mapping[str, Sequence[Sample]]

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
        box_weight: finder: (s, s), 1 where the box counts; segmenter: all zero, (1, 1).
    """

    image: U8Array
    target: FloatArray
    weight: FloatArray
    box_weight: FloatArray


HARD_TRIES = 4
"""Hats and traps are rare and hard: of so many samples drawn, the first with one is taken."""

COMMON_TRIES = {"person_crops": 2}
"""The same for sources in which they are common: a third there wears hats."""


def _pick(sources: Sources, name: str, rng: Random) -> Sample:
    samples = sources[name]
    for _ in range(COMMON_TRIES.get(name, HARD_TRIES)):
        sample = samples[int(rng.integers(len(samples)))]
        if sample.trap or sample.shows_hat:
            break
    return sample


def _pick_mixed(sources: Sources, mix: Mapping[str, float], rng: Random) -> Sample:
    """Pick from the sources in their shares; where none has one, from all samples alike."""
    shares = {name: share for name, share in mix.items() if sources.get(name)}
    shares = shares or {name: float(len(samples)) for name, samples in sources.items()}
    share = np.array(list(shares.values()))
    return _pick(sources, str(rng.choice(list(shares), p=share / share.sum())), rng)


def _pick_box(boxes: FloatArray, rng: Random) -> FloatArray:
    box: FloatArray = boxes[int(rng.integers(len(boxes)))]
    return box


# ---------------------------------------------------------------- near: one head fills the crop

NEAR_MIX = {
    "celebamask": 0.33,
    "lfw_parts": 0.16,
    "clothing_coparsing": 0.11,
    "figaro_hair": 0.09,
    "scut_heads": 0.14,
    "person_crops": 0.17,
}
"""Share of each source in near pictures."""

FRAMED_MIX = {
    "celebamask": 0.57,
    "lfw_parts": 0.17,
    "clothing_coparsing": 0.18,
    "fasseg": 0.05,
    "figaro_hair": 0.03,
}
"""Share of each source in framed pictures: only where people drew masks, of heads or of hair."""

COARSEST = 0.12
"""What the smallest heads show in a crop, by its size: a head of 16 pixels is seen enlarged."""

NECK_WEIGHT = 2.0
"""How much a neck's pixel counts: few they are, and a sliver of neck shows."""

ALIKE_SHARE = 0.05
"""Share of near pictures whose clothes or background have a colour of the head's rim."""

HIDDEN = (0.03, 0.4)
"""How much of a head somebody's body hides, where it hides some."""

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


def _head_picture(sources: Sources, kind: HeadPictures, rng: Random, size: int) -> Picture:
    sample = _pick_mixed(sources, kind.mix, rng)
    whole_person = (sample.plane[::8, ::8] & PERSON).any()
    bare = whole_person and not sample.shows_hat
    if bare and "person_crops" in sources and rng.random() < HATTED_SHARE:
        sample = _hatted(sample, sources, rng)
    sample = _disguised(sample, sources, rng, kind)
    target = int(rng.integers(len(sample.boxes)))
    labels = _mask_labels(sample) if sample.masked else (_box_labels(sample, target),)
    look = _near_look(sample, target, rng, kind)
    angle = _angle(rng)
    image, channels = _rendered(sample.photo, labels, look, size, angle)
    if rng.random() < kind.warped:
        image, channels = _warped(image, channels, rng)
    if whole_person:
        if rng.random() < kind.toned:
            toned = photometric(image, rng, coarsest=0.8)
            whole = np.maximum(_person_alpha(channels), channels[..., 2:3] > SURE)
            image = _blend(toned, image, whole)  # with what nobody knows between face and neck
        if "scenes" in sources and rng.random() < kind.elsewhere:
            image, channels = _other_background(image, channels, sources, rng, kind.crowds)
        if rng.random() < ALIKE_SHARE:
            image = _coloured_alike(image, channels, rng)
        if "clothing_coparsing" in sources and rng.random() < kind.hidden:
            image, channels = _partly_hidden(image, channels, sources, rng)
        if "celebamask" in sources and rng.random() < kind.beside:
            image, channels = _beside_another(image, channels, sources, rng)
    if rng.random() < 0.5:
        image, channels = image[:, ::-1], channels[:, ::-1]
    return _masked_picture(photometric(image, rng, coarsest=COARSEST), channels, sample)


def _angle(rng: Random) -> float:
    """Return by how many degrees to turn a picture; more than half are not turned."""
    return float(np.clip(rng.normal(0, 11), -30, 30)) if rng.random() < 0.45 else 0.0


def whole_picture(sources: Sources, rng: Random, size: int) -> Picture:
    """Return a whole photo, letterboxed, mirrored half the time: all that the original did."""
    sample = _pick_mixed(sources, NEAR_MIX, rng)
    look = whole_photo_box((sample.plane.shape[0], sample.plane.shape[1]))
    image, channels = _rendered(sample.photo, _mask_labels(sample), look, size, 0.0)
    if rng.random() < 0.5:
        image, channels = image[:, ::-1], channels[:, ::-1]
    return _masked_picture(image, channels, sample)


def _masked_picture(image: U8Array, channels: U8Array, sample: Sample) -> Picture:
    """Return the picture of an image and its rendered labels, as from `_mask_labels`."""
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
        sample = _pick_mixed(sources, EMPTY_MIX, rng)
        look = _empty_look(sample, rng)
        if look is not None:
            break
    else:
        return None
    image = crop_for_model(sample.photo, look, size)
    image = _upturned(image, rng) if sample.shows_nobody else image
    image = image[:, ::-1] if rng.random() < 0.5 else image
    return Picture(
        image=photometric(image, rng, coarsest=COARSEST),
        target=np.zeros((2, size, size), np.float32),
        weight=np.ones((2, size, size), np.float32),
        box_weight=np.zeros((1, 1), np.float32),
    )


def _upturned(image: U8Array, rng: Random) -> U8Array:
    """Turn a picture by some quarters: things that are no heads come in all positions."""
    return np.rot90(image, int(rng.integers(4)))


def _empty_look(sample: Sample, rng: Random) -> Box | None:
    """Return a square with no head around its middle; None if a few tries find none."""
    if len(sample.mistaken) and rng.random() < MISTAKEN_SHARE:
        return _crop_of(_pick_box(sample.mistaken, rng), rng)
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


_BIT_TABLES = {
    bit: [255 * ((bits & bit) > 0) for bits in range(256)] for bit in (HEAD, KNOWN, PERSON, NECK)
}


def _mask_labels(sample: Sample) -> tuple[U8Array, ...]:
    """Return one or two (H, W, 3) uint8 of 0 or 255: head, known, person; and the neck, thrice."""
    plane = Image.fromarray(sample.plane)
    bands = {bit: plane.point(table) for bit, table in _BIT_TABLES.items()}
    labels = np.asarray(Image.merge("RGB", [bands[HEAD], bands[KNOWN], bands[PERSON]]))
    if bands[NECK].getbbox() is None:
        return (labels,)
    return labels, np.asarray(Image.merge("RGB", [bands[NECK]] * 3))


def _box_labels(sample: Sample, target: int) -> U8Array:
    """Draw weak labels from boxes, as in `_mask_labels`, with the target box's head alone as head.

    The core of the ellipse in a box is surely head; the ring around it (wider below, where hair
    falls) and doubtful heads are unknown, and what lies in no box is background. Later, larger
    heads stand in front. What the plane calls head is the first head's hair: around it little more
    than face and neck is unknown.
    """
    height, width = sample.plane.shape
    searched = ((sample.plane & SEARCHED) > 0) * np.uint8(255)
    known = Image.fromarray(searched)
    head = Image.new("L", (width, height))
    hair = Image.fromarray(sample.plane).point(_BIT_TABLES[HEAD])
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


def _near_look(sample: Sample, target: int, rng: Random, kind: HeadPictures) -> Box:
    """Frame the head by its mask, in such a share of the cases, or by its box.

    The runtime does so too, but more exactly. Its mask is a first one, which runs out of the head
    at some sides and lacks a part at others: a network that is always shown the exact frame takes
    for head what reaches to it.
    """
    head = sample.plane & HEAD
    if not (target == 0 and head.any() and rng.random() < kind.framed):
        return _crop_of(sample.boxes[target], rng)
    rows, columns = np.flatnonzero(head.any(1)), np.flatnonzero(head.any(0))
    exact: Box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    if not sample.masked:  # it is but the hair
        left, top, right, bottom = (float(v) for v in sample.boxes[0])
        exact = min(exact[0], left), min(exact[1], top), max(exact[2], right), max(exact[3], bottom)
    longest = max(exact[2] - exact[0], exact[3] - exact[1])
    wrong = longest * rng.uniform(*FRAME_ERROR, 4) * (rng.random(4) < FRAME_ERROR_SHARE)
    left, top, right, bottom = exact + wrong * (-1, -1, 1, 1)
    longest = max(right - left, bottom - top)
    return _shifted((left, top, right, bottom), float(longest * rng.uniform(*kind.frame)), rng)


FRAME_ERROR, FRAME_ERROR_SHARE = (-0.1, 0.3), 0.3
"""By how much a side of a frame is off, outwards, by the head's longer side; share of sides."""

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


def _rendered(
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


def _person_alpha(channels: U8Array) -> FloatArray:
    """Return (S, S, 1) in [0, 1]: how much of a pixel is the person; nothing outside its photo."""
    return (channels[..., 2:3] * (channels[..., 1:2] > SURE)).astype(np.float32) / 255


def _blend(front: U8Array, back: U8Array, alpha: FloatArray) -> U8Array:
    return (front * alpha + back * (1 - alpha) + 0.5).astype(np.uint8)


def _scene(
    sources: Sources,
    rng: Random,
    size: int,
    name: str = "scenes",
    sides: tuple[float, float] = (0.5, 1.0),
) -> U8Array:
    """Return a random square of a photo, as a rule of one without people."""
    photo = _pick(sources, name, rng).photo
    height, width = photo.shape[:2]
    side = min(height, width) * rng.uniform(*sides)
    x = rng.uniform(side / 2, width - side / 2)
    y = rng.uniform(side / 2, height - side / 2)
    return crop_for_model(photo, centred_square(x, y, side), size)


BEYOND_SHARE = 0.5
"""Of other backgrounds: how many go on beyond the photo, where there is grey else."""


def _other_background(
    image: U8Array, channels: U8Array, sources: Sources, rng: Random, crowds: float
) -> tuple[U8Array, U8Array]:
    """Set the person before another scene; unknown pixels stay as they are.

    In a share `crowds` there are people in it, and half of the scenes are out of focus then.
    """
    stays = np.maximum(_person_alpha(channels), channels[..., 1:2] <= SURE)
    if rng.random() < BEYOND_SHARE:
        grey = np.abs(channels[..., :3].astype(np.int16) - OUTSIDE_GREY).max(axis=-1) < 20
        # What is thin is a blend between what is known and what is not.
        beyond = Image.fromarray(grey * np.uint8(255)).filter(ImageFilter.MinFilter(3))
        with_rim = np.asarray(beyond.filter(ImageFilter.MaxFilter(7)))[..., None] > 0
        stays = np.where(with_rim & (channels[..., 1:2] <= SURE), 0, stays)
        channels = channels.copy()
        channels[np.asarray(beyond) > 0] = [0, 255, *[0] * (channels.shape[-1] - 2)]
    if crowds and "scut_heads" in sources and rng.random() < crowds:
        scene = _scene(sources, rng, len(image), "scut_heads", (0.15, 0.7))
    else:
        scene = _scene(sources, rng, len(image))
    if crowds and rng.random() < 0.5:
        scene = _blurred(scene, rng)
    return _blend(image, scene, stays.astype(np.float32)), channels


def _blurred(image: U8Array, rng: Random) -> U8Array:
    """Return a picture as out of focus."""
    radius = len(image) * rng.uniform(0.004, 0.025)
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


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


def _coloured_alike(image: U8Array, channels: U8Array, rng: Random) -> U8Array:
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
    return _blend(np.clip(tinted, 0, 255), image, (beside / 255)[..., None])


def _hatted(sample: Sample, sources: Sources, rng: Random) -> Sample:
    """Put somebody else's hat on a head: a part of it from there on, but for a rim nobody knows."""
    hat = _real_hat(sources, rng)
    if hat is None:
        return sample
    left, top, right, bottom = sample.boxes[0]
    over = _hat((left, top, right, bottom), rng, highest=0.35)
    rim = 0.08 * (over[2] - over[0])
    photo = Image.fromarray(sample.photo)
    worn = photo.copy()
    _paste_hat(worn, hat, over)
    shape = sample.plane.shape[0], sample.plane.shape[1]
    mask, core, ring = (_hat_mask(shape, over, reach) for reach in (0, -rim, rim))
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


def _in_hat_of(portraits: Sequence[Sample], sample: Sample, rng: Random) -> Sample:
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
        photo=_blend(front, sample.photo, shown[..., None].astype(np.float32) / 255),
        plane=np.where(shown > 127, _as_head(sample.plane), sample.plane),
        boxes=boxes,
    )


def _disguised(sample: Sample, sources: Sources, rng: Random, kind: HeadPictures) -> Sample:
    """Turn one person without a hat away, put on a portrait's hat, or both, in some cases."""
    if sample.shows_hat or len(sample.boxes) != 1 or not (sample.plane & HEAD).any():
        return sample  # of what is but boxed, nobody knows the hair around a disguise
    if "figaro_hair" in sources and rng.random() < kind.behind:
        sample = _from_behind(sources["figaro_hair"], sample, rng)
    if "celebamask" in sources and rng.random() < kind.hats:
        sample = _in_hat_of(sources["celebamask"], sample, rng)
    return sample


VEILED_SHARE = 0.3
"""Share of views from behind in which the hair is smooth and of any colour: a veil, a helmet."""


def _from_behind(photos: Sequence[Sample], sample: Sample, rng: Random) -> Sample:
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


def _beside_another(
    image: U8Array, channels: U8Array, sources: Sources, rng: Random
) -> tuple[U8Array, U8Array]:
    """Put somebody else's head around, behind or before this one: it is background here."""
    size = len(image)
    other = _pick(sources, "celebamask", rng)
    box = tuple(float(v) for v in other.boxes[0])
    side = (box[3] - box[1]) * rng.uniform(1.4, 2.8)
    away, angle = side * rng.uniform(0.3, 0.6), rng.uniform(0, 2 * np.pi)
    x = (box[0] + box[2]) / 2 + away * np.cos(angle)
    look = centred_square(x, (box[1] + box[3]) / 2 + away * np.sin(angle), side)
    other_image, other_channels = _rendered(other.photo, _mask_labels(other), look, size, 0.0)
    alpha = _person_alpha(other_channels)
    in_front = rng.random() < 0.3
    if not in_front:
        if rng.random() < 0.4:
            other_image = _blurred(other_image, rng)
        alpha = alpha * (1 - _person_alpha(channels)) * (channels[..., 1:2] > SURE)
    return _laid_over(other_image, alpha, image, channels)


def _partly_hidden(
    image: U8Array, channels: U8Array, sources: Sources, rng: Random
) -> tuple[U8Array, U8Array]:
    """Put a part of somebody's body, as a hand or a sleeve, before a part of the head."""
    other = _pick(sources, "clothing_coparsing", rng)
    head = channels[..., 0].astype(np.float32) / 255
    look = _hiding_look(other, head, rng)
    if look is None:
        return image, channels
    front, labels = _rendered(other.photo, _mask_labels(other), look, len(image), 0.0)
    alpha = _person_alpha(labels) * (1 - labels[..., :1] / np.float32(255))
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
    return _blend(front, image, alpha), channels


# ---------------------------------------------------------------- far: where are the heads?

FAR_MIX = {
    "scut_heads": 0.18,
    "person_crops": 0.28,
    "figaro_hair": 0.08,
    "clothing_coparsing": 0.06,
    "celebamask": 0.05,
    "lfw_parts": 0.05,
    "scenes": 0.2,
    "composed": 0.1,
}
"""Share of each source in far pictures; "composed" sets people into a scene."""

COVERED_SHARE, COVERED_MOST = 0.3, 8
"""Share of far pictures whose heads are covered in part, and the most that empty places get."""

FACE_COVERED_SHARE = 0.35
"""How many of these covers are before a part of the face; the others are hats."""

SURROUNDED_SHARE = 0.6
"""Share of far pictures in which a scene is around a photo that does not fill them, not grey:
people are cut out narrowly, and in ordinary photos there is something beside a head."""

SMALLEST_HEAD = 5 / FINDER_STRIDE
"""A head lower than this, in cells, is neither to be found nor wrong to find."""

MOSAIC_SHARE = 0.3
"""Share of far pictures that are four of half the size, side by side (YOLOv4, Bochkovskiy et al.,
2020): more small heads, in more kinds of surroundings."""


def far_picture(sources: Sources, rng: Random, size: int) -> Picture:
    """Return what the finder sees, a look or four, with the centres of its heads."""
    if rng.random() >= MOSAIC_SHARE:
        return _far_picture(sources, rng, size)
    four = [_far_picture(sources, rng, size // 2) for _ in range(4)]
    return Picture(
        image=_side_by_side([picture.image for picture in four], axes=(0, 1)),
        target=_side_by_side([picture.target for picture in four], axes=(1, 2)),
        weight=_side_by_side([picture.weight for picture in four], axes=(1, 2)),
        box_weight=_side_by_side([picture.box_weight for picture in four], axes=(0, 1)),
    )


def _side_by_side(four: Sequence[np.ndarray], axes: tuple[int, int]) -> np.ndarray:
    """Set arrays two by two along their axes of (height, width)."""
    down, across = axes
    rows = [np.concatenate(pair, axis=across) for pair in (four[:2], four[2:])]
    return np.concatenate(rows, axis=down)


def _far_picture(sources: Sources, rng: Random, size: int) -> Picture:
    """Return a look at a whole photo or a part of it for the finder, with its heads' centres."""
    kind = str(rng.choice(list(FAR_MIX), p=list(FAR_MIX.values())))
    if kind == "composed":
        scene = composed(sources, rng, size)
        image, boxes, ignored = scene.image, scene.boxes, scene.ignored
        searched = np.ones((size // FINDER_STRIDE,) * 2, bool)
    else:
        sample = _pick(sources, kind, rng)
        look = _far_look(sample, rng)
        angle = _angle(rng)
        bit = ((sample.plane & SEARCHED) > 0) * np.uint8(255)
        in_photo = np.full_like(bit, 255)
        labels = np.stack([bit, in_photo, in_photo], axis=2)
        image, rendered = _rendered(sample.photo, (labels,), look, size, angle)
        outside = rendered[..., 1:2] <= SURE
        if outside.any() and rng.random() < SURROUNDED_SHARE:
            image = np.where(outside, _scene(sources, rng, size), image)
        middle = FINDER_STRIDE // 2
        # Outside the photo labels are OUTSIDE_GREY, too: that counts, there is no head.
        searched = rendered[middle::FINDER_STRIDE, middle::FINDER_STRIDE, 0] > 100
        boxes, ignored = (_turned(b, look, size, angle) for b in (sample.boxes, sample.ignored))
        image = _upturned(image, rng) if kind == "scenes" else image
    if rng.random() < COVERED_SHARE:
        image = _covered(image, boxes, sources, rng)
    if rng.random() < 0.5:
        image, searched = image[:, ::-1], searched[:, ::-1]
        boxes, ignored = _mirrored(boxes, size), _mirrored(ignored, size)
    target, weight, box_weight = centre_maps(boxes, ignored, searched, size)
    return Picture(photometric(image, rng), target, weight, box_weight)


def _turned(boxes: FloatArray, look: Box, size: int, angle: float) -> FloatArray:
    """Return boxes (N, 4) of a photo in pixels of a look at it, as `_rendered` turns it.

    A head is taken for the ellipse in its box; the box of the turned ellipse is returned.
    """
    scale = size / (look[2] - look[0])
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    x = (boxes[:, 0] + boxes[:, 2] - look[0] - look[2]) / 2 * scale
    y = (boxes[:, 1] + boxes[:, 3] - look[1] - look[3]) / 2 * scale
    x, y = x * cos + y * sin + size / 2, y * cos - x * sin + size / 2
    width, height = (boxes[:, 2] - boxes[:, 0]) * scale, (boxes[:, 3] - boxes[:, 1]) * scale
    half_width = np.hypot(width * cos, height * sin) / 2
    half_height = np.hypot(height * cos, width * sin) / 2
    corners = (x - half_width, y - half_height, x + half_width, y + half_height)
    return np.stack(corners, axis=1).astype(np.float32)


def _covered(image: U8Array, boxes: FloatArray, sources: Sources, rng: Random) -> U8Array:
    """Cover half of the heads in part, and as many empty places.

    Most get what could be a hat or a helmet, over the upper part of a box: of one colour, cut from
    a scene, or somebody else's. The others are hidden in part behind something.
    """
    size = len(image)
    places = [tuple(box) for box in boxes if rng.random() < 0.5]
    for left, top, right, bottom in places[:COVERED_MOST]:
        x, y = rng.uniform(0, size, 2)
        places.append((x, y, x + right - left, y + bottom - top))
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    scene = _scene(sources, rng, size)
    if rng.random() < 0.6:
        shade = scene.mean(axis=2, keepdims=True) / 255 * rng.uniform(0.2, 0.8) + 0.5
        scene = np.clip(shade * rng.uniform(0, 255, 3), 0, 255).astype(np.uint8)
    cover = Image.fromarray(scene)
    for place in places:
        if rng.random() < FACE_COVERED_SHARE:
            draw.ellipse(_hiding(place, rng), fill=255)
            continue
        over = _hat(place, rng)
        mask.paste(255, mask=_hat_mask((size, size), over))
        hat = _real_hat(sources, rng)
        if hat is not None:
            _paste_hat(cover, hat, over)
    mask = mask.filter(ImageFilter.GaussianBlur(0.7))
    return _blend(np.asarray(cover), image, np.asarray(mask)[..., None].astype(np.float32) / 255)


def _hat(box: Box, rng: Random, highest: float = 0.1) -> Box:
    """Return the ellipse of a hat on a head, above its box by at most `highest` of its height."""
    left, top, right, bottom = box
    wider, height = (right - left) * rng.uniform(0.05, 0.2), bottom - top
    above, below = height * rng.uniform(0, highest), height * rng.uniform(0.35, 0.6)
    return left - wider, top - above, right + wider, top + below


def _hat_mask(shape: tuple[int, int], over: Box, reach: float = 0.0) -> Image.Image:
    """Return (H, W), 255 in a hat's ellipse above its flat brim, `reach` pixels wider."""
    mask = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = over
    draw.ellipse((left - reach, top - reach, right + reach, bottom + reach), fill=255)
    brim = bottom - 0.3 * (bottom - top) + reach
    draw.rectangle((left - reach, brim, right + reach, bottom + reach), fill=0)
    return mask


def _paste_hat(image: Image.Image, hat: Image.Image, over: Box) -> None:
    left, top, right, bottom = over
    size_px = max(1, round(right - left)), max(1, round(bottom - top))
    image.paste(hat.resize(size_px), (round(left), round(top)))


def _real_hat(sources: Sources, rng: Random) -> Image.Image | None:
    """Return somebody's hat, cut from a photo; None if who is drawn wears none that is whole."""
    wearer = _pick(sources, "person_crops", rng)
    left, top, right, bottom = wearer.boxes[0]
    height = bottom - top
    brim = top + height * rng.uniform(0.35, 0.6)
    if not wearer.shows_hat or top < -0.05 * height:
        return None
    hat = wearer.photo[max(0, int(top)) : int(brim) + 1, max(0, int(left)) : int(right) + 1]
    return Image.fromarray(hat)


def _hiding(box: Box, rng: Random) -> Box:
    """Return the ellipse of something before a side of a head, or before its lower part."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    angle = rng.uniform(-0.3, np.pi + 0.3)
    x = (left + right + width * np.cos(angle)) / 2
    y = (top + bottom + height * np.sin(angle)) / 2
    reach_x, reach_y = width * rng.uniform(0.2, 0.5), height * rng.uniform(0.2, 0.5)
    return x - reach_x, y - reach_y, x + reach_x, y + reach_y


def _mirrored(boxes: FloatArray, size: int) -> FloatArray:
    return np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], axis=1)


def _far_look(sample: Sample, rng: Random) -> Box:
    """Choose the whole photo, or a part in which a random head has a random size and place."""
    shape = (sample.plane.shape[0], sample.plane.shape[1])
    whole = whole_photo_box(shape)
    longest = whole[2] - whole[0]
    if rng.random() < 0.4:
        side = longest * np.exp(rng.uniform(-0.1, 0.3))
        x, y = (whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2
        shift_x, shift_y = rng.uniform(-0.06, 0.06, 2) * side
        return centred_square(x + shift_x, y + shift_y, side)
    subjects = sample.boxes
    if len(sample.mistaken) and (not len(subjects) or rng.random() < 0.25):
        subjects = sample.mistaken
    if len(subjects):
        left, top, right, bottom = _pick_box(subjects, rng)
        share = np.exp(rng.uniform(np.log(0.04), np.log(0.8)))
        side = float(np.clip((bottom - top) / share, 56, 1.4 * longest))
        x, y = (left + right) / 2, (top + bottom) / 2
    else:
        side = longest * rng.uniform(0.3, 1.2)
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
    shift_x, shift_y = rng.uniform(-0.45, 0.45, 2) * side
    return centred_square(
        _inside(x + shift_x, side, shape[1]), _inside(y + shift_y, side, shape[0]), side
    )


def _inside(middle: float, side: float, extent: int) -> float:
    """Move the middle of a look so that the look does not leave the photo, as far as it fits."""
    if side >= extent:
        return extent / 2
    return float(np.clip(middle, side / 2, extent - side / 2))


PEOPLE = (1, 8)
"""The fewest and the most people in a composed picture."""

COMPOSED_OF = ("celebamask", "clothing_coparsing", "scenes")
"""Sources that people and scenes come from: in these, whole people are masked."""

COMPOSED_SHARES = (0.03, 0.6)
"""Heights of their heads, as shares of the picture."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A scene with people set into it.

    Attributes:
        image: (S, S, 3) uint8.
        boxes: (N, 4) float32, the heads in pixels, some beyond the border.
        ignored: (M, 4) float32, the heads that somebody in front covers for the most part.
        heads: (N, S, S) uint8, share of each head that shows.
        known: (N, S, S) bool, where that is known.
    """

    image: U8Array
    boxes: FloatArray
    ignored: FloatArray
    heads: U8Array
    known: BoolArray


def composed(sources: Sources, rng: Random, size: int) -> Composed:
    """Set people, cut by their masks, into a scene without people; the nearest stand in front."""
    image = _scene(sources, rng, size)
    people: list[tuple[FloatArray, U8Array, BoolArray]] = []
    hidden: list[FloatArray] = []
    count = int(rng.integers(PEOPLE[0], PEOPLE[1] + 1))
    for share in np.sort(np.exp(rng.uniform(*np.log(COMPOSED_SHARES), count))):
        name = "clothing_coparsing" if share < 0.14 else "celebamask"
        person = _pick(sources, name, rng)
        left, top, right, bottom = (float(v) for v in person.boxes[0])
        side = (bottom - top) / share
        x, y = rng.uniform(0.05, 0.95), rng.uniform(0.1, 0.8)
        look_left, look_top = (left + right) / 2 - x * side, (top + bottom) / 2 - y * side
        look = (look_left, look_top, look_left + side, look_top + side)
        front, channels = _rendered(person.photo, _mask_labels(person), look, size, 0.0)
        known = channels[..., 1] > SURE
        if name == "clothing_coparsing":  # its unknown pixels are face and neck
            channels = channels.copy()
            channels[..., 1] = np.where(channels[..., 2] > 127, 255, channels[..., 1])
        alpha = _person_alpha(channels)
        image = _blend(front, image, alpha)
        scale = size / side
        box = np.array([left - look[0], top - look[1], right - look[0], bottom - look[1]]) * scale
        uncovered = 1 - alpha[..., 0]
        gone = [_hidden(b, alpha[..., 0]) for b, _, _ in people]
        hidden += [b for (b, _, _), is_gone in zip(people, gone, strict=True) if is_gone]
        people = [
            (b, (head * uncovered).astype(np.uint8), known | (uncovered < 0.5))
            for (b, head, known), is_gone in zip(people, gone, strict=True)
            if not is_gone
        ]
        # Beyond its own photo there is surely nothing of this head.
        head = channels[..., 0] * (alpha[..., 0] > 0)
        people.append((box.astype(np.float32), head, known | (alpha[..., 0] == 0)))
    boxes, heads, knowns = zip(*people, strict=True)
    ignored = np.array(hidden, np.float32).reshape(-1, 4)
    return Composed(image, np.stack(boxes), ignored, np.stack(heads), np.stack(knowns))


def _hidden(box: FloatArray, alpha: FloatArray) -> bool:
    """Whether somebody in front covers most of the box."""
    left, top, right, bottom = (max(0, int(v)) for v in box)
    inside = alpha[top:bottom, left:right]
    return inside.size == 0 or float(inside.mean()) > 0.6


def centre_maps(
    boxes: FloatArray, ignored: FloatArray, searched: np.ndarray, size: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the finder's target (5, s, s), weight (1, s, s) and box weight (s, s); s = size / 4.

    Args:
        boxes: (N, 4) heads in input pixels, some of them beyond the border.
        ignored: (M, 4) boxes where nothing counts.
        searched: (s, s) bool, where a head without a box would be wrong.
        size: side of the input in pixels.
    """
    cells = size // FINDER_STRIDE
    target = np.zeros((5, cells, cells), np.float32)
    weight = searched.astype(np.float32).copy()
    box_weight = np.zeros((cells, cells), np.float32)
    rows, columns = np.mgrid[0:cells, 0:cells].astype(np.float32) + 0.5
    in_cells = boxes / FINDER_STRIDE
    centres = (in_cells[:, :2] + in_cells[:, 2:]) / 2
    sizes = in_cells[:, 2:] - in_cells[:, :2]
    findable = (
        (sizes[:, 1] >= SMALLEST_HEAD)
        & (centres > 0).all(1)
        & (centres < cells).all(1)
        & (sizes[:, 1] < 1.5 * cells)
    )
    for left, top, right, bottom in np.concatenate([in_cells[~findable], ignored / FINDER_STRIDE]):
        weight[
            max(0, int(top)) : max(0, int(np.ceil(bottom))),
            max(0, int(left)) : max(0, int(np.ceil(right))),
        ] = 0
    for (x, y), (w, h) in zip(centres[findable], sizes[findable], strict=True):
        sigma = max(0.6, 0.09 * (w + h) / 2)
        reach = 3 * sigma + 1
        near = np.s_[
            max(0, int(y - reach)) : int(y + reach) + 1, max(0, int(x - reach)) : int(x + reach) + 1
        ]
        dx, dy = x - columns[near], y - rows[near]
        heat = np.exp(-(dx**2 + dy**2) / (2 * sigma**2))
        row, column = int(y), int(x)
        mine = heat > target[0][near]
        target[0][near] = np.maximum(target[0][near], heat)
        sure = mine & (heat > 0.3)
        for channel, value in enumerate((dx, dy, np.log(w), np.log(h)), start=1):
            target[channel][near] = np.where(sure, value, target[channel][near])
        box_weight[near] = np.where(sure, heat, box_weight[near])
        weight[near] = np.where(heat > 0.3, 1.0, weight[near])
        target[0, row, column] = 1.0
    return target, weight[None], box_weight


PICTURES = {
    "finder": far_picture,
    "segmenter": near_picture,
    "encoder-decoder": near_picture,
    "lr-aspp": near_picture,
    "framed": framed_picture,
    "whole": whole_picture,
}
"""What each network is trained on; and by the name that a recipe may choose instead."""
