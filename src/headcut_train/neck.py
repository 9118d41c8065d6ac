"""Masks with necks -> masks without: skin below the jaw line leaves the head.

The jaw line comes from the photo (see `jaw`), from the manifest if it has one already, or from a
person (see `review`). Hair and beard below the line stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from headcut.errors import HeadcutError, OptionError, OutputError, PhotoError
from headcut.geometry import (
    HEADS_PER_FRAME,
    BoolArray,
    U8Array,
    centred_square,
    crop_for_model,
    paste_alpha,
    tight_box,
    whole_photo_box,
)
from headcut.model_file import open_model
from headcut.photo import load_photo
from headcut.segment import HeadSegmenter
from headcut.writing import why_not_written
from headcut_train.jaw import DOUBTFUL, below, find_jaw
from headcut_train.manifest import (
    HEAD_LEVEL,
    NECK_LEVEL,
    UNKNOWN_LEVEL,
    Manifest,
    Pair,
    journal_of,
    open_journal,
    read_manifest,
    read_mask,
    write_manifest,
)
from headcut_train.prepare import LeftOut, as_table, on_all_cores, write_png

UNSEEN = 0.8
"""Confidence in a cut where skin is not labelled is multiplied by this."""

NO_FACE = "no face was found"
"""Why a pair without a jaw line is put aside."""


@dataclass(frozen=True, slots=True)
class _Job:
    manifest: Manifest
    pair: Pair
    out: Path


def cut_necks(path: Path, *, workers: int = 0) -> Manifest:
    """Write `neck.jsonl` and `neck/*.png` beside a manifest; the manifest and its masks stay.

    Pairs of an earlier `neck.jsonl` whose mask has not changed are kept, with what people chose.

    Args:
        path: the manifest or its folder.
        workers: processes; 0 takes all cores.

    Returns:
        The manifest of the neck-free masks. A pair whose jaw was not found, or is doubtful, is put
        aside (`Pair.aside`), never guessed.

    Raises:
        OptionError: no manifest, no pair with a neck in its head, or MediaPipe is missing.
        OutputError: a file cannot be written. A second run goes on, as after any stop.
    """
    manifest = read_manifest(path)
    out = manifest.path.with_name("neck.jsonl")
    if out == manifest.path:
        raise OptionError(f"{path}: its necks are cut already; give manifest.jsonl")
    if all(pair.neck in ("labelled", "apart") for pair in manifest.pairs):
        raise OptionError(f"{path}: no mask has its neck in the head; train on it as it is")
    files = [file for file in (out, journal_of(out)) if file.is_file() and file.stat().st_size]
    before = [{p.name: p for p in read_manifest(file, torn=True).pairs} for file in files]
    done = []
    jobs = []
    for pair in manifest.pairs:
        olds = [pairs[pair.name] for pairs in before if pair.name in pairs]
        good = [old for old in olds if _still_good(old, pair, manifest)]
        if good:
            done.append(replace(good[0], split=pair.split))
        elif pair.neck in ("labelled", "apart"):
            done.append(pair)
        else:
            jobs.append(_Job(manifest, pair, manifest.path.parent))
    try:
        with open_journal(replace(manifest, path=out, pairs=tuple(done))) as keep:
            for pair in on_all_cores(_cut, jobs, workers, f"neck {manifest.name}"):
                done.append(pair)
                keep(pair)
    except OSError as error:
        raise OutputError(f"cannot write {journal_of(out)}: {why_not_written(error)}") from error
    done.sort(key=lambda pair: pair.name)
    result = Manifest(out, manifest.layout, manifest.source, tuple(done))
    write_manifest(result)
    journal_of(out).unlink()
    return result


def _still_good(old: Pair, pair: Pair, manifest: Manifest) -> bool:
    """Whether a pair that was cut before is still right; one that could not be read is not."""
    same = old.stamp == pair.stamp and old.whole == pair.mask
    looked_at = bool(old.jaw or old.choice) or old.aside == NO_FACE
    return same and looked_at and manifest.file(old.mask).is_file()


def _cut(job: _Job) -> Pair:
    """Find the jaw line of one pair, if it has none, and cut."""
    manifest, pair = job.manifest, replace(job.pair, whole=job.pair.mask)
    try:
        photo = load_photo(manifest.file(pair.photo))
        mask = read_mask(manifest.file(pair.mask))
    except OptionError:
        raise
    except HeadcutError as error:
        return replace(pair, aside=str(error))
    if not pair.jaw:
        found = find_jaw(photo, mask == HEAD_LEVEL)
        if found is None:
            return replace(pair, aside=NO_FACE)
        joints = tuple((round(float(x), 1), round(float(y), 1)) for x, y in found.line)
        confidence = round(found.confidence * (1 if pair.skin else UNSEEN), 3)
        pair = replace(pair, jaw=joints, chin_px=round(found.chin_px, 1), confidence=confidence)
    return cut_neck(manifest, pair, photo)


def cut_neck(manifest: Manifest, pair: Pair, photo: U8Array) -> Pair:
    """Cut a pair along its jaw line, write the mask, and return the pair that has it.

    Args:
        manifest: whose pair it is.
        pair: with a jaw line, and `whole` its mask with the neck.
        photo: its photo, (H, W, 3) uint8.

    Raises:
        PhotoError: a mask is missing.
        OutputError: the new one cannot be written.
    """
    mask = read_mask(manifest.file(pair.whole))
    line = np.array(pair.jaw, np.float32)
    under = below(line, mask.shape)
    if pair.skin:
        skin = read_mask(manifest.file(pair.skin)) > 127
    else:
        skin = skin_by_network(photo, mask == HEAD_LEVEL)
    neck = skin & under & (mask == HEAD_LEVEL)
    rest = (mask == HEAD_LEVEL) & ~neck
    new = f"neck/{pair.name}.png"
    write_png(manifest.path.parent / new, np.where(neck, np.uint8(NECK_LEVEL), mask))
    aside = ""
    if not rest.any() or neck.sum() > rest.sum():
        aside = "more neck than head below the line"
    elif pair.confidence is not None and pair.confidence < DOUBTFUL:
        aside = f"doubtful: confidence {pair.confidence:.2f}"
    return replace(pair, mask=new, neck="labelled", aside=aside)


def skin_by_network(photo: U8Array, head: BoolArray) -> BoolArray:
    """Return the (H, W) pixels of a head that headcut's own segmenter rather calls neck.

    For masks in which nobody labelled skin: what is hair below the line, and what is neck?

    Args:
        photo: (H, W, 3) uint8.
        head: (H, W), the head with its neck.
    """
    left, top, right, bottom = tight_box(head)
    side = HEADS_PER_FRAME * max(right - left, bottom - top)
    look = centred_square((left + right) / 2, (top + bottom) / 2, side)
    segmenter = _segmenter()
    chances = segmenter.segment(crop_for_model(photo, look, segmenter.size)[None])[0]
    neck, (left, top, right, bottom) = paste_alpha(chances[1] - chances[0] / 2, look, head.shape)
    skin = np.zeros_like(head)
    skin[top:bottom, left:right] = neck > 0
    return skin & head


@cache
def _segmenter() -> HeadSegmenter:
    return HeadSegmenter(open_model("segmenter"))


def summary(manifest: Manifest) -> str:
    """Return how many pairs were cut, how surely, and why the others were put aside."""
    cut = [pair for pair in manifest.pairs if pair.whole]
    used = [pair for pair in cut if pair.used]
    asides = [
        LeftOut(pair.name, pair.aside.split(":")[0] or "dropped") for pair in cut if not pair.used
    ]
    heading = f"{manifest.path}: {len(used)} of {len(cut)} necks cut, {len(asides)} aside"
    return f"{heading}\n{as_table(asides)}".rstrip()


def by_doubt(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that were cut, or put aside, the doubtful ones first."""
    cut = [pair for pair in pairs if pair.whole]
    return sorted(cut, key=lambda pair: -1.0 if pair.confidence is None else pair.confidence)


