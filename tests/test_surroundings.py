"""What is put around or before a head is none of it."""

from __future__ import annotations

import numpy as np
import pytest
from made_data import red_head_sample
from made_pictures import HEAD_AT, SIZE, sources_with

from headcut.geometry import OUTSIDE_GREY
from headcut_train import surroundings
from headcut_train.pictures import SURE, mask_labels, rendered_look
from headcut_train.sources import PERSON


def test_person_stands_before_a_crowd_and_keeps_its_own_colours() -> None:
    sample = red_head_sample(HEAD_AT)
    labels = mask_labels(sample)
    image, channels = rendered_look(sample.photo, labels, (0, 0, 200, 200), SIZE, 0.0)
    crowd = red_head_sample(HEAD_AT, masked=False)
    crowd.photo[:] = (0, 0, 255)
    sources = sources_with(scut_heads=crowd)
    rng = np.random.default_rng(1)
    changed, _ = surroundings.other_background(image, channels, sources, rng, crowds=1.0)
    person, known = channels[..., 2] == 255, channels[..., 1] > SURE
    np.testing.assert_array_equal(changed[person], image[person])
    assert (changed[known & (channels[..., 2] == 0)] == (0, 0, 255)).all()


def test_another_background_may_go_on_beyond_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no head; what nobody knows within the photo stays unknown."""
    sample = red_head_sample((-30.0, 50.0, 120.0, 130.0), unknown=(20, 20, 50, 40))
    look = (-100.0, 0.0, 100.0, 200.0)
    image, channels = rendered_look(sample.photo, mask_labels(sample), look, SIZE, 0.0)
    crowd = red_head_sample(HEAD_AT, masked=False)
    crowd.photo[:] = (0, 200, 0)
    sources = sources_with(scut_heads=crowd)
    beyond = np.s_[:, : SIZE // 2 - 2]  # but for the rim
    for share, colour, known in ((1.0, (0, 200, 0), 255), (0.0, (OUTSIDE_GREY,) * 3, OUTSIDE_GREY)):
        monkeypatch.setattr(surroundings, "BEYOND_SHARE", share)
        rng = np.random.default_rng(2)
        changed, labels = surroundings.other_background(image, channels, sources, rng, crowds=1.0)
        assert (changed[beyond] == colour).all()
        sure = (channels[..., 2] == 255) & (channels[..., 1] == 255)
        np.testing.assert_array_equal(changed[sure], image[sure])
        assert (labels[beyond][..., 1] == known).all()
        unknown = channels[..., 1] == 0
        assert unknown.any()
        assert (labels[unknown][..., 1] == 0).all()
    assert (channels[beyond][..., 1] == OUTSIDE_GREY).all(), "what was given stays"


def test_colour_alone_does_not_tell_the_head_apart() -> None:
    """Clothes or background take on a colour of the head's rim; the head keeps its own."""
    sample = red_head_sample(HEAD_AT)
    sample.plane[150:, :] |= PERSON
    labels = mask_labels(sample)
    look = (0.0, 0.0, 200.0, 200.0)
    image, channels = rendered_look(sample.photo, labels, look, SIZE, 0.0)
    head, person = channels[..., 0] > SURE, channels[..., 2] > SURE
    tinted = set()
    for seed in range(10):
        changed = surroundings.coloured_alike(image, channels, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed[head], image[head])
        for name, beside in (("clothes", person & ~head), ("background", ~person)):
            known = beside & (channels[..., 0] == 0) & (channels[..., 1] > SURE)
            if changed[known][:, 0].mean() > 100:
                tinted.add(name)
    assert tinted == {"clothes", "background"}


def test_a_body_before_the_head_hides_some_of_it_and_never_the_hat() -> None:
    """What hides it is no head; the photo is the label, so no red is left there."""
    head = red_head_sample((60.0, 40.0, 140.0, 160.0), shape=(200, 200))
    look = (0.0, 0.0, 200.0, 200.0)
    image, channels = rendered_look(head.photo, mask_labels(head), look, SIZE, 0.0)
    body = red_head_sample((80.0, 20.0, 120.0, 70.0), shape=(200, 200), colour=(0, 255, 0))
    body.plane[80:, 60:140] |= PERSON
    body.photo[80:, 60:140] = (0, 0, 255)
    sources = {"clothing_coparsing": [body]}
    hidden = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed, labels = surroundings.partly_hidden(image, channels, sources, rng)
        lost = (channels[..., 0] > 127) & (labels[..., 0] <= 127)
        hidden.append(lost.sum() / (channels[..., 0] > 127).sum())
        assert (changed[lost][:, 0] < 160).all()
        assert changed[..., 1].max() < 128  # nothing of the other head
        assert not lost[:40].any()
    assert 0 < max(hidden) < surroundings.HIDDEN[1] + 0.05
