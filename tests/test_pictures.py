"""What pictures of heads near by and far away have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_data import red_head_sample
from made_pictures import HEAD_AT, sources_with

from headcut_train.far import far_picture
from headcut_train.near import near_picture
from headcut_train.pictures import pick


def test_same_seed_gives_the_same_picture() -> None:
    """A resumed run must see what the uninterrupted one saw."""
    sources = sources_with(lfw_parts=red_head_sample(HEAD_AT))
    for make in (near_picture, far_picture):
        first, second = (make(sources, np.random.default_rng([3, 7]), 64) for _ in range(2))
        for part in ("image", "target", "weight", "box_weight"):
            np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


@pytest.mark.parametrize("hard", [{"tags": (("hat",),)}, {"trap": True}])
@pytest.mark.parametrize(
    ("source", "least", "most"), [("scenes", 0.15, 0.22), ("person_crops", 0.07, 0.13)]
)
def test_hats_and_traps_are_drawn_more_often_than_they_are_there(
    source: str, least: float, most: float, hard: dict[str, Any]
) -> None:
    easy = red_head_sample(HEAD_AT)
    samples = [replace(easy, **hard)] + [easy] * 19  # one in twenty
    rng = np.random.default_rng(0)
    drawn = [pick({source: samples}, source, rng) is samples[0] for _ in range(1000)]
    assert least < np.mean(drawn) < most
