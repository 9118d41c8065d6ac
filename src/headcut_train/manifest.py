"""A manifest: which photos to train on, with which masks; JSON lines, one pair a line.

The first line says where the pairs come from. Paths are relative to the manifest's folder. A mask
is a PNG of one channel: `HEAD_LEVEL`, `UNKNOWN_LEVEL`, `NECK_LEVEL` or 0, background.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from headcut.errors import OptionError, PhotoError
from headcut.geometry import BoolArray, FloatArray, U8Array, shrunk_to
from headcut.photo import load_photo
from headcut.writing import write_whole
from headcut_train.cache import CachedSource
from headcut_train.sources import HEAD, KNOWN, NECK, NO_BOXES, SEARCHED, Sample, around, skull_box

HEAD_LEVEL, UNKNOWN_LEVEL, NECK_LEVEL = 255, 128, 64

LONGEST_TRAINED_PX = 768
"""Photos are decoded for training with their longest side at most this: a crop has 320 pixels."""

VERSION = 1

NeckState = Literal["labelled", "apart", "inside", "unsaid"]
"""Of a mask: necks have their own level; are background; are inside the head; nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A photo with its mask.

    Attributes:
        name: unique in the manifest: the photo's path in the source, without its ending.
        photo: path of the photo.
        mask: path of the mask.
        split: "train", or "val" where it is held out.
        neck: what the mask knows of necks.
        skin: path of a PNG, 255 where skin is that may be the neck's; "" where nobody knows.
        chin_px: row of the chin, in the photo; None where nobody knows.
        stamp: sizes and times of the files that the pair was made of.
        whole: path of the mask before its neck was cut off; "" where none was.
        jaw: points (x, y) of the jaw line, from ear over chin to ear, in photo pixels.
        confidence: how likely the jaw line is right, in [0, 1].
        aside: why the pair is not used; "" where it is.
        choice: what a person said of it: "accept", "drop", or nothing.
    """

    name: str
    photo: str
    mask: str
    split: str = "train"
    neck: NeckState = "unsaid"
    skin: str = ""
    chin_px: float | None = None
    stamp: tuple[int, ...] = ()
    whole: str = ""
    jaw: tuple[tuple[float, float], ...] = ()
    confidence: float | None = None
    aside: str = ""
    choice: str = ""

    @property
    def used(self) -> bool:
        """Whether networks see it."""
        return self.choice != "drop" and (not self.aside or self.choice == "accept")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Pairs and where they come from.

    Attributes:
        path: of the file.
        layout: a name in `layouts.LAYOUTS`.
        source: the folder that was read.
        pairs: sorted by name.
    """

    path: Path
    layout: str
    source: str
    pairs: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """The folder's name: what a table calls this set."""
        return self.path.resolve().parent.name

    def file(self, path: str) -> Path:
        """Return where a path of the manifest is."""
        return self.path.parent / path

    def used(self, split: str) -> list[Pair]:
        """Return the pairs of a split that networks see."""
        return [pair for pair in self.pairs if pair.split == split and pair.used]


def _as_line(pair: Pair) -> str:
    """Return a pair as a line of a manifest: what is empty is left out."""
    kept = {name: value for name, value in asdict(pair).items() if value not in ("", None, ())}
    return json.dumps(kept) + "\n"


def _lines(manifest: Manifest) -> list[str]:
    about = {"headcut_manifest": VERSION, "layout": manifest.layout, "source": manifest.source}
    return [json.dumps(about) + "\n", *map(_as_line, manifest.pairs)]


def journal_of(path: Path) -> Path:
    """Return where the pairs of a manifest are kept until it is whole."""
    return path.with_suffix(".part.jsonl")


@contextmanager
def open_journal(manifest: Manifest) -> Iterator[Callable[[Pair], None]]:
    """Give what keeps pairs as they are done, so that a stop loses none.

    Args:
        manifest: with the pairs that are done already.

    Raises:
        OSError: it cannot be written.
    """
    with journal_of(manifest.path).open("w", encoding="utf-8") as file:

        def keep(pair: Pair) -> None:
            file.write(_as_line(pair))
            file.flush()

        file.writelines(_lines(manifest))
        file.flush()
        yield keep


