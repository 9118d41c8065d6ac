"""Which photos a command line means, and where the output of each goes; nothing is read yet.

Two photos never write one output: where their names would meet, the photo's suffix stays in the
name (`a.jpg-head.png`, `a.png-head.png`), and if that does not part them nothing starts.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headcut.errors import OptionError, OutputError
from headcut.options import FORMATS, Format, format_for
from headcut.photo import PHOTO_SUFFIXES
from headcut.writing import FileId, file_id, is_folder, real_path, refuse_to_replace

STANDARD_STREAM = "-"
"""As a photo it is standard input; after -o, standard output."""

OUR_OUTPUT = re.compile(r"-head(-\d+)?\.(png|webp)$", re.IGNORECASE)
"""Names of what headcut wrote itself; the search of a folder skips them."""

NO_PHOTOS = "no photos in this folder (names like a-head.png are outputs); give one that holds some"


@dataclass(frozen=True, slots=True)
class Job:
    """One photo and where its output goes."""

    photo: Path | None
    """None is standard input."""

    output: Path | None
    """None is standard output."""

    @property
    def name(self) -> str:
        """What messages call the photo."""
        return str(self.photo or STANDARD_STREAM)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command line means."""

    jobs: list[Job]

    format: Format

    failures: list[tuple[str, str]]
    """Arguments that gave no job, each with the reason."""

    makes_folders: bool = False
    """Whether -o named a folder: it and its sub-folders are made when they are needed."""

    photo_ids: frozenset[FileId] = frozenset()
    """What tells the photos from all other files, so that no output replaces one."""


def make_plan(
    arguments: Sequence[str],
    out: str | None,
    wanted: Format | None = None,
    background: str | None = None,
) -> Plan:
    """Return the jobs for photo arguments (files, folders, `-`) and the value of -o.

    The background, too, is replaced by no output if it is a picture's file.

    Raises:
        OptionError: a name is empty, -o cannot hold what the arguments give, its suffix contradicts
            the wanted format, an output is one of the photos or the background, or two photos would
            write one file.
    """
    if "" in arguments or out == "":
        raise OptionError("a name is empty; give a file, a folder or -")
    several = len(arguments) > 1 or is_folder(Path(arguments[0]))
    if out is None and list(arguments) == [STANDARD_STREAM]:
        out = STANDARD_STREAM
    if out == STANDARD_STREAM:
        if several:
            raise OptionError("standard output holds one picture; for several give -o a folder")
        return Plan([Job(_file(arguments[0]), None)], wanted or "png", [])
    if out is not None and not _is_folder(out, several):
        job = Job(_file(arguments[0]), Path(out))
        return _checked(Plan([job], format_for(Path(out), wanted), []), background)
    folder = None if out is None else Path(out)
    jobs, failures = _jobs(arguments, folder, wanted or "png")
    plan = Plan(_parted(jobs), wanted or "png", failures, folder is not None)
    return _checked(plan, background)


def numbered(output: Path, number: int) -> Path:
    """Return the file of one head of several: `a-head.png` -> `a-head-2.png`."""
    return output.with_stem(f"{output.stem}-{number}")


def _file(argument: str) -> Path | None:
    return None if argument == STANDARD_STREAM else Path(argument)


def _is_folder(out: str, several: bool) -> bool:
    if out.endswith(("/", os.sep)) or is_folder(Path(out)):
        return True
    if several and Path(out).suffix.lower() in {f".{known}" for known in FORMATS}:
        raise OptionError(f"{out} is one file, but there may be several pictures; give -o a folder")
    return several


def _jobs(
    arguments: Sequence[str], folder: Path | None, format: Format
) -> tuple[list[Job], list[tuple[str, str]]]:
    """Return one job a photo, each once, and the reasons of arguments that gave none."""
    jobs: dict[tuple[Path, Path], Job] = {}  # by real paths: `a.jpg ../here/a.jpg` is one photo
    failures: list[tuple[str, str]] = []
    for argument in arguments:
        photos = list(_photos(argument, failures))
        if not photos:
            failures.append((argument, NO_PHOTOS))
        for photo, subfolder in photos:
            home = _home(photo, subfolder, folder)
            stem = photo.stem if photo else "stdin"
            output = home / f"{stem}-head.{format}"
            jobs.setdefault((real_path(photo or Path()), real_path(output)), Job(photo, output))
    return list(jobs.values()), failures


def _home(photo: Path | None, subfolder: Path, folder: Path | None) -> Path:
    """Return the folder of a photo's output: beside it, or where it lay, below -o."""
    if folder is not None:
        return folder / subfolder
    if photo is None:
        raise OptionError("standard input has no folder to write to; give -o a folder")
    return photo.parent


def _photos(argument: str, failures: list[tuple[str, str]]) -> Iterator[tuple[Path | None, Path]]:
    """Yield the photos that an argument means, each with its sub-folder below the argument."""
    root = _file(argument)
    if root is None or not is_folder(root):
        yield root, Path()
        return

    def cannot_list(error: OSError) -> None:
        failures.append((str(error.filename), f"cannot be listed: {error.strerror}"))

    for parent, folders, names in os.walk(root, onerror=cannot_list):
        folders.sort()
        for name in sorted(names):
            if is_photo(name):
                yield Path(parent, name), Path(parent).relative_to(root)


def is_photo(name: str) -> bool:
    """Whether a file is a photo by its name: none of headcut's own outputs, nor of macOS's `._`."""
    passed_over = name.startswith("._") or OUR_OUTPUT.search(name)
    return Path(name).suffix.lower() in PHOTO_SUFFIXES and not passed_over


def _parted(jobs: list[Job]) -> list[Job]:
    """Return the jobs with names made longer until no two write one file.

    Raises:
        OptionError: that is not possible.
    """
    counts = Counter(_key(job) for job in jobs)
    parted = [_with_suffix_kept(job) if counts[_key(job)] > 1 else job for job in jobs]
    first: dict[str, Job] = {}
    for job in parted:
        other = first.setdefault(_key(job), job)
        if other is not job:
            raise OptionError(
                f"{other.name} and {job.name} would both become {job.output}; "
                "cut them one after the other, each into another -o"
            )
    return parted


def _checked(plan: Plan, background: str | None) -> Plan:
    """Return the plan with its photos and the background's picture protected.

    Raises:
        OptionError: an output is one of the photos.
    """
    pictures = [job.photo for job in plan.jobs if job.photo]
    if background is not None:
        pictures.append(Path(background))
    found = map(file_id, pictures)
    photo_ids = frozenset(identity for identity in found if identity)
    try:
        for job in plan.jobs:
            if job.output:
                refuse_to_replace(job.output, photo_ids)
    except OutputError as error:
        raise OptionError(str(error)) from error
    return replace(plan, photo_ids=photo_ids)


def _key(job: Job) -> str:
    """Return the output's name as a disk that ignores case knows it."""
    return str(job.output and real_path(job.output)).casefold()


def _with_suffix_kept(job: Job) -> Job:
    if job.photo is None or job.output is None:
        return job
    return replace(job, output=job.output.with_stem(f"{job.photo.name}-head"))
