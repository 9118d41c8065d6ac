"""What goes wrong says so in one line, with the right exit code, and leaves nothing behind."""

from __future__ import annotations

import errno
import io
import os
import random
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import (
    ASTRONAUT,
    Headcut,
    Ran,
    RedFinder,
    files,
    picture,
    png_header,
    red_cutter,
    run_process,
)
from PIL import Image

from headcut.errors import HeadcutError


def jpeg() -> bytes:
    file = io.BytesIO()
    picture(150).save(file, "JPEG")
    return file.getvalue()


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


BAD_PHOTOS = {
    "empty": (b"", "the file is empty; copy it again"),
    "text": (b"Dear diary, this is no photo.\n", "is not a photo that headcut reads; give JPEG"),
    "truncated": (jpeg()[: len(jpeg()) // 2], "copy or export the photo again"),
    "truncated header": (jpeg()[:30], "copy or export the photo again"),
    "0x0": (png_header(0, 0), "damaged PNG header; copy or export the photo again"),
    "1x1": (png(1, 1), "1x1 is too small; both sides need at least 16 pixels"),
    "30000x30000": (
        png_header(30_000, 30_000),
        "over the 100 MP limit; shrink it or raise --max-m",
    ),
    "video": (b"\0\0\0\x18ftypmp42" + b"\0" * 99, "is not a photo that headcut reads; give JPEG"),
    "broken heic": (b"\0\0\0\x18ftypheic" + b"\0" * 99, "copy or export the photo again"),
}


def assert_one_line(ran: Ran, code: int, start: str, part: str) -> None:
    assert ran.code == code, ran.err
    assert ran.out == b""
    assert ran.err.startswith(start), ran.err
    assert part in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photo(name: str, headcut: Headcut, tmp_path: Path) -> None:
    data, message = BAD_PHOTOS[name]
    Path("bad.jpg").write_bytes(data)
    assert_one_line(headcut("bad.jpg"), 1, "bad.jpg: ", message)
    assert files(tmp_path) == ["bad.jpg"]


def test_missing_file(headcut: Headcut) -> None:
    assert_one_line(headcut("no.jpg"), 1, "no.jpg: ", "no such file; check the name")
    assert_one_line(headcut("https://x.org/a.jpg"), 1, "https:", "headcut fetches nothing")


def test_limit_below_a_megapixel_is_told_with_its_digits(headcut: Headcut) -> None:
    picture(150).save("me.png")
    ran = headcut("me.png", "--max-megapixels", "0.05")
    assert_one_line(ran, 1, "me.png: 300x200 is 0.06 MP, over the 0.05 MP limit", "raise --max")


def test_point_outside_of_any_head(headcut: Headcut) -> None:
    """With --at, --json would fail the same way."""
    picture(150).save("me.png")
    ran = headcut("me.png", "--at", "10,10")
    assert_one_line(ran, 1, "me.png: has no head at 10,10; ", "JSON without a point")


def test_impossible_names(headcut: Headcut) -> None:
    """Even asking whether these are folders is an error to the system."""
    picture(150).save("me.png")
    Path("circle.png").symlink_to("circle.png")
    for name in ("a" * 5000, "circle.png"):
        assert_one_line(headcut(name), 1, name, "; check ")
    assert_one_line(headcut("me.png", "-o", "a" * 300 + ".png"), 1, "me.png: ", "a shorter name")
    assert headcut("me.png", "-o", "circle.png").code == 0


def test_folder_without_photos(headcut: Headcut) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no photo")
    assert_one_line(headcut("empty"), 1, "empty: ", "no photos in this folder")


def test_no_head(headcut: Headcut, tmp_path: Path) -> None:
    picture().save("empty.png")
    assert_one_line(headcut("empty.png"), 3, "empty.png: ", "no head found; nothing is written")
    assert_one_line(headcut("empty.png", "-o", "out.png"), 3, "empty.png: ", "no head found")
    assert files(tmp_path) == ["empty.png"]


def test_output_equal_to_the_input(headcut: Headcut, tmp_path: Path) -> None:
    picture(150).save("me.png")
    Path("link.png").hardlink_to("me.png")
    before = Path("me.png").read_bytes()
    for out in ("me.png", "./me.png", "link.png", tmp_path / "me.png"):
        assert_one_line(headcut("me.png", "-o", out), 2, "headcut: ", "never replaced; choose")
    assert Path("me.png").read_bytes() == before


def test_background_is_not_replaced(headcut: Headcut) -> None:
    picture(150).save("me.png")
    picture().save("behind.png")
    before = Path("behind.png").read_bytes()
    ran = headcut("me.png", "--background", "behind.png", "-o", "behind.png")
    assert_one_line(ran, 2, "headcut: ", "never replaced; choose")
    assert Path("behind.png").read_bytes() == before


def test_empty_names(headcut: Headcut, tmp_path: Path) -> None:
    """As of a shell's variable that is not set; an empty path would be the folder one is in."""
    picture(150).save("me.png")
    for arguments in (("",), ("me.png", ""), ("me.png", "-o", "")):
        assert_one_line(headcut(*arguments), 2, "headcut: ", "a name is empty; give")
    assert files(tmp_path) == ["me.png"]


def test_macos_companion_files_are_no_photos(headcut: Headcut) -> None:
    Path("photos").mkdir()
    picture(150).save("photos/me.png")
    Path("photos/._me.png").write_bytes(b"\0\5\x16\7")
    ran = headcut("photos")
    assert (ran.code, ran.out.decode().split()) == (0, ["photos/me-head.png"])


def test_output_in_a_missing_folder(headcut: Headcut) -> None:
    picture(150).save("me.png")
    ran = headcut("me.png", "-o", "nowhere/out.png")
    assert_one_line(ran, 1, "me.png: cannot write nowhere/out.png: ", "make the folder first")


def test_output_under_a_file(headcut: Headcut) -> None:
    picture(150).save("me.png")
    for out in ("me.png/out.png", "me.png/outs/"):
        assert_one_line(
            headcut("me.png", "-o", out), 1, "me.png: cannot write", "choose another place"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(headcut: Headcut) -> None:
    picture(150).save("me.png")
    Path("locked").mkdir(mode=0o500)
    ran = headcut("me.png", "-o", "locked/out.png")
    assert_one_line(ran, 1, "me.png: cannot write", "choose a place you may write to")


def test_refused_write(headcut: Headcut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a read-only disk, which root meets too."""
    picture(150).save("me.png")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    assert_one_line(headcut("me.png"), 1, "me.png: cannot write", "Read-only file system; choose")
    assert files(tmp_path) == ["me.png"]


class FullDisk(io.FileIO):
    """Takes a few bytes and then has no space."""

    def write(self, data: object) -> int:
        super().write(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk(headcut: Headcut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture(150).save("me.png")
    Path("me-head.png").write_bytes(b"older")
    real_open = Path.open

    def full(self: Path, mode: str = "r", *more: object, **options: object) -> object:
        if "x" in mode or "w" in mode:
            return FullDisk(self, mode.replace("b", ""))
        return real_open(self, mode, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    ran = headcut("me.png")
    assert_one_line(ran, 1, "me.png: cannot write me-head.png: No space left", "free some space")
    monkeypatch.undo()
    assert files(tmp_path) == ["me-head.png", "me.png"]
    assert (tmp_path / "me-head.png").read_bytes() == b"older"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_full_standard_output() -> None:
    for out in (["-o", "-"], ["--version"]):
        with Path("/dev/full").open("wb") as full:
            ran = run_process(
                ASTRONAUT, *out, stdout=full, stderr=subprocess.PIPE, capture_output=False
            )
        assert ran.returncode == 1
        assert b"No space left on device; free some space" in ran.stderr
        assert ran.stderr.count(b"\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="written for a POSIX shell")
def test_closed_standard_output() -> None:
    command = f"exec {shlex.quote(sys.executable)} -m headcut --version >&-"
    ran = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 1
    assert ran.stderr == b"headcut: standard output is closed; give -o a file or a folder\n"


WRONG_USAGE = {
    "unknown output": (["--output", "banana"], "'banana' is not known; use cutout, mask or alpha"),
    "unknown heads": (["--heads", "0"], "'0' is not known; use all, largest, each or a number"),
    "unknown format": (["--format", "jpg"], "'jpg' is not known; use png or webp"),
    "output suffix": (["-o", "out.jpg"], "must end in .png or .webp"),
    "folder in the message": (["-o", "o/p"], "'o/p' must end in .png or .webp"),
    "background folder": (["--background", "pics/sea"], "'pics/sea': no such file"),
    "no colour": (["--background", "blurple"], "'blurple' is neither transparent, blur, a colour"),
    "bad colour": (["--background", "rgb(1.5,0,0)"], "is neither transparent, blur, a colour"),
    "no suffix": (["-o", "out"], "must end in .png or .webp; a folder, in a slash"),
    "contradiction": (["-o", "a.png", "--format", "webp"], "let it end in .webp"),
    "limit": (["--max-megapixels", "0"], "max_megapixels is 0.0; give a number above 0"),
    "each to stdout": (["-o", "-", "--heads", "each"], "for --heads each give -o a folder"),
    "json to stdout": (["-o", "-", "--json"], "--json writes beside a file"),
    "one file for two": (["me.jpg", "-o", "out.png"], "give -o a folder"),
    "stdout for two": (["me.jpg", "-o", "-"], "for several give -o a folder"),
    "no folder for stdin": (["-"], "standard input has no folder to write to"),
}


@pytest.mark.parametrize("name", WRONG_USAGE)
def test_wrong_usage(name: str, headcut: Headcut, tmp_path: Path) -> None:
    picture(150).save("me.png")
    picture(150).save("me.jpg")
    more, message = WRONG_USAGE[name]
    assert_one_line(headcut("me.png", *more), 2, "headcut: ", message)
    assert files(tmp_path) == ["me.jpg", "me.png"]


@pytest.mark.parametrize("arguments", [[], ["--bogus"], ["--max-megapixels", "many", "me.png"]])
def test_command_line_that_cannot_be_parsed(arguments: list[str], headcut: Headcut) -> None:
    ran = headcut(*arguments)
    assert ran.code == 2
    assert "Error: " in ran.err
    assert "Traceback" not in ran.err


def test_interrupt_is_no_traceback(headcut: Headcut, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(150).save("me.png")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RedFinder, "find", interrupted)
    ran = headcut("me.png")
    assert ran.code in (1, 130)
    assert "Traceback" not in ran.err


def test_out_of_memory_is_one_photos_failure(
    headcut: Headcut, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(150).save("me.png")

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(RedFinder, "find", full)
    assert_one_line(headcut("me.png"), 1, "me.png: ", "not enough memory; shrink the photo")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF"])
def test_damaged_bytes_are_an_error_of_ours_or_a_photo(format: str) -> None:
    """Whatever a decoder makes of damaged bytes, nothing but HeadcutError comes out."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    picture(30, width=64, height=48, radius=15).save(file, format)
    cutter, chance = red_cutter(), random.Random(format)
    for _ in range(60):
        data = bytearray(file.getvalue())
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with suppress(HeadcutError):
            cutter.cut(bytes(data[: chance.randrange(12, len(data) + 1)]))
