"""Golden cases: what Python makes of made pictures, for the page's code to make the same.

`make golden` writes them anew. No network has a part in them: new weights leave them as they are.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headcut.edge import beside_neck, clean_colours, refine_alpha, without_background
from headcut.find import Head, HeadFinder, believed, looks_at
from headcut.geometry import (
    Box,
    crop_box_for,
    crop_for_model,
    framed_box,
    paste_alpha,
    shrunk_to,
    wider_box,
)
from headcut.neck import chin_rows, with_neck, without_dents
from headcut.photo import Photo
from headcut.pipeline import HeadCutter, SeenHead, cut_one, without_parts
from headcut.segment import share_in_other, share_of_head, without_holes, without_islands

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden.json"

MASK_PX = 32
"""Side of the made masks; the networks' own are larger, the code is the same."""


def packed(array: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON: shape, type, and its bytes, deflated, in base64."""
    little = np.ascontiguousarray(array)
    data = base64.b64encode(zlib.compress(little.tobytes(), 9)).decode()
    return {"shape": list(array.shape), "type": str(array.dtype), "data": data}


def astronaut(size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """Return a part of the sample photo, (H, W, 3) uint8."""
    with Image.open(ROOT / "examples" / "astronaut.jpg") as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=box))


def disc(size: int, x: float, y: float, radius: float, soft: float = 2) -> np.ndarray:
    """Return a (size, size) float32 mask, 1 inside a disc."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    away = np.hypot(columns - x, rows - y)
    return np.clip((radius - away) / soft + 0.5, 0, 1).astype(np.float32)


class MadeFinder:
    """A finder's model with made maps: a peak here and there, the same at each run."""

    size, threshold, path, metadata = 64, 0.5, Path("made"), {"calibration": "0.9 3.1 0.3 0.4"}

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.maps: list[list[np.ndarray]] = []

    def run(self, crop: np.ndarray) -> list[np.ndarray]:
        cells = 8
        centre = self.random.random((1, cells, cells)).astype(np.float16) ** 6
        boxes = self.random.normal(0, 0.3, (4, cells, cells)).astype(np.float16)
        boxes[2:] += np.where(self.random.random((cells, cells)) < 0.1, -0.8, 1)  # small and large
        boxes *= centre > 0.1
        centre, boxes = centre.astype(np.float32), boxes.astype(np.float32)
        self.maps.append([centre, boxes])
        return [centre, boxes]


class ColourSegmenter:
    """Calls head what is of a light red, neck what is darker and low."""

    size = MASK_PX

    def __init__(self, darkest: float):
        self.darkest = np.float32(darkest)

    def segment(self, crops: np.ndarray) -> np.ndarray:
        red = crops[..., 0].astype(np.float32) / np.float32(255)
        head = np.clip((red - self.darkest) * 5, 0, 1)
        neck = (1 - head) * (np.arange(MASK_PX) > MASK_PX // 2).astype(np.float32)[:, None]
        return np.stack([head, neck], axis=1).astype(np.float32)


def golden() -> dict[str, Any]:
    """Return all cases."""
    photo = astronaut((120, 90), (100, 0, 420, 240))
    return {
        "photo": packed(photo),
        "boxes": list(_boxes()),
        "looks": [{"shape": s, "boxes": looks_at(s)} for s in SHAPES],
        "crops": list(_crops(photo)),
        "shrunk": [{"longest": n, "picture": packed(shrunk_to(photo, n))} for n in (100, 47, 19)],
        "masks": list(_masks()),
        "edges": list(_edges()),
        "tuft": _tuft(),
        "found": [_found(photo, seed) for seed in (1, 2, 3)],
        "company": [_company(seed) for seed in range(8)],
        "parts": list(_parts()),
        "cuts": [
            *(_cut(photo, FACE, neck) for neck in ("none", "short", "keep")),
            *(_cut(photo, place, "none") for place in (NEARER, FARTHER, DOUBTED)),
        ],
    }


SHAPES = ((90, 120), (300, 321), (768, 1024), (1024, 500), (640, 640), (100, 700))


def _boxes() -> Iterator[dict[str, Any]]:
    mask = disc(MASK_PX, 20, 25, 11)
    for head in ((10.5, 3.0, 40.25, 44.0), (-8.0, 50.0, 30.0, 99.5)):
        box = crop_box_for(head)
        yield {
            "head": head,
            "crop": box,
            "wider": wider_box(mask, box, (90, 120)),
            "framed": framed_box(mask > 0.5, box, (90, 120)),
            "mask": packed(mask),
        }


def _crops(photo: np.ndarray) -> Iterator[dict[str, Any]]:
    boxes = (
        (20.0, 10.0, 52.0, 42.0),
        (-15.3, -20.7, 60.1, 54.7),
        (30.2, 40.4, 47.1, 57.3),
        (-200.0, -215.0, 320.0, 305.0),
        (130.0, 100.0, 160.0, 130.0),
    )
    for box in boxes:
        yield {"box": box, "size": 32, "picture": packed(crop_for_model(photo, box, 32))}


def _masks() -> Iterator[dict[str, Any]]:
    """What is done to masks: islands, necks, and the way back to the photo."""
    head = disc(MASK_PX, 15, 12, 9)
    neck = np.zeros_like(head)
    neck[18:30, 11:20] = (1 - head[18:30, 11:20]) * 0.9
    spotted = np.maximum(head, disc(MASK_PX, 29, 29, 2))
    dented = np.array([np.nan, 5, 2, np.nan, 1, 8, 9, 8, 4, 6], np.float32)
    torn = head.copy()
    torn[10, 12], torn[14:17, 15:18], torn[12, :9] = 0.3, 0.2, 0.1  # small, large, open
    torn[7:9, 14:16] = 0.2  # small for where it is
    for box in ((-10.0, 5.5, 70.0, 85.5), (40.0, 20.0, 58.0, 38.0)):
        side = box[2] - box[0]
        head_box = (box[0] + side / 4, box[1] + side / 5, box[2] - side / 3, box[3] - side / 3)
        beside = (box[0] + side / 2.5, box[1] - 3.7, box[2] + side / 2.5, box[3] - 3.7)
        alpha, covered = paste_alpha(head, box, (90, 120))
        yield {
            "box": box,
            "headBox": head_box,
            "head": packed(spotted),
            "neck": packed(neck),
            "withoutIslands": packed(without_islands(spotted, box, head_box)),
            "torn": packed(torn),
            "withoutHoles": packed(without_holes(torn)),
            "share": share_of_head(head, box, head_box),
            "beside": {"box": beside, "share": share_in_other(head, box, head_box, head, beside)},
            "chin": packed(chin_rows(head, neck)),
            "dented": packed(dented),
            "withoutDents": packed(without_dents(dented).astype(np.float32)),
            "none": packed(with_neck(head, neck, "none", 2.5)),
            "short": packed(with_neck(head, neck, "short", 2.5)),
            "keep": packed(with_neck(head, neck, "keep", 2.5)),
            "cleanHead": packed(head),
            "alpha": packed(alpha),
            "covered": covered,
        }


def _edges() -> Iterator[dict[str, Any]]:
    patch = astronaut((80, 90), (150, 0, 298, 166))
    soft = disc(90, 40, 42, 30, 10)[:, :80]
    wide = astronaut((330, 24), (150, 80, 300, 91))
    bar = np.clip((np.abs(np.arange(330, dtype=np.float32) - 165) - 110) / -30 + 0.5, 0, 1)
    low = np.linspace(0, 1, 30, dtype=np.float32)[:, None].repeat(20, axis=1)
    bars = np.repeat(bar[None], 24, axis=0)
    for picture, alpha, as_it_is in ((patch, soft, None), (wide, bars, None), (patch, soft, low)):
        refined = refine_alpha(picture, alpha, as_it_is)
        yield {
            "patch": packed(picture),
            "alpha": packed(alpha),
            "asItIs": None if as_it_is is None else packed(as_it_is),
            "refined": packed((refined * 255 + 0.5).astype(np.uint8)),
            "colours": packed(clean_colours(picture, refined)),
        }


def _tuft() -> dict[str, Any]:
    """A mask that goes too far beyond the sample's hair, and a neck."""
    crop = astronaut((96, 96), (120, 0, 320, 200))
    head, neck = disc(96, 52, 50, 40), disc(96, 52, 94, 12)
    return {
        "crop": packed(crop),
        "head": packed(head),
        "neck": packed(neck),
        "cleared": packed(without_background(head, neck, crop)),
        "near": packed(beside_neck(neck)),
    }


def _found(photo: np.ndarray, seed: int) -> dict[str, Any]:
    """What a whole first look finds, whose maps are made."""
    large = np.asarray(Image.fromarray(photo).resize((400, 300)))
    model = MadeFinder(seed)
    finder = HeadFinder(model)  # type: ignore[arg-type]
    heads = finder.find(large)
    return {
        "photo": [400, 300],
        "maps": [[packed(part) for part in maps] for maps in model.maps],
        "heads": [{"box": head.box_px, "confidence": head.confidence} for head in heads],
        "sure": [finder.confidence(head, 0.8, (300, 400)) for head in heads],
    }


def _company(seed: int) -> dict[str, Any]:
    """Which heads of a photo are believed, by their numbers."""
    random = np.random.default_rng(seed)
    heads = [
        Head((0.0, 0.0, 1.0, float(height)), float(confidence))
        for height, confidence in zip(
            np.exp(random.uniform(2, 5, 6)), random.uniform(0, 0.7, 6), strict=True
        )
    ]
    return {
        "heads": [{"box": head.box_px, "confidence": head.confidence} for head in heads],
        "believed": [heads.index(head) for head in believed(heads, 0.5)],
    }


FACE = (50.0, 12.0, 92.0, 66.0)
NEARER, FARTHER = (3.0, 48.0, 50.0, 84.0), (6.0, 51.0, 32.0, 71.0)
"""So little of their middle is light that three crops are asked, of which these say most."""
DOUBTED = (6.0, 24.0, 22.0, 43.2)
"""At the border of its last look it is in doubt: it is framed anew."""


def _parts() -> Iterator[dict[str, Any]]:
    """Of a large head, something in its box, and something around it: what is a head of its own."""
    square = (0.0, 0.0, 64.0, 64.0)
    large, beside = disc(MASK_PX, 12, 16, 8), disc(MASK_PX, 25, 16, 3)
    for small in ((42.0, 24.0, 58.0, 40.0), (18.0, 18.0, 28.0, 50.0)):
        for mask in (large, beside):
            seen = [
                SeenHead(Head(box, confidence), np.stack([shown, np.zeros_like(shown)]), square)
                for box, confidence, shown in (
                    ((6.0, 14.0, 60.0, 49.0), 0.8, large),
                    (small, 0.7, mask),
                    ((0.0, 2.0, 64.0, 60.0), 0.6, mask),
                )
            ]
            kept = without_parts(seen)
            yield {
                "seen": [
                    {
                        "head": {"box": one.head.box_px, "confidence": one.head.confidence},
                        "box": one.box,
                        "mask": packed(one.masks[0]),
                    }
                    for one in seen
                ],
                "kept": [i for i, one in enumerate(seen) if any(one is other for other in kept)],
            }


def _cut(photo: np.ndarray, place: Box, neck: Any) -> dict[str, Any]:
    """What a whole closer look cuts, with a segmenter that goes by colour."""
    proposed = Head(place, 0.9)

    class Finder:
        threshold = 0.1

        def find(self, _: np.ndarray) -> list[Head]:
            return [proposed]

        def confidence(self, head: Head, share: float, shape: tuple[int, int]) -> float:
            return HeadFinder(MadeFinder(0)).confidence(head, share, shape)  # type: ignore[arg-type]

    cutter = HeadCutter(
        finder=Finder(),
        segmenter=ColourSegmenter(0.62),
        refiner=ColourSegmenter(0.6),
        neck=neck,
    )
    seen: SeenHead = cutter.framed(photo, cutter.look(photo)[0])
    made = cut_one(Photo(photo), seen, neck)
    assert made is not None
    return {
        "neck": neck,
        "proposed": {"box": proposed.box_px, "confidence": proposed.confidence},
        "confidence": seen.head.confidence,
        "seenBox": seen.box,
        "box": made.box_px,
        "rgba": packed(made._rgba(0)),
    }


def as_json() -> str:
    """Return the cases as they are kept."""
    return json.dumps(golden(), indent=1, default=float) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(as_json())
