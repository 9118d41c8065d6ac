"""The command line: `headcut PHOTO...` and its commands. Parse, call, report, exit honestly."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias, cast

import typer

from headcut import __version__
from headcut.errors import HeadcutError, OptionError, PhotoError, extra_is_missing
from headcut.options import (
    NECKS,
    PRESETS,
    Format,
    Heads,
    Neck,
    PhotoLimits,
    SaveOptions,
    parse_heads,
    parse_outline,
    parse_point,
    require_known,
    save_options,
)

if TYPE_CHECKING:  # NumPy and Pillow are imported when there is something to cut
    from headcut.pipeline import HeadCutter
    from headcut.plan import Job, Plan

DONE, FAILED, WRONG_USAGE, NO_HEAD = range(4)
"""Exit codes."""

MOST_AT_ONCE = 4
"""Photos cut side by side; each is in memory, and one may have 100 megapixels."""

STOPPED = 130
"""Exit code of a batch that was told to stop."""

_PLAIN: dict[str, Any] = {
    # Plain text: rich would cost 0.1 s, and puts one-line errors into boxes.
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "add_completion": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(**_PLAIN)
doctor_app = typer.Typer(**_PLAIN)
window_app = typer.Typer(**_PLAIN)
batch_app = typer.Typer(**_PLAIN)


MOST_MEGAPIXELS = PhotoLimits().max_megapixels

# The options of `headcut PHOTO...` that `headcut batch` has too.
OutputChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="cutout|mask|alpha",
        help="Transparent picture (default), black-and-white mask, or soft grey mask.",
        show_default=False,
    ),
]
HeadsChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="all|largest|each|N",
        help="All heads in one picture (default), the largest, one file for each (-1, -2... "
        "from the left), or the N-th from the left.",
        show_default=False,
    ),
]
AtChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="X,Y", help="Only the head at this point of the photo, in pixels."),
]
NeckChoice: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="none|short|keep", help="Cut at the chin, a little below it, or not at all."
    ),
]
CropChoice: TypeAlias = Annotated[
    bool, typer.Option("--crop", help="Keep only the tight box of the head.")
]
SquareChoice: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="PX", help="A square picture of that side, the head in its middle."),
]
CircleChoice: TypeAlias = Annotated[
    bool, typer.Option("--circle", help="A square picture, clear outside its circle.")
]
PaddingChoice: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="PCT", help="Room around the head, in percent of its longer side."),
]
OutlineChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="PX[,COLOUR]", help="A line around the head, white by default."),
]
BackgroundChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="transparent|COLOUR|PICTURE|blur",
        help="What is behind the head: nothing (transparent), a colour (white, #ff8800), "
        "a picture's file, or blur: the photo, out of focus.",
    ),
]
FeatherChoice: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="PX", help="Fade the head out over that many pixels at its edge."),
]
PresetChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(PRESETS), help="Ready for a use; other options change it further."
    ),
]
FormatChoice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="png|webp",
        help="File format. Default: what -o ends in, or png.",
        show_default=False,
    ),
]
SidecarChoice: TypeAlias = Annotated[
    bool,
    typer.Option("--json", help="Write the boxes of a photo's heads to a .json beside its output."),
]
MegapixelsChoice: TypeAlias = Annotated[
    float, typer.Option(metavar="MP", help="Refuse larger photos.")
]


def main() -> None:
    """Run the command line. A command is one only as the first word: ./doctor is a photo."""
    if sys.argv[1:2] == ["doctor"]:
        doctor_app(args=sys.argv[2:], prog_name="headcut doctor")
    elif sys.argv[1:2] == ["serve"]:
        from headcut.web.serve import serve

        serve_app = typer.Typer(**_PLAIN)
        serve_app.command()(serve)
        serve_app(args=sys.argv[2:], prog_name="headcut serve")
    elif sys.argv[1:2] == ["app"]:
        window_app(args=sys.argv[2:], prog_name="headcut app")
    elif sys.argv[1:2] == ["batch"]:
        batch_app(args=sys.argv[2:], prog_name="headcut batch")
    else:
        app(prog_name="headcut")


def _print_version(wanted: bool) -> None:
    if wanted:
        raise typer.Exit(_print_lines([f"headcut {__version__}"]))


@app.command()
def cut(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            show_default=False,
            help="Photo files, folders (searched for photos, sub-folders too), or - for "
            "standard input.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="PATH",
            help="Where to write: a .png or .webp file; a folder, if it exists, ends in a slash, "
            "or there are several photos; - for standard output. Default: PHOTO-head.png beside "
            "each photo; for -, standard output.",
        ),
    ] = None,
    output: OutputChoice = None,
    heads: HeadsChoice = None,
    at: AtChoice = None,
    neck: NeckChoice = "none",
    crop: CropChoice = False,
    square: SquareChoice = None,
    circle: CircleChoice = False,
    padding: PaddingChoice = None,
    outline: OutlineChoice = None,
    background: BackgroundChoice = None,
    feather: FeatherChoice = None,
    preset: PresetChoice = None,
    format: FormatChoice = None,
    json_sidecar: SidecarChoice = False,
    max_megapixels: MegapixelsChoice = MOST_MEGAPIXELS,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Cut the heads out of photos: PHOTO in, PHOTO-head.png out.

    Written pictures are listed on standard output, problems on standard error. The photos given are
    never replaced, an older output is; nothing leaves this machine.

    \b
    Exit codes:
      0  done; of several photos, some may have had no head
      1  something failed; the other photos are done
      2  wrong usage; nothing was done
      3  no head found in any photo

    `headcut doctor` shows what headcut runs on and cuts a sample photo to prove it.
    `headcut app` opens a window; `headcut serve` offers a page and an HTTP API.
    `headcut batch` cuts great folders and buckets, with a ledger.
    """  # noqa: D301  (\b keeps the lines of a paragraph apart)
    from headcut.plan import make_plan

    try:
        format = format or PRESETS.get(preset or "", {}).get("format")
        plan = make_plan(photos, out, cast("Format | None", format), background)
        save = _save_options(
            preset,
            output=output,
            format=plan.format,
            crop=crop,
            square=square,
            circle=circle,
            padding=padding,
            outline=outline,
            background=background,
            feather=feather,
        )
        require_known("neck", neck, NECKS)
        kept_neck = cast("Neck", neck)
        request = _Request(plan, _which_heads(heads, at), save, kept_neck, json_sidecar)
        limits = PhotoLimits(max_megapixels=max_megapixels)
    except OptionError as error:
        _say(f"headcut: {error}")
        raise typer.Exit(WRONG_USAGE) from None
    raise typer.Exit(_run(request, limits))


