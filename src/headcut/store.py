"""A folder or a bucket: lists its files, reads them, and writes them whole or not at all.

All of it goes through pyarrow: folders, s3:// and gs:// are its own, any other URL is tried with
fsspec. A key is a file's path below the root, with forward slashes.
"""

from __future__ import annotations

import mimetypes
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from headcut.errors import OptionError, OutputError, PhotoError
from headcut.writing import why_not_written

OBJECT_STORES = ("s3", "gcs", "abfs")
"""Kinds of storage where a file appears when its upload is complete, and not before."""

TEMPORARY = ".headcut-tmp"
"""Folder, below the root, of files that are being written."""

ATTEMPTS = 4
"""How often something is tried that went wrong in a store over the network."""

FIRST_WAIT_S = 0.5
"""Before the second attempt; it doubles from one to the next."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing."""

    key: str

    size: int
    """In bytes."""

    modified_us: int
    """Microseconds since 1970."""


class Store:
    """A folder or bucket, by its path or URL.

    Attributes:
        url: as given; of a folder, its absolute path: workers run elsewhere.
        is_local: whether it is a folder of this machine.

    Raises:
        OptionError: no such kind of storage, or what it needs is not installed.
    """

    def __init__(self, url: str):
        self._filesystem, root = _open(url)
        self._root = root.rstrip("/")
        kind = self._filesystem.type_name
        self.is_local = kind == "local"
        self.url = root if self.is_local else url
        self._appears_whole = kind in OBJECT_STORES
        self._made: set[str] = set()

    def entries(self, folder: str = "") -> Iterator[Entry]:
        """Yield every file below a folder; none where that is missing.

        Links to folders are not followed.

        Raises:
            OptionError: a folder cannot be listed.
        """
        try:
            yield from (self._local_entries if self.is_local else self._remote_entries)(folder)
        except OSError as error:
            place = getattr(error, "filename", None) or self.url
            raise OptionError(
                f"{place} cannot be listed: {_reason(error)}; nothing is begun before all is"
            ) from error

    def read(self, key: str, most_bytes: int) -> bytes:
        """Return a file's bytes, one past `most_bytes` at the most.

        Raises:
            PhotoError: it is missing or cannot be read.
        """
        try:
            if self.is_local and not stat.S_ISREG(Path(self._path(key)).stat().st_mode):
                raise PhotoError("is no ordinary file; give a photo file")
            return self._tried(lambda: self._read(key, most_bytes))
        except FileNotFoundError as error:
            name = "its name is not UTF-8; rename it" if "\\x" in key else "look for it"
            raise PhotoError(f"no such file any more; {name}") from error
        except (OSError, ValueError) as error:
            raise PhotoError(f"cannot be read: {_reason(error)}; check permissions") from error

    def write_whole(self, key: str, data: bytes) -> None:
        """Write a file so that it appears complete or not at all; an older one is replaced.

        Raises:
            OutputError: no permission, no space, or no connection.
        """
        try:
            self._tried(lambda: self._write(key, data))
        except OSError as error:
            raise OutputError(f"cannot write {key}: {why_not_written(error, 'TARGET')}") from error

    def delete(self, key: str) -> None:
        """Delete a file, if it is there.

        Raises:
            OutputError: no permission or no connection.
        """
        try:
            with suppress(FileNotFoundError):
                self._tried(lambda: self._filesystem.delete_file(self._path(key)))
        except OSError as error:
            raise OutputError(f"cannot delete {key}: {_reason(error)}") from error

    def sweep(self) -> None:
        """Delete what a killed run left half-written."""
        if not self._appears_whole:
            self._made.clear()
            with suppress(OSError):
                self._filesystem.delete_dir(self._path(TEMPORARY))

    def holds(self, other: Store) -> bool:
        """Whether the other is this place, or lies below it."""
        if self._filesystem.type_name != other._filesystem.type_name:
            return False
        if not self.is_local:
            return f"{other._root}/".startswith(f"{self._root}/") and (
                self._filesystem.equals(other._filesystem)
            )
        mine, theirs = Path(os.path.realpath(self._root)), Path(os.path.realpath(other._root))
        return any(_is_same(mine, above) for above in (theirs, *theirs.parents))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _local_entries(self, folder: str) -> Iterator[Entry]:
        def refuse(error: OSError) -> None:
            raise error

        top = self._path(folder)
        if not Path(top).exists():
            return
        for parent, folders, names in os.walk(top, onerror=refuse):
            folders[:] = sorted(name for name in folders if name != TEMPORARY)
            for name in sorted(names):
                path = Path(parent, name)
                info = None
                with suppress(OSError):  # a link to nowhere is a photo that fails
                    info = path.stat()
                key = os.fsencode(path.relative_to(self._root)).decode("utf-8", "backslashreplace")
                size, changed_us = (info.st_size, info.st_mtime_ns // 1000) if info else (0, 0)
                yield Entry(Path(key).as_posix(), size, changed_us)

    def _remote_entries(self, folder: str) -> Iterator[Entry]:
        """One folder's listing is held at a time, so that a great tree needs little memory."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        infos = self._tried(lambda: self._filesystem.get_file_info(selector))
        for info in sorted(infos, key=lambda info: str(info.path)):
            key = f"{folder}/{info.base_name}" if folder else info.base_name
            if info.type == fs.FileType.Directory and info.base_name != TEMPORARY:
                yield from self._remote_entries(key)
            elif info.type == fs.FileType.File:
                yield Entry(key, info.size or 0, (info.mtime_ns or 0) // 1000)

    def _read(self, key: str, most_bytes: int) -> bytes:
        with self._filesystem.open_input_file(self._path(key)) as file:
            # No more than there is: pyarrow takes as much memory as it is asked to read.
            data: bytes = file.read(min(file.size(), most_bytes + 1))
        return data

    def _write(self, key: str, data: bytes) -> None:
        if self._appears_whole:
            self._put(self._path(key), data)
            return
        temporary = self._path(f"{TEMPORARY}/{secrets.token_hex(8)}")
        self._make_folder(Path(temporary).parent)
        self._make_folder(Path(self._path(key)).parent)
        try:
            self._put(temporary, data)
            self._filesystem.move(temporary, self._path(key))
        except OSError:
            with suppress(OSError):
                self._filesystem.delete_file(temporary)
            raise

    def _put(self, path: str, data: bytes) -> None:
        mime = mimetypes.guess_type(path)[0]
        about = {"Content-Type": mime} if mime and self._appears_whole else None
        with self._filesystem.open_output_stream(path, metadata=about) as stream:
            stream.write(data)

    def _make_folder(self, folder: Path) -> None:
        name = folder.as_posix()
        if name not in self._made:
            self._filesystem.create_dir(name, recursive=True)
            self._made.add(name)

    def _tried(self, work: Callable[[], Answer]) -> Answer:
        """Return what the work returns; over a network, after some attempts if it must be."""
        for attempt in range(1, ATTEMPTS):
            try:
                return work()
            except (FileNotFoundError, PermissionError):
                raise
            except OSError:
                if self.is_local:
                    raise
                time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        return work()


def _open(url: str) -> tuple[Any, str]:
    if "://" not in url:
        return fs.LocalFileSystem(), os.path.abspath(url)  # noqa: PTH100  links stay links
    try:
        try:
            filesystem, root = fs.FileSystem.from_uri(url)
        except pa.ArrowInvalid:
            filesystem, root = fs.FileSystem.from_uri(f"fsspec+{url}")
    except (ImportError, OSError, ValueError) as error:
        raise OptionError(f"{url} cannot be opened: {_reason(error)}; give a folder") from error
    return filesystem, root


def _is_same(a: Path, b: Path) -> bool:
    with suppress(OSError):
        return a.samefile(b)
    return a == b


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "strerror", None) or error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
