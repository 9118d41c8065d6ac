"""The edge of a cut-out: alpha that follows the photo, colours of the head alone."""

from __future__ import annotations

import numpy as np

from headcut.edge import (
    SOFT_PX,
    TILE_PX,
    beside_neck,
    clean_colours,
    firm_mask,
    refine_alpha,
    without_background,
)
from headcut.geometry import OUTSIDE_GREY, FloatArray, U8Array

SIDE = 500
HEAD_COLOUR, BEHIND = np.array([200, 60, 40]), np.array([30, 120, 220])


def disc(radius: float, softness_px: float) -> FloatArray:
    """A disc in the middle, its edge as wide as the softness."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    return np.clip((radius - np.hypot(x, y)) / softness_px + 0.5, 0, 1).astype(np.float32)


def photo_of(alpha: FloatArray) -> U8Array:
    """What a camera sees of a head of one colour before a background of another."""
    mixed = alpha[..., None] * HEAD_COLOUR + (1 - alpha[..., None]) * BEHIND
    return (mixed + 0.5).astype(np.uint8)


def test_doubt_far_from_the_edge_is_decided() -> None:
    """A cap or a collar that the network half believes in looks like smoke."""
    mask = 0.6 * disc(150, 3) + 0.4 * disc(220, 3) - 0.4 * disc(40, 3)
    firm = firm_mask(mask)
    assert (firm[disc(150 - SOFT_PX - 2, 1) == 1] == 1).all()
    assert (firm[disc(150 + SOFT_PX + 2, 1) == 0] == 0).all()


def test_edge_of_a_mask_stays_as_soft_as_hair() -> None:
    mask = disc(150, 2 * SOFT_PX - 2)
    assert np.abs(firm_mask(mask) - mask).max() < 0.1
    assert ((firm_mask(mask) > 0.5) == (mask > 0.5)).all()


def tuft() -> tuple[U8Array, FloatArray]:
    """A photo, and a mask that takes the background between two locks for head."""
    true = disc(150, 3)
    true[260:263, 390:420] = true[267:270, 390:420] = 1
    taken = true.copy()
    taken[263:267, 400:420] = 0.9  # not wholly sure
    return photo_of(true), taken


def test_background_between_locks_goes() -> None:
    photo, taken = tuft()
    cleared = without_background(taken, np.zeros_like(taken), photo)
    assert cleared[264:266, 403:417].max() < 0.4
    assert (cleared[261, 392:418] == 1).all()


def test_what_is_coloured_alike_stays() -> None:
    """Black hair before a black wall: its colour says nothing."""
    _, taken = tuft()
    flat = np.full((SIDE, SIDE, 3), 20, np.uint8)
    assert (without_background(taken, np.zeros_like(taken), flat) == taken).all()


def test_outside_of_the_photo_is_no_background() -> None:
    """Grey hair that the photo's border cuts is no grey that pads a crop."""
    photo, taken = tuft()
    grey = np.full_like(photo, OUTSIDE_GREY)
    grey[disc(150, 3) > 0.5] = HEAD_COLOUR
    assert (without_background(taken, np.zeros_like(taken), grey) == taken).all()


def test_chin_beside_a_neck_stays() -> None:
    """A shadow under it is no background."""
    photo, taken = tuft()
    assert (without_background(taken, np.ones_like(taken), photo) == taken).all()


def test_edge_beside_a_neck_keeps_its_own_shape() -> None:
    """Stubble is no edge: alpha that follows it is torn."""
    random = np.random.default_rng(0)
    stubble = random.integers(90, 170, (SIDE, SIDE, 1), np.uint8).repeat(3, axis=2)
    alpha, neck = disc(150, 8), np.ones((50, 50), np.float32)
    smooth = refine_alpha(stubble, alpha, beside_neck(neck))
    torn = refine_alpha(stubble, alpha, beside_neck(np.zeros_like(neck)))
    wanted = np.clip((alpha - 0.2) / 0.6, 0, 1)
    assert np.abs(smooth - wanted).max() < 0.15 < np.abs(torn - wanted).max()


def test_soft_edge_moves_to_where_the_photo_has_one() -> None:
    """The network's mask is coarse: its soft band is wide, the photo's edge is sharp."""
    true, coarse = disc(150, 1.5), disc(150, 8)
    refined = refine_alpha(photo_of(true), coarse)
    assert np.abs(refined - true).mean() < 0.3 * np.abs(coarse - true).mean()


def test_far_from_the_edge_alpha_is_exactly_0_or_1() -> None:
    """A residue of alpha 1 or 2 defeats a bounding box."""
    noise = np.random.default_rng(0).uniform(-0.02, 0.02, (SIDE, SIDE)).astype(np.float32)
    refined = refine_alpha(photo_of(disc(150, 3)), np.clip(disc(150, 10) + noise, 0, 1))
    assert (refined[disc(170, 1) == 0] == 0).all()
    assert (refined[disc(130, 1) == 1] == 1).all()


def test_sure_masks_stay_as_they_are() -> None:
    for value in (0.0, 1.0):
        alpha = np.full((SIDE, SIDE), value, np.float32)
        assert (refine_alpha(photo_of(disc(150, 3)), alpha) == value).all()


def test_tiles_leave_no_seams() -> None:
    """On a photo of one colour nothing but the mask can make an edge."""
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    ramp = np.tile(np.linspace(0.2, 0.8, SIDE, dtype=np.float32), (SIDE, 1))
    refined = refine_alpha(flat, ramp)
    steps = np.abs(np.diff(refined, axis=1))
    assert steps[:, TILE_PX - 1].max() < 2 * np.median(steps)


def test_refining_does_not_change_what_it_is_given() -> None:
    photo, alpha = photo_of(disc(150, 3)), disc(150, 10)
    photo_before, alpha_before = photo.copy(), alpha.copy()
    clean_colours(photo, refine_alpha(photo, alpha))
    assert (photo == photo_before).all()
    assert (alpha == alpha_before).all()


def test_background_does_not_glow_through_soft_pixels() -> None:
    """On another background, a soft pixel of the old one's colour is a halo."""
    alpha = disc(150, 8)
    photo = photo_of(alpha)
    cleaned = clean_colours(photo, alpha)
    seen = (alpha > 0.2) & (alpha < 0.9)
    before = np.abs(photo[seen].astype(float) - HEAD_COLOUR).mean()
    after = np.abs(cleaned[seen].astype(float) - HEAD_COLOUR).mean()
    assert after < 0.3 * before


def test_opaque_pixels_keep_their_colours() -> None:
    alpha = disc(150, 8)
    photo = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    cleaned = clean_colours(photo, alpha)
    assert (cleaned[alpha == 1] == photo[alpha == 1]).all()


def test_one_pixel_patches_are_no_special_case() -> None:
    photo, alpha = np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 0.5, np.float32)
    assert refine_alpha(photo, alpha).shape == (1, 1)
    assert clean_colours(photo, alpha).shape == (1, 1, 3)