def _save_options(preset: str | None, **choices: Any) -> SaveOptions:
    """Return a preset's options with those changed that were given: all but None and False."""
    if choices["outline"] is not None:
        choices["outline"] = parse_outline(choices["outline"])
    given = {k: v for k, v in choices.items() if v is not None and v is not False}
    return save_options(preset, given)


def _which_heads(heads: str | None, at: str | None) -> Heads:
    if at is None:
        return parse_heads("all" if heads is None else heads)
    if heads is not None:
        raise OptionError("--heads and --at both choose; leave one of them out")
    return parse_point(at)


@doctor_app.command()
def doctor() -> None:
    """Show what headcut runs on, and cut a sample photo to prove that it works."""
    from headcut.doctor import examine

    raise typer.Exit(_print_lines(examine()))


@window_app.command()
def window(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PHOTO", show_default=False, help="Photos to cut at once."),
    ] = None,
) -> None:
    """Open a window: choose or drop a photo, see its heads; their PNG is saved in Documents."""
    try:
        from headcut.app.system import require_screen
        from headcut.app.window import HeadcutApp

        require_screen()
        app = HeadcutApp(photos or [])
    except (ImportError, RuntimeError) as error:  # RuntimeError: Toga knows no toolkit
        _say(f"headcut: {extra_is_missing('app', 'app', error)}")
        raise typer.Exit(WRONG_USAGE) from None
    except HeadcutError as error:
        _say(f"headcut: {error}")
        raise typer.Exit(FAILED) from None
    app.main_loop()


