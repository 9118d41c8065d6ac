"""Hats and hair that are put on a head belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_data import red_head_sample, scene_sample
from made_pictures import HEAD_AT, SIZE, near_pictures, sources_with

from headcut.geometry import BoolArray
from headcut_train import disguises, near
from headcut_train.metrics import dilated
from headcut_train.near import framed_picture
from headcut_train.sources import HAT, HEAD, KNOWN, NECK, PERSON, Sample

pytestmark = pytest.mark.usefixtures("colours_unchanged")


def test_hat_that_is_put_on_belongs_to_the_head() -> None:
    """Where it surely is, it is head; at its rim nobody knows; below it nothing changes."""
    sample = red_head_sample((60.0, 60.0, 140.0, 180.0), shape=(200, 260))
    wearer = replace(red_head_sample(HEAD_AT), tags=(("hat",),))
    wearer.photo[:] = (0, 0, 255)
    above = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hatted = disguises.hatted(sample, {"person_crops": [wearer]}, rng)
        blue = (hatted.photo[..., 2] > 100) & (hatted.photo[..., 0] < 100)
        known, head = ((hatted.plane & bit) > 0 for bit in (KNOWN, HEAD))
        assert head[blue & known].all()
        assert (blue & known).sum() > 0.4 * blue.sum()
        assert not known[dilated(blue, 2) & ~eroded(blue, 2)].any()
        above += hatted.boxes[0][1] < 55
        brim = np.flatnonzero(blue.any(axis=1))[-1]
        assert brim < 120
        np.testing.assert_array_equal(hatted.photo[brim + 5 :], sample.photo[brim + 5 :])
        np.testing.assert_array_equal(hatted.plane[brim + 20 :], sample.plane[brim + 20 :])
    assert 0 < above < 20
    bare = {"person_crops": [red_head_sample(HEAD_AT)]}
    assert disguises.hatted(sample, bare, np.random.default_rng(0)) is sample


def test_hat_of_a_portrait_is_put_on_as_it_is_masked() -> None:
    """It is head, the neck under it is none, and nothing else changes."""
    bare = red_head_sample(HEAD_AT)
    bare.plane[70:75, 80:100] |= NECK
    wearer = replace(red_head_sample(HEAD_AT), tags=(("hat",),))
    wearer.photo[:] = (250, 250, 250)
    wearer.plane[40:80, 50:110] |= HAT
    bare = replace(bare, name="celebamask/train/0")
    for seed in range(20):
        hatted = disguises.in_hat_of([wearer], bare, np.random.default_rng(seed))
        white = (hatted.photo > 245).all(-1)
        assert white.sum() > 35 * 55
        assert (
            (hatted.plane[white] & (HEAD | KNOWN | PERSON | NECK)) == HEAD | KNOWN | PERSON
        ).all()
        beside = ~dilated(white, 3)
        np.testing.assert_array_equal(hatted.plane[beside], bare.plane[beside])
        np.testing.assert_array_equal(hatted.photo[beside], bare.photo[beside])
        rows = np.flatnonzero(white.any(axis=1))
        assert rows[-1] < 80
        assert abs(hatted.boxes[0][1] - rows[0]) <= 1
    assert disguises.in_hat_of([bare], bare, np.random.default_rng(0)) is bare


def test_hat_of_a_portrait_sits_on_a_smaller_head() -> None:
    wearer = replace(red_head_sample(HEAD_AT, shape=(200, 200)), tags=(("hat",),))
    wearer.photo[:] = (250, 250, 250)
    wearer.plane[1:60, 40:160] |= HAT  # to a third of a portrait's head
    left, top, right, bottom = face = (200.0, 120.0, 240.0, 170.0)
    for seed in range(20):
        bare = red_head_sample(face, shape=(300, 400))
        hatted = disguises.in_hat_of([wearer], bare, np.random.default_rng(seed))
        white = (hatted.photo > 245).all(-1)
        assert (hatted.plane[white] & HEAD).all()
        rows, columns = (np.flatnonzero(white.any(axis)) for axis in (1, 0))
        assert rows[-1] == pytest.approx(top + (bottom - top) * 0.32, abs=2)
        assert columns.mean() == pytest.approx((left + right) / 2, abs=1)
        assert 0.7 < (np.ptp(columns) + 1) / (right - left) < 1.2
    wearer.plane[0, 40:160] |= HAT  # cut by the photo
    assert disguises.in_hat_of([wearer], bare, np.random.default_rng(0)) is bare


def test_hair_from_behind_hides_the_face() -> None:
    """All of it is head, its neck is none, and what is beside it stays."""
    hair = red_head_sample((60.0, 50.0, 120.0, 120.0), shape=(200, 180))
    hair.photo[:] = (0, 0, 255)
    left, top, right, bottom = face = (140.0, 40.0, 180.0, 90.0)
    for seed in range(20):
        sample = red_head_sample(face, shape=(120, 300))
        sample.plane[85:100, 150:170] |= NECK
        turned = disguises.from_behind([hair], sample, np.random.default_rng(seed))
        changed = (turned.photo != sample.photo).any(-1)
        middle = np.s_[round(top) + 5 : round(bottom) - 5, round(left) + 5 : round(right) - 5]
        assert changed[middle].all()
        bits = turned.plane[eroded(changed, 2)] & (HEAD | KNOWN | PERSON | NECK)
        assert (bits == HEAD | KNOWN | PERSON).all()
        beside = ~dilated(changed, 2)
        np.testing.assert_array_equal(turned.plane[beside], sample.plane[beside])
        width = np.ptp(np.flatnonzero(changed.any(axis=0))) + 1
        assert 0.9 < width / (right - left) < 1.5


def test_only_hair_that_is_whole_and_fills_the_head_is_from_behind() -> None:
    face = red_head_sample(HEAD_AT)
    face.plane[70:130, 75:105] &= ~np.uint8(HEAD)
    cut = red_head_sample((60.0, -40.0, 120.0, 60.0))
    for other in (face, cut, scene_sample()):
        assert disguises.from_behind([other], face, np.random.default_rng(0)) is face


def worn_and_hair() -> Mapping[str, Sequence[Sample]]:
    """Sources of disguises: a white hat, and blue hair from behind."""
    wearer = replace(red_head_sample(HEAD_AT), tags=(("hat",),))
    wearer.photo[:] = (250, 250, 250)
    wearer.plane[40:80, 50:110] |= HAT
    hair = red_head_sample(HEAD_AT)
    hair.photo[:] = (0, 0, 255)
    return {"celebamask": [wearer], "figaro_hair": [hair]}


@pytest.mark.parametrize(("behind", "hats"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_one_bare_head_is_disguised_and_no_other(behind: float, hats: float) -> None:
    bare = red_head_sample(HEAD_AT)
    two = red_head_sample(HEAD_AT, (10.0, 10.0, 40.0, 50.0))
    hat = replace(bare, tags=(("hat",),))
    kind = replace(near.NEAR, behind=behind, hats=hats)
    boxed = red_head_sample(HEAD_AT, masked=False)
    for sample in (bare, two, hat, boxed, scene_sample()):
        changed = near._disguised(sample, worn_and_hair(), np.random.default_rng(1), kind)
        assert (changed is not sample) == (sample is bare and behind + hats > 0)


def test_disguises_reach_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = replace(near.FRAMED, mix={"lfw_parts": 1.0}, behind=1.0, hats=0.0, elsewhere=0.0)
    monkeypatch.setattr(near, "FRAMED", replace(kind, hidden=0.0, beside=0.0, toned=0.0))
    monkeypatch.setattr(disguises, "VEILED_SHARE", 0.0)
    monkeypatch.setattr(near, "HATTED_SHARE", 0.0)
    sources = sources_with(lfw_parts=red_head_sample(HEAD_AT)) | worn_and_hair()
    for seed in range(20):
        picture = framed_picture(sources, np.random.default_rng(seed), SIZE)
        blue = (picture.image[..., 2] > 250) & (picture.image[..., 0] < 5)
        assert blue.sum() > 0.1 * SIZE**2
        assert picture.target[0][blue].min() > 0.95


def test_near_pictures_have_hats_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned and framed with the head; who wears a hat gets none."""
    monkeypatch.setattr(near, "HATTED_SHARE", 1.0)
    blue = replace(red_head_sample(HEAD_AT, colour=(0, 0, 255)), tags=(("hat",),))

    def hats(sample: Sample) -> list[float]:
        """Return how much of what is blue is labelled head, for each picture with some blue."""
        shares = []
        for picture in near_pictures(monkeypatch, sample, 20, person_crops=blue):
            worn = (picture.image[..., 2] > 200) & (picture.image[..., 0] < 30)
            if worn.sum() > 30:
                shares.append(float(picture.target[0][worn & (picture.weight[0] > 0)].mean()))
        return shares

    bare = red_head_sample(HEAD_AT)
    assert len(hats(bare)) >= 10
    assert np.mean(hats(bare)) > 0.95
    assert hats(replace(bare, tags=(("hat",),))) == []


def eroded(mask: BoolArray, reach: int) -> BoolArray:
    return ~dilated(~mask, reach)
