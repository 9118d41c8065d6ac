"""Draw the pictures of the docs with headcut itself, from the photos in examples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import headcut
from headcut.options import Outline, SaveOptions

ROOT = Path(__file__).parents[1]
SIDE_PX = 360
PANEL_PX = 240
GAP_PX = 12
LOUD = (255, 64, 129)
SQUARE_PX = 18

Square = tuple[int, int, int]


def checkerboard(side_px: int) -> Image.Image:
    """Return the grey and white pattern that stands for transparency."""
    row, column = np.indices((side_px, side_px)) // SQUARE_PX
    grey = np.where((row + column) % 2 == 0, 255, 204).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def side_by_side(panels: Sequence[Image.Image], columns: int) -> Image.Image:
    """Return panels of one size in rows, with gaps between them."""
    step = panels[0].width + GAP_PX
    rows = -(-len(panels) // columns)
    sheet = Image.new("RGBA", (columns * step - GAP_PX, rows * step - GAP_PX))
    for index, panel in enumerate(panels):
        sheet.paste(panel, (index % columns * step, index // columns * step))
    return sheet


def draw_readme(head: headcut.CutOut, photo: Image.Image) -> Image.Image:
    """The photo, its head on a checkerboard, and on a loud colour."""
    small_head = head.image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    panels = [
        photo.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS),
        checkerboard(SIDE_PX),
        Image.new("RGB", (SIDE_PX, SIDE_PX), LOUD),
    ]
    for panel in panels[1:]:
        panel.paste(small_head, mask=small_head)
    return side_by_side(panels, 3)


OUTPUTS = (
    SaveOptions(crop=True),
    SaveOptions(square=PANEL_PX),
    SaveOptions(square=PANEL_PX, padding=20),
    SaveOptions(square=PANEL_PX, circle=True, background="#dfe7ee"),
    SaveOptions(square=PANEL_PX, outline=Outline(6)),
    SaveOptions(square=PANEL_PX, outline=Outline(6, "#ff4081"), background="gold"),
    SaveOptions(square=PANEL_PX, padding=20, background="blur"),
    SaveOptions(square=PANEL_PX, padding=5, feather=12),
)
"""What docs/outputs.md shows, in its order."""


def draw_outputs(head: headcut.CutOut) -> Image.Image:
    """One panel for each of `OUTPUTS`, on a checkerboard where it is clear."""
    panels = []
    for options in OUTPUTS:
        picture = head.render(options)
        panel = checkerboard(PANEL_PX)
        panel.paste(picture, [(PANEL_PX - side) // 2 for side in picture.size], mask=picture)
        panels.append(panel)
    return side_by_side(panels, 4)


EDGE_PANEL_PX = 320
EDGE_COLOURS = ("black", "white", "magenta")
EDGES = {
    "astronaut": ((140, 5, 180), (240, 15, 72)),
    "henner": ((0, 0, 800), (0, 330, 240)),
    "paumier": ((340, 50, 560), (400, 90, 200)),
    "giunchedi": ((255, 32, 290), (420, 40, 80)),
    "vanrossum": ((156, 0, 480), (290, 360, 120)),
    "hopper": ((82, 8, 350), (290, 25, 100)),
}
"""What docs/edges.md shows: a photo, a square around its head and one at its edge, each as left,
top and side in photo pixels. Squares that followed the cut would hide what it loses."""


def draw_edges(head: headcut.CutOut, photo: Image.Image, squares: Sequence[Square]) -> Image.Image:
    """Each square in a row: the photo, then the head on each of `EDGE_COLOURS`."""
    pictures = [photo, *(head.render(SaveOptions(background=c)) for c in EDGE_COLOURS)]
    panels = []
    for left, top, side in squares:
        box = (left, top, left + side, top + side)
        for picture in pictures:
            panel = picture.convert("RGB").crop(box)
            panels.append(panel.resize((EDGE_PANEL_PX, EDGE_PANEL_PX), Image.Resampling.LANCZOS))
    sheet = side_by_side(panels, len(pictures))
    grey = Image.new("RGB", sheet.size, "grey")
    grey.paste(sheet, mask=sheet)
    return grey


def main() -> None:
    photo = Image.open(ROOT / "examples" / "astronaut.jpg")
    (head,) = headcut.cut(photo)
    draw_readme(head, photo).save(ROOT / "docs" / "astronaut-cut.png", optimize=True)
    draw_outputs(head).save(ROOT / "docs" / "outputs.png", optimize=True)
    for name, squares in EDGES.items():
        photo = Image.open(ROOT / "examples" / f"{name}.jpg")
        head = max(headcut.cut(photo), key=lambda found: found.confidence)
        sheet = draw_edges(head, photo, squares)
        # JPEG's default, colour at half the size, would draw halos of its own on magenta.
        sheet.save(ROOT / "docs" / f"edges-{name}.jpg", quality=88, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