@batch_app.command()
def batch(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", show_default=False, help="Folder or URL of the photos."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            show_default=False,
            help="Folder or URL, outside of SOURCE, for the outputs and the ledger.",
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Only say what the ledger of TARGET holds, and draw its least confident heads.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="files|parquet|webdataset",
            help="Pictures in the tree of SOURCE, or the shards of a data set: key, boxes, "
            "confidences and the PNG of a mask a head.",
        ),
    ] = "files",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Photos cut at once. Default: one a core.", min=1),
    ] = None,
    gpus: Annotated[int, typer.Option(metavar="N", help="GPUs that the workers share.", min=0)] = 0,
    photos_a_task: Annotated[
        int,
        typer.Option("--batch", metavar="N", help="Photos that a worker gets at a time.", min=1),
    ] = 32,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster to work on. Default: this machine."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    redo: Annotated[
        bool,
        typer.Option("--redo", help="Cut again what was cut with other options or networks."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what there is to do.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Cut at most that many in this run.", min=1)
    ] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Cut in random order.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, only what it came to.")
    ] = False,
    output: OutputChoice = None,
    heads: HeadsChoice = None,
    at: AtChoice = None,
    neck: NeckChoice = "none",
    crop: CropChoice = False,
    square: SquareChoice = None,
    circle: CircleChoice = False,
    padding: PaddingChoice = None,
    outline: OutlineChoice = None,
    background: BackgroundChoice = None,
    feather: FeatherChoice = None,
    preset: PresetChoice = None,
    format: FormatChoice = None,
    json_sidecar: SidecarChoice = False,
    max_megapixels: MegapixelsChoice = MOST_MEGAPIXELS,
) -> None:
    """Cut great folders and buckets: stop it at any moment, run it again, and it goes on.

    TARGET/headcut-ledger accounts for every photo. Photos are never replaced.

    \b
    Exit codes:
      0  done; some photos may have had no head
      1  something failed; the ledger says what and why
      2  wrong usage; nothing was done
      3  no head found in any photo
      130  stopped; the same command goes on
    """  # noqa: D301  (\b keeps the lines of a paragraph apart)
    try:
        from headcut import batch as batches
    except ImportError as error:
        _say(f"headcut: {extra_is_missing('batch', 'batch', error)}")
        raise typer.Exit(WRONG_USAGE) from None
    try:
        if report is not None:
            if source is not None:
                raise OptionError("--report takes the TARGET alone; leave SOURCE out")
            raise typer.Exit(_print_lines(batches.report(report)))
        if source is None or target is None:
            raise OptionError("give SOURCE and TARGET, or --report TARGET")
        require_known("neck", neck, NECKS)
        data_set = form != "files"
        job = batches.PhotoJob(
            heads=_which_heads(heads or ("each" if data_set and at is None else None), at),
            save=_save_options(
                preset,
                output=output or ("mask" if data_set else None),
                format=format,
                crop=crop,
                square=square,
                circle=circle,
                padding=padding,
                outline=outline,
                background=background,
                feather=feather,
            ),
            neck=cast("Neck", neck),
            sidecar=json_sidecar,
            limits=PhotoLimits(max_megapixels=max_megapixels),
            form=form,
        )
        crew = batches.Crew(
            workers=workers, gpus=gpus, photos_a_task=photos_a_task, address=address
        )
        choice = batches.Choice(
            retry_failed=retry_failed, redo=redo, limit=limit, shuffle=shuffle, dry_run=dry_run
        )
        say = None if quiet else _say_progress
        outcome = batches.run(source, target, job, crew, choice, say)
    except OptionError as error:
        _say(f"headcut: {error}")
        raise typer.Exit(WRONG_USAGE) from None
    except HeadcutError as error:
        _say(f"headcut: {error}")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        _say("headcut: stopped; the same command goes on")
        raise typer.Exit(STOPPED) from None
    typer.echo(_over_the_bar(), nl=False, err=True)
    _print_lines(outcome.lines)
    if outcome.failed:
        raise typer.Exit(FAILED)
    raise typer.Exit(NO_HEAD if outcome.no_head and not outcome.done else DONE)


def _say_progress(line: str) -> None:
    """Print a line of progress: over the last one where somebody is watching, else below it."""
    typer.echo(_over_the_bar() + line, nl=not _is_watched(sys.stderr), err=True)


_Cut: TypeAlias = "list[Path] | Exception | None"
"""What came of a photo: the pictures written, None without a head, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A whole command line, checked."""

    plan: Plan
    heads: Heads
    save: SaveOptions
    neck: Neck
    sidecar: bool

    def __post_init__(self) -> None:
        if not any(job.output is None for job in self.plan.jobs):
            return
        if self.heads == "each":
            raise OptionError(
                "standard output holds one picture; for --heads each give -o a folder"
            )
        if self.sidecar:
            raise OptionError("--json writes beside a file; give one with -o")
        if _is_watched(sys.stdout):
            raise OptionError("a picture would garble the terminal; redirect it or give -o a file")