TILE_PX = 192
SHEET_PAIRS_A_ROW, SHEET_ROWS = 5, 10


def write_sheets(manifest: Manifest, out: Path) -> list[Path]:
    """Write PNGs of 50 pairs each, before and after side by side, the doubtful ones first.

    What is cut is blue, the rest of the head bright, the jaw line green; the name is below.

    Args:
        manifest: from `cut_necks`.
        out: the first sheet's name; the others are numbered.

    Raises:
        OutputError: a sheet cannot be written.
    """
    pairs = by_doubt(manifest.pairs)
    a_sheet = SHEET_PAIRS_A_ROW * SHEET_ROWS
    paths = []
    for first in range(0, len(pairs), a_sheet):
        tiles = [_tile(manifest, pair) for pair in pairs[first : first + a_sheet]]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % SHEET_PAIRS_A_ROW)
        rows = [
            np.concatenate(tiles[i : i + SHEET_PAIRS_A_ROW], axis=1)
            for i in range(0, len(tiles), SHEET_PAIRS_A_ROW)
        ]
        number = first // a_sheet
        path = out if number == 0 else out.with_stem(f"{out.stem}-{number + 1}")
        write_png(path, np.concatenate(rows))
        paths.append(path)
    return paths


def _tile(manifest: Manifest, pair: Pair) -> U8Array:
    """Return (TILE_PX + 16, 2 * TILE_PX, 3): a pair before and after."""
    canvas = Image.new("RGB", (2 * TILE_PX, TILE_PX + 16), (30, 30, 30))
    for side, mask in enumerate((pair.whole, pair.mask)):
        with suppress(PhotoError):  # of what is gone, the name is left
            shown = Image.fromarray(shown_pair(manifest, pair, mask))
            canvas.paste(shown, (side * TILE_PX, 0))
    sure = "no line" if pair.confidence is None else f"{pair.confidence:.2f}"
    words = f"{sure}{' aside' if not pair.used else ''}  {pair.name[-48:]}"
    ImageDraw.Draw(canvas).text((3, TILE_PX + 2), words.encode("ascii", "replace").decode())
    return np.asarray(canvas)


def shown_pair(manifest: Manifest, pair: Pair, mask_path: str) -> U8Array:
    """Return a square tile: the photo with its head bright, its neck blue, and its jaw line."""
    photo, mask = load_photo(manifest.file(pair.photo)), read_mask(manifest.file(mask_path))
    bright = np.where((mask == HEAD_LEVEL) | (mask == NECK_LEVEL), 1.0, 0.35)
    bright[mask == UNKNOWN_LEVEL] = 0.15
    shown = photo * bright[..., None]
    shown[mask == NECK_LEVEL] = shown[mask == NECK_LEVEL] * 0.4 + np.array([0, 60, 150])
    look = whole_photo_box((mask.shape[0], mask.shape[1]))
    image = Image.fromarray(crop_for_model(shown.astype(np.uint8), look, TILE_PX))
    if pair.jaw:
        scale = TILE_PX / (look[2] - look[0])
        joints = [((x - look[0]) * scale, (y - look[1]) * scale) for x, y in pair.jaw]
        ImageDraw.Draw(image).line(joints, fill=(0, 255, 0), width=1)
    return np.asarray(image)
