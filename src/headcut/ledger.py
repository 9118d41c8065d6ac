"""The ledger of a batch: a folder of Parquet files in the target, one row a photo.

Every part is written whole and never changed, so that a run can be killed at any moment. Where two
rows are about one photo, the later one counts; at the end of a run the parts become one.
"""

from __future__ import annotations

import io
import re
import secrets
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headcut.errors import OutputError, PhotoError
from headcut.plan import is_photo
from headcut.store import Entry, Store

FOLDER = "headcut-ledger"

DONE, NO_HEAD, FAILED, SKIPPED = "done", "no head", "failed", "skipped"
"""What became of a file."""

_REPEATED = pa.dictionary(pa.int32(), pa.string())
"""Text that many rows share: held once, or the driver has gigabytes of it for millions of rows."""

SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # the photo's path below SOURCE
        ("size", pa.int64()),  # bytes
        ("modified_us", pa.int64()),  # microseconds since 1970
        ("sha256", pa.string()),  # of the photo's bytes; null where they were not read
        ("status", pa.string()),
        ("reason", pa.string()),  # why it failed or was skipped
        ("heads", pa.int32()),
        ("confidence", pa.float32()),  # of the least sure head, in [0, 1]
        ("outputs", pa.list_(pa.string())),  # paths below TARGET
        ("read_ms", pa.float32()),
        ("decode_ms", pa.float32()),
        ("cut_ms", pa.float32()),
        ("encode_ms", pa.float32()),
        ("write_ms", pa.float32()),
        ("model", _REPEATED),  # fingerprint of the networks
        ("options", _REPEATED),  # JSON of what was asked for
        ("finished_us", pa.int64()),  # microseconds since 1970
    ]
)
"""Columns of the ledger, with their units."""

STAGES = ("read_ms", "decode_ms", "cut_ms", "encode_ms", "write_ms")

MOST_BYTES = 1 << 40
"""Parts of the ledger are read whole, whatever their size."""

PART = re.compile(r"\d{20}-[0-9a-f]{6}\.parquet")


class Ledger:
    """The rows of one target."""

    def __init__(self, target: Store):
        self._target = target
        self._last_number = 0

    def parts(self) -> list[str]:
        """Return the keys of the parts, oldest first."""
        names = (entry.key.rpartition("/")[2] for entry in self._target.entries(FOLDER))
        parts = sorted(name for name in names if PART.fullmatch(name))
        if parts:  # another machine's clock may be ahead
            self._last_number = max(self._last_number, int(parts[-1].partition("-")[0]))
        return [f"{FOLDER}/{name}" for name in parts]

    def rows(self) -> pa.Table:
        """Return the last row of every photo.

        Raises:
            OutputError: a part is damaged.
        """
        return self._rows_of(self.parts())

    def append(self, rows: pa.Table) -> None:
        """Write rows as a new part.

        Raises:
            OutputError: it cannot be written.
        """
        if len(rows):
            self._target.write_whole(f"{FOLDER}/{self.new_name()}.parquet", parquet_bytes(rows))

    def new_name(self) -> str:
        """Return a name that no file has and that sorts after all that this ledger gave or saw."""
        self._last_number = max(time.time_ns(), self._last_number + 1)
        return f"{self._last_number:020d}-{secrets.token_hex(3)}"

    def merge(self) -> None:
        """Make one part of all; killed in the middle of it, nothing is lost.

        Raises:
            OutputError: a part is damaged, or the new one cannot be written.
        """
        parts = self.parts()
        if len(parts) < 2:
            return
        self.append(self._rows_of(parts))
        for part in parts:
            self._target.delete(part)

    def _rows_of(self, parts: Sequence[str]) -> pa.Table:
        tables = [SCHEMA.empty_table()]
        for part in parts:
            try:
                file = pa.BufferReader(self._target.read(part, MOST_BYTES))
                tables.append(pq.read_table(file, schema=SCHEMA))
            except (PhotoError, pa.ArrowException, OSError) as error:
                raise OutputError(
                    f"{part} is damaged ({str(error).splitlines()[0]}); delete it and run again"
                ) from error
        return _last_of_each_key(pa.concat_tables(tables))


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do, and why."""

    todo: pa.Table
    """Columns key, size, modified_us, output (without `-head.png`), old_outputs."""

    passed_over: pa.Table
    """New rows of the ledger: files that are no photos by their names."""

    gone: pa.Array
    """Keys of the ledger that the source does not have any more."""

    new: int
    changed: int
    failed: int
    """Failed earlier, and tried again."""

    lost: int
    """Done, but an output is gone."""

    unlike: int
    """Cut with other options or networks, whether or not they are to be cut again."""

    unlike_options: str | None
    """The options of one of those."""


def work(
    entries: Iterable[Entry],
    rows: pa.Table,
    outputs: pa.Array,
    *,
    model: str,
    options: str,
    retry_failed: bool,
    redo: bool,
) -> Work:
    """Return what is to be done for a listing, by what the ledger says was done.

    Args:
        entries: all files of the source.
        rows: of the ledger.
        outputs: keys of all files that the target holds.
        model: fingerprint of the networks.
        options: of this run.
        retry_failed: whether failed photos are tried again.
        redo: whether photos that were cut with others are cut again.
    """
    listing, others = _listing(entries)
    listing = listing.append_column("output", pa.array(output_stems(listing["key"]), pa.string()))
    then = pa.table(
        {
            "key": rows["key"],
            "then_size": rows["size"],
            "then_modified_us": rows["modified_us"],
            "then_status": rows["status"],
            "then_unlike": _unlike(rows, model, options),
            "then_lost": _lost(rows, outputs),
            "then_row": pa.array(np.arange(len(rows), dtype=np.int64)),
        }
    )
    both = listing.join(then, "key", join_type="left outer").sort_by("key").combine_chunks()

    def column(name: str, missing: object) -> np.ndarray[Any, Any]:
        return np.asarray(both[name].fill_null(missing))

    known = column("then_status", "") != ""
    same = (column("then_size", -1) == both["size"].to_numpy()) & (
        column("then_modified_us", -1) == both["modified_us"].to_numpy()
    )
    changed = known & ~same
    failed = known & same & (column("then_status", "") == FAILED) & retry_failed
    lost = known & same & column("then_lost", False)
    unlike = known & same & column("then_unlike", False) & (column("then_status", "") != SKIPPED)
    todo = ~known | changed | failed | lost | (unlike & redo)
    chosen = both.filter(pa.array(todo))
    old = pc.take(rows["outputs"], chosen["then_row"]) if len(rows) else None
    columns = {name: chosen[name] for name in ("key", "size", "modified_us", "output")}
    columns["old_outputs"] = pa.nulls(len(chosen), pa.list_(pa.string())) if old is None else old
    one_unlike = np.flatnonzero(unlike)[:1]
    row = both["then_row"][int(one_unlike[0])].as_py() if len(one_unlike) else None
    return Work(
        todo=pa.table(columns),
        passed_over=_passed_over(others, rows),
        gone=_gone(rows, listing, others),
        new=int((~known).sum()),
        changed=int(changed.sum()),
        failed=int(failed.sum()),
        lost=int(lost.sum()),
        unlike=int(unlike.sum()),
        unlike_options=None if row is None else rows["options"][row].as_py(),
    )


def output_stems(keys: pa.ChunkedArray) -> list[str]:
    """Return where the outputs of each photo go, without what follows it, as `-head.png`.

    That is the photo's key with its suffix, so `a.jpg` and `a.png` part. Keys that a disk could
    take for one (letter case, Unicode form) get a digest of their own.
    """
    names = keys.to_pylist()
    folded = np.fromiter((hash(_folded(name)) for name in names), np.int64, len(names))
    _, group, counts = np.unique(folded, return_inverse=True, return_counts=True)
    alone = counts[group] == 1
    return [
        name if single else f"{name}-{sha256(name.encode()).hexdigest()[:8]}"
        for name, single in zip(names, alone, strict=True)
    ]


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def _folded(key: str) -> str:
    """Return what a disk that ignores letter case and Unicode form takes the key for."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", key).casefold())


