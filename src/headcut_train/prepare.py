"""A folder of photos and masks -> a manifest: every pair checked, every mask in one form.

Each finished pair is a line of a journal, so that a stop loses nothing: the next run takes the
pairs whose files have not changed since and does the others.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from headcut.errors import HeadcutError, OptionError, OutputError, PhotoError
from headcut.geometry import BoolArray, U8Array
from headcut.model_file import usable_cores
from headcut.photo import load_photo
from headcut.writing import why_not_written, write_whole
from headcut_train import layouts
from headcut_train.layouts import LAYOUTS, MaskError, PairFiles, find_pairs
from headcut_train.manifest import (
    HEAD_LEVEL,
    NECK_LEVEL,
    UNKNOWN_LEVEL,
    Manifest,
    Pair,
    journal_of,
    open_journal,
    read_manifest,
    write_manifest,
)

LEVELS = np.zeros(6, np.uint8)
"""Level in a mask by kind; background is 0."""
LEVELS[[layouts.HEAD, layouts.FACE, layouts.SKIN]] = HEAD_LEVEL
LEVELS[layouts.NECK], LEVELS[layouts.UNKNOWN] = NECK_LEVEL, UNKNOWN_LEVEL


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A pair that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Job:
    files: PairFiles
    layout: str
    out: Path
    split: str


def prepare(
    source: Path, layout: str, out: Path, *, held_out_pct: int = 10, workers: int = 0
) -> tuple[Manifest, list[LeftOut]]:
    """Write `out/manifest.jsonl`, masks and `out/left_out.csv`; go on where a stop left off.

    Photos stay where they are; nothing in `source` is changed.

    Args:
        source: folder of photos and masks.
        layout: a name in `layouts.LAYOUTS`.
        out: folder to write; one that holds a manifest of the same source is brought up to date.
        held_out_pct: share of the pairs for evaluation, chosen by their names, in percent.
        workers: processes; 0 takes all cores, 1 stays in this one.

    Returns:
        The manifest, and what was left out, by name.

    Raises:
        OptionError: the source has no pairs, or `out` is another source's.
        OutputError: `out` cannot be written; what is done so far is kept.
    """
    pairs = find_pairs(source)
    if out.exists() and not out.is_dir():
        raise OptionError(f"{out}: a file, not a folder; choose another OUT")
    _refuse_to_replace(pairs, out)
    path = out / "manifest.jsonl"
    done = _done_before(out, path, source, layout)
    jobs = [
        _Job(files, layout, out, "val" if _is_held_out(files.name, held_out_pct) else "train")
        for files in pairs
    ]
    kept = [pair for job in jobs if (pair := _still_good(done.get(job.files.name), job))]
    names = {pair.name for pair in kept}
    left_out: list[LeftOut] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with open_journal(Manifest(path, layout, str(source.resolve()), tuple(kept))) as keep:
            todo = [job for job in jobs if job.files.name not in names]
            for result in on_all_cores(_prepared, todo, workers, f"prepare {source}"):
                if isinstance(result, LeftOut):
                    left_out.append(result)
                else:
                    kept.append(result)
                    keep(result)
    except OSError as error:
        raise OutputError(
            f"cannot write {journal_of(path)}: {why_not_written(error, 'OUT')}"
        ) from error
    kept.sort(key=lambda pair: pair.name)
    left_out.sort(key=lambda row: row.name)
    manifest = Manifest(path, layout, str(source.resolve()), tuple(kept))
    write_whole(out / "left_out.csv", _as_csv(left_out))
    write_manifest(manifest)
    journal_of(path).unlink()
    return manifest, left_out


def _refuse_to_replace(pairs: Sequence[PairFiles], out: Path) -> None:
    """Raise if what is written would lie among the photos and masks that are read."""
    written = [(out / folder).resolve() for folder in ("masks", "skin")]
    for path in (p for pair in pairs for p in (pair.photo, *pair.masks) if p):
        real = path.resolve()
        if any(real.is_relative_to(folder) for folder in written):
            raise OptionError(f"{out}: {path} lies where masks are written; choose another OUT")


def _done_before(out: Path, manifest: Path, source: Path, layout: str) -> dict[str, Pair]:
    done: dict[str, Pair] = {}
    for path in (manifest, journal_of(manifest)):
        if not path.is_file() or not path.stat().st_size:
            continue
        before = read_manifest(path, torn=True)
        if (before.source, before.layout) != (str(source.resolve()), layout):
            words = f"{before.source} as {before.layout}"
            raise OptionError(f"{out}: holds pairs of {words}; choose another OUT")
        done |= {pair.name: pair for pair in before.pairs}
    return done


def _is_held_out(name: str, pct: int) -> bool:
    """Whether a pair is for evaluation: by its name alone, so that new pairs move no other."""
    return zlib.crc32(name.encode()) % 100 < pct


def _still_good(pair: Pair | None, job: _Job) -> Pair | None:
    if pair is None or job.files.photo is None or pair.split != job.split:
        return None
    same = pair.stamp == _stamp(job.files) and (job.out / pair.mask).is_file()
    return pair if same and (not pair.skin or (job.out / pair.skin).is_file()) else None


def _stamp(files: PairFiles) -> tuple[int, ...]:
    infos = [path.stat() for path in (files.photo, *files.masks) if path is not None]
    return tuple(number for info in infos for number in (info.st_size, info.st_mtime_ns))


def _prepared(job: _Job) -> Pair | LeftOut:
    """Check one pair and write its mask."""
    name, files = job.files.name, job.files
    if files.photo is None:
        return LeftOut(name, "no photo for the mask")
    if not files.masks:
        return LeftOut(name, "no mask for the photo")
    try:
        photo = load_photo(files.photo)
        kinds = LAYOUTS[job.layout].read(files.masks, (photo.shape[1], photo.shape[0]))
    except MaskError as error:
        return LeftOut(name, str(error))
    except PhotoError as error:
        reason = str(error).removeprefix(f"{files.photo}: ")
        return LeftOut(name, f"the photo is unreadable: {reason}")
    mask = LEVELS[kinds]
    if not (mask == HEAD_LEVEL).any():
        return LeftOut(name, "the mask is empty: no head")
    write_png(job.out / "masks" / f"{name}.png", mask)
    skin = kinds == layouts.SKIN
    if skin.any():
        write_png(job.out / "skin" / f"{name}.png", skin * np.uint8(255))
    return Pair(
        name=name,
        photo=os.path.relpath(files.photo.resolve(), job.out.resolve()),
        mask=f"masks/{name}.png",
        split=job.split,
        neck=LAYOUTS[job.layout].neck,
        skin=f"skin/{name}.png" if skin.any() else "",
        chin_px=None if skin.any() else _chin(kinds == layouts.FACE),
        stamp=_stamp(files),
    )


def _chin(face: BoolArray) -> float | None:
    rows = np.flatnonzero(face.any(1))
    return float(rows[-1] + 1) if len(rows) else None


def write_png(path: Path, pixels: U8Array) -> None:
    """Write a PNG, grey or RGB, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", optimize=False)
    write_whole(path, data.getvalue(), make_folder=True)


