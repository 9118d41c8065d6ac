"""Folders of photos and masks as people bring them, in each layout, with a known jaw line."""

from __future__ import annotations

from pathlib import Path

from made_data import HEAD_BOX, SIDE, drawn_portrait, portrait_photo, write_pair
from PIL import Image

JAW = (
    (0.0, 50.0),
    (30.0, 52.0),
    (36.0, 60.0),
    (48.0, 64.0),
    (60.0, 60.0),
    (66.0, 52.0),
    (95.0, 50.0),
)
"""Of the drawn portrait: from border to border, under the chin at row 64."""

MUT1NY = {
    "background": (0, 0, 0),
    "skin": (128, 128, 128),
    "hair": (255, 255, 0),
}
FASSEG = {
    "background": (255, 0, 0),
    "skin": (255, 255, 0),
    "hair": (127, 0, 0),
}
LFW = {"background": (0, 0, 255), "skin": (0, 255, 0), "hair": (255, 0, 0)}


def coloured_label(colours: dict[str, tuple[int, int, int]], smooth: bool = True) -> Image.Image:
    """A part mask whose neck is skin, its edges anti-aliased."""
    background, skin = colours["background"], colours["skin"]
    label = drawn_portrait(background, background, skin, skin, colours["hair"])
    if not smooth:
        return label
    large = label.resize((4 * SIDE, 4 * SIDE), Image.Resampling.NEAREST)
    turned = large.rotate(0.5, Image.Resampling.NEAREST, fillcolor=colours["background"])
    return turned.resize((SIDE, SIDE), Image.Resampling.BOX)


def write_mut1ny(root: Path, count: int) -> Path:
    """Write pairs in the layout of the mut1ny set: photos and coloured part masks."""
    for i in range(count):
        write_pair(root, f"{i:02}", portrait_photo(), coloured_label(MUT1NY))
    return root


def head_middle() -> tuple[int, int]:
    """A pixel (column, row) that is surely head."""
    left, top, right, bottom = HEAD_BOX
    return (left + right) // 2, (top + bottom) // 2
