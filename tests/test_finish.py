"""The picture people want: framed, outlined, feathered, on a background."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GREY, RED, Headcut, files, picture
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from headcut.cutout import CutOut, merge
from headcut.errors import OptionError, OutputError
from headcut.finish import Frame, _blurred, distance_to, frame_of
from headcut.options import PRESETS, Outline, SaveOptions, parse_outline, parse_point, save_options
from headcut.pipeline import HeadCutter


@pytest.fixture
def head(cutter: HeadCutter) -> CutOut:
    """A red disc of 80 pixels around (150, 100) in a grey photo of 300x200."""
    return cutter.cut(picture(150))[0]


def rgba(head: CutOut, **choices: object) -> np.ndarray:
    return np.asarray(head.render(SaveOptions(**choices)))  # type: ignore[arg-type]


def box_of(alpha: np.ndarray) -> tuple[int, ...]:
    return Image.fromarray(np.ascontiguousarray(alpha)).getbbox() or ()


def test_square_holds_the_whole_head_in_its_middle(head: CutOut) -> None:
    shown = rgba(head, square=200)
    assert shown.shape == (200, 200, 4)
    assert box_of(shown[..., 3]) == pytest.approx((0, 0, 200, 200), abs=1)
    padded = rgba(head, square=200, padding=25)  # 25 % on each side: two thirds are head
    assert box_of(padded[..., 3]) == pytest.approx((33, 33, 167, 167), abs=2)


def test_a_picture_far_larger_than_its_photo_is_refused(head: CutOut) -> None:
    """Before it fills the memory."""
    options = SaveOptions(crop=True, padding=500)
    with pytest.raises(OutputError, match="27500x27500 is too large a picture; give less padding"):
        frame_of(head.alpha_patch, (0, 0, 2500, 2500), (3000, 4000), options)


def test_enlarged_edge_keeps_the_heads_colour(head: CutOut) -> None:
    """Clear pixels are black: scaled without care, they would darken the edge."""
    shown = rgba(head, square=400).astype(int)
    soft = (shown[..., 3] > 60) & (shown[..., 3] < 250)
    assert soft.any()
    assert shown[soft][:, 0].min() > 225


def test_circle_clears_the_corners_and_holds_the_head(head: CutOut) -> None:
    shown = rgba(head, circle=True, square=200, background="blue")
    assert (shown[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    alone = rgba(head, circle=True, square=200)
    whole = rgba(head, square=200)
    assert alone[..., 3].sum() == pytest.approx(whole[..., 3].sum(), rel=0.06)


def test_padding_of_a_crop_may_leave_the_photo(cutter: HeadCutter) -> None:
    at_border = cutter.cut(picture(20))[0]
    options = SaveOptions(crop=True, padding=50)
    frame = at_border.frame(options)
    assert frame.left < 0
    shown = np.asarray(at_border.render(options))
    left, top, right, bottom = at_border.box_px
    x, y = int(left - frame.left), int(top - frame.top)
    inner = shown[y : y + bottom - top, x : x + right - left]
    assert (inner == rgba(at_border, crop=True)).all()
    assert shown[..., 3].sum() == inner[..., 3].sum()


def test_outline_is_as_wide_as_asked_and_under_the_head(head: CutOut) -> None:
    shown, plain = rgba(head, outline=Outline(10, "lime")), rgba(head)
    opaque = plain[..., 3] == 255
    assert (shown[opaque] == plain[opaque]).all()
    left, _, right, _ = head.box_px
    middle = shown[100]
    assert (middle[left - 8 : left - 2] == [0, 255, 0, 255]).all()
    assert (middle[: left - 12] == 0).all()
    assert (middle[right + 12 :] == 0).all()


def test_outline_fits_into_crop_and_square(head: CutOut) -> None:
    for shown in (
        rgba(head, crop=True, outline=Outline(7)),
        rgba(head, square=120, outline=Outline(7)),
    ):
        left, top, right, bottom = box_of(shown[..., 3] > 127)
        assert (left, top) == pytest.approx((0, 0), abs=2)
        assert (right, bottom) == pytest.approx(shown.shape[1::-1], abs=2)
        assert (shown[shown.shape[0] // 2, 3] == 255).all()


def test_background_colour_fills_what_is_clear(head: CutOut) -> None:
    shown = rgba(head, background="#102030")
    assert (shown[..., 3] == 255).all()
    assert (shown[0, 0, :3] == [0x10, 0x20, 0x30]).all()
    assert shown[100, 150, 0] > 240


def test_blurred_background_is_the_photos_own(head: CutOut) -> None:
    shown = rgba(head, background="blur")
    assert (np.abs(shown[5, 5, :3].astype(int) - GREY) < 3).all()
    beyond = rgba(head, background="blur", square=100, padding=500)
    assert (np.abs(beyond[0, 0, :3].astype(int) - GREY) < 3).all()  # the photo's border goes on
    assert (beyond[..., 3] == 255).all()


def test_blurred_background_of_a_wide_photo_is_in_place() -> None:
    """Its copy is a few rows high: their rounded number says nothing of its columns."""
    photo = np.zeros((60, 8000, 3), np.uint8)
    photo[:, 7000:] = 255
    shown = np.asarray(_blurred(photo, Frame(6000, 0, (2000, 60))))[30, :, 0]
    assert int(np.argmax(shown > 127)) == pytest.approx(1000, abs=30)


@pytest.mark.parametrize("size", [(50, 20), (1, 1)])
def test_picture_as_background_covers_the_frame(
    head: CutOut, tmp_path: Path, size: tuple[int, int]
) -> None:
    Image.new("RGB", size, (1, 2, 3)).save(tmp_path / "wall.png")
    shown = rgba(head, background=tmp_path / "wall.png", square=90, padding=10)
    assert (shown[0, 0] == [1, 2, 3, 255]).all()


def test_feather_fades_inside_the_edge_alone(head: CutOut) -> None:
    soft, hard = rgba(head, feather=20)[..., 3], rgba(head)[..., 3]
    assert (soft <= hard).all()
    assert soft[100, 150] == 255
    left = head.box_px[0]
    assert 0 < soft[100, left + 5] < 200


def test_the_widest_feather_leaves_the_middle(head: CutOut) -> None:
    faded = rgba(head, feather=500, crop=True)[..., 3]
    assert faded[40, 40] > 240
    assert faded[2].max() < 40


def test_each_head_of_several_is_feathered_by_its_own_size(cutter: HeadCutter) -> None:
    """A quarter of a whole group would be more than there is of any head in it."""
    heads = cutter.cut(picture(60, 500, width=600))
    both = rgba(merge(heads), feather=500)[..., 3]
    alone = rgba(heads[0], feather=500)[..., 3]
    assert alone[100, 60] > 240
    assert (both[:, :200] == alone[:, :200]).all()


def test_nothing_of_the_photo_is_left_where_a_feather_clears_it(head: CutOut) -> None:
    shown = rgba(head, feather=12)
    assert not shown[shown[..., 3] == 0].any()


def test_feather_leaves_what_the_photo_cuts_off(cutter: HeadCutter) -> None:
    cut_off = cutter.cut(picture(0))[0]
    assert rgba(cut_off, feather=20)[100, 0, 3] == 255


def test_mask_and_alpha_are_framed_too(head: CutOut) -> None:
    mask = rgba(head, output="mask", square=64)
    assert mask.shape == (64, 64)
    assert set(np.unique(mask)) == {0, 255}


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 6))
def test_distance_is_that_to_the_nearest_pixel(inside: np.ndarray, most: int) -> None:
    rows, columns = np.nonzero(inside)
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]]
    every = np.hypot(y[..., None] - rows, x[..., None] - columns)
    wanted = np.minimum(every.min(axis=-1, initial=most), most)
    np.testing.assert_allclose(distance_to(inside, most), wanted, atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_keeps_its_size_and_bytes(name: str, headcut: Headcut) -> None:
    picture(150).save("me.png")
    assert headcut("me.png", "--preset", name).code == 0
    path = next(Path().glob("me-head.*"))
    wanted = PRESETS[name]
    assert path.stat().st_size <= wanted.get("max_bytes", 1e9)
    with Image.open(path) as saved:
        assert saved.size == (wanted["square"],) * 2
        assert saved.format == wanted.get("format", "png").upper()
    assert {*wanted} <= {field.name for field in fields(SaveOptions)}


def test_options_change_a_preset(headcut: Headcut) -> None:
    picture(150).save("me.png")
    assert (
        headcut("me.png", "--preset", "avatar", "--square", "64", "--background", "red").code == 0
    )
    with Image.open("me-head.png") as saved:
        assert saved.size == (64, 64)
        assert saved.getpixel((32, 1)) == (*RED, 255)
    scales = []
    for padding in ([], ["--padding", "0"]):
        assert headcut("me.png", "--preset", "signal", "--json", *padding).code == 0
        scales.append(json.loads(Path("me-head.json").read_text())["heads"][0]["scale"])
    assert scales[0] < scales[1], "0 is given, too"


def test_cut_out_is_pasted_back_by_its_sidecar(headcut: Headcut) -> None:
    """Offset and scale say where a square came from."""
    photo = picture(80, 220)
    photo.save("two.png")
    assert headcut("two.png", "--at", "220,100", "--square", "160", "--json").code == 0
    [described] = json.loads(Path("two-head.json").read_text())["heads"]
    with Image.open("two-head.png") as saved:
        side = saved.width / described["scale"]
        small = saved.resize((round(side), round(side)))
    whole = Image.new("RGBA", photo.size)
    whole.paste(small, tuple(round(v) for v in described["offset"]))
    assert whole.getbbox() == pytest.approx(tuple(described["box"]), abs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--square", "3"], "square is 3; give 16 to 8192"),
        (["--padding", "10"], "padding needs a cropped, square or round picture"),
        (["--crop", "--padding", "-1"], "padding is -1; give 0 to 500"),
        (["--feather", "-2"], "feather is -2; give 0 to 500"),
        (["--outline", "thick"], "outline 'thick' is not known; use PX or PX,COLOUR"),
        (["--square", "20", "--outline", "6"], "the outline fills a square of 20; give 5 or less"),
        (["--outline", ""], "outline '' is not known"),
        (["--outline", "9" * 400], f"outline is {'9' * 400}; give 1 to 200"),
        (["--outline", "0"], "outline is 0; give 1 to 200"),
        (["--outline", "5,nocolour"], "'nocolour' is no colour"),
        (["--background", "nothing.png"], "'nothing.png': no such file; check the name"),
        (["--background", "red", "--output", "mask"], "a background hides the mask"),
        (["--preset", "myspace"], "preset 'myspace' is not known; use avatar, discord"),
        (["--at", "nan,1"], "point 'nan,1' is not known; use X,Y"),
        (["--at", "middle"], "point 'middle' is not known; use X,Y"),
        (["--at", "1,2", "--heads", "1"], "--heads and --at both choose"),
        (["--preset", "whatsapp", "-o", "x.png"], "x.png is not a webp name"),
    ],
)
def test_wrong_value_is_named_with_its_fix(
    options: list[str], message: str, headcut: Headcut, tmp_path: Path
) -> None:
    picture(150).save("me.png")
    ran = headcut("me.png", *options)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert files(tmp_path) == ["me.png"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"outline": 8}, r"outline is 8; give headcut\.options\.Outline"),
        ({"outline": "8,red"}, r"outline is '8,red'; give headcut\.options\.Outline"),
        ({"square": "512"}, "square is '512'; give a whole number, 16 to 8192"),
        ({"square": 100.5}, r"square is 100\.5; give a whole number, 16 to 8192"),
        ({"max_bytes": 0}, "max_bytes is 0; give 1 to 1000000000"),
        ({"max_bytes": "1"}, "max_bytes is '1'; give a whole number"),
        ({"background": None}, "background is None; give a word, a colour"),
        ({"background": (255, 255, 255)}, r"background is \(255, 255, 255\); give a word"),
        ({"padding": "4", "crop": True}, "padding is '4'; give a number, 0 to 500"),
    ],
)
def test_value_of_another_type_is_refused_when_options_are_made(
    wrong: dict[str, Any], message: str
) -> None:
    """Not when a picture is rendered, by whatever meets it first."""
    with pytest.raises(OptionError, match=message):
        SaveOptions(**wrong)


def test_damaged_background_is_a_failure(headcut: Headcut) -> None:
    picture(150).save("me.png")
    Path("wall.png").write_text("no picture")
    ran = headcut("me.png", "--background", "wall.png")
    assert ran.code == 1
    assert "wall.png" in ran.err


def test_parsed_values() -> None:
    assert parse_outline("4") == Outline(4, "white")
    assert parse_outline("4,#123456") == Outline(4, "#123456")
    assert (parse_point("3.5,4").x, parse_point("3.5,4").y) == (3.5, 4)
    with pytest.raises(OptionError, match="use X,Y"):
        parse_point("1,2,3")
    assert save_options("discord", {"square": 100}).outline == Outline(5)
