"""The command line: `headcut PHOTO...` and its commands. Parse, call, report, exit honestly."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from headcut import __version__
from headcut.errors import HeadcutError, OptionError, PhotoError
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
    from headcut.cutout import CutOut
    from headcut.pipeline import HeadCutter
    from headcut.plan import Job, Plan

DONE, FAILED, WRONG_USAGE, NO_HEAD = range(4)
"""Exit codes."""

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
            metavar="PHOTO",
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
            "each photo.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="cutout|mask|alpha",
            help="Transparent picture (default), black-and-white mask, or soft grey mask.",
            show_default=False,
        ),
    ] = None,
    heads: Annotated[
        str | None,
        typer.Option(
            metavar="all|largest|each|N",
            help="All heads in one picture (default), the largest, one file for each (-1, -2... "
            "from the left), or the N-th from the left.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="X,Y", help="Only the head at this point of the photo, in pixels."),
    ] = None,
    neck: Annotated[
        str,
        typer.Option(
            metavar="none|short|keep", help="Cut at the chin, a little below it, or not at all."
        ),
    ] = "none",
    crop: Annotated[
        bool, typer.Option("--crop", help="Keep only the tight box of the head.")
    ] = False,
    square: Annotated[
        int | None,
        typer.Option(metavar="PX", help="A square picture of that side, the head in its middle."),
    ] = None,
    circle: Annotated[
        bool, typer.Option("--circle", help="A square picture, clear outside its circle.")
    ] = False,
    padding: Annotated[
        float | None,
        typer.Option(metavar="PCT", help="Room around the head, in percent of its longer side."),
    ] = None,
    outline: Annotated[
        str | None,
        typer.Option(metavar="PX[,COLOUR]", help="A line around the head, white by default."),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="COLOUR|PICTURE|blur",
            help="What is behind the head: a colour (white, #ff8800), a picture's file, or blur: "
            "the photo, out of focus.",
        ),
    ] = None,
    feather: Annotated[
        float | None,
        typer.Option(metavar="PX", help="Fade the head out over that many pixels at its edge."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(PRESETS), help="Ready for a use; other options change it further."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="png|webp",
            help="File format. Default: what -o ends in, or png.",
            show_default=False,
        ),
    ] = None,
    json_sidecar: Annotated[
        bool,
        typer.Option("--json", help="Write the boxes of the heads to a .json beside each output."),
    ] = False,
    max_megapixels: Annotated[
        float, typer.Option(metavar="MP", help="Refuse larger photos.")
    ] = PhotoLimits().max_megapixels,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Cut the heads out of photos: PHOTO in, PHOTO-head.png out.

    Written files are listed on standard output, problems on standard error. Photos are never
    replaced, and nothing leaves this machine.

    \b
    Exit codes:
      0  done; of several photos, some may have had no head
      1  something failed; the other photos are done
      2  wrong usage; nothing was done
      3  no head found in any photo

    `headcut doctor` shows what headcut runs on and cuts a sample photo to prove it.
    `headcut app` opens a window; `headcut serve` offers a page and an HTTP API.
    """  # noqa: D301  (\b keeps the lines of a paragraph apart)
    from headcut.plan import make_plan

    try:
        if preset:
            require_known("preset", preset, list(PRESETS))
            format = format or PRESETS[preset].get("format")
        plan = make_plan(photos, out, cast("Format | None", format))
        choices = {
            "output": output,
            "format": plan.format,
            "crop": crop or None,
            "square": square,
            "circle": circle or None,
            "padding": padding,
            "outline": parse_outline(outline) if outline else None,
            "background": background,
            "feather": feather,
        }
        save = save_options(preset, {k: v for k, v in choices.items() if v is not None})
        require_known("neck", neck, NECKS)
        kept_neck = cast("Neck", neck)
        request = _Request(plan, _which_heads(heads, at), save, kept_neck, json_sidecar)
        limits = PhotoLimits(max_megapixels=max_megapixels)
    except OptionError as error:
        _say(f"headcut: {error}")
        raise typer.Exit(WRONG_USAGE) from None
    raise typer.Exit(_run(request, limits))


