"""Colours change, pixels stay where they are."""

from __future__ import annotations

import numpy as np

from headcut_train.augment import Random, photometric


def test_photometric_change_moves_no_pixel() -> None:
    """Labels are not changed with it, so a bright square must stay where it is."""
    picture = np.full((64, 64, 3), 60, np.uint8)
    picture[16:48, 16:48] = 200
    for seed in range(40):
        changed = photometric(picture, np.random.default_rng(seed)).astype(float)
        assert changed.shape == picture.shape
        inside, outside = changed[20:44, 20:44].mean(), changed[:12].mean()
        assert inside > outside


def test_photometric_change_follows_its_seed() -> None:
    picture = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    make: list[Random] = [np.random.default_rng(5), np.random.default_rng(5)]
    first, second = (photometric(picture, rng) for rng in make)
    np.testing.assert_array_equal(first, second)
