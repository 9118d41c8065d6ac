"""What segmenter and refiner see in training: labels must move with the photo.

The photos are their own labels here (a head is full red), so a picture can be checked against its
target, pixel by pixel, whatever was turned, flipped, scaled or pasted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_data import red_head_sample, scene_sample
from made_pictures import HEAD_AT, SIZE, near_pictures, sources_with

from headcut.geometry import OUTSIDE_GREY, U8Array
from headcut_train import near
from headcut_train.near import framed_picture, near_picture
from headcut_train.pictures import rendered_look
from headcut_train.sources import HEAD, NECK, PERSON

pytestmark = pytest.mark.usefixtures("colours_unchanged")


def test_mask_moves_with_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned, flipped, shifted, before another background, beside another head: never apart."""
    heads = 0
    for picture in near_pictures(monkeypatch, red_head_sample(HEAD_AT), 40):
        counts = picture.weight[0] > 0
        red = picture.image[..., 0].astype(np.float32) / 255
        assert np.abs(red - picture.target[0])[counts].max() < 0.03
        heads += picture.target[0].max() > 0.99
    assert heads == 40


def test_near_pictures_are_turned_and_flipped_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above must not pass because nothing ever moves."""
    asked = []
    rendered = rendered_look

    def watched(*arguments: object) -> tuple[U8Array, U8Array]:
        asked.append(arguments[-1])
        return rendered(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(near, "rendered_look", watched)
    sample = red_head_sample(HEAD_AT)
    sample.photo[:, 90:, 1] = 120  # the right half is greener
    pictures = near_pictures(monkeypatch, sample, 40)
    assert min(asked) < -5
    assert max(asked) > 5
    assert max(map(abs, asked)) <= 30
    greener_right = [
        p.image[:, SIZE // 2 :, 1].mean() > p.image[:, : SIZE // 2, 1].mean() for p in pictures
    ]
    assert {True, False} == set(greener_right)


def test_unknown_and_outside_pixels_weigh_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blue is unknown in this photo, and grey is outside it."""
    seen_unknown = seen_outside = 0
    sample = red_head_sample(HEAD_AT, unknown=(70, 110, 110, 160))
    monkeypatch.setattr(near, "other_background", lambda image, channels, *_: (image, channels))
    monkeypatch.setattr(near, "beside_another", lambda image, channels, *_: (image, channels))
    for picture in near_pictures(monkeypatch, sample, 80):
        unknown = picture.image[..., 2] > 250
        outside = (picture.image == OUTSIDE_GREY).all(-1)
        assert not picture.weight[0][unknown].any()
        assert not picture.weight[0][outside].any()
        assert set(np.unique(picture.weight)) <= {0.0, 1.0}
        seen_unknown += unknown.any()
        seen_outside += outside.any()
    assert seen_unknown > 60
    assert seen_outside > 3


def test_somebody_elses_head_is_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segmenter cuts the head in the middle of its crop, not its neighbour's."""
    monkeypatch.setattr(near, "other_background", lambda image, channels, *_: (image, channels))
    neighbours = 0
    for picture in near_pictures(monkeypatch, red_head_sample(HEAD_AT), 80):
        theirs = (picture.image[..., 1] > 190) & (picture.image[..., 0] < 10)
        if theirs.sum() > 50:
            neighbours += 1
            assert picture.target[0][theirs].max() < 0.05
            assert picture.weight[0][theirs].mean() > 0.9
    assert neighbours >= 3


def test_box_gives_a_core_a_ring_and_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a box nobody knows a head's outline: sure inside, sure outside, unknown between."""
    sample = red_head_sample(HEAD_AT, masked=False)
    monkeypatch.setattr(near, "other_background", lambda image, channels, *_: (image, channels))
    monkeypatch.setattr(near, "beside_another", lambda image, channels, *_: (image, channels))
    for picture in near_pictures(monkeypatch, sample, 30):
        red, counts = picture.image[..., 0], picture.weight[0] > 0
        assert red[counts & (picture.target[0] > 0.99)].min() > 250
        assert red[counts & (picture.target[0] < 0.01)].max(initial=0) < 5
        drawn = (red > 250).sum()
        sure = (counts & (picture.target[0] > 0.99)).sum()
        assert 0.3 * drawn < sure < 0.9 * drawn


