"""What the finder sees in training: looks at photos and at parts of them, with their heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from headcut.geometry import BoolArray, Box, FloatArray, U8Array, centred_square, whole_photo_box
from headcut_train.augment import Random, photometric
from headcut_train.disguises import hat_box, hat_mask, paste_hat, real_hat
from headcut_train.networks import FINDER_STRIDE
from headcut_train.pictures import (
    SURE,
    Picture,
    Sources,
    blend,
    mask_labels,
    person_alpha,
    pick,
    pick_box,
    random_angle,
    random_scene,
    rendered_look,
    upturned,
)
from headcut_train.sources import SEARCHED, Sample

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
        sample = pick(sources, kind, rng)
        look = _far_look(sample, rng)
        angle = random_angle(rng)
        bit = ((sample.plane & SEARCHED) > 0) * np.uint8(255)
        in_photo = np.full_like(bit, 255)
        labels = np.stack([bit, in_photo, in_photo], axis=2)
        image, rendered = rendered_look(sample.photo, (labels,), look, size, angle)
        outside = rendered[..., 1:2] <= SURE
        if outside.any() and rng.random() < SURROUNDED_SHARE:
            image = np.where(outside, random_scene(sources, rng, size), image)
        middle = FINDER_STRIDE // 2
        # Outside the photo labels are OUTSIDE_GREY, too: that counts, there is no head.
        searched = rendered[middle::FINDER_STRIDE, middle::FINDER_STRIDE, 0] > 100
        boxes, ignored = (_turned(b, look, size, angle) for b in (sample.boxes, sample.ignored))
        image = upturned(image, rng) if kind == "scenes" else image
    if rng.random() < COVERED_SHARE:
        image = _covered(image, boxes, sources, rng)
    if rng.random() < 0.5:
        image, searched = image[:, ::-1], searched[:, ::-1]
        boxes, ignored = _mirrored(boxes, size), _mirrored(ignored, size)
    target, weight, box_weight = centre_maps(boxes, ignored, searched, size)
    return Picture(photometric(image, rng), target, weight, box_weight)


def _turned(boxes: FloatArray, look: Box, size: int, angle: float) -> FloatArray:
    """Return boxes (N, 4) of a photo in pixels of a look at it, as `rendered_look` turns it.

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
    scene = random_scene(sources, rng, size)
    if rng.random() < 0.6:
        shade = scene.mean(axis=2, keepdims=True) / 255 * rng.uniform(0.2, 0.8) + 0.5
        scene = np.clip(shade * rng.uniform(0, 255, 3), 0, 255).astype(np.uint8)
    cover = Image.fromarray(scene)
    for place in places:
        if rng.random() < FACE_COVERED_SHARE:
            draw.ellipse(_hiding(place, rng), fill=255)
            continue
        over = hat_box(place, rng)
        mask.paste(255, mask=hat_mask((size, size), over))
        hat = real_hat(sources, rng)
        if hat is not None:
            paste_hat(cover, hat, over)
    mask = mask.filter(ImageFilter.GaussianBlur(0.7))
    return blend(np.asarray(cover), image, np.asarray(mask)[..., None].astype(np.float32) / 255)


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
        left, top, right, bottom = pick_box(subjects, rng)
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
    image = random_scene(sources, rng, size)
    people: list[tuple[FloatArray, U8Array, BoolArray]] = []
    hidden: list[FloatArray] = []
    count = int(rng.integers(PEOPLE[0], PEOPLE[1] + 1))
    for share in np.sort(np.exp(rng.uniform(*np.log(COMPOSED_SHARES), count))):
        name = "clothing_coparsing" if share < 0.14 else "celebamask"
        person = pick(sources, name, rng)
        left, top, right, bottom = (float(v) for v in person.boxes[0])
        side = (bottom - top) / share
        x, y = rng.uniform(0.05, 0.95), rng.uniform(0.1, 0.8)
        look_left, look_top = (left + right) / 2 - x * side, (top + bottom) / 2 - y * side
        look = (look_left, look_top, look_left + side, look_top + side)
        front, channels = rendered_look(person.photo, mask_labels(person), look, size, 0.0)
        known = channels[..., 1] > SURE
        if name == "clothing_coparsing":  # its unknown pixels are face and neck
            channels = channels.copy()
            channels[..., 1] = np.where(channels[..., 2] > 127, 255, channels[..., 1])
        alpha = person_alpha(channels)
        image = blend(front, image, alpha)
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
