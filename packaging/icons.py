"""Draw the app's icons, in every size that Briefcase asks for. Splash screens are made of them."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

ICONS = Path(__file__).with_name("icons")
TOGA_ICON = Path(__file__).parents[1] / "src/headcut/app/resources/headcut.png"

SIDE = 1024
BACK, DASH, HAIR, FACE = "#12343b", "#8fd3c8", "#e1b382", "#fff3e4"

LINUX = (16, 32, 64, 128, 256, 512)
IOS = (20, 29, 40, 58, 60, 76, 80, 87, 120, 152, 167, 180, 640, 1024, 1280, 1920)
ANDROID = {
    "round": (48, 72, 96, 144, 192),
    "square": (48, 72, 96, 144, 192, 320, 480, 640, 960, 1280),
    "adaptive": (108, 162, 216, 324, 432),
}
WINDOWS = (16, 32, 48, 64, 256)


def head(scale: float = 1.0) -> Image.Image:
    """Return a head with a dashed line around it, RGBA, clear behind; 1 fills the picture."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((272, 190, 752, 760), fill=HAIR)
    draw.rounded_rectangle((272, 450, 752, 690), 110, fill=HAIR)
    draw.ellipse((340, 300, 684, 800), fill=FACE)
    draw.chord((330, 236, 694, 520), 180, 360, fill=HAIR)
    shape = (
        picture.getchannel("A").filter(ImageFilter.GaussianBlur(26)).point(lambda a: 255 * (a > 3))
    )
    edge = shape.filter(ImageFilter.MinFilter(25))
    line = Image.new("L", (SIDE, SIDE))
    line.paste(shape, mask=Image.eval(edge, lambda a: 255 - a))
    dashes = Image.new("L", (SIDE, SIDE))
    for start in range(0, 360, 20):
        ImageDraw.Draw(dashes).pieslice(
            (-200, -200, SIDE + 200, SIDE + 200), start, start + 12, 255
        )
    empty = Image.new("L", (SIDE, SIDE))
    picture.paste(DASH, mask=Image.composite(line, empty, dashes))
    small = picture.resize((round(SIDE * scale),) * 2, Image.Resampling.LANCZOS)
    framed = Image.new("RGBA", (SIDE, SIDE))
    framed.paste(small, ((SIDE - small.width) // 2,) * 2)
    return framed


def icon(shape: str, scale: float = 1.0) -> Image.Image:
    """Return the icon: `square`, `rounded`, `round`, or `adaptive`, clear behind the head."""
    mask = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(mask)
    if shape == "square":
        mask.paste(255, (0, 0, SIDE, SIDE))
    elif shape == "rounded":
        draw.rounded_rectangle((32, 32, SIDE - 32, SIDE - 32), 220, fill=255)
    elif shape == "round":
        draw.ellipse((0, 0, SIDE, SIDE), fill=255)
    picture = Image.new("RGBA", (SIDE, SIDE))
    picture.paste(BACK, mask=mask)
    return Image.alpha_composite(picture, head(scale))


def save(picture: Image.Image, path: Path, side: int) -> None:
    """Write a PNG of that side, in few colours: the icons are flat."""
    small = picture.resize((side, side), Image.Resampling.LANCZOS)
    small.quantize(128, Image.Quantize.FASTOCTREE).save(path, optimize=True)


def main() -> None:
    ICONS.mkdir(exist_ok=True)
    TOGA_ICON.parent.mkdir(exist_ok=True)
    rounded, square = icon("rounded", 0.9), icon("square", 0.9)
    for side in LINUX:
        save(rounded, ICONS / f"linux-{side}.png", side)
    for side in IOS:  # the system rounds them; they may not be clear anywhere
        small = square.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        small.quantize(128).save(ICONS / f"ios-{side}.png", optimize=True)
    for variant, sides in ANDROID.items():
        picture = icon(variant, 0.6 if variant == "adaptive" else 0.9)
        for side in sides:
            save(picture, ICONS / f"android-{variant}-{side}.png", side)
    rounded.save(ICONS / "windows.ico", sizes=[(side, side) for side in WINDOWS])
    rounded.save(ICONS / "macos.icns")
    save(rounded, TOGA_ICON, 128)


if __name__ == "__main__":
    main()
