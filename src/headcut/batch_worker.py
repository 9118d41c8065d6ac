"""What a worker of a batch does with each photo: read, decode, cut, encode, write, account for it.

Nothing of Ray is in here: a worker is a callable from a table of photos to a table of results.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from headcut.cutout import CutOut, choose_heads
from headcut.errors import HeadcutError, OptionError
from headcut.ledger import DONE, FAILED, NO_HEAD, SCHEMA
from headcut.model_file import BUNDLED, bundled_models
from headcut.options import Heads, Neck, PhotoLimits, SaveOptions, is_picture, require_known
from headcut.outputs import output_files
from headcut.photo import read_photo
from headcut.pipeline import HeadCutter
from headcut.store import Store

FORMS = ("files", "parquet", "webdataset")
"""What a batch writes: pictures in the tree of the source, or the shards of a data set."""

NETWORK_THREADS = 4
"""Photos at once in a worker whose source or target is over a network: some wait, one is cut."""

DATA_SET_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),  # of the upright photo, in pixels
        ("height", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.int32(), 4))),  # left, top, right, bottom, photo pixels
        ("confidences", pa.list_(pa.float32())),  # in [0, 1]
        ("masks", pa.list_(pa.binary())),  # PNG or WebP files
    ]
)
"""Columns of a Parquet data set; one row a photo that has a head."""

RESULT_SCHEMA = pa.unify_schemas([SCHEMA, DATA_SET_SCHEMA])
"""What a worker returns: a row of the ledger and, for a data set, what goes into its shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoJob:
    """What is done with every photo of a batch.

    Raises:
        OptionError: an unknown form, or a sidecar with a data set.
    """

    save: SaveOptions
    heads: Heads = "all"
    neck: Neck = "none"
    sidecar: bool = False
    limits: PhotoLimits = field(default_factory=PhotoLimits)
    form: str = "files"

    def __post_init__(self) -> None:
        require_known("as", self.form, FORMS)
        if self.form != "files" and self.sidecar:
            raise OptionError("a data set holds the boxes itself; leave --json out")

    def for_workers(self) -> PhotoJob:
        """Return the job with the whole path of its background: workers have another folder."""
        picture = self._background_picture()
        if picture is None:
            return self
        return replace(self, save=replace(self.save, background=str(picture.absolute())))

    def fingerprint(self) -> str:
        """Return all that changes an output, as JSON; what is only refused is no part of it."""
        chosen = {name: value for name, value in asdict(self).items() if name != "limits"}
        if picture := self._background_picture():
            chosen["save"]["background"] = sha256(picture.read_bytes()).hexdigest()
        return json.dumps(chosen, sort_keys=True)

    def _background_picture(self) -> Path | None:
        picture = Path(self.save.background)
        return picture if is_picture(self.save.background) and picture.is_file() else None


def model_fingerprint() -> str:
    """Return what tells the bundled networks from others."""
    digest = sha256()
    for name in bundled_models():
        digest.update((BUNDLED / f"{name}.onnx").read_bytes())
    return digest.hexdigest()[:16]


