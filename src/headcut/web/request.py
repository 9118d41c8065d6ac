"""What a request may ask for: the options of the command line as query parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from headcut.errors import OptionError
from headcut.options import (
    BLUR,
    FORMATS,
    HEADS_WORDS,
    NECKS,
    OUTPUTS,
    PRESETS,
    TRANSPARENT,
    Heads,
    Neck,
    SaveOptions,
    is_picture,
    parse_heads,
    parse_outline,
    parse_point,
    require_known,
    save_options,
)

Answer: TypeAlias = Literal["png", "webp", "json"]

ANSWERS: tuple[Answer, ...] = (*FORMATS, "json")


@dataclass(frozen=True, slots=True)
class CutRequest:
    """What to do with a photo, checked."""

    answer: Answer
    heads: Heads
    neck: Neck
    save: SaveOptions


def parse_query(query: Iterable[tuple[str, str]]) -> CutRequest:
    """Return what the parameters of a request ask for.

    Raises:
        OptionError: an unknown parameter, one given twice, or a value that makes no sense.
    """
    given: dict[str, str] = {}
    for name, value in query:
        require_known("parameter", name, list(PARAMETERS))
        if name in given:
            raise OptionError(f"{name} is given twice; leave one of them out")
        given[name] = value
    preset, neck = given.get("preset"), given.get("neck", "none")
    require_known("neck", neck, NECKS)
    choices = {name: read(given[name]) for name, read in SAVE_PARAMETERS.items() if name in given}
    for name, value in choices.items():
        most = PARAMETERS[name][0].get("maximum")
        if most is not None and value > most:
            raise OptionError(f"{name} is at most {most} in a request")
    wanted = given.get("format") or (PRESETS.get(preset or "", {}).get("format") or FORMATS[0])
    require_known("format", wanted, ANSWERS)
    choices["format"] = FORMATS[0] if wanted == "json" else wanted
    answer = cast("Answer", wanted)
    heads = _which_heads(given.get("heads"), given.get("at"), answer)
    return CutRequest(answer, heads, cast("Neck", neck), save_options(preset, choices))


def _which_heads(heads: str | None, at: str | None, answer: Answer) -> Heads:
    if at is not None:
        if heads is not None:
            raise OptionError("heads and at both choose; leave one of them out")
        return parse_point(at)
    chosen = parse_heads(heads or ("each" if answer == "json" else "all"))
    if chosen == "each" and answer != "json":
        raise OptionError(f"a {answer} holds one picture; for heads=each use format=json")
    return chosen


def _whole(name: str) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise OptionError(f"{name} {value!r} is not a whole number; give digits alone")
        return int(value)

    return read


def _number(name: str) -> Callable[[str], float]:
    def read(value: str) -> float:
        try:
            return float(value)
        except ValueError as error:
            raise OptionError(f"{name} {value!r} is not a number") from error

    return read


def _yes(name: str) -> Callable[[str], bool]:
    def read(value: str) -> bool:
        require_known(name, value, ("true", "false"))
        return value == "true"

    return read


def _background(value: str) -> str:
    """Return a background that is no file: a request must not read this machine's disk."""
    if is_picture(value):
        raise OptionError(
            f"background {value!r} is neither {TRANSPARENT}, {BLUR} nor a colour "
            "(a name or #rrggbb, with # written as %23)"
        )
    return value


SAVE_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "output": str,
    "crop": _yes("crop"),
    "square": _whole("square"),
    "circle": _yes("circle"),
    "padding": _number("padding"),
    "outline": parse_outline,
    "background": _background,
    "feather": _number("feather"),
}
"""How each field of `SaveOptions` is read."""

COLOUR = "(white|black|#[0-9a-fA-F]{6})"
"""A pattern of colours that are surely taken; other names are, too."""

PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "format": (
        {"enum": list(ANSWERS)},
        "PNG (default), WebP, or JSON with every picture in base64.",
    ),
    "heads": (
        {"type": "string", "pattern": rf"^({'|'.join(HEADS_WORDS)}|[1-9][0-9]{{0,2}})$"},
        "All heads in one picture (default), the largest, the N-th from the left, or, in JSON "
        "(there the default), each.",
    ),
    "at": (
        {"type": "string", "pattern": r"^[0-9]{1,5},[0-9]{1,5}$"},
        "Only the head at x,y, in photo pixels.",
    ),
    "neck": ({"enum": list(NECKS)}, "Cut at the chin, a little below it, or not at all."),
    "output": ({"enum": list(OUTPUTS)}, "Transparent picture, black-and-white or soft mask."),
    "crop": ({"type": "boolean"}, "Keep only the tight box of the head."),
    "square": (
        {"type": "integer", "minimum": 16, "maximum": 2048},
        "A square picture of that side, the head in its middle.",
    ),
    "circle": ({"type": "boolean"}, "A square picture, clear outside its circle."),
    "padding": (
        {"type": "number", "minimum": 0, "maximum": 100},
        "Room around the head, in percent of its longer side.",
    ),
    "outline": (
        {"type": "string", "pattern": f"^([1-9][0-9]?|1[0-9][0-9]|200)(,{COLOUR})?$"},
        "A line around the head: PX or PX,COLOUR.",
    ),
    "background": (
        {"type": "string", "pattern": f"^({TRANSPARENT}|{BLUR}|{COLOUR})$"},
        "A colour (best as #rrggbb), or the photo, out of focus.",
    ),
    "feather": (
        {"type": "number", "minimum": 0, "maximum": 500},
        "Fade the head out over that many pixels at its edge.",
    ),
    "preset": ({"enum": list(PRESETS)}, "Ready for a use; other options change it further."),
}
"""Name of each query parameter: its JSON schema, and what it does.

Some maxima are less than the command line's: a small request must not cost gigabytes.
"""
