"""A batch: what is missing of a folder or bucket is cut by Ray, and a ledger accounts for it.

list -> compare with the ledger -> waves of photos through Ray Data -> rows -> ledger

Workers write the outputs, each whole; only then does the driver write their rows. Killed between
the two, a run cuts these photos once more and writes the same files over the same names.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import sys
import tarfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headcut.batch_worker import (
    DATA_SET_SCHEMA,
    PhotoJob,
    PhotoWorker,
    lost_rows,
    model_fingerprint,
)
from headcut.errors import OptionError, extra_is_missing
from headcut.ledger import DONE, FAILED, NO_HEAD, SCHEMA, Ledger, Work, parquet_bytes, work
from headcut.model_file import usable_cores
from headcut.report import report, totals
from headcut.store import Store

__all__ = ["Choice", "Crew", "Outcome", "PhotoJob", "report", "run"]

PHOTOS_A_WAVE = 10_000
"""For each worker. Ray forgets a wave when it is over, so that its memory does not grow."""

MOST_PHOTOS_A_WAVE = 500_000

ATTEMPTS_A_TASK = 2
"""Workers that a task may take down; after these its photos are tried one by one."""

OBJECT_STORE_BYTES = 128 * 2**20
"""Ray's shared memory on this machine: only lists of names and results pass through it."""

FLUSH_ROWS, FLUSH_S = 1000, 10.0
"""How much work is lost at the most when the driver is killed; a data set's shards are larger."""

SHARD_PHOTOS, SHARD_BYTES = 2000, 256 * 2**20
"""When the shard of a data set is full."""

