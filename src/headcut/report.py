"""What a ledger says, for people: totals, reasons, the slowest, and a look at the least sure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headcut.errors import OptionError, PhotoError
from headcut.ledger import DONE, FAILED, FOLDER, NO_HEAD, SKIPPED, STAGES, Ledger
from headcut.options import PhotoLimits
from headcut.photo import read_photo
from headcut.store import Store

SHEET = "headcut-least-confident.png"
"""The contact sheet, in the target."""

COLUMNS, ROWS, CELL_PX, LABEL_PX = 6, 4, 160, 14
MOST_REASONS, MOST_SLOW = 10, 5
MOST_PICTURE_BYTES = 100_000_000


def totals(rows: pa.Table) -> list[str]:
    """Return lines on what became of all photos, and why some failed."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(rows["status"]).to_pylist()}
    photos = sum(counts.values()) - counts.get(SKIPPED, 0)
    named = ", ".join(f"{counts.get(status, 0)} {status}" for status in (DONE, NO_HEAD, FAILED))
    lines = [f"{photos} photos: {named}"]
    if counts.get(SKIPPED):
        lines.append(f"passed over: {counts[SKIPPED]}, no photos by their names")
    failed = rows.filter(pc.equal(rows["status"], FAILED))
    keys = failed.group_by("reason").aggregate([("key", "count"), ("key", "min")])
    reasons = keys.sort_by([("key_count", "descending"), ("reason", "ascending")]).to_pylist()
    for row in reasons[:MOST_REASONS]:
        count, first = row["key_count"], row["key_min"]
        which = first if count == 1 else f"{first} and {count - 1} more"
        lines.append(f"  failed {count}: {row['reason']} ({which})")
    if len(reasons) > MOST_REASONS:
        lines.append(f"  and {len(reasons) - MOST_REASONS} other reasons, in {FOLDER}")
    return lines


def report(target_url: str) -> Iterator[str]:
    """Yield lines on a target's ledger, and draw its least confident heads.

    Raises:
        OptionError: there is no ledger.
        OutputError: the sheet cannot be written.
    """
    target = Store(target_url)
    rows = Ledger(target).rows()
    if not len(rows):
        raise OptionError(f"{target_url} has no {FOLDER}; give the TARGET of a batch")
    yield from totals(rows)
    yield from _speed(rows)
    unsure = _least_confident(rows)
    sheet = _sheet(target, unsure)
    if sheet:
        target.write_whole(SHEET, sheet)
        yield f"least confident: {target.url.rstrip('/')}/{SHEET}"


def _speed(rows: pa.Table) -> Iterator[str]:
    by_stage = {stage: rows[stage].fill_null(0).to_numpy() for stage in STAGES}
    whole = np.sum(list(by_stage.values()), axis=0)
    cut = np.flatnonzero(whole)
    if not len(cut):
        return
    means = ", ".join(
        f"{stage.removesuffix('_ms')} {ms[cut].mean():.1f}" for stage, ms in by_stage.items()
    )
    yield f"milliseconds a photo: {whole[cut].mean():.1f} ({means})"
    yield "slowest:"
    for index in cut[np.argsort(-whole[cut], kind="stable")][:MOST_SLOW]:
        yield f"  {whole[index]:.0f} ms {rows['key'][int(index)]}"


def _least_confident(rows: pa.Table) -> list[dict[str, Any]]:
    done = rows.filter(pc.equal(rows["status"], DONE)).select(["key", "confidence", "outputs"])
    chosen = pc.select_k_unstable(done, COLUMNS * ROWS, [("confidence", "ascending")])
    return done.take(chosen).to_pylist()  # type: ignore[no-any-return]


def _sheet(target: Store, rows: list[dict[str, Any]]) -> bytes | None:
    """Return a PNG with the first picture of each row, or None if there are none to show."""
    from PIL import Image, ImageDraw

    height = CELL_PX + LABEL_PX
    lines = -(-len(rows) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL_PX, lines * height), "#808080")
    draw = ImageDraw.Draw(sheet)
    shown = 0
    for row in rows:
        pictures = [key for key in row["outputs"] if key.endswith((".png", ".webp"))]
        if not pictures:
            continue  # of a data set
        x, y = shown % COLUMNS * CELL_PX, shown // COLUMNS * height
        try:
            data = target.read(pictures[0], MOST_PICTURE_BYTES)
            photo = read_photo(data, PhotoLimits(min_side_px=1))
            picture = Image.fromarray(photo.pixels)
            picture.thumbnail((CELL_PX - 4, CELL_PX - 4))
            sheet.paste(picture, (x + 2, y + 2))
        except PhotoError:
            draw.text((x + 4, y + 4), "gone", fill="white")
        label = f"{row['confidence']:.2f} {row['key']}"
        draw.text((x + 2, y + CELL_PX), label.encode("ascii", "replace")[:26].decode(), "white")
        shown += 1
    if not shown:
        return None
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()
