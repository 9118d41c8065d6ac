"""Draw the README's picture: the photo, its head on a checkerboard, and on a loud colour."""

from pathlib import Path

import numpy as np
from PIL import Image

import headcut

ROOT = Path(__file__).parents[1]
SIDE_PX = 360
GAP_PX = 12
LOUD = (255, 64, 129)


def checkerboard(side_px: int, square_px: int = 18) -> Image.Image:
    """Return the grey and white pattern that stands for transparency."""
    row, column = np.indices((side_px, side_px)) // square_px
    grey = np.where((row + column) % 2 == 0, 255, 204).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def main() -> None:
    photo = Image.open(ROOT / "examples" / "astronaut.jpg")
    (head,) = headcut.cut(photo)
    small_head = head.image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    panels = [
        photo.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS),
        checkerboard(SIDE_PX),
        Image.new("RGB", (SIDE_PX, SIDE_PX), LOUD),
    ]
    for panel in panels[1:]:
        panel.paste(small_head, mask=small_head)
    step = SIDE_PX + GAP_PX
    picture = Image.new("RGBA", (len(panels) * step - GAP_PX, SIDE_PX))
    for index, panel in enumerate(panels):
        picture.paste(panel, (index * step, 0))
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(
        ROOT / "docs" / "astronaut-cut.png", optimize=True
    )


if __name__ == "__main__":
    main()