SHARD = re.compile(r"headcut-\d{20}-[0-9a-f]{6}\.(parquet|tar)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who does the work."""

    workers: int | None
    """Photos cut at once; None is one a core, of this machine or of the cluster."""

    gpus: int
    """GPUs that all workers share."""

    photos_a_task: int
    """Photos that a worker gets at a time."""

    address: str | None
    """Ray cluster; None is this machine alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which photos."""

    retry_failed: bool
    redo: bool
    limit: int | None
    shuffle: bool
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the ledger says in the end, in photos."""

    done: int
    no_head: int
    failed: int
    lines: list[str]
    """For people."""


def run(
    source_url: str,
    target_url: str,
    job: PhotoJob,
    crew: Crew,
    choice: Choice,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Cut what is missing, changed, or failed and to be tried again, and say what it came to.

    Args:
        source_url: folder or URL of the photos; nothing is written there.
        target_url: folder or URL, outside of the source.
        job: what to do with every photo.
        crew: who does it.
        choice: which photos.
        say: takes lines of progress; None: nobody wants any.

    Raises:
        OptionError: source and target do not fit together, cannot be opened or listed, there are
            no photos, or the target holds photos cut with other options.
        OutputError: the ledger or a shard cannot be written; what was done is in the ledger.
    """
    source, target, job = Store(source_url), Store(target_url), job.for_workers()
    if source.holds(target) or target.holds(source):
        raise OptionError(f"{target_url} and {source_url} lie in each other; choose another TARGET")
    ledger = Ledger(target)
    options, model = job.fingerprint(), model_fingerprint()
    rows = ledger.rows()
    outputs = pa.array([entry.key for entry in target.entries()], pa.string())
    todo = work(
        source.entries(),
        rows,
        outputs,
        model=model,
        options=options,
        retry_failed=choice.retry_failed,
        redo=choice.redo,
    )
    if not len(todo.todo) and len(todo.gone) == len(rows):
        raise OptionError(f"{source_url}: no photos there; give a place that holds some")
    _refuse_a_mixture(todo, options, choice)
    photos = _chosen(todo.todo, choice)
    _refuse_to_undo(photos, outputs, job.form)
    if choice.dry_run:
        return Outcome(done=0, no_head=0, failed=0, lines=_to_do_lines(todo, len(photos)))
    if job.form != "files":
        _drop_orphans(target, rows, outputs)
    target.sweep()
    ledger.append(todo.passed_over)
    if len(photos):
        recorder = _Recorder(ledger, target, job.form)
        with _cluster(crew) as workers, _stoppable():  # Ray takes the signals, we take them back
            try:
                _cut_all(photos, source.url, target.url, job, crew, workers, recorder, say)
            finally:
                recorder.flush()
    ledger.merge()
    target.sweep()
    return _outcome(ledger.rows(), todo.gone, len(photos))


def _refuse_a_mixture(todo: Work, options: str, choice: Choice) -> None:
    if not todo.unlike or choice.redo:
        return
    then, now = json.loads(todo.unlike_options or "{}"), json.loads(options)
    then |= then.pop("save", {})
    now |= now.pop("save")
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    what = f"other options ({', '.join(names)})" if names else "other networks"
    raise OptionError(
        f"{todo.unlike} photos of TARGET were cut with {what}; "
        "choose another TARGET, or --redo to cut them again"
    )


def _refuse_to_undo(photos: pa.Table, outputs: pa.Array, form: str) -> None:
    """Raise if a photo is in a shard, which others need, or its pictures would go too early."""
    old = pc.list_flatten(photos["old_outputs"])
    there = old.filter(pc.is_in(old, value_set=outputs)).to_pylist()
    doubled = sum(SHARD.fullmatch(key) is not None for key in there)
    if doubled:
        raise OptionError(
            f"{doubled} photos to be cut again are in the shards of TARGET, which are never "
            "changed; choose another TARGET"
        )
    if there and form != "files":
        raise OptionError(
            f"{len(there)} pictures of photos to be cut again are in TARGET, and would be deleted "
            "before a data set holds them; choose another TARGET"
        )


def _drop_orphans(target: Store, rows: pa.Table, outputs: pa.Array) -> None:
    """Delete shards of a killed run that no row of the ledger names: their photos come again."""
    named = set(pc.unique(pc.list_flatten(rows["outputs"])).to_pylist())
    for key in outputs.to_pylist():
        if SHARD.fullmatch(key) and key not in named:
            target.delete(key)


def _chosen(photos: pa.Table, choice: Choice) -> pa.Table:
    if choice.shuffle:
        photos = photos.take(np.random.default_rng().permutation(len(photos)))
    return photos if choice.limit is None else photos.slice(0, choice.limit)


def _to_do_lines(todo: Work, count: int) -> list[str]:
    counts = {
        "new": todo.new,
        "changed": todo.changed,
        "failed before": todo.failed,
        "whose output is gone": todo.lost,
        "cut with other options or networks": todo.unlike,
    }
    why = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return [f"to do: {count} photos" + (f" ({why})" if why else "")]


def _outcome(rows: pa.Table, gone: pa.Array, tried: int) -> Outcome:
    """Return what became of the photos that the source has; of the others only how many.

    `tried` is how many were this run's.
    """
    rows = rows.filter(pc.invert(pc.is_in(rows["key"], value_set=gone)))

    def count(status: str) -> int:
        return int(pc.sum(pc.equal(rows["status"], status)).as_py() or 0)

    lines = [*totals(rows), f"in this run: {tried}"]
    if len(gone):
        lines.append(f"{len(gone)} in the ledger, but no longer in SOURCE: not counted")
    return Outcome(done=count(DONE), no_head=count(NO_HEAD), failed=count(FAILED), lines=lines)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Stop on SIGTERM as on Ctrl-C: what is done is written down first."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _cluster(crew: Crew) -> Iterator[int]:
    """Connect to the cluster, or start Ray on this machine alone; yield how many workers to use.

    Raises:
        OptionError: Ray is not installed, or there is no such cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing leaves the machine
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not crew.address:
        # On other systems the default: without it, Ray listens on the machine's own address.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:  # only now: it reads these when it is imported
        import ray
        import ray.data
        from ray.exceptions import RayError
    except ImportError as error:
        raise extra_is_missing("batch", "batch", error) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    here = crew.workers or len(usable_cores())
    try:
        if crew.address:
            ray.init(address=crew.address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=here,
                num_gpus=crew.gpus or None,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"no Ray at {crew.address or 'this machine'}: {reason}") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # what is lost is seen by its keys, and tried again
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        yield crew.workers or int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()


def _cut_all(
    photos: pa.Table,
    source_url: str,
    target_url: str,
    job: PhotoJob,
    crew: Crew,
    workers: int,
    recorder: _Recorder,
    say: Callable[[str], None] | None,
) -> None:
    """Cut the photos in waves; what a dying worker took with it is tried again one by one."""
    import ray.data

    def results(photos: pa.Table, photos_a_task: int, tasks_waiting: int) -> Iterator[pa.Table]:
        starts = range(0, len(photos), photos_a_task)
        tasks = [photos.slice(start, photos_a_task).combine_chunks() for start in starts]
        pool = ray.data.ActorPoolStrategy(
            size=min(workers, len(tasks)), max_tasks_in_flight_per_actor=tasks_waiting
        )
        with warnings.catch_warnings():
            # max_task_retries has no name of its own yet in map_batches: hence ray < 2.64.
            warnings.simplefilter("ignore", DeprecationWarning)
            cut = ray.data.from_arrow(tasks).map_batches(
                PhotoWorker,
                fn_constructor_args=(source_url, target_url, job, bool(crew.gpus)),
                batch_format="pyarrow",
                batch_size=None,
                compute=pool,
                num_cpus=1,
                num_gpus=crew.gpus / workers or None,
                max_task_retries=ATTEMPTS_A_TASK - 1,
            )
        yield from cut.iter_batches(batch_size=None, batch_format="pyarrow")

    progress = _Progress(len(photos), say)
    wave = min(PHOTOS_A_WAVE * workers, MOST_PHOTOS_A_WAVE)
    for start in range(0, len(photos), wave):
        left = photos.slice(start, wave)
        # Smaller tasks where there are few photos, so that all workers have some to the end.
        photos_a_task = max(1, min(crew.photos_a_task, len(left) // (4 * workers)))
        for size, waiting in ((photos_a_task, 2), (1, 1)):
            seen = []
            for rows in results(left, size, waiting):
                recorder.add(rows)
                progress.add(rows)
                seen.append(rows["key"].combine_chunks())
            came = pa.concat_arrays([pa.array([], pa.string()), *seen])
            left = left.filter(pc.invert(pc.is_in(left["key"], value_set=came)))
            if not len(left):
                break
        recorder.add(lost_rows(left, model_fingerprint(), job.fingerprint()))


class _Recorder:
    """Collects results and writes them to the ledger, those of a data set with their shard."""

    def __init__(self, ledger: Ledger, target: Store, form: str):
        self._ledger, self._target, self._form = ledger, target, form
        self._rows: list[pa.Table] = []
        self._last_s = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        """Take results, and write all if they are many or waited for long.

        Raises:
            OutputError: they cannot be written.
        """
        self._rows.append(rows)
        count = sum(map(len, self._rows))
        if self._form == "files":
            full = count >= FLUSH_ROWS or time.monotonic() - self._last_s >= FLUSH_S
        else:
            full = count >= SHARD_PHOTOS or sum(t.nbytes for t in self._rows) >= SHARD_BYTES
        if full:
            self.flush()

    def flush(self) -> None:
        """Write all that was taken.

        Raises:
            OutputError: it cannot be written.
        """
        if self._rows:
            results = pa.concat_tables(self._rows)
            if self._form != "files":
                results = self._with_shard(results)
            self._ledger.append(results.select(SCHEMA.names).cast(SCHEMA))
        self._rows, self._last_s = [], time.monotonic()

    def _with_shard(self, results: pa.Table) -> pa.Table:
        """Write the shard of what is done, and return the results with its name."""
        done = results.filter(pc.equal(results["status"], DONE))
        if not len(done):
            return results
        shard = done.select(DATA_SET_SCHEMA.names)
        suffix, data = _SHARD_BYTES_OF[self._form](shard)
        name = f"headcut-{self._ledger.new_name()}.{suffix}"
        self._target.write_whole(name, data)
        names = [[name] if s == DONE else [] for s in results["status"].to_pylist()]
        column = results.schema.get_field_index("outputs")
        return results.set_column(
            column, SCHEMA.field("outputs"), pa.array(names, SCHEMA.field("outputs").type)
        )


def _tar_bytes(shard: pa.Table) -> bytes:
    """Return a WebDataset shard: a .json and a mask a head for each photo, named by its key."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row in shard.to_pylist():
            masks = row.pop("masks")
            # WebDataset parts a name at its first dot, and keys have several.
            name = sha256(row["key"].encode()).hexdigest()[:20]
            _put(tar, f"{name}.json", json.dumps(row, ensure_ascii=False).encode())
            for number, mask in enumerate(masks, start=1):
                suffix = "webp" if mask.startswith(b"RIFF") else "png"
                _put(tar, f"{name}.{number}.{suffix}", mask)
    return file.getvalue()


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


_SHARD_BYTES_OF: dict[str, Callable[[pa.Table], tuple[str, bytes]]] = {
    "parquet": lambda shard: ("parquet", parquet_bytes(shard)),
    "webdataset": lambda shard: ("tar", _tar_bytes(shard)),
}


class _Progress:
    """Says now and then how far a run is: rate and time left."""

    def __init__(self, total: int, say: Callable[[str], None] | None):
        self._total, self._say = total, say
        self._done = 0
        self._start_s = self._said_s = time.monotonic()
        self._every_s = 1 if sys.stderr and sys.stderr.isatty() else 30

    def add(self, rows: pa.Table) -> None:
        self._done += len(rows)
        now_s = time.monotonic()
        if self._say is None or now_s - self._said_s < self._every_s:
            return
        self._said_s = now_s
        rate = self._done / (now_s - self._start_s)
        left_s = int((self._total - self._done) / rate)
        clock = f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d}"
        self._say(f"{self._done} of {self._total}, {rate:.1f} a second, {clock} left")
