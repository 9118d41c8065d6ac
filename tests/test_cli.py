"""The command line, run whole, with stand-ins for the networks."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from conftest import ASTRONAUT, Headcut, RedFinder, RedSegmenter, files, picture, run_process
from PIL import Image

from headcut import CutOut, HeadCutter, __version__


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def test_photo_gives_a_transparent_png_beside_it(headcut: Headcut, tmp_path: Path) -> None:
    picture(150).save("me.jpg")
    ran = headcut("me.jpg")
    assert (ran.code, ran.written, ran.err) == (0, ["me-head.png"], "")
    image = opened(tmp_path / "me-head.png")
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (300, 200))
    assert image.getpixel((150, 100)) == pytest.approx((254, 0, 0, 255), abs=2)
    assert image.getpixel((5, 5)) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("output", "mode", "levels"), [("mask", "L", {0, 255}), ("alpha", "L", None)]
)
def test_mask_and_alpha(headcut: Headcut, output: str, mode: str, levels: set[int] | None) -> None:
    picture(450, width=900, height=600, radius=200).save("me.png")  # its edge is enlarged, so soft
    assert headcut("me.png", "--output", output, "-o", "out.png").code == 0
    image = opened(Path("out.png"))
    assert image.mode == mode
    found = set(np.unique(np.asarray(image)).tolist())
    assert found == levels if levels else len(found) > 3


def test_all_heads_go_into_one_picture(headcut: Headcut) -> None:
    picture(80, 220).save("two.png")
    assert headcut("two.png").written == ["two-head.png"]
    alpha = opened(Path("two-head.png")).getchannel("A")
    assert alpha.getpixel((80, 100)) == alpha.getpixel((220, 100)) == 255


def test_each_head_gets_its_own_file_from_the_left(headcut: Headcut) -> None:
    picture(80, 220).save("two.png")
    assert headcut("two.png", "--heads", "each").written == ["two-head-1.png", "two-head-2.png"]
    assert opened(Path("two-head-1.png")).getchannel("A").getpixel((80, 100)) == 255
    assert opened(Path("two-head-2.png")).getchannel("A").getpixel((80, 100)) == 0
    ran = headcut("two.png", "--heads", "each", "-o", "x.webp")
    assert ran.written == ["x-1.webp", "x-2.webp"]


def test_one_head_can_be_chosen_by_number_or_size(headcut: Headcut) -> None:
    image = picture(220, radius=50)
    image.paste(picture(80, radius=20).crop((0, 0, 150, 200)), (0, 0))
    image.save("two.png")
    for heads, x in (("largest", 220), ("1", 80), ("2", 220)):
        assert headcut("two.png", "--heads", heads).code == 0
        alpha = opened(Path("two-head.png")).getchannel("A")
        assert alpha.getpixel((x, 100)) == 255
        assert alpha.getpixel((300 - x, 100)) == 0


def test_head_number_that_the_photo_lacks_is_a_failure(headcut: Headcut, tmp_path: Path) -> None:
    picture(80).save("one.png")
    ran = headcut("one.png", "--heads", "2")
    assert (ran.code, ran.err) == (1, "one.png: has 1 head, no number 2; choose 1\n")
    assert files(tmp_path) == ["one.png"]


def test_crop_keeps_the_tight_box(headcut: Headcut) -> None:
    picture(150).save("me.png")
    assert headcut("me.png", "--crop").code == 0
    image = opened(Path("me-head.png"))
    assert image.size == pytest.approx((81, 81), abs=4)
    assert image.getchannel("A").getbbox() == (0, 0, *image.size)


def test_format_comes_from_the_suffix_or_the_option(headcut: Headcut) -> None:
    picture(150).save("me.png")
    assert headcut("me.png", "-o", "out.webp").code == 0
    assert opened(Path("out.webp")).format == "WEBP"
    assert headcut("me.png", "--format", "webp").written == ["me-head.webp"]
    assert opened(Path("me-head.webp")).format == "WEBP"


def test_sidecar_says_how_to_paste_each_head_back(headcut: Headcut) -> None:
    photo = picture(80, 220)
    photo.save("two.png")
    assert headcut("two.png", "--heads", "each", "--crop", "--json").code == 0
    described = json.loads(Path("two-head.json").read_text())
    assert described["schema"] == "headcut/1"
    assert described["source"] == {"name": "two.png", "width": 300, "height": 200}
    assert [head["output"] for head in described["heads"]] == ["two-head-1.png", "two-head-2.png"]
    for head in described["heads"]:
        cut = opened(Path(head["output"]))
        whole = Image.new("RGBA", photo.size)
        whole.paste(cut, tuple(head["offset"]))
        assert list(whole.getbbox() or ()) == head["box"]
        assert 0 < head["confidence"] <= 1


def test_sidecar_lists_all_heads_of_one_picture(headcut: Headcut) -> None:
    picture(80, 220).save("two.png")
    assert headcut("two.png", "--json", "-o", "x.png").code == 0
    heads = json.loads(Path("x.json").read_text())["heads"]
    assert [head["output"] for head in heads] == ["x.png", "x.png"]
    assert [head["offset"] for head in heads] == [[0, 0], [0, 0]]
    assert heads[0]["box"][2] < heads[1]["box"][0]


@pytest.mark.parametrize("out", ["outs/", "deep/er/"])
def test_output_folder_is_made(headcut: Headcut, out: str) -> None:
    picture(150).save("me.jpg")
    assert headcut("me.jpg", "-o", out).written == [f"{out}me-head.png"]


def test_several_photos_go_on_after_a_failure(headcut: Headcut) -> None:
    picture(150).save("a.png")
    Path("b.png").write_bytes(b"")
    picture(150).save("c.png")
    ran = headcut("a.png", "b.png", "c.png", "missing.png", "-o", "outs")
    assert ran.code == 1
    assert ran.written == ["outs/a-head.png", "outs/c-head.png"]
    assert ran.err.splitlines() == [
        "b.png: the file is empty; copy it again",
        "missing.png: no such file; check the name and the folder",
    ]


def test_several_photos_are_cut_side_by_side(
    headcut: Headcut, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins before the first ends; what is said of them keeps their order."""
    for name in ("a", "b"):
        picture(150).save(f"{name}.png")
    second_is_done = Event()
    monkeypatch.setattr("headcut.model_file.usable_cores", lambda: {0, 1})

    class WaitingCutter(HeadCutter):
        def __init__(self, **options: Any):
            assert options["threads"] == 1, "those of the networks would be in each other's way"
            super().__init__(finder=RedFinder(), segmenter=RedSegmenter())

        def cut(self, source: Any) -> list[CutOut]:
            if source.path == Path("a.png"):
                assert second_is_done.wait(60)
            cut_outs = super().cut(source)
            second_is_done.set()
            return cut_outs

    monkeypatch.setattr("headcut.pipeline.HeadCutter", WaitingCutter)
    ran = headcut("a.png", "b.png")
    assert (ran.code, ran.written) == (0, ["a-head.png", "b-head.png"])


