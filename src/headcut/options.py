"""What a caller may choose: frozen dataclasses, checked once when they are made."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeAlias, cast, get_args

from headcut.errors import OptionError

Output: TypeAlias = Literal["cutout", "mask", "alpha"]
Format: TypeAlias = Literal["png", "webp"]

OUTPUTS: tuple[Output, ...] = get_args(Output)
Neck: TypeAlias = Literal["none", "short", "keep"]
"""`none`: cut at the chin; `short`: a little below it; `keep`: all of it that shows."""

NECKS: tuple[Neck, ...] = get_args(Neck)
FORMATS: tuple[Format, ...] = get_args(Format)
HEADS_WORDS: tuple[str, ...] = ("all", "largest", "each")

TRANSPARENT, BLUR = "transparent", "blur"
"""Backgrounds that are neither a colour nor a picture."""


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a photo, in its upright pixels."""

    x: float
    y: float


Heads: TypeAlias = Literal["all", "largest", "each"] | int | Point


def _require_between(
    name: str, value: object, least: int, most: int, *, whole: bool = False
) -> None:
    if not isinstance(value, numbers.Integral if whole else numbers.Real):
        kind = "a whole number" if whole else "a number"
        raise OptionError(f"{name} is {value!r}; give {kind}, {least} to {most}")
    number = cast("float", value)
    if not least <= number <= most:
        shown = value if isinstance(value, numbers.Integral) else f"{number:g}"
        raise OptionError(f"{name} is {shown}; give {least} to {most}")


@dataclass(frozen=True, slots=True)
class Outline:
    """A line around the head, as stickers have.

    Raises:
        OptionError: its width is not 1 to 200 pixels, or there is no such colour.
    """

    width_px: int
    """In pixels of the output."""

    colour: str = "white"
    """A name, or #rrggbb."""

    def __post_init__(self) -> None:
        _require_between("outline", self.width_px, 1, 200, whole=True)
        if self.colour != "white" and not is_colour(self.colour):  # that imports Pillow
            raise OptionError(f"{self.colour!r} is no colour; use a name, as white, or #rrggbb")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoLimits:
    """What is refused before it is decoded, so that no file can fill the memory.

    Raises:
        OptionError: a limit is not above zero.
    """

    max_bytes: int = 100_000_000
    """Largest photo file, in bytes."""

    max_megapixels: float = 100.0
    """Largest photo, in millions of pixels; decoding takes about 10 bytes of memory a pixel."""

    min_side_px: int = 16
    """Shortest side of a photo, in pixels: a head in anything smaller is not worth cutting."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            number = getattr(self, name)
            kind = numbers.Real if name == "max_megapixels" else numbers.Integral
            if not (isinstance(number, kind) and cast("float", number) > 0):
                what = "a number" if kind is numbers.Real else "a whole number"
                raise OptionError(f"{name} is {number!r}; give {what} above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveOptions:
    """What goes into an output file.

    Raises:
        OptionError: an unknown or impossible value, or two that contradict each other.
    """

    output: Output = "cutout"
    """`cutout`: RGBA; `mask`: grey, 0 or 255; `alpha`: grey, soft."""

    format: Format = "png"
    """`png`: lossless; `webp`: cut-outs at quality 90, masks and alphas lossless."""

    crop: bool = False
    """Keep only the tight box of the head instead of the photo's own size."""

    square: int | None = None
    """Side in pixels of a square picture with the head in its middle, as large as it fits."""

    circle: bool = False
    """A square picture, clear outside its circle; the head fits into that."""

    padding: float = 0.0
    """Room around the head in a cropped, square or round picture, in percent of its box."""

    outline: Outline | None = None

    background: str = TRANSPARENT
    """`transparent`; `blur`: the photo, out of focus; a colour; or a picture's path."""

    feather: float = 0.0
    """Width in photo pixels over which the head fades out inside its edge; at most a quarter of the
    head's shorter side, for something to be left."""

    max_bytes: int | None = None
    """Largest file; colours are coarsened as far as it takes."""

    def __post_init__(self) -> None:
        require_known("output", self.output, OUTPUTS)
        require_known("format", self.format, FORMATS)
        if self.square is not None:
            _require_between("square", self.square, 16, 8192, whole=True)
        _require_between("padding", self.padding, 0, 500)
        _require_between("feather", self.feather, 0, 500)
        if self.max_bytes is not None:
            _require_between("max_bytes", self.max_bytes, 1, 1_000_000_000, whole=True)
        if not isinstance(self.outline, Outline | None):
            raise OptionError(
                f"outline is {self.outline!r}; give headcut.options.Outline(8, 'red')"
            )
        if self.square and self.outline and 4 * self.outline.width_px > self.square:
            most = self.square // 4
            raise OptionError(f"the outline fills a square of {self.square}; give {most} or less")
        if self.padding and not (self.crop or self.square or self.circle):
            raise OptionError(
                "padding needs a cropped, square or round picture; choose crop, square or circle"
            )
        background: object = self.background
        if not isinstance(background, str | os.PathLike):
            what = "a word, a colour as '#dfe7ee', or a path"
            raise OptionError(f"background is {background!r}; give {what}")
        if self.output != "cutout" and self.background != TRANSPARENT:
            raise OptionError(
                f"a background hides the {self.output}; leave it out, or make it {TRANSPARENT}"
            )
        if isinstance(self.background, os.PathLike):
            object.__setattr__(self, "background", os.fspath(self.background))
        # os.path: a name may be absurd
        if is_picture(self.background) and not os.path.isfile(self.background):  # noqa: PTH113
            if _looks_like_a_path(self.background):
                raise OptionError(
                    f"background {self.background!r}: no such file; check the name and the folder"
                )
            raise OptionError(
                f"background {self.background!r} is neither {TRANSPARENT}, {BLUR}, a colour "
                "(a name or #rrggbb) nor the file of a picture"
            )