def _last_of_each_key(table: pa.Table) -> pa.Table:
    numbered = table.select(["key"]).append_column(
        "row", pa.array(np.arange(len(table), dtype=np.int64))
    )
    last = np.zeros(len(table), bool)
    last[numbered.group_by("key").aggregate([("row", "max")])["row_max"].to_numpy()] = True
    return table.filter(pa.array(last))  # take() fails where a column has more than 2 GB of text


def _listing(entries: Iterable[Entry]) -> tuple[pa.Table, list[Entry]]:
    """Return the photos as a table, in chunks on the way so that it is compact, and the others."""
    chunks, others = [], []
    rows: list[Entry] = []

    def chunk() -> pa.Table:
        return pa.table(
            {
                "key": pa.array([row.key for row in rows], pa.string()),
                "size": pa.array([row.size for row in rows], pa.int64()),
                "modified_us": pa.array([row.modified_us for row in rows], pa.int64()),
            }
        )

    for entry in entries:
        if not is_photo(entry.key.rpartition("/")[2]):
            others.append(entry)
            continue
        rows.append(entry)
        if len(rows) == 10_000:
            chunks.append(chunk())
            rows.clear()
    return pa.concat_tables([*chunks, chunk()]), others


def _passed_over(others: Sequence[Entry], rows: pa.Table) -> pa.Table:
    """Return rows for the files that are no photos and not in the ledger yet."""
    known = set(rows.filter(pc.equal(rows["status"], SKIPPED))["key"].to_pylist())
    fresh = [
        {
            "key": entry.key,
            "size": entry.size,
            "modified_us": entry.modified_us,
            "status": SKIPPED,
            "reason": "no photo by its name",
            "heads": 0,
            "outputs": [],
            "finished_us": time.time_ns() // 1000,
        }
        for entry in others
        if entry.key not in known
    ]
    return pa.Table.from_pylist(fresh, SCHEMA)


def _gone(rows: pa.Table, listing: pa.Table, others: Sequence[Entry]) -> pa.Array:
    there = [*listing["key"].chunks, pa.array([entry.key for entry in others], pa.string())]
    keys = rows["key"]
    return keys.filter(
        pc.invert(pc.is_in(keys, value_set=pa.chunked_array(there)))
    ).combine_chunks()


def _unlike(rows: pa.Table, model: str, options: str) -> Any:
    other = pc.or_(pc.not_equal(rows["model"], model), pc.not_equal(rows["options"], options))
    return pc.fill_null(other, False)


def _lost(rows: pa.Table, outputs: pa.Array) -> pa.Array:
    """Return whether a row's outputs are not all there."""
    lists = rows["outputs"].combine_chunks()
    there = pc.is_in(pc.list_flatten(lists), value_set=outputs)
    parents = pc.list_parent_indices(lists).to_numpy()
    lost = np.zeros(len(rows), bool)
    lost[parents[~there.to_numpy(zero_copy_only=False)]] = True
    return pa.array(lost & (rows["status"].to_numpy() == DONE))
