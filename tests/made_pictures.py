"""Training pictures of made samples, for the tests of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from made_data import red_head_sample, scene_sample

from headcut_train import far, near
from headcut_train.near import near_picture
from headcut_train.pictures import Picture
from headcut_train.sources import Sample

HEAD_AT = (60.0, 50.0, 120.0, 130.0)
SIZE = 128


def sources_with(**given: Sample) -> Mapping[str, Sequence[Sample]]:
    """All sources but guesses, made: those that are not given have heads without any red."""
    other = red_head_sample(HEAD_AT, colour=(0, 200, 0))
    names = {*near.NEAR_MIX, *near.FRAMED_MIX, *far.FAR_MIX} - {"composed", "guessed"}
    made = {name: [other] for name in names} | {"scenes": [scene_sample()]}
    return made | {name: [sample] for name, sample in given.items()}


def near_pictures(
    monkeypatch: pytest.MonkeyPatch, sample: Sample, count: int, **others: Sample
) -> list[Picture]:
    bare = replace(near.NEAR, mix={"lfw_parts": 1.0}, hidden=0.0, hats=0.0, behind=0.0)
    monkeypatch.setattr(near, "NEAR", bare)
    monkeypatch.setattr(near, "EMPTY_SHARE", 0.0)
    monkeypatch.setattr(near, "ALIKE_SHARE", 0.0)  # colours are labels here
    sources = sources_with(lfw_parts=sample, **others)
    return [near_picture(sources, np.random.default_rng(i), SIZE) for i in range(count)]