def _run(request: _Request, limits: PhotoLimits) -> int:
    """Cut all photos, say how each went, and return the exit code."""
    from headcut.model_file import usable_cores
    from headcut.pipeline import HeadCutter

    for name, reason in request.plan.failures:
        _say(f"{name}: {reason}")
    jobs = request.plan.jobs
    at_once = min(len(jobs), len(usable_cores()), MOST_AT_ONCE)
    try:
        threads = 1 if at_once > 1 else None
        cutter = HeadCutter(limits=limits, neck=request.neck, threads=threads)
    except HeadcutError as error:
        _say(f"headcut: {error}")
        return FAILED
    cut_job = partial(_cut_job, cutter=cutter, request=request)
    with _side_by_side(cut_job, jobs, at_once) as cuts, _progress(cuts, len(jobs)) as bar:
        codes = [_tell(job, cut) for job, cut in zip(jobs, bar, strict=True)]
    if request.plan.failures or FAILED in codes:
        return FAILED
    return NO_HEAD if set(codes) == {NO_HEAD} else DONE


@contextmanager
def _side_by_side(
    cut_job: Callable[[Job], _Cut], jobs: list[Job], at_once: int
) -> Iterator[Iterator[_Cut]]:
    """Give how each job went, in their order; some are cut at once, each on a thread."""
    if at_once < 2:
        yield map(cut_job, jobs)
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(at_once)
    try:
        yield pool.map(cut_job, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _tell(job: Job, cut: _Cut) -> int:
    """Say how a job went, and return its exit code."""
    try:
        if isinstance(cut, Exception):
            raise cut
        for path in cut or []:
            _list(path)
    except (HeadcutError, MemoryError) as error:
        _say(f"{job.name}: {str(error) or 'not enough memory; shrink the photo'}")
        return FAILED
    if cut is None:
        _say(f"{job.name}: no head found; nothing is written")
        return NO_HEAD
    return DONE


def _cut_job(job: Job, cutter: HeadCutter, request: _Request) -> _Cut:
    """Return what came of a job; what is wrong with its photo must not stop the others."""
    try:
        return _written(job, cutter, request)
    except (HeadcutError, MemoryError) as error:
        return error


def _written(job: Job, cutter: HeadCutter, request: _Request) -> list[Path] | None:
    """Cut one photo, write what was asked for and return the files; None if it has no head."""
    from headcut.cutout import choose_heads, merge
    from headcut.outputs import output_files
    from headcut.photo import read_photo
    from headcut.writing import write_standard_output

    if job.photo is None and sys.stdin is None:
        raise PhotoError("standard input is closed; give a photo file")
    cut_outs = cutter.cut(read_photo(job.photo or sys.stdin.buffer, cutter.limits))
    if not cut_outs:
        return None
    if job.output is None:
        picture = merge(choose_heads(cut_outs, request.heads)[0])
        write_standard_output(picture.encode(request.save))
        return []
    written = []
    for file in output_files(
        cut_outs,
        job.photo.name if job.photo else job.name,
        job.output,
        heads=request.heads,
        save=request.save,
        with_sidecar=request.sidecar,
    ):
        _write(file.path, file.data, request.plan)
        if file.is_picture:
            written.append(file.path)
    return written


def _write(path: Path, data: bytes, plan: Plan) -> None:
    from headcut.writing import refuse_to_replace, write_whole

    refuse_to_replace(path, plan.photo_ids)
    write_whole(path, data, make_folder=plan.makes_folders)


def _progress(cuts: Iterator[_Cut], count: int) -> AbstractContextManager[Iterable[_Cut]]:
    """Return them behind a progress bar, if there are several and somebody is watching."""
    if count > 1 and _is_watched(sys.stderr):
        return typer.progressbar(
            cuts, length=count, label="Cutting", show_pos=True, file=sys.stderr
        )
    return nullcontext(cuts)


def _say(message: str) -> None:
    """Print one line on standard error."""
    typer.echo(_over_the_bar() + message, err=True)


def _list(path: Path) -> None:
    """Print a written file's path on standard output, byte for byte."""
    from headcut.writing import write_standard_output

    if _is_watched(sys.stdout):
        typer.echo(_over_the_bar(), nl=False, err=True)
    write_standard_output(os.fsencode(path) + b"\n")


def _print_lines(lines: Iterable[str]) -> int:
    """Print lines on standard output as they come, and return the exit code."""
    from headcut.writing import write_standard_output

    try:
        for line in lines:
            write_standard_output(f"{line}\n".encode())
    except HeadcutError as error:
        _say(f"headcut: {error}")
        return WRONG_USAGE if isinstance(error, OptionError) else FAILED
    return DONE


def _is_watched(stream: TextIO | None) -> bool:
    """Whether it is a terminal; a closed one is None."""
    return stream is not None and stream.isatty()


def _over_the_bar() -> str:
    """Return what clears the line that a progress bar may stand in; the bar draws itself again."""
    return "\r\033[K" if _is_watched(sys.stderr) else ""