def test_other_boxes_are_surely_not_the_target() -> None:
    boxes = ((20.0, 40.0, 60.0, 90.0), (100.0, 40.0, 140.0, 90.0))
    labels = near._box_labels(red_head_sample(*boxes, masked=False), 1)
    head, known = labels[..., 0], labels[..., 1]
    assert (head[65, 40], known[65, 40]) == (0, 255)
    assert (head[65, 120], known[65, 120]) == (255, 255)
    assert known[65, 98] == known[65, 62] == 0  # the rings
    assert (head[180, 90], known[180, 90]) == (0, 255)


def test_head_in_front_hides_the_target() -> None:
    """A larger head stands nearer: where it covers the target, the target is not."""
    boxes = ((20.0, 40.0, 60.0, 90.0), (30.0, 40.0, 130.0, 170.0))
    labels = near._box_labels(red_head_sample(*boxes, masked=False), 0)
    assert labels[100, 80, 0] == 0
    assert not labels[..., 0].all()


def test_hair_is_head_beyond_the_box_and_known_around() -> None:
    """Where hair is masked but the face is not, the box tells of the face, the mask of the rest."""
    sample = red_head_sample((60.0, 40.0, 100.0, 90.0), masked=False)
    sample.plane[20:160, 50:60] |= HEAD
    head, known, _ = near._box_labels(sample, 0).transpose(2, 0, 1)
    assert head[20:160, 50:60].min() == known[20:160, 50:60].min() == 255
    assert head[65, 80] == 255  # the face
    assert known[100, 80] == 0  # the neck
    assert (head[65, 30:50].max(), known[65, 30:50].min()) == (0, 255)


def test_hair_is_framed_together_with_its_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "FRAME_ERROR_SHARE", 0)
    sample = red_head_sample((60.0, 40.0, 100.0, 90.0), masked=False)
    sample.plane[40:52, 60:100] |= HEAD
    for seed in range(20):
        rng = np.random.default_rng(seed)
        left, top, right, bottom = near._near_look(sample, 0, rng, near.NEAR)
        assert left < 65
        assert right > 95
        assert top < 45
        assert bottom > 85


def test_frames_are_off_at_some_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the runtime's are, whose first mask is not exact."""

    def widest(share: float) -> float:
        monkeypatch.setattr(near, "FRAME_ERROR_SHARE", share)
        rngs = (np.random.default_rng(seed) for seed in range(60))
        looks = [near._near_look(sample, 0, rng, near.NEAR) for rng in rngs]
        return max(right - left for left, _, right, _ in looks) / 50

    monkeypatch.setattr(near, "CROPPED", (1.0, 1.0))
    sample = red_head_sample((60.0, 40.0, 100.0, 90.0))
    assert widest(0) < 1.52
    assert widest(0.3) > 1.55


def test_what_may_be_a_head_is_unknown_to_the_segmenter() -> None:
    sample = red_head_sample(HEAD_AT, masked=False)
    doubted = replace(sample, ignored=np.array([[140, 10, 160, 30]], np.float32))
    assert near._box_labels(sample, 0)[20, 150, 1] == 255
    assert near._box_labels(doubted, 0)[20, 150, 1] == 0


