"""How bytes reach the disk: whole or not at all, and never over a photo."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from headcut.errors import OutputError

FileId: TypeAlias = tuple[int, int]
"""Device and number of a file."""


def real_path(path: Path) -> Path:
    """Return the absolute path without links; those in a circle are kept, not an error."""
    return Path(os.path.realpath(path))


def is_folder(path: Path) -> bool:
    """Whether this is a folder; unlike Path.is_dir, an impossible name is not an error."""
    return os.path.isdir(path)  # noqa: PTH112


def file_id(path: Path) -> FileId | None:
    """Return what tells a file from all others, whatever it is called; None if there is none."""
    try:
        info = path.stat()
    except (OSError, ValueError):
        return None
    return info.st_dev, info.st_ino


def refuse_to_replace(path: Path, photos: Container[FileId | None]) -> None:
    """Raise OutputError if `path` is one of the photos: by name, link or letter case."""
    identity = file_id(path)
    if identity is not None and identity in photos:
        raise OutputError(f"{path} is a photo, and photos are never replaced; choose another name")


def write_whole(path: Path, data: bytes, *, make_folder: bool = False) -> None:
    """Write a file so that it appears complete or not at all; an older one is replaced.

    Args:
        path: where to.
        data: all of it.
        make_folder: make the folder, and those above it, if they are missing.

    Raises:
        OutputError: no such folder, no permission, no space, or `path` is no ordinary file.
    """
    target = real_path(path)  # a link stays a link
    with _errors_named(path):
        if target.exists() and not target.is_file():
            raise OutputError(f"{path} is not an ordinary file; choose another name")
        with _written_beside(target, data, make_folder=make_folder) as temporary:
            temporary.replace(target)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file as `write_whole` does, and its folder, but never over another one.

    Returns:
        False if there is something of that name already; it is left alone.

    Raises:
        OutputError: no permission, or no space.
    """
    with _errors_named(path), _written_beside(path, data, make_folder=True) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a disk without links, as FAT: take the name first, then fill it
            try:
                path.open("xb").close()
            except FileExistsError:
                return False
            temporary.replace(path)
    return True


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {why_not_written(error)}") from error


@contextmanager
def _written_beside(target: Path, data: bytes, *, make_folder: bool) -> Iterator[Path]:
    """Give a file with the data in the target's folder; it is removed if it is still there."""
    temporary = target.with_name(f".headcut-{secrets.token_hex(6)}.tmp")
    try:
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
        yield temporary
    finally:
        with suppress(OSError):  # it is gone already where it took the target's name
            temporary.unlink()


def why_not_written(error: OSError, option: str = "") -> str:
    """Return the reason that the system gives, and what to do about it.

    Args:
        error: what went wrong.
        option: what says where to write, if it is sure.
    """
    another, by_option = option or "place", option and f" with {option}"
    advice = {
        errno.ENOSPC: f"free some space or choose another {another}",
        errno.EDQUOT: f"free some space or choose another {another}",
        errno.ENOENT: "make the folder first",
        errno.EEXIST: f"part of the path is a file; choose another {another}",
        errno.ENOTDIR: f"part of the path is a file; choose another {another}",
        errno.ENAMETOOLONG: f"choose a shorter name{by_option}, or rename the photo",
    }
    fix = advice.get(error.errno or 0, f"choose a place you may write to{by_option}")
    return f"{error.strerror or type(error).__name__}; {fix}"


def write_standard_output(data: bytes) -> None:
    """Write to standard output, past Python's buffer: it would be written again at the exit.

    Raises:
        OutputError: no space, or it is closed.
        BrokenPipeError: the reader went away.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed; give -o a file or a folder")
    stream = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    left = memoryview(data)
    try:
        while left:
            left = left[stream.write(left) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write standard output: {why_not_written(error)}") from error
