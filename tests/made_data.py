"""Tiny data sets in the folder layout of the real ones, drawn here, and samples made in memory.

A head is an ellipse; its colours say where it is, so that a test can compare labels with photos.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from headcut.geometry import Box, U8Array
from headcut_train import sources
from headcut_train.sources import HEAD, KNOWN, PERSON, SEARCHED, Sample

SIDE = 96
HEAD_BOX = (30, 16, 66, 64)
"""Of the head in every drawn portrait: left, top, right, bottom; hair above row 28, chin at 64."""
NECK_BOX = (42, 58, 54, 78)
BODY_BOX = (20, 74, 76, 96)

Colour = int | tuple[int, int, int]


def drawn_portrait(
    background: Colour, body: Colour, neck: Colour, skin: Colour, hair: Colour
) -> Image.Image:
    """Draw one portrait in the colours, or class numbers, of a data set's labels."""
    image = Image.new("L" if isinstance(skin, int) else "RGB", (SIDE, SIDE), background)
    draw = ImageDraw.Draw(image)
    draw.rectangle(_last_included(BODY_BOX), fill=body)
    draw.rectangle(_last_included(NECK_BOX), fill=neck)
    draw.ellipse(_last_included(HEAD_BOX), fill=skin)
    ellipse = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(ellipse).ellipse(_last_included(HEAD_BOX), fill=255)
    ellipse.paste(0, (0, 28, SIDE, SIDE))
    image.paste(hair, mask=ellipse)
    return image


def _last_included(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (box[0], box[1], box[2] - 1, box[3] - 1)


def portrait_photo() -> Image.Image:
    """A portrait whose head is red, on green."""
    return drawn_portrait((0, 160, 0), (0, 0, 90), (150, 90, 60), (220, 30, 30), (250, 0, 0))


def empty_photo() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (0, 120, 60))


def write_pair(folder: Path, stem: str, photo: Image.Image, label: Image.Image) -> None:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    photo.save(folder / "images" / f"{stem}.webp", lossless=True)
    label.save(folder / "labels" / f"{stem}.png")


def celebamask_label() -> Image.Image:
    return drawn_portrait(0, 18, 17, 1, 13)


def lfw_label() -> Image.Image:
    """Red hair, green skin with the neck, blue the rest."""
    return drawn_portrait((0, 0, 255), (0, 0, 255), (0, 255, 0), (0, 255, 0), (255, 0, 0))


def fasseg_label() -> Image.Image:
    """Dark red hair, yellow skin with the neck, red the rest."""
    return drawn_portrait((255, 0, 0), (255, 0, 0), (255, 255, 0), (255, 255, 0), (127, 0, 0))


def figaro_label() -> Image.Image:
    return drawn_portrait(0, 0, 0, 0, 255)


FULL_BODY = (80, 200)
"""Width and height of a full-body photo."""


def full_body_label() -> Image.Image:
    """Head of 24 rows on a body of 180: hair 19, skin 41 (face, neck, hands), clothes 5."""
    image = Image.new("L", FULL_BODY)
    draw = ImageDraw.Draw(image)
    draw.rectangle((25, 40, 54, 189), fill=5)
    draw.rectangle((10, 100, 16, 119), fill=41)  # a hand, far from the head
    draw.rectangle((36, 34, 43, 45), fill=41)  # the neck
    draw.rectangle((32, 16, 47, 33), fill=41)  # the face
    draw.rectangle((30, 10, 49, 15), fill=19)  # hair
    return image


def full_body_photo() -> Image.Image:
    image = Image.new("RGB", FULL_BODY, (0, 160, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 10, 49, 15), fill=(250, 0, 0))
    draw.rectangle((32, 16, 47, 33), fill=(220, 30, 30))
    return image


def head_line(stem: str, *heads: dict[str, object], **more: object) -> str:
    return json.dumps({"file": stem, "heads": list(heads), **more}) + "\n"


def fraction_box(box: Box = HEAD_BOX, *, width: bool = True) -> dict[str, object]:
    """Return a box as `heads.jsonl` has it: middle and size as fractions of the picture."""
    left, top, right, bottom = (v / SIDE for v in box)
    entry: dict[str, object] = {
        "x": (left + right) / 2,
        "y": (top + bottom) / 2,
        "h": bottom - top,
    }
    return {**entry, "w": right - left} if width else entry