def _as_csv(rows: Sequence[LeftOut]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("name", "reason"), *((row.name, row.reason) for row in rows)])
    return text.getvalue().encode()


def as_table(rows: Sequence[LeftOut], most: int = 20) -> str:
    """Return what was left out, as text: a reason a line, with how often and where."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(row.reason, []).append(row.name)
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    lines = [
        f"{len(names):6}  {reason}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for reason, names in ordered[:most]
    ]
    if len(ordered) > most:
        lines.append(f"        and {len(ordered) - most} more reasons")
    return "\n".join(lines)


Job = TypeVar("Job")
Result = TypeVar("Result")


def on_all_cores(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    words: str,
) -> Iterator[Result]:
    """Yield the results as they come, with a progress bar; the first error ends all.

    Args:
        work: a function of a module, as other processes get it by its name.
        jobs: what to do.
        workers: processes; 0 takes all cores, 1 stays in this one.
        words: what the bar says.
    """
    bar = tqdm(total=len(jobs), desc=words, disable=None)
    count = min(workers or len(usable_cores()), len(jobs))
    if count <= 1:
        for job in jobs:
            yield work(job)
            bar.update()
        bar.close()
        return
    # Forked processes would inherit the threads' locks of torch and MediaPipe.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
                bar.update()
        except (HeadcutError, OSError, GeneratorExit, KeyboardInterrupt):
            with suppress(RuntimeError):
                pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            bar.close()
