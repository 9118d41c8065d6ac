"""What the window is about, without a window: photos in, one state at a time out.

    Empty ──open──▶ Working ──▶ Done or Failed ──open──▶ ...
                       └─cancel──▶ Empty

All methods are called on the window's thread and return at once. One worker thread cuts, draws and
writes; what it has done comes back to the window's thread by `post`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from headcut.app.pictures import View, draw_preview, draw_view
from headcut.cutout import CutOut, merge
from headcut.errors import HeadcutError, ModelError
from headcut.geometry import FloatArray, U8Array
from headcut.options import Neck, Outline, SaveOptions
from headcut.photo import read_photo
from headcut.pipeline import HeadCutter
from headcut.writing import write_new

if TYPE_CHECKING:
    from headcut.pipeline import Finder, Segmenter

BACKGROUNDS = {
    "Transparent": "transparent",
    "Blurred photo": "blur",
    "White": "white",
    "Black": "black",
    "Light blue": "#dfe7ee",
    "Yellow": "#ffd54a",
    "Pink": "#ff4081",
}
SIZES: dict[str, dict[str, Any]] = {
    "Whole photo": {},
    "Head only": {"crop": True},
    "Square, 512 px": {"square": 512},
    "Square, 1024 px": {"square": 1024},
    "Circle, 512 px": {"square": 512, "circle": True},
}
OUTLINES = {
    "None": None,
    "Thin": Outline(4),
    "Medium": Outline(8),
    "Wide": Outline(16),
}
NECKS: dict[str, Neck] = {"None": "none", "Short": "short", "Keep": "keep"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the options panel says, in the words that it shows: keys of the tables above."""

    background: str = "Transparent"
    size: str = "Whole photo"
    outline: str = "None"
    neck: str = "None"

    def save_options(self) -> SaveOptions:
        """Return what `CutOut.encode` makes of it."""
        return SaveOptions(
            background=BACKGROUNDS[self.background],
            outline=OUTLINES[self.outline],
            **SIZES[self.size],
        )