PRESETS: dict[str, dict[str, Any]] = {
    "avatar": {"square": 512, "circle": True, "padding": 4, "background": "#dfe7ee"},
    "discord": {"square": 320, "outline": Outline(5), "format": "png", "max_bytes": 500_000},
    "signal": {"square": 512, "padding": 4, "outline": Outline(8), "max_bytes": 300_000},
    "telegram": {"square": 512, "outline": Outline(8), "format": "webp", "max_bytes": 500_000},
    "whatsapp": {
        "square": 512,
        "padding": 4,
        "outline": Outline(8),
        "format": "webp",
        "max_bytes": 100_000,
    },
}
"""Fields of `SaveOptions` for well-known uses, as the services ask for (seen in 2026)."""


def save_options(preset: str | None, given: dict[str, Any]) -> SaveOptions:
    """Return the options of a preset, with what is given besides it changed.

    Raises:
        OptionError: an unknown preset or value.
    """
    if preset is None:
        return SaveOptions(**given)
    require_known("preset", preset, list(PRESETS))
    return SaveOptions(**{**PRESETS[preset], **given})


def _looks_like_a_path(text: str) -> bool:
    path = PurePath(text)
    return len(path.parts) > 1 or path.suffix[1:].isalnum()


def is_picture(background: str) -> bool:
    """Whether a background is neither a word nor a colour, and so a picture's path."""
    return background not in (TRANSPARENT, BLUR) and not is_colour(background)


def is_colour(text: str) -> bool:
    """Whether Pillow knows the colour: a name, #rgb, #rrggbb, #rrggbbaa, rgb(), hsl()."""
    from PIL import ImageColor

    try:
        ImageColor.getrgb(text)
    except ValueError:
        return False
    return True


def parse_outline(value: str) -> Outline:
    """Return the outline of "PX" or "PX,COLOUR".

    Raises:
        OptionError: anything else.
    """
    width, _, colour = value.partition(",")
    try:
        return Outline(int(width), colour or "white")
    except ValueError as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"outline {value!r} is not known; use PX or PX,COLOUR") from error


def parse_point(value: str) -> Point:
    """Return the point of "X,Y".

    Raises:
        OptionError: anything else.
    """
    try:
        x, y = (float(part) for part in value.split(","))
        if not (0 <= x < math.inf and 0 <= y < math.inf):
            raise ValueError(value)
    except ValueError as error:
        raise OptionError(f"point {value!r} is not known; use X,Y in photo pixels") from error
    return Point(x, y)


def require_known(name: str, value: str, known: Sequence[str]) -> None:
    """Raise OptionError, listing `known`, if `value` is not in it."""
    if value not in known:
        raise OptionError(f"{name} {value!r} is not known; use {_either(known)}")


def parse_heads(value: str | int) -> Heads:
    """Return which heads to keep: `all`, `largest`, `each`, or a number from 1.

    Raises:
        OptionError: anything else.
    """
    match str(value):
        case "all" | "largest" | "each" as word:
            return word
        case text if re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
            return int(text)
    known = [*HEADS_WORDS, "a number from 1, counted from the left"]
    raise OptionError(f"heads {value!r} is not known; use {_either(known)}")


def format_for(path: PurePath, wanted: str | None = None) -> Format:
    """Return the picture format that the suffix of `path` and `wanted` agree on.

    Raises:
        OptionError: no such suffix, an unknown `wanted`, or the two contradict each other.
    """
    if wanted is not None:
        require_known("format", wanted, FORMATS)
    suffix = path.suffix.lower()
    for known in FORMATS:
        if suffix == f".{known}":
            if wanted not in (None, known):
                raise OptionError(f"{path} is not a {wanted} name; let it end in .{wanted}")
            return known
    endings = _either([f".{known}" for known in FORMATS])
    raise OptionError(f"{str(path)!r} must end in {endings}; a folder, in a slash")


def _either(words: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]])
