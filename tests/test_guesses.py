"""Guessed masks: labels where the networks are sure, nothing where they doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import RedFinder, RedSegmenter
from made_data import oval, red_head_sample

from headcut.errors import OptionError
from headcut.geometry import FloatArray, U8Array
from headcut.pipeline import HeadCutter
from headcut_train.guesses import Large, guessed, keep_guesses, open_guesses
from headcut_train.near import framed_picture
from headcut_train.sources import HEAD, KNOWN, NECK, Sample

BOX = (60.0, 50.0, 120.0, 130.0)


class Doubting(RedSegmenter):
    """Calls what is green half a head."""

    def segment(self, crops: U8Array) -> FloatArray:
        """Return (N, 2, S, S): red is head, blue is neck."""
        masks = super().segment(crops)
        masks[:, 0][(crops[..., 1] > 150) & (crops[..., 0] < 90)] = 0.5
        return masks


def guesses(sample: Sample, least_px: float = 40, most: int = 2) -> list[Sample]:
    cutter = HeadCutter(finder=RedFinder(), segmenter=Doubting())
    return list(guessed(cutter, sample, Large(least_px, most)))


def boxed(*boxes: tuple[float, float, float, float]) -> Sample:
    return red_head_sample(*boxes, masked=False, shape=(300, 400))


def test_mask_lies_on_the_head() -> None:
    sample = boxed(BOX)
    neck = np.s_[130:140, 80:100]
    sample.photo[neck] = (0, 0, 255)
    (guess,) = guesses(sample)
    assert guess.masked
    assert guess.photo.shape[:2] == guess.plane.shape
    left, top, right, bottom = (int(v) for v in guess.boxes[0])
    assert (right - left, bottom - top) == (60, 80)
    red, blue = guess.photo[..., 0] > 250, guess.photo[..., 2] > 250
    assert (red.sum(), blue.sum()) == (oval((300, 400), BOX).sum(), 200)
    known = (guess.plane & KNOWN) > 0
    assert known[(top + bottom) // 2, (left + right) // 2]
    assert known[blue].mean() > 0.3
    np.testing.assert_array_equal((guess.plane[known] & HEAD) > 0, red[known])
    assert ((guess.plane[known & blue] & NECK) > 0).all()
    assert not known[-5:].any(), "beyond what the refiner saw"
    assert known.mean() > 0.25


def test_doubted_pixels_are_unknown() -> None:
    sample = boxed(BOX)
    sample.photo[30:52, 80:100] = (0, 255, 0)
    (guess,) = guesses(sample)
    green = guess.photo[..., 1] > 250
    assert green.sum() > 300
    assert ((guess.plane[green] & KNOWN) == 0).mean() > 0.9


@pytest.mark.parametrize(
    "spoilt",
    [
        np.s_[0:300, 0:400],  # nothing of the head is left
        np.s_[70:110, 70:110],  # its middle
        np.s_[90:140, 40:140],  # its lower half
    ],
)
def test_what_is_not_cut_as_it_is_boxed_is_no_label(spoilt: tuple[slice, slice]) -> None:
    sample = boxed(BOX)
    sample.photo[spoilt] = 0
    assert guesses(sample) == []


def test_hair_that_somebody_drew_is_head_where_the_networks_doubt_it() -> None:
    sample = boxed(BOX)
    green = np.s_[40:140, 115:160]
    sample.photo[green] = (0, 255, 0)
    assert guesses(sample) == []
    sample.plane[green] |= HEAD | KNOWN
    (guess,) = guesses(sample)
    hair = guess.photo[..., 1] > 250
    assert ((guess.plane[hair] & (HEAD | KNOWN)) == HEAD | KNOWN).all()


def test_a_head_in_much_doubt_is_no_label() -> None:
    sample = boxed(BOX)
    sample.photo[20:150, 120:160] = (0, 255, 0)
    assert guesses(sample) == []


def test_large_heads_come_first_and_small_ones_never() -> None:
    large, larger, small = (
        (20.0, 40.0, 70.0, 100.0),
        (150.0, 40.0, 220.0, 130.0),
        (300, 20, 320, 45),
    )
    sample = boxed(large, larger, small)
    assert [guess.name for guess in guesses(sample)] == ["made/train/0/1", "made/train/0/0"]
    assert [guess.name for guess in guesses(sample, most=1)] == ["made/train/0/1"]
    assert guesses(sample, least_px=100) == []


def test_guesses_are_kept_and_replaced(tmp_path: Path, cutter: HeadCutter) -> None:
    """Those kept before stay if the new ones come to nothing."""
    with pytest.raises(OptionError, match="headcut-train guess"):
        open_guesses(tmp_path)
    sources: dict[str, list[Sample]] = {
        "person_crops": [boxed(BOX)],
        "scut_heads": [],
        "figaro_hair": [],
    }
    assert len(keep_guesses(cutter, sources, tmp_path)) == 1
    with pytest.raises(KeyError):
        keep_guesses(cutter, {}, tmp_path)
    assert len(open_guesses(tmp_path)) == 1
    sources["scut_heads"] = [boxed(BOX)]
    assert len(keep_guesses(cutter, sources, tmp_path)) == 2
    assert len(open_guesses(tmp_path)) == 2


def test_a_refiner_is_shown_guesses() -> None:
    """Their masks are framed as drawn ones are."""
    sources = {"guessed": guesses(boxed(BOX))}
    for seed in range(20):
        picture = framed_picture(sources, np.random.default_rng(seed), 64)
        assert picture.target[0].max() > 0.9
        assert picture.weight[0].max() == 1
