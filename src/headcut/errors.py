"""Everything headcut raises on purpose, as one tree.

    HeadcutError
    ├── PhotoError      the photo cannot be used
    ├── OptionError     an option has a value that makes no sense
    ├── HeadChoiceError the head that was asked for is not in this photo
    ├── OutputError     the result cannot be written
    └── ModelError      a model file cannot be used

Every message is one line and names the fix, so a face can print it as it is.
"""

from __future__ import annotations

__all__ = [
    "HeadChoiceError",
    "HeadcutError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PhotoError",
    "extra_is_missing",
]


class HeadcutError(Exception):
    """The root: catch this to catch all that headcut raises on purpose."""


class PhotoError(HeadcutError):
    """The photo cannot be used: unreadable, damaged, too large, too small, or not an image."""


class OptionError(HeadcutError, ValueError):
    """An option has an unknown value, or two options contradict each other."""


class HeadChoiceError(HeadcutError):
    """The head that was asked for, by number or by a point, is not in this photo."""


class OutputError(HeadcutError):
    """The result cannot be written: no permission, no space, or it would replace the photo."""


class ModelError(HeadcutError):
    """A model file is missing, damaged, or not one that headcut can run."""


def extra_is_missing(command: str, extra: str, error: Exception) -> OptionError:
    """Return what a command says whose extra is not installed.

    Args:
        command: `serve` of `headcut serve`.
        extra: what brings the packages.
        error: what came of importing them.
    """
    return OptionError(
        f"headcut {command} needs more packages ({error}); "
        f"in headcut's checkout: pip install '.[{extra}]'"
    )
