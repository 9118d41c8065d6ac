"""The JSON beside an output: what is needed to find a head in its photo, or to paste it back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headcut.cutout import CutOut
from headcut.finish import Frame

SCHEMA = "headcut/1"
"""Name and version; the number grows when a reader of the old one would break."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file that was written."""

    path: Path

    heads: Sequence[CutOut]
    """The heads in it."""

    frame: Frame
    """Which part of the photo it shows."""


def sidecar_path(output: Path) -> Path:
    """Return where the sidecar of an output goes: `a-head.png` -> `a-head.json`."""
    return output.with_suffix(".json")


def sidecar(photo_name: str, pictures: Sequence[Picture]) -> bytes:
    """Return the JSON for the pictures of one photo, all of them upright.

    Boxes are left, top, right, bottom in photo pixels, as in Pillow; confidence is in [0, 1].
    `chin` is the line between head and neck, empty where no neck shows.
    `offset` is where the output's top left corner lies in the photo, x and y in photo pixels, and
    `scale` is output pixels per photo pixel: so a cut-out can be pasted back.

    Args:
        photo_name: the photo's file name, without folders.
        pictures: at least one.
    """
    height, width = pictures[0].heads[0].photo.shape
    described = {
        "schema": SCHEMA,
        "source": {"name": photo_name, "width": width, "height": height},
        "heads": [_head(head, picture) for picture in pictures for head in picture.heads],
    }
    return (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode(errors="replace")


def described_head(head: CutOut) -> dict[str, Any]:
    """Return what the JSON says of a head."""
    return {
        "box": list(head.box_px),
        "confidence": round(float(head.confidence), 4),
        "chin": [[round(x, 1), round(y, 1)] for x, y in head.chin_px],
    }


def described_frame(frame: Frame) -> dict[str, Any]:
    """Return what the JSON says of the part of a photo that an output shows."""
    return {"offset": [_plain(frame.left), _plain(frame.top)], "scale": _plain(frame.scale)}


def _head(head: CutOut, picture: Picture) -> dict[str, Any]:
    output = {"output": picture.path.name}
    return described_head(head) | output | described_frame(picture.frame)


def _plain(number: float) -> float:
    """Return a whole number as one, others with six digits after the point."""
    return int(number) if number == int(number) else round(number, 6)
