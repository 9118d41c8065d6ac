"""headcut cuts heads out of photos.

    import headcut

    heads = headcut.cut("photo.jpg")  # left to right; may be empty
    for number, head in enumerate(heads, start=1):
        head.save(f"head-{number}.png")

`HeadCutter` is the same with choices. Everything headcut raises is a `HeadcutError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headcut.errors import (
    HeadChoiceError,
    HeadcutError,
    ModelError,
    OptionError,
    OutputError,
    PhotoError,
)
from headcut.options import PhotoLimits, SaveOptions

if TYPE_CHECKING:
    from headcut.cutout import CutOut, merge
    from headcut.photo import Photo, load_photo
    from headcut.pipeline import HeadCutter, cut

__version__ = "0.1.0"

__all__ = [
    "CutOut",
    "HeadChoiceError",
    "HeadCutter",
    "HeadcutError",
    "ModelError",
    "OptionError",
    "OutputError",
    "Photo",
    "PhotoError",
    "PhotoLimits",
    "SaveOptions",
    "cut",
    "load_photo",
    "merge",
]

_LAZY = {
    "CutOut": "headcut.cutout",
    "HeadCutter": "headcut.pipeline",
    "Photo": "headcut.photo",
    "cut": "headcut.pipeline",
    "load_photo": "headcut.photo",
    "merge": "headcut.cutout",
}


def __getattr__(name: str) -> Any:
    """Import what needs NumPy and Pillow at first use: 0.12 s that `headcut --help` never pays."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