def _which_heads(heads: str | None, at: str | None) -> Heads:
    if at is None:
        return parse_heads(heads or "all")
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
        _say(f"headcut: the window cannot open ({error}); pip install 'headcut[app]'")
        raise typer.Exit(FAILED) from None
    except HeadcutError as error:
        _say(f"headcut: {error}")
        raise typer.Exit(FAILED) from None
    app.main_loop()


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
        if sys.stdout.isatty():
            raise OptionError("a picture would garble the terminal; redirect it or give -o a file")


def _run(request: _Request, limits: PhotoLimits) -> int:
    """Cut all photos, say how each went, and return the exit code."""
    from headcut.pipeline import HeadCutter

    for name, reason in request.plan.failures:
        _say(f"{name}: {reason}")
    try:
        cutter = HeadCutter(limits=limits, neck=request.neck)
    except HeadcutError as error:
        _say(f"headcut: {error}")
        return FAILED
    with _progress(request.plan.jobs) as jobs:
        codes = [_run_one(job, cutter, request) for job in jobs]
    if request.plan.failures or FAILED in codes:
        return FAILED
    return NO_HEAD if set(codes) == {NO_HEAD} else DONE


def _run_one(job: Job, cutter: HeadCutter, request: _Request) -> int:
    """Cut one photo and return how it went; what is wrong with it must not stop the others."""
    try:
        written = _cut_job(job, cutter, request)
        for path in written or []:
            _list(path)
    except (HeadcutError, MemoryError) as error:
        _say(f"{job.name}: {str(error) or 'not enough memory; shrink the photo'}")
        return FAILED
    if written is None:
        _say(f"{job.name}: no head found; nothing is written")
        return NO_HEAD
    return DONE


def _cut_job(job: Job, cutter: HeadCutter, request: _Request) -> list[Path] | None:
    """Cut one photo, write what was asked for and return the files; None if it has no head."""
    from headcut.cutout import choose_heads, merge
    from headcut.writing import write_standard_output

    if job.photo is None and sys.stdin is None:
        raise PhotoError("standard input is closed; give a photo file")
    cut_outs = cutter.cut(job.photo or sys.stdin.buffer)
    if not cut_outs:
        return None
    pictures = choose_heads(cut_outs, request.heads)
    if job.output is None:
        write_standard_output(merge(pictures[0]).encode(request.save))
        return []
    return _write_pictures(pictures, job, job.output, request)


def _write_pictures(
    pictures: list[list[CutOut]], job: Job, output: Path, request: _Request
) -> list[Path]:
    """Write one file a picture, and the sidecar; return the pictures' files."""
    from headcut.cutout import merge
    from headcut.plan import numbered
    from headcut.sidecar import Picture, sidecar, sidecar_path

    written = []
    for number, heads in enumerate(pictures, start=1):
        path = numbered(output, number) if request.heads == "each" else output
        picture = merge(heads)
        _write(path, picture.encode(request.save), request.plan)
        written.append(Picture(path, heads, picture.frame(request.save)))
    if request.sidecar:
        name = job.photo.name if job.photo else job.name
        _write(sidecar_path(output), sidecar(name, written), request.plan)
    return [picture.path for picture in written]


def _write(path: Path, data: bytes, plan: Plan) -> None:
    from headcut.writing import refuse_to_replace, write_whole

    refuse_to_replace(path, plan.photo_ids)
    write_whole(path, data, make_folder=plan.makes_folders)


def _progress(jobs: list[Job]) -> AbstractContextManager[Iterable[Job]]:
    """Return the jobs behind a progress bar, if there are several and somebody is watching."""
    if len(jobs) > 1 and sys.stderr.isatty():
        return typer.progressbar(jobs, label="Cutting", show_pos=True, file=sys.stderr)
    return nullcontext(jobs)


def _say(message: str) -> None:
    """Print one line on standard error."""
    typer.echo(_over_the_bar() + message, err=True)


def _list(path: Path) -> None:
    """Print a written file's path on standard output, byte for byte."""
    from headcut.writing import write_standard_output

    if sys.stdout.isatty():
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
        return FAILED
    return DONE


def _over_the_bar() -> str:
    """Return what clears the line that a progress bar may stand in; the bar draws itself again."""
    return "\r\033[K" if sys.stderr.isatty() else ""