def test_exit_code_3_needs_every_photo_without_head(headcut: Headcut) -> None:
    picture().save("none.png")
    picture().save("nobody.png")
    picture(150).save("one.png")
    assert headcut("none.png", "nobody.png").code == 3
    ran = headcut("none.png", "one.png")
    assert (ran.code, ran.err) == (0, "none.png: no head found; nothing is written\n")
    assert headcut("none.png", "missing.png").code == 1


def test_folder_is_searched_and_its_tree_kept(headcut: Headcut, tmp_path: Path) -> None:
    """Flattening sub-folders is how two photos come to write one output."""
    for name in ("in/a.jpg", "in/x/a.jpg", "in/x/y/B.PNG", "in/notes.txt", "in/x/old-head.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        picture(150).save(name, "PNG")
    ran = headcut("in", "-o", "out")
    assert (ran.code, ran.err) == (0, "")
    assert files(tmp_path / "out") == ["a-head.png", "x/a-head.png", "x/y/B-head.png"]
    assert headcut("in").code == 0
    before = files(tmp_path)
    assert headcut("in").code == 0, "a second run must not cut the outputs of the first"
    assert files(tmp_path) == before


def test_photos_of_one_name_keep_their_suffix(headcut: Headcut) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        picture(150).save(name)
    ran = headcut("a.png", "a.jpg", "b.png", "./a.png")
    assert ran.written == ["a.png-head.png", "a.jpg-head.png", "b-head.png"]


def test_photos_that_cannot_be_told_apart_stop_the_start(headcut: Headcut, tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png"):
        Path(name).parent.mkdir()
        picture(150).save(name)
    ran = headcut("x/a.png", "y/a.png", "-o", "out")
    assert ran.code == 2
    assert "x/a.png and y/a.png would both become out/a.png-head.png" in ran.err
    assert files(tmp_path) == ["x/a.png", "y/a.png"]


def test_photo_called_like_an_output_is_not_replaced(headcut: Headcut) -> None:
    picture(150).save("a.png")
    picture(150).save("a-head.png")
    before = Path("a-head.png").read_bytes()
    ran = headcut("a.png", "a-head.png")
    assert ran.code == 2
    assert "never replaced" in ran.err
    picture(150).save("a-head-1.png")
    ran = headcut("a.png", "a-head-1.png", "--heads", "each")
    assert ran.code == 1
    assert Path("a-head.png").read_bytes() == before


def test_standard_input_and_output(tmp_path: Path) -> None:
    """The shell's way, with the real networks: photo in, PNG out, nothing else on the pipe."""
    with ASTRONAUT.open("rb") as photo:
        ran = run_process("-", "-o", "-", stdin=photo, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert Image.open(io.BytesIO(ran.stdout)).mode == "RGBA"
    assert ran.stderr == b""
    assert files(tmp_path) == []


def test_standard_input_can_go_to_a_folder(
    headcut: Headcut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = io.BytesIO()
    picture(150).save(file, "PNG")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.getvalue())))
    assert headcut("-", "-o", "out/").written == ["out/stdin-head.png"]


def test_picture_goes_to_standard_output_alone(headcut: Headcut) -> None:
    picture(150).save("me.png")
    ran = headcut("me.png", "-o", "-", "--format", "webp")
    assert ran.code == 0
    assert Image.open(io.BytesIO(ran.out)).format == "WEBP"


def test_version(headcut: Headcut) -> None:
    assert headcut("--version").out.decode() == f"headcut {__version__}\n"


def test_help_tells_the_exit_codes(headcut: Headcut) -> None:
    shown = headcut("--help").out.decode()
    assert "  3  no head found in any photo\n" in shown
    assert "headcut doctor" in shown


def test_doctor_names_the_backend_and_cuts_the_sample() -> None:
    ran = run_process("doctor")
    assert ran.returncode == 0, ran.stderr
    shown = ran.stdout.decode()
    assert "CPUExecutionProvider" in shown
    assert "1 head, confidence" in shown
    assert "all is well" in shown


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [("app", "toga", "app"), ("serve", "uvicorn", "web"), ("batch", "pyarrow", "batch")],
)
def test_missing_extra_is_wrong_usage_that_names_it(
    command: str, package: str, extra: str, tmp_path: Path
) -> None:
    reason = f"No module named {package!r}"
    (tmp_path / f"{package}.py").write_text(f"raise ImportError({reason!r})")
    ran = run_process(command, cwd=tmp_path)  # which Python searches first
    assert (ran.returncode, ran.stderr.decode()) == (
        2,
        f"headcut: headcut {command} needs more packages ({reason}); "
        f"in headcut's checkout: pip install '.[{extra}]'\n",
    )


def test_photo_may_be_called_doctor(headcut: Headcut) -> None:
    picture(150).save("doctor", "PNG")
    assert headcut("./doctor").written == ["doctor-head.png"]


def test_reader_that_goes_away_is_no_traceback() -> None:
    """`headcut photo.jpg -o - | head -c 1`."""
    reader, writer = os.pipe()
    os.close(reader)
    ran = run_process(
        ASTRONAUT, "-o", "-", stdout=writer, stderr=subprocess.PIPE, capture_output=False
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_progress_bar_shows_on_a_terminal_only(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(ASTRONAUT.read_bytes())
    assert b"Cutting" not in run_process("a.jpg", "b.jpg", cwd=tmp_path).stderr
    shown, terminal = pty.openpty()
    run_process("a.jpg", "b.jpg", cwd=tmp_path, stderr=terminal, capture_output=False)
    assert b"Cutting" in os.read(shown, 10_000)


def test_picture_is_not_thrown_at_a_terminal() -> None:
    _, terminal = pty.openpty()
    ran = run_process(
        ASTRONAUT, "-o", "-", stdout=terminal, stderr=subprocess.PIPE, capture_output=False
    )
    assert ran.returncode == 2
    assert b"redirect it or give -o a file" in ran.stderr
