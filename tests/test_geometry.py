"""Boxes, crops and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import noise_photo
from PIL import Image

from headcut.geometry import (
    OUTSIDE_GREY,
    Box,
    FloatArray,
    U8Array,
    centred_square,
    connected,
    covered_pixels,
    crop_box_for,
    crop_for_model,
    framed_box,
    paste_alpha,
    whole_photo_box,
    wider_box,
)

SHAPE = (120, 150)


def blob(shape: tuple[int, int], sigma: float = 18.0) -> FloatArray:
    """A smooth mask: what a crop cannot lose by being smaller than the photo."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) + 0.5
    squared = (x - shape[1] / 2) ** 2 + (y - shape[0] / 2) ** 2
    return np.exp(-squared / (2 * sigma**2)).astype(np.float32)


def as_photo(mask: FloatArray) -> U8Array:
    return np.repeat((mask * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def there_and_back(mask: FloatArray, box: Box, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the mask cropped and pasted, and what it was under the pasted pixels."""
    crop = crop_for_model(as_photo(mask), box, size)[..., 0].astype(np.float32) / 255
    pasted, (left, top, right, bottom) = paste_alpha(crop, box, mask.shape)
    return pasted, mask[top:bottom, left:right]


def middle_of(array: FloatArray, margin: int = 4) -> FloatArray:
    """Leave out the rim, where a crop shows the grey that is outside the photo."""
    return array[margin:-margin, margin:-margin]


@pytest.mark.parametrize("size", [64, 256], ids=["shrunk", "enlarged"])
@pytest.mark.parametrize(
    "box",
    [
        (30.0, 15.0, 120.0, 105.0),
        (30.3, 15.7, 120.3, 105.7),
        (-40.0, -55.0, 190.0, 175.0),
        (-20.4, 10.2, 79.6, 110.2),
        (70.5, 40.25, 170.5, 140.25),
    ],
    ids=["inside", "fractional", "around the photo", "over the left", "over the corner"],
)
def test_crop_then_paste_gives_the_mask_back(box: Box, size: int) -> None:
    """A shift of half a pixel would leave a rim around every head."""
    pasted, was = there_and_back(blob(SHAPE), box, size)
    assert np.abs(middle_of(pasted) - middle_of(was)).max() < 0.02


def test_tiny_box_is_pasted_where_it_was() -> None:
    """A head of ten pixels, enlarged 25 times: a pixel of the photo is wider than a fixed rim."""
    mask = blob((40, 40), sigma=4.0)
    pasted, was = there_and_back(mask, (13.9, 14.9, 25.9, 26.9), 256)
    assert np.abs(pasted - was).max() < 0.06


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.floats(20, 130),
    y=st.floats(20, 100),
    side=st.floats(30, 300),
    size=st.sampled_from([64, 128, 256]),
)
def test_crop_then_paste_moves_nothing_wherever_the_box_is(
    x: float, y: float, side: float, size: int
) -> None:
    pasted, was = there_and_back(blob(SHAPE), centred_square(x, y, side), size)
    assert pasted.shape == was.shape
    assert np.abs(middle_of(pasted, 6) - middle_of(was, 6)).max(initial=0) < 0.03


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    left=st.floats(-400, 400),
    top=st.floats(-400, 400),
    side=st.floats(1, 500),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
)
def test_any_box_gives_a_crop_and_an_alpha_inside_the_photo(
    left: float, top: float, side: float, height: int, width: int
) -> None:
    """A network's boxes may be anywhere, and no answer of it may end in a traceback."""
    box = (left, top, left + side, top + side)
    assert crop_for_model(noise_photo((height, width)), box, 32).shape == (32, 32, 3)
    alpha, covered = paste_alpha(np.ones((32, 32), np.float32), box, (height, width))
    assert 0 <= covered[0] <= covered[2]
    assert 0 <= covered[1] <= covered[3]
    assert alpha.shape == (covered[3] - covered[1], covered[2] - covered[0])
    if alpha.size:
        assert covered[2] <= width
        assert covered[3] <= height
        assert alpha.min() > 0.999


def test_pasted_alpha_stays_a_share() -> None:
    """Bicubic overshoots at a hard edge; less than nothing and more than all make no sense."""
    mask = np.zeros((16, 16), np.float32)
    mask[:, 8:] = 1
    alpha, _ = paste_alpha(mask, (0, 0, 100, 100), (100, 100))
    assert alpha.dtype == np.float32
    assert (alpha.min(), alpha.max()) == (0, 1)


def test_pasted_edge_has_no_stair_steps() -> None:
    """An enlarged slanted edge moves a little in every row, not a mask pixel every eight."""
    rows, columns = np.mgrid[0:32, 0:32]
    mask = np.clip(columns - rows / 2 - 4, 0, 1).astype(np.float32)
    alpha, _ = paste_alpha(mask, (0, 0, 256, 256), (256, 256))
    edge = (alpha[60:190] < 0.5).sum(axis=1)
    assert np.diff(edge).max() <= 1
    assert edge[-1] - edge[0] == pytest.approx(129 / 2, abs=2)


@pytest.mark.parametrize(
    "box", [(200.0, 10.0, 260.0, 70.0), (-90.0, -90.0, -10.0, -10.0), (10.0, 120.0, 40.0, 150.0)]
)
def test_box_beside_the_photo_covers_nothing(box: Box) -> None:
    alpha, covered = paste_alpha(np.ones((8, 8), np.float32), box, SHAPE)
    assert alpha.size == 0
    assert (covered[2] - covered[0]) * (covered[3] - covered[1]) == 0
    assert (crop_for_model(noise_photo(SHAPE), box, 16) == OUTSIDE_GREY).all()


def test_black_photo_is_scaled_like_any_other() -> None:
    """Scaling must not depend on the pixels: black stays black, and a spark a spark."""
    black = np.zeros((*SHAPE, 3), np.uint8)
    assert not crop_for_model(black, (0, 0, 100, 100), 64).any()
    black[50, 50] = 1
    assert crop_for_model(black, (0, 0, 120, 120), 120).sum() == 3


def test_crop_at_the_photos_own_scale_copies_its_pixels() -> None:
    photo = noise_photo(SHAPE)
    crop = crop_for_model(photo, (20, 30, 84, 94), 64)
    assert (crop == photo[30:94, 20:84]).all()


def test_outside_is_grey_and_inside_is_the_photo() -> None:
    photo = np.full((40, 80, 3), 255, np.uint8)
    crop = crop_for_model(photo, whole_photo_box((40, 80)), 80)
    assert (crop[:20] == OUTSIDE_GREY).all()
    assert (crop[20:60] == 255).all()
    assert (crop[60:] == OUTSIDE_GREY).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    left=st.floats(-300, 300),
    top=st.floats(-300, 300),
    side=st.floats(40, 900),
)
def test_crop_is_as_if_the_photo_were_padded_first(
    height: int, width: int, left: float, top: float, side: float
) -> None:
    """Whatever is done to save memory, these are the pixels that the networks are trained on."""
    photo, size = noise_photo((height, width)), 24
    box = (left, top, left + side, top + side)
    start = np.floor((left, top)).astype(int)
    extent = np.ceil((left + side, top + side)).astype(int) - start
    canvas = Image.new("RGB", tuple(map(int, extent)), (OUTSIDE_GREY,) * 3)
    canvas.paste(Image.fromarray(photo), (-int(start[0]), -int(start[1])))
    inner = (left - start[0], top - start[1], left + side - start[0], top + side - start[1])
    wanted = canvas.resize((size, size), Image.Resampling.BILINEAR, box=inner, reducing_gap=2.0)
    difference = np.abs(crop_for_model(photo, box, size).astype(int) - np.asarray(wanted))
    # In large looks, blocks at the photo's border average its pixels alone, without the padding.
    assert difference.mean() <= (0 if side < 4 * size else 3)


def test_head_sits_in_its_crop_with_room_for_hair_below() -> None:
    left, top, right, bottom = crop_box_for((100, 100, 180, 200))
    assert right - left == bottom - top == 200
    assert (left + right) / 2 == 140
    assert 0 < 100 - top < bottom - 200


def test_covered_pixels_are_all_that_a_box_touches() -> None:
    assert covered_pixels((2.9, -3.0, 10.1, 4.0), (20, 8)) == (2, 0, 8, 4)


SQUARE: Box = (50.0, 50.0, 150.0, 150.0)


def mask_touching(side: str) -> FloatArray:
    mask = np.zeros((64, 64), np.float32)
    lines = {"left": mask[:, 0], "top": mask[0], "right": mask[:, -1], "bottom": mask[-1]}
    lines[side][20:40] = 1.0
    return mask


def test_crop_grows_to_where_the_hair_runs_out() -> None:
    """Hair that falls below the crop was cut off in a straight line."""
    wider = wider_box(mask_touching("bottom"), SQUARE, (400, 400))
    assert wider is not None
    left, top, right, bottom = wider
    assert top == 50
    assert bottom > 150
    assert right - left == pytest.approx(bottom - top)
    assert (left + right) / 2 == pytest.approx(100)


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_where_the_photo_ends_the_crop_does_not_grow(side: str) -> None:
    assert wider_box(mask_touching(side), (-1.0, -1.0, 101.0, 101.0), (100, 100)) is None


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_wider_crops_hold_the_old_one(side: str) -> None:
    wider = wider_box(mask_touching(side), SQUARE, (400, 400))
    assert wider is not None
    assert wider[0] <= 50
    assert wider[1] <= 50
    assert wider[2] >= 150
    assert wider[3] >= 150


def test_head_inside_its_crop_needs_no_wider_one() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[10:50, 10:50] = 1.0
    mask[0, 5] = 1.0  # one pixel on the border is noise
    assert wider_box(mask, SQUARE, (400, 400)) is None


def test_boxes_in_numbers_of_numpy_are_boxes_too() -> None:
    """NumPy's own booleans cannot be subtracted."""
    box = tuple(np.float64(edge) for edge in (50, -10, 150, 90))
    wider = wider_box(mask_touching("bottom"), box, (400, 400))
    assert wider is not None
    assert wider[3] > 90


def test_connected_follows_a_winding_way_and_no_diagonal() -> None:
    rows = ["#####.", "....#.", ".####.", ".#....", ".####.", ".....#"]
    inside = np.array([[c == "#" for c in row] for row in rows])
    seed = np.zeros_like(inside)
    seed[0, 0] = seed[0, 5] = True  # the second lies outside
    wanted = inside.copy()
    wanted[5, 5] = False
    assert (connected(inside, seed) == wanted).all()


def test_frame_is_a_square_around_what_is_head() -> None:
    inside = np.zeros((100, 100), bool)
    inside[20:60, 30:50] = True  # in photo pixels: x 160 to 200, y 240 to 320
    box = (100, 200, 300, 400)
    assert framed_box(inside, box, (500, 500)) == pytest.approx((134, 234, 226, 326))


def test_frame_leaves_out_what_lies_beyond_the_photo() -> None:
    """Networks go on with hair where the photo ends; a frame around that would show less head."""
    inside = np.zeros((100, 100), bool)
    inside[20:60, 30:50] = True
    assert framed_box(inside, (100, 200, 300, 400), (280, 500)) == pytest.approx(
        (157, 237, 203, 283)
    )
    beyond = framed_box(inside, (100, 200, 300, 400), (230, 150))
    assert beyond[2] - beyond[0] == pytest.approx(1.15)  # a pixel of the photo at the least