class PhotoWorker:
    """Cuts photos; made once a process, where it loads the networks.

    Args:
        source: URL of the photos.
        target: URL for the outputs.
        job: what to do with each.
        gpu: whether to run the networks on one.

    Raises:
        ModelError: a network cannot be loaded, or not on a GPU.
    """

    def __init__(self, source: str, target: str, job: PhotoJob, gpu: bool = False):
        self._source, self._target, self._job = Store(source), Store(target), job
        # One thread: there is a worker for every core.
        self._cutter = HeadCutter(limits=job.limits, neck=job.neck, threads=1, gpu=gpu)
        self._options, self._model = job.fingerprint(), model_fingerprint()
        near = self._source.is_local and self._target.is_local
        self._threads = 1 if near else NETWORK_THREADS

    def __call__(self, photos: pa.Table) -> pa.Table:
        """Return one row a photo (`RESULT_SCHEMA`), whatever happened to it.

        Args:
            photos: columns key, size, modified_us, output, old_outputs.
        """
        tasks = photos.to_pylist()
        if self._threads == 1:
            rows = [self._row(task) for task in tasks]
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                rows = list(pool.map(self._row, tasks))
        return pa.Table.from_pylist(rows, RESULT_SCHEMA)

    def _row(self, task: dict[str, Any]) -> dict[str, Any]:
        old = task["old_outputs"] or []
        row: dict[str, Any] = {
            **{name: task[name] for name in ("key", "size", "modified_us")},
            "heads": 0,
            "outputs": [],
            "model": self._model,
            "options": self._options,
        }
        try:
            self._cut(task, row)
            for gone in set(old) - set(row["outputs"]):
                self._target.delete(gone)
        except Exception as error:  # noqa: BLE001  no photo may stop the others: it is accounted for
            row.update(status=FAILED, reason=_reason(error))
            row["outputs"] = sorted({*old, *row["outputs"]})  # what may still be there
        row["finished_us"] = time.time_ns() // 1000
        return row

    def _cut(self, task: dict[str, Any], row: dict[str, Any]) -> None:
        """Cut one photo and fill its row; what was written is in it even if this raises."""
        clock = _Clock()
        data = self._source.read(task["key"], self._job.limits.max_bytes)
        row["sha256"] = sha256(data).hexdigest()
        row["read_ms"] = clock.lap_ms()
        photo = read_photo(data, self._job.limits)
        row["height"], row["width"] = photo.shape
        row["decode_ms"] = clock.lap_ms()
        cut_outs = self._cutter.cut(photo)
        row["cut_ms"] = clock.lap_ms()
        row["status"], row["heads"] = (DONE if cut_outs else NO_HEAD), len(cut_outs)
        if cut_outs:
            row["confidence"] = min(head.confidence for head in cut_outs)
            self._give(cut_outs, task, row, clock)

    def _give(
        self, cut_outs: list[CutOut], task: dict[str, Any], row: dict[str, Any], clock: _Clock
    ) -> None:
        """Write the files, or put them into the row for a data set."""
        encode_ms = write_ms = 0.0
        output = Path(f"{task['output']}-head.{self._job.save.format}")
        masks = []
        for file in output_files(
            cut_outs,
            PurePosixPath(task["key"]).name,
            output,
            heads=self._job.heads,
            save=self._job.save,
            with_sidecar=self._job.sidecar,
        ):
            encode_ms += clock.lap_ms()
            if self._job.form == "files":
                self._target.write_whole(file.path.as_posix(), file.data)
                row["outputs"].append(file.path.as_posix())
                write_ms += clock.lap_ms()
            else:
                masks.append(file.data)
        row["encode_ms"], row["write_ms"] = encode_ms, write_ms
        if self._job.form != "files":
            heads = [head for group in choose_heads(cut_outs, self._job.heads) for head in group]
            row["boxes"] = [list(head.box_px) for head in heads]
            row["confidences"] = [head.confidence for head in heads]
            row["masks"] = masks


class _Clock:
    """Milliseconds from one lap to the next."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap_ms(self) -> float:
        now = time.perf_counter()
        since, self._last = now - self._last, now
        return 1000 * since


def _reason(error: Exception) -> str:
    if isinstance(error, HeadcutError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; shrink the photo"
    return f"{type(error).__name__}: {error}; please report it"


def lost_rows(photos: pa.Table, model: str, options: str) -> pa.Table:
    """Return rows for photos that no worker came back from."""
    rows = [_lost_row(task, model, options) for task in photos.to_pylist()]
    return pa.Table.from_pylist(rows, RESULT_SCHEMA)


def _lost_row(task: dict[str, Any], model: str, options: str) -> dict[str, Any]:
    return {
        **{name: task[name] for name in ("key", "size", "modified_us")},
        "status": FAILED,
        "reason": "its worker died, every time; shrink the photo or give workers more memory",
        "heads": 0,
        "outputs": task["old_outputs"] or [],
        "model": model,
        "options": options,
        "finished_us": time.time_ns() // 1000,
    }
