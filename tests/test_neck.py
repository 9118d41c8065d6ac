"""The neck below a head: kept, shortened or left out, and the line between the two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Headcut, files, picture, red_cutter
from PIL import Image, ImageDraw

from headcut.neck import CERTAIN_NECK, chin_line, chin_rows, with_neck, without_dents

BLUE = (0, 0, 255)


def masks() -> tuple[np.ndarray, np.ndarray]:
    """A head in rows 10 to 39 and its neck in rows 40 to 69, columns 20 to 59, of 100."""
    head, neck = np.zeros((2, 100, 100), np.float32)
    head[10:40, 10:70] = 1
    neck[40:70, 20:60] = 1
    return head, neck


def portrait() -> Image.Image:
    """A red disc of radius 40 around (150, 100), on a blue neck 30 wide down to row 180."""
    image = picture()
    ImageDraw.Draw(image).rectangle([135, 120, 164, 180], fill=BLUE)
    image.paste(picture(150).crop((105, 55, 195, 145)), (105, 55), disc())
    return image


def disc() -> Image.Image:
    mask = Image.new("L", (90, 90))
    ImageDraw.Draw(mask).ellipse([5, 5, 85, 85], fill=255)
    return mask


def test_neck_is_none_short_or_kept() -> None:
    head, neck = masks()
    assert (with_neck(head, neck, "none", 10) == head).all()
    assert (with_neck(head, neck, "keep", 10) == head + neck).all()
    short = with_neck(head, neck, "short", 10)
    assert (short[:48] == (head + neck)[:48]).all()
    assert not short[53:].any()


def test_what_may_be_neck_is_left_out_with_it() -> None:
    """A sliver of neck shows; with a neck, nothing is missing between it and the head."""
    head, neck = masks()
    head[38:40], neck[38] = 0.9, CERTAIN_NECK / 2
    neck[39] = CERTAIN_NECK
    none = with_neck(head, neck, "none", 10)
    assert (none[:38] == head[:38]).all()
    np.testing.assert_allclose(none[38], 0.45, rtol=1e-5)
    assert not none[39:].any()
    np.testing.assert_allclose(with_neck(head, neck, "keep", 10)[38:40, 30], [0.95, 1])


def test_chin_is_where_head_and_neck_meet() -> None:
    rows = chin_rows(*masks())
    assert (rows[20:60] == 40).all()
    assert np.isnan(np.delete(rows, np.s_[20:60])).all()


def test_stray_pixel_does_not_notch_the_chin() -> None:
    head, neck = masks()
    neck[37:40, 33] = 1
    head[37:40, 33] = 0
    assert (chin_rows(head, neck)[20:60] == 40).all()


def test_chin_goes_on_where_the_neck_does_not_touch_the_head() -> None:
    """Between jaw and nape, in the shade of an ear, a short neck had a slit."""
    head, neck = masks()
    head[20:40, 30:40] = 0
    neck[30:40, 40:60] = 1
    head[30:40, 40:60] = 0
    rows = chin_rows(head, neck)
    assert (rows[20:30] == 40).all()
    assert (np.diff(rows[28:42]) <= 0).all()
    assert (rows[42:60] == 30).all()
    assert with_neck(head, neck, "short", 10)[42, 20:40].all()


def test_line_without_dents_goes_straight_over_them() -> None:
    """From the nape below an ear to the chin; where it bends downwards it stays."""
    nan = np.nan
    line = np.array([nan, 5, 2, nan, 1, 8, 9, 8, 4, 6], np.float32)
    straight = [nan, 5, 5.8, nan, 7.4, 8.2, 9, 8, 7, 6]
    np.testing.assert_allclose(without_dents(line), straight)
    assert np.isnan(without_dents(np.full(3, nan, np.float32))).all()
    np.testing.assert_array_equal(without_dents(np.array([nan, 3], np.float32)), [nan, 3])


def test_neck_that_touches_no_head_has_no_chin() -> None:
    head, neck = masks()
    assert chin_line(np.roll(head, -8, axis=0), neck, (0, 0, 200, 200)) == []
    assert chin_line(head, np.zeros_like(neck), (0, 0, 200, 200)) == []


def test_chin_line_is_in_photo_pixels() -> None:
    line = chin_line(*masks(), (1000, 500, 1200, 700))
    assert line[0] == (1041, 580)
    assert line[-1] == (1119, 580)
    assert len(line) <= 16


@pytest.mark.parametrize(("neck", "bottom"), [("none", 141), ("short", 150), ("keep", 181)])
def test_cutter_keeps_as_much_neck_as_asked(neck: str, bottom: int) -> None:
    [head] = red_cutter(neck=neck).cut(portrait())  # type: ignore[arg-type]
    assert head.box_px[3] == pytest.approx(bottom, abs=3)
    xs, ys = zip(*head.chin_px, strict=True)
    assert min(xs) == pytest.approx(136, abs=2)
    assert max(xs) == pytest.approx(164, abs=2)
    assert np.mean(ys) == pytest.approx(139, abs=2)


def test_command_line_keeps_the_neck_and_tells_the_chin(headcut: Headcut, tmp_path: Path) -> None:
    portrait().save("me.png")
    assert headcut("me.png", "--neck", "keep", "--json").code == 0
    [described] = json.loads(Path("me-head.json").read_text())["heads"]
    assert described["box"][3] == pytest.approx(181, abs=3)
    assert len(described["chin"]) > 3
    ran = headcut("me.png", "--neck", "long")
    assert (ran.code, ran.err) == (
        2,
        "headcut: neck 'long' is not known; use none, short or keep\n",
    )
    assert files(tmp_path) == ["me-head.json", "me-head.png", "me.png"]