def write_data(root: Path) -> Path:
    """Write every data set that training and evaluation read: two samples or eight of each."""
    for split in ("train", "val"):
        for i in range(2):
            stem = f"{split}{i}"
            write_pair(root / "celebamask" / split, stem, portrait_photo(), celebamask_label())
            write_pair(root / "lfw_parts" / split, stem, portrait_photo(), lfw_label())
    for i in range(8):
        write_pair(
            root / "figaro_hair/train", _seen("figaro_hair")[i], portrait_photo(), figaro_label()
        )
        write_pair(root / "clothing_coparsing/train", str(i), full_body_photo(), full_body_label())
    write_pair(root / "fasseg/frontal", "test_1", portrait_photo(), fasseg_label())
    for i in range(1, 8):
        stem = f"personne0{i}146p0p0"
        write_pair(root / "fasseg/multipose", stem, portrait_photo(), fasseg_label())
    (root / "scenes").mkdir()
    for i in range(8):
        empty_photo().save(root / "scenes" / f"{i}.webp")
    for name, stems in (
        ("scut_heads", [str(i) for i in range(8)]),
        ("person_crops", _seen("person_crops")[:2]),
    ):
        (root / name / "images").mkdir(parents=True)
        for stem in stems:
            portrait_photo().save(root / name / "images" / f"{stem}.webp", lossless=True)
    lines = [head_line(str(i), fraction_box()) for i in range(8)]
    (root / "scut_heads/heads.jsonl").write_text("".join(lines))
    (root / "wild").mkdir()
    for stem in ("a", "b"):
        portrait_photo().save(root / "wild" / f"{stem}.webp", lossless=True)
    (root / "wild" / "heads.jsonl").write_text(
        head_line("a", fraction_box(width=False)) + head_line("b", fraction_box(), crowd=True)
    )
    return root


def _seen(source: str) -> list[str]:
    """Return names of photos in which somebody drew boxes: the others are not read."""
    heads = json.loads((sources.LABELS / f"{source}.json").read_text())["heads"]
    return [stem for stem, boxes in heads.items() if boxes]


def oval(shape: tuple[int, int], box: Box) -> np.ndarray:
    """Return the (H, W) bool of an ellipse that fills a box."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return np.hypot((x - middle_x) / (box[2] - box[0]), (y - middle_y) / (box[3] - box[1])) < 0.5


def red_head_sample(
    *boxes: Box,
    shape: tuple[int, int] = (200, 180),
    unknown: Box | None = None,
    masked: bool = True,
    colour: tuple[int, int, int] = (255, 0, 0),
) -> Sample:
    """A sample whose photo is its label: heads 255 in red, unknown pixels 255 in blue.

    The person is a little larger than the head, so that a changed background begins outside it.
    """
    photo = np.zeros((*shape, 3), np.uint8)
    plane = np.full(shape, KNOWN | SEARCHED, np.uint8)
    for left, top, right, bottom in boxes:
        head = oval(shape, (left, top, right, bottom))
        person = oval(shape, (left - 12, top - 12, right + 12, bottom + 12))
        plane[person] |= PERSON
        plane[head] |= HEAD * masked
        photo[head] = colour
    if unknown is not None:
        left, top, right, bottom = (int(v) for v in unknown)
        plane[top:bottom, left:right] &= ~np.uint8(KNOWN | SEARCHED)
        photo[top:bottom, left:right, 2] = 255
    return Sample(
        name="made/train/0",
        photo=photo,
        plane=plane,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        ignored=np.zeros((0, 4), np.float32),
        masked=masked,
    )


def scene_sample() -> Sample:
    """A photo without people, dark green."""
    side = 160
    photo = np.zeros((side, side, 3), np.uint8)
    photo[..., 1] = 90
    return Sample(
        name="scenes/train/0",
        photo=photo,
        plane=np.full((side, side), KNOWN | SEARCHED, np.uint8),
        boxes=np.zeros((0, 4), np.float32),
        ignored=np.zeros((0, 4), np.float32),
        masked=True,
    )


def noise_photo(shape: tuple[int, int], seed: int = 0) -> U8Array:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