@dataclass(frozen=True, slots=True)
class Networks:
    """What a cut runs on."""

    finder: Finder
    segmenter: Segmenter
    refiner: Segmenter


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing was opened yet, or it was cancelled."""


@dataclass(frozen=True, slots=True)
class Working:
    """A photo is being cut."""

    photo: Path
    waiting: int
    """How many photos come after it."""

    preview: bytes | None = None
    """The photo, small and dark, once it is read: the file of a picture."""


@dataclass(frozen=True, slots=True)
class Done:
    """A photo is cut and its PNG written."""

    photo: Path
    heads: tuple[CutOut, ...]
    """All that were found, left to right; at least one."""

    chosen: frozenset[int]
    """Which of them are in the picture, by their place; never empty."""

    saved: Path
    """The file that was written last."""

    view: View

    choices: Choices
    """What the heads were cut and drawn with."""

    cut: int
    """Which cut of this window it is; drawn anew, it keeps its number."""

    problem: str | None = None
    """Why what was asked for since was not done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A photo was not cut; nothing was written."""

    photo: Path
    message: str
    """What the command line says of it."""


State: TypeAlias = Empty | Working | Done | Failed


class _Cancelled(Exception):
    """The window does not want the result any more."""


@dataclass(slots=True)
class _Job:
    """A photo that is being cut.

    The lock makes one of "cancelled" and "written" true, whatever comes first: a cancel that was
    accepted leaves no file.
    """

    photo: Path
    choices: Choices
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    cancelled: bool = False
    written: bool = False


class Session:
    """One window's work.

    Args:
        folder: where PNGs go; made when it is missing.
        open_networks: called once, by the worker.
        post: runs a function on the window's thread; may be called from any thread.
        changed: called on the window's thread after each change of `state`.

    Attributes:
        state: what the window shows.
        choices: what the next picture is to look like.
        report: one line for each photo since the queue was last empty: what was written, or why
            nothing was.
    """

    def __init__(
        self,
        folder: Path,
        *,
        open_networks: Callable[[], Networks],
        post: Callable[[Callable[[], None]], None],
        changed: Callable[[], None],
    ) -> None:
        self.folder = folder
        self.state: State = Empty()
        self.choices = Choices()
        self.report: list[str] = []
        self._open_networks = open_networks
        self._networks: Networks | None = None
        self._post = post
        self._changed = changed
        self._queue: deque[Path] = deque()
        self._job: _Job | None = None
        self._cuts = 0
        self._wishes = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="headcut")

    def open(self, photos: Iterable[Path]) -> None:
        """Cut photos, one after the other, after those that are waiting already."""
        self._queue.extend(photos)
        if self._job is None and self._queue:
            self.report = []
            self._start_next()
        elif isinstance(self.state, Working):
            self._show(replace(self.state, waiting=len(self._queue)))

    def cancel(self) -> None:
        """Drop the photo that is being cut and those that wait; what is written already stays."""
        self._queue.clear()
        job = self._job
        if job is None:
            return
        with job.lock:
            job.cancelled = not job.written
        if job.cancelled:
            self.report.append(f"{job.photo}: cancelled; nothing is written")
            self._job = None
            self._show(Empty())

    def choose(self, choices: Choices) -> None:
        """Draw the picture as chosen, from now on; another neck is cut anew. `save` writes it."""
        self.choices = choices
        if isinstance(self.state, Done):
            self._redo(self.state)

    def choose_heads(self, chosen: Iterable[int]) -> None:
        """Put only these heads into the picture, by their places from the left; none is refused."""
        if isinstance(self.state, Done):
            done = replace(self.state, chosen=frozenset(chosen) or self.state.chosen)
            self._show(done)
            self._redo(done)

    def save(self) -> None:
        """Write the picture as chosen under the next free name."""
        if isinstance(self.state, Done):
            self._redo(self.state, write=True)

    def close(self) -> None:
        """Cancel everything and end the worker."""
        self.cancel()
        self._post = lambda _: None
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _start_next(self) -> None:
        self._cuts += 1
        job = self._job = _Job(self._queue.popleft(), self.choices, self._cuts)
        self._submit(lambda: self._cut(job), job)
        self._show(Working(job.photo, len(self._queue)))

    def _cut(self, job: _Job) -> Callable[[], None]:
        """Cut, write and draw a photo, on the worker; return what to do with it."""
        outcome: Done | Failed
        try:
            photo = read_photo(job.photo)
            preview = draw_preview(photo)
            self._post(lambda: self._preview(job, preview))
            networks = self._loaded()
            heads = tuple(_cutter(networks, job).cut(photo))
            if heads:
                options = job.choices.save_options()
                data = merge(heads).encode(options)
                with job.lock:
                    if job.cancelled:
                        raise _Cancelled
                    path = self._write(job.photo, data)
                    job.written = True
                places = frozenset(range(len(heads)))
                view = draw_view(heads, places, options)
                outcome = Done(job.photo, heads, places, path, view, job.choices, job.number)
            else:
                outcome = Failed(job.photo, f"{job.photo}: no head found; nothing is written")
        except _Cancelled:
            return lambda: None
        except (HeadcutError, MemoryError) as error:
            outcome = Failed(job.photo, _line(job.photo, error))
        return lambda: self._finish(job, outcome)

    def _preview(self, job: _Job, preview: bytes) -> None:
        if job is self._job and isinstance(self.state, Working):
            self._show(replace(self.state, preview=preview))

    def _redo(self, done: Done, *, write: bool = False) -> None:
        """Draw a picture as it is chosen now, and perhaps write it, on the worker."""
        self._wishes += 1
        wish, choices = self._wishes, self.choices

        def work() -> Callable[[], None]:
            if wish != self._wishes and not write:
                return lambda: None  # something else is wished for by now
            try:
                now = self._cut_anew(done, choices)
                options = choices.save_options()
                if write:
                    data = merge([now.heads[place] for place in sorted(now.chosen)]).encode(options)
                    now = replace(now, saved=self._write(now.photo, data))
                view = draw_view(now.heads, now.chosen, options)
                now = replace(now, view=view, choices=choices, problem=None)
            except (HeadcutError, MemoryError) as error:
                now = replace(done, problem=_line(done.photo, error))
            return lambda: self._redone(wish, done, now)

        self._submit(work)

    def _cut_anew(self, done: Done, choices: Choices) -> Done:
        """Cut the photo again if the neck is to be another one."""
        if choices.neck == done.choices.neck:
            return done
        cutter = _cutter(self._loaded(), _Job(done.photo, choices))
        heads = tuple(cutter.cut(done.heads[0].photo)) or done.heads
        same = len(heads) == len(done.heads)
        return replace(
            done, heads=heads, chosen=done.chosen if same else frozenset(range(len(heads)))
        )

    def _redone(self, wish: int, done: Done, now: Done) -> None:
        """Show a picture that was drawn anew, if nothing else was opened or wished for since."""
        is_written = now.saved != done.saved
        if is_written:
            self.report.append(str(now.saved))
        if isinstance(self.state, Done) and self.state.cut == now.cut:
            latest = now if wish == self._wishes else self.state
            # What waited behind a save knows the file before it.
            saved = now.saved if is_written else self.state.saved
            self._show(replace(latest, saved=saved, problem=now.problem))

    def _finish(self, job: _Job, outcome: Done | Failed) -> None:
        """Show how a photo went, and start the next one."""
        if job is not self._job:
            return
        self._job = None
        said = outcome.message if isinstance(outcome, Failed) else str(outcome.saved)
        self.report.append(said)
        if self._queue:
            self._start_next()
            return
        self._show(outcome)
        if isinstance(outcome, Done) and outcome.choices != self.choices:
            self._redo(outcome)

    def _submit(self, work: Callable[[], Callable[[], None]], job: _Job | None = None) -> None:
        """Run `work` on the worker, and what it returns on the window's thread."""

        def done(future: Future[Callable[[], None]]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                self._post(future.result())
            else:
                self._post(lambda: self._crashed(job, error))

        self._worker.submit(work).add_done_callback(done)

    def _crashed(self, job: _Job | None, error: BaseException) -> None:
        """Show an error that nobody expected, and go on."""
        message = f"{type(error).__name__}: {error}; please report this"
        if job is not None:
            self._finish(job, Failed(job.photo, f"{job.photo}: {message}"))
        elif isinstance(self.state, Done):
            self._show(replace(self.state, problem=message))

    def _show(self, state: State) -> None:
        self.state = state
        self._changed()

    def _loaded(self) -> Networks:
        if self._networks is None:
            self._networks = self._open_networks()
        return self._networks

    def _write(self, photo: Path, data: bytes) -> Path:
        """Write a PNG under the photo's name, or the next free one: `a-head.png`, `a-head-2.png`.

        Raises:
            OutputError: it cannot be written.
        """
        for number in count(1):
            ending = "" if number == 1 else f"-{number}"
            path = self.folder / f"{photo.stem}-head{ending}.png"
            if not path.exists() and write_new(path, data):
                break
        return path


class _Watched:
    """A segmenter that stops when its job is cancelled: a photo may have thirty heads."""

    def __init__(self, segmenter: Segmenter, job: _Job):
        self.size = segmenter.size
        self._segmenter, self._job = segmenter, job

    def segment(self, crops: U8Array) -> FloatArray:
        if self._job.cancelled:
            raise _Cancelled
        return self._segmenter.segment(crops)


def _cutter(networks: Networks, job: _Job) -> HeadCutter:
    return HeadCutter(
        finder=networks.finder,
        segmenter=_Watched(networks.segmenter, job),
        refiner=_Watched(networks.refiner, job),
        neck=NECKS[job.choices.neck],
    )


def _line(photo: Path, error: Exception) -> str:
    """Say what went wrong, as the command line does."""
    name = "headcut" if isinstance(error, ModelError) else photo
    return f"{name}: {str(error) or 'not enough memory; shrink the photo'}"