def write_manifest(manifest: Manifest) -> None:
    """Write a manifest, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_whole(manifest.path, "".join(_lines(manifest)).encode(), make_folder=True)


def read_manifest(path: Path, *, torn: bool = False) -> Manifest:
    """Read a manifest: the file, or the folder that holds `manifest.jsonl`.

    Args:
        path: the file or its folder.
        torn: pass over a last line that a stop cut short.

    Raises:
        OptionError: there is none, it is empty, or a line of it makes no sense.
    """
    path = path / "manifest.jsonl" if path.is_dir() else path
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise OptionError(f"{path}: no manifest ({reason}); make one with prepare") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(_row(line))
        except (ValueError, TypeError) as error:
            if torn and number == len(lines):
                break
            raise OptionError(f"{path}, line {number}: not of a manifest ({error})") from error
    if not rows or not isinstance(rows[0], dict):
        raise OptionError(f"{path}: no manifest of version {VERSION}; make one with prepare")
    pairs = {row.name: row for row in rows[1:] if isinstance(row, Pair)}
    if not pairs and not torn:
        raise OptionError(f"{path}: the manifest is empty; see left_out.csv beside it")
    ordered = tuple(pairs[name] for name in sorted(pairs))
    return Manifest(path, rows[0]["layout"], rows[0]["source"], ordered)


def _row(line: str) -> dict[str, Any] | Pair:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError("not an object")
    if "headcut_manifest" in row:
        if row["headcut_manifest"] != VERSION or not {"layout", "source"} <= set(row):
            raise ValueError(f"not of version {VERSION}")
        return row
    if unknown := set(row) - {field.name for field in fields(Pair)}:
        raise ValueError(f"unknown key {sorted(unknown)}")
    row["jaw"] = tuple((float(x), float(y)) for x, y in row.get("jaw", ()))
    row["stamp"] = tuple(row.get("stamp", ()))
    return Pair(**row)


def read_mask(path: Path) -> U8Array:
    """Return a mask (H, W) uint8 as `prepare` wrote it.

    Raises:
        PhotoError: it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise PhotoError(f"{path}: no such mask, or damaged; run prepare again") from error


def shrunk_mask(mask: U8Array, longest_px: int) -> U8Array:
    """Return a mask of the size that `shrunk_to` gives its photo."""
    scale = longest_px / max(mask.shape)
    if scale >= 1:
        return mask
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def sample_of(manifest: Manifest, pair: Pair, longest_px: int | None = None) -> Sample:
    """Return a pair as training and evaluation see it.

    Args:
        manifest: whose pair it is.
        pair: which.
        longest_px: shrink the photo so that its longest side is at most this.

    Raises:
        PhotoError: the photo or the mask is missing, damaged, or no longer of the other's size.
    """
    try:
        photo = load_photo(manifest.file(pair.photo))
    except PhotoError as error:
        raise PhotoError(f"{manifest.file(pair.photo)}: {error}; or run prepare again") from error
    mask = read_mask(manifest.file(pair.mask))
    if photo.shape[:2] != mask.shape:
        raise PhotoError(f"{pair.photo}: its mask has another size by now; run prepare again")
    height = len(mask)
    if longest_px is not None:
        photo, mask = shrunk_to(photo, longest_px), shrunk_mask(mask, longest_px)
    scale = len(mask) / height
    head = mask == HEAD_LEVEL
    chin = None if pair.chin_px is None else pair.chin_px * scale
    boxes = _box(head, chin)
    known = mask != UNKNOWN_LEVEL
    searched = around(boxes, head.shape, 1.2) & known
    plane = head * HEAD | known * KNOWN | (mask == NECK_LEVEL) * NECK | searched * SEARCHED
    return Sample(
        name=f"{manifest.name}/{pair.name}",
        photo=photo,
        plane=plane.astype(np.uint8),
        boxes=boxes,
        ignored=NO_BOXES,
        masked=True,
        neck_labelled=pair.neck == "labelled",
    )


def _box(head: BoolArray, chin_px: float | None) -> FloatArray:
    if not head.any():
        return NO_BOXES
    rows = np.flatnonzero(head.any(1))
    return skull_box(head, float(rows[-1] + 1) if chin_px is None else chin_px)


def open_manifests(paths: Iterable[Path], cache: Path, network: str) -> dict[str, CachedSource]:
    """Return the pairs of manifests to train on, by set, decoded into `cache` on first use.

    Args:
        paths: of the manifests.
        cache: folder of the cache files.
        network: name of what is to be trained.

    Raises:
        OptionError: a manifest is missing, damaged, or has no such pair; a finder needs more.
    """
    if network == "finder":
        raise OptionError("a finder learns from whole scenes; manifests are for segmenters")
    sources = {}
    for path in paths:
        manifest = read_manifest(path)
        if not (pairs := manifest.used("train")):
            raise OptionError(f"{path}: no pair is in use for training; look at its sheet")
        # A changed manifest or mask gets a cache of its own.
        text = "".join(map(_as_line, pairs)) + str([_time(manifest.file(p.mask)) for p in pairs])
        name = f"{manifest.name}-{zlib.crc32(text.encode()):08x}"

        read = partial(_samples, manifest, pairs)
        sources[name] = CachedSource(path, cache, name, "train", reader=read)
    return sources


def _samples(manifest: Manifest, pairs: list[Pair], _: Path, __: str) -> Iterator[Sample]:
    """Read the pairs for training; a `sources.Reader` once the first two are given."""
    samples = (sample_of(manifest, pair, LONGEST_TRAINED_PX) for pair in pairs)
    return (sample for sample in samples if len(sample.boxes))  # a tiny head may vanish


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
