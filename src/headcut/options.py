"""What a caller may choose: frozen dataclasses, checked once when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, TypeAlias, get_args

from headcut.errors import OptionError

Output: TypeAlias = Literal["cutout", "mask", "alpha"]
Format: TypeAlias = Literal["png", "webp"]
Heads: TypeAlias = Literal["all", "largest", "each"] | int

OUTPUTS: tuple[Output, ...] = get_args(Output)
FORMATS: tuple[Format, ...] = get_args(Format)
HEADS_WORDS: tuple[str, ...] = ("all", "largest", "each")


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
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} is {getattr(self, name)}; give a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveOptions:
    """What goes into an output file.

    Raises:
        OptionError: an unknown output or format; the message lists the known ones.
    """

    output: Output = "cutout"
    """`cutout`: RGBA; `mask`: grey, 0 or 255; `alpha`: grey, soft."""

    format: Format = "png"
    """`png`: lossless; `webp`: cut-outs at quality 90, masks and alphas lossless."""

    crop: bool = False
    """Keep only the tight box of the head instead of the photo's own size."""

    def __post_init__(self) -> None:
        require_known("output", self.output, OUTPUTS)
        require_known("format", self.format, FORMATS)


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
        case text if text.isascii() and text.isdigit() and int(text) > 0:
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
                raise OptionError(f"{path.name} is not a {wanted} name; let it end in .{wanted}")
            return known
    endings = _either([f".{known}" for known in FORMATS])
    raise OptionError(f"{path.name!r} must end in {endings}; for a folder, end it with a slash")


def _either(words: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]])