def test_empty_pictures_have_no_head_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closer look learns to deny from them; a head aside is background there."""
    monkeypatch.setattr(near, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(near, "EMPTY_MIX", {"scut_heads": 1.0})
    sources = sources_with(scut_heads=red_head_sample(HEAD_AT))
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)
    for seed in range(30):
        picture = near_picture(sources, np.random.default_rng(seed), SIZE)
        assert not picture.target.any()
        assert picture.weight.all()
        red = (picture.image[..., 0] > 200) & (picture.image[..., 1] < 60)
        assert not red[middle, middle].any()


def test_framed_pictures_are_full_of_a_head() -> None:
    """Of what there are masks of, and never of nothing."""
    unmasked = red_head_sample((20.0, 20.0, 30.0, 30.0), masked=False)
    sources = sources_with(scut_heads=unmasked, person_crops=unmasked)
    for seed in range(40):
        picture = framed_picture(sources, np.random.default_rng(seed), SIZE)
        rows, columns = (np.flatnonzero((picture.target[0] > 0.5).any(axis)) for axis in (1, 0))
        assert max(np.ptp(rows), np.ptp(columns)) > 0.4 * SIZE


def test_photos_of_ones_own_need_no_others() -> None:
    """Fine-tuning has none of the sets from which hats, bodies and neighbours come."""
    sources = {"mine": [red_head_sample(HEAD_AT)]}
    for seed in range(60):
        picture = framed_picture(sources, np.random.default_rng(seed), 64)
        assert picture.target[0].max() > 0.9


def test_mask_moves_with_a_photo_that_is_warped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before people out of focus, too, and beside some."""
    kind = replace(near.FRAMED, mix={"lfw_parts": 1.0}, warped=1.0)
    kind = replace(kind, hidden=0.0, toned=0.0, behind=0.0)
    monkeypatch.setattr(near, "FRAMED", kind)
    monkeypatch.setattr(near, "ALIKE_SHARE", 0.0)
    sources = sources_with(lfw_parts=red_head_sample(HEAD_AT))
    for seed in range(40):
        picture = framed_picture(sources, np.random.default_rng(seed), SIZE)
        counts = picture.weight[0] > 0
        red = picture.image[..., 0].astype(np.float32) / 255
        assert np.abs(red - picture.target[0])[counts].max() < 0.03
        assert picture.target[0].max() > 0.99


def test_warped_picture_is_whole_and_has_another_shape() -> None:
    image, channels = np.full((SIZE, SIZE, 3), 200, np.uint8), np.zeros((SIZE, SIZE, 6), np.uint8)
    channels[:, SIZE // 2 :] = 255  # a straight edge
    edges = []
    for seed in range(8):
        warped, labels = near._warped(image, channels, np.random.default_rng(seed))
        assert (warped == 200).all()
        edges.append((labels[..., 0] > 127).argmax(axis=1))
    assert np.median(np.ptp(edges, axis=1)) > 3
    assert np.abs(np.array(edges) - SIZE / 2).max() < 0.2 * SIZE


def test_mistakes_are_shown_empty_to_the_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of the picture is what was mistaken for a head; it is no head."""
    monkeypatch.setattr(near, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(near, "MISTAKEN_SHARE", 1.0)
    sample = scene_sample()
    sample.photo[:] = 0
    sample.photo[40:80, 60:100] = 255
    sample = replace(sample, mistaken=np.array([[60, 40, 100, 80]], np.float32))
    sources = {name: [sample] for name in near.EMPTY_MIX}
    for seed in range(10):
        picture = near_picture(sources, np.random.default_rng(seed), SIZE)
        assert picture.image[SIZE // 2, SIZE // 2].min() == 255
        assert picture.target.max() == 0
        assert picture.weight.min() == 1


def test_necks_are_a_mask_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = red_head_sample(HEAD_AT)
    neck = np.s_[130:150, 80:100]
    sample.photo[neck] = (0, 0, 255)
    sample.plane[neck] |= NECK | PERSON
    for picture in near_pictures(monkeypatch, sample, 20):
        inside = picture.target[1] > 0.99
        assert picture.target[0][inside].max(initial=0) < 0.05
        assert picture.image[..., 2][inside].min(initial=255) > 240
        assert (picture.weight[0][inside] == near.NECK_WEIGHT).all()
