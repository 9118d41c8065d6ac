"""What the networks see in training: labels must move with the photo.

The photos are their own labels here (a head is full red), so a picture can be checked against its
target, pixel by pixel, whatever was turned, flipped, scaled or pasted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_data import red_head_sample, scene_sample
from PIL import Image, ImageDraw

from headcut.find import heads_in_maps, intersection_over_union
from headcut.geometry import OUTSIDE_GREY, BoolArray, FloatArray, U8Array
from headcut_train import scenes
from headcut_train.augment import Random, photometric
from headcut_train.metrics import dilated
from headcut_train.networks import FINDER_STRIDE
from headcut_train.scenes import Picture, centre_maps, far_picture, framed_picture, near_picture
from headcut_train.sources import HAT, HEAD, KNOWN, NECK, PERSON, Sample

HEAD_AT = (60.0, 50.0, 120.0, 130.0)
NO_BOXES = np.zeros((0, 4), np.float32)
SIZE = 128


@pytest.fixture(autouse=True)
def colours_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "photometric", lambda picture, rng, **_: np.array(picture))
    monkeypatch.setattr(scenes, "COVERED_SHARE", 0.0)
    monkeypatch.setattr(scenes, "SURROUNDED_SHARE", 0.0)
    monkeypatch.setattr(scenes, "MOSAIC_SHARE", 0.0)


def sources_with(**given: Sample) -> Mapping[str, Sequence[Sample]]:
    """All sources, made: those that are not given have heads without any red."""
    other = red_head_sample(HEAD_AT, colour=(0, 200, 0))
    names = {*scenes.NEAR_MIX, *scenes.FAR_MIX} - {"composed"}
    made = {name: [other] for name in names} | {"scenes": [scene_sample()]}
    return made | {name: [sample] for name, sample in given.items()}


def near_pictures(
    monkeypatch: pytest.MonkeyPatch, sample: Sample, count: int, **others: Sample
) -> list[Picture]:
    bare = replace(scenes.NEAR, mix={"lfw_parts": 1.0}, hidden=0.0, hats=0.0, behind=0.0)
    monkeypatch.setattr(scenes, "NEAR", bare)
    monkeypatch.setattr(scenes, "EMPTY_SHARE", 0.0)
    monkeypatch.setattr(scenes, "ALIKE_SHARE", 0.0)  # colours are labels here
    sources = sources_with(lfw_parts=sample, **others)
    return [near_picture(sources, np.random.default_rng(i), SIZE) for i in range(count)]


def far_pictures(
    monkeypatch: pytest.MonkeyPatch, sample: Sample, count: int, size: int = SIZE
) -> list[Picture]:
    monkeypatch.setattr(scenes, "FAR_MIX", {"scut_heads": 1.0})
    sources = sources_with(scut_heads=sample)
    return [far_picture(sources, np.random.default_rng(i), size) for i in range(count)]


# ---------------------------------------------------------------- near


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
    rendered = scenes._rendered

    def watched(*arguments: object) -> tuple[U8Array, U8Array]:
        asked.append(arguments[-1])
        return rendered(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scenes, "_rendered", watched)
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
    monkeypatch.setattr(scenes, "_other_background", lambda image, channels, *_: (image, channels))
    monkeypatch.setattr(scenes, "_beside_another", lambda image, channels, *_: (image, channels))
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
    monkeypatch.setattr(scenes, "_other_background", lambda image, channels, *_: (image, channels))
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
    monkeypatch.setattr(scenes, "_other_background", lambda image, channels, *_: (image, channels))
    monkeypatch.setattr(scenes, "_beside_another", lambda image, channels, *_: (image, channels))
    for picture in near_pictures(monkeypatch, sample, 30):
        red, counts = picture.image[..., 0], picture.weight[0] > 0
        assert red[counts & (picture.target[0] > 0.99)].min() > 250
        assert red[counts & (picture.target[0] < 0.01)].max(initial=0) < 5
        drawn = (red > 250).sum()
        sure = (counts & (picture.target[0] > 0.99)).sum()
        assert 0.3 * drawn < sure < 0.9 * drawn


def test_other_boxes_are_surely_not_the_target() -> None:
    boxes = ((20.0, 40.0, 60.0, 90.0), (100.0, 40.0, 140.0, 90.0))
    labels = scenes._box_labels(red_head_sample(*boxes, masked=False), 1)
    head, known = labels[..., 0], labels[..., 1]
    assert (head[65, 40], known[65, 40]) == (0, 255)
    assert (head[65, 120], known[65, 120]) == (255, 255)
    assert known[65, 98] == known[65, 62] == 0  # the rings
    assert (head[180, 90], known[180, 90]) == (0, 255)


def test_head_in_front_hides_the_target() -> None:
    """A larger head stands nearer: where it covers the target, the target is not."""
    boxes = ((20.0, 40.0, 60.0, 90.0), (30.0, 40.0, 130.0, 170.0))
    labels = scenes._box_labels(red_head_sample(*boxes, masked=False), 0)
    assert labels[100, 80, 0] == 0
    assert not labels[..., 0].all()


def test_hair_is_head_beyond_the_box_and_known_around() -> None:
    """Where hair is masked but the face is not, the box tells of the face, the mask of the rest."""
    sample = red_head_sample((60.0, 40.0, 100.0, 90.0), masked=False)
    sample.plane[20:160, 50:60] |= HEAD
    head, known, _ = scenes._box_labels(sample, 0).transpose(2, 0, 1)
    assert head[20:160, 50:60].min() == known[20:160, 50:60].min() == 255
    assert head[65, 80] == 255  # the face
    assert known[100, 80] == 0  # the neck
    assert (head[65, 30:50].max(), known[65, 30:50].min()) == (0, 255)


def test_hair_is_framed_together_with_its_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FRAME_ERROR_SHARE", 0)
    sample = red_head_sample((60.0, 40.0, 100.0, 90.0), masked=False)
    sample.plane[40:52, 60:100] |= HEAD
    for seed in range(20):
        rng = np.random.default_rng(seed)
        left, top, right, bottom = scenes._near_look(sample, 0, rng, scenes.NEAR)
        assert left < 65
        assert right > 95
        assert top < 45
        assert bottom > 85


def test_frames_are_off_at_some_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the runtime's are, whose first mask is not exact."""

    def widest(share: float) -> float:
        monkeypatch.setattr(scenes, "FRAME_ERROR_SHARE", share)
        rngs = (np.random.default_rng(seed) for seed in range(60))
        looks = [scenes._near_look(sample, 0, rng, scenes.NEAR) for rng in rngs]
        return max(right - left for left, _, right, _ in looks) / 50

    monkeypatch.setattr(scenes, "CROPPED", (1.0, 1.0))
    sample = red_head_sample((60.0, 40.0, 100.0, 90.0))
    assert widest(0) < 1.52
    assert widest(0.3) > 1.55


def test_what_may_be_a_head_is_unknown_to_the_segmenter() -> None:
    sample = red_head_sample(HEAD_AT, masked=False)
    doubted = replace(sample, ignored=np.array([[140, 10, 160, 30]], np.float32))
    assert scenes._box_labels(sample, 0)[20, 150, 1] == 255
    assert scenes._box_labels(doubted, 0)[20, 150, 1] == 0


def test_same_seed_gives_the_same_picture() -> None:
    """A resumed run must see what the uninterrupted one saw."""
    sources = sources_with(lfw_parts=red_head_sample(HEAD_AT))
    for make in (near_picture, far_picture):
        first, second = (make(sources, np.random.default_rng([3, 7]), 64) for _ in range(2))
        for part in ("image", "target", "weight", "box_weight"):
            np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


def test_empty_pictures_have_no_head_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closer look learns to deny from them; a head aside is background there."""
    monkeypatch.setattr(scenes, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(scenes, "EMPTY_MIX", {"scut_heads": 1.0})
    sources = sources_with(scut_heads=red_head_sample(HEAD_AT))
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)
    for seed in range(30):
        picture = near_picture(sources, np.random.default_rng(seed), SIZE)
        assert not picture.target.any()
        assert picture.weight.all()
        red = (picture.image[..., 0] > 200) & (picture.image[..., 1] < 60)
        assert not red[middle, middle].any()


def test_framed_pictures_are_full_of_a_head() -> None:
    """Of what people drew masks of, and never of nothing."""
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
    kind = replace(scenes.FRAMED, mix={"lfw_parts": 1.0}, warped=1.0)
    kind = replace(kind, hidden=0.0, toned=0.0, behind=0.0)
    monkeypatch.setattr(scenes, "FRAMED", kind)
    monkeypatch.setattr(scenes, "ALIKE_SHARE", 0.0)
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
        warped, labels = scenes._warped(image, channels, np.random.default_rng(seed))
        assert (warped == 200).all()
        edges.append((labels[..., 0] > 127).argmax(axis=1))
    assert np.median(np.ptp(edges, axis=1)) > 3
    assert np.abs(np.array(edges) - SIZE / 2).max() < 0.2 * SIZE


def test_person_stands_before_a_crowd_and_keeps_its_own_colours() -> None:
    sample = red_head_sample(HEAD_AT)
    labels = scenes._mask_labels(sample)
    image, channels = scenes._rendered(sample.photo, labels, (0, 0, 200, 200), SIZE, 0.0)
    crowd = red_head_sample(HEAD_AT, masked=False)
    crowd.photo[:] = (0, 0, 255)
    sources = sources_with(scut_heads=crowd)
    rng = np.random.default_rng(1)
    changed, _ = scenes._other_background(image, channels, sources, rng, crowds=1.0)
    person, known = channels[..., 2] == 255, channels[..., 1] > scenes.SURE
    np.testing.assert_array_equal(changed[person], image[person])
    assert (changed[known & (channels[..., 2] == 0)] == (0, 0, 255)).all()


def test_another_background_may_go_on_beyond_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no head; what nobody knows within the photo stays unknown."""
    sample = red_head_sample((-30.0, 50.0, 120.0, 130.0), unknown=(20, 20, 50, 40))
    look = (-100.0, 0.0, 100.0, 200.0)
    image, channels = scenes._rendered(sample.photo, scenes._mask_labels(sample), look, SIZE, 0.0)
    crowd = red_head_sample(HEAD_AT, masked=False)
    crowd.photo[:] = (0, 200, 0)
    sources = sources_with(scut_heads=crowd)
    beyond = np.s_[:, : SIZE // 2 - 2]  # but for the rim
    for share, colour, known in ((1.0, (0, 200, 0), 255), (0.0, (OUTSIDE_GREY,) * 3, OUTSIDE_GREY)):
        monkeypatch.setattr(scenes, "BEYOND_SHARE", share)
        rng = np.random.default_rng(2)
        changed, labels = scenes._other_background(image, channels, sources, rng, crowds=1.0)
        assert (changed[beyond] == colour).all()
        sure = (channels[..., 2] == 255) & (channels[..., 1] == 255)
        np.testing.assert_array_equal(changed[sure], image[sure])
        assert (labels[beyond][..., 1] == known).all()
        unknown = channels[..., 1] == 0
        assert unknown.any()
        assert (labels[unknown][..., 1] == 0).all()
    assert (channels[beyond][..., 1] == OUTSIDE_GREY).all(), "what was given stays"


# ---------------------------------------------------------------- far


def test_centres_and_boxes_lie_on_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runtime decodes from a perfect answer is the head that the picture shows."""
    checked = 0
    for picture in far_pictures(monkeypatch, red_head_sample(HEAD_AT), 60):
        look = (0.0, 0.0, float(SIZE), float(SIZE))
        heads = heads_in_maps(picture.target[0], picture.target[1:], look, 1.0)
        red = picture.image[..., 0] > 130
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        whole = (
            len(rows) > 8 and min(rows[0], columns[0]) > 0 and max(rows[-1], columns[-1]) < SIZE - 1
        )
        if whole:
            drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert len(heads) == 1
            assert intersection_over_union(heads[0].box_px, drawn) > 0.75
            checked += 1
    assert checked > 20


def test_each_quarter_of_a_mosaic_is_labelled_where_it_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scenes, "MOSAIC_SHARE", 1.0)
    full = 2 * SIZE
    found = 0
    for picture in far_pictures(monkeypatch, red_head_sample(HEAD_AT), 20, size=full):
        assert picture.image.shape == (full, full, 3)
        assert picture.weight.shape == (1, full // FINDER_STRIDE, full // FINDER_STRIDE)
        assert picture.box_weight.shape == picture.weight.shape[1:]
        look = (0.0, 0.0, float(full), float(full))
        for head in heads_in_maps(picture.target[0], picture.target[1:], look, 1.0):
            x, y = (int((head.box_px[i] + head.box_px[i + 2]) / 2) for i in (0, 1))
            assert picture.image[y, x, 0] > 130
            assert picture.box_weight[y // FINDER_STRIDE, x // FINDER_STRIDE] > 0
            found += 1
    assert found > 50


def test_box_is_of_the_turned_head() -> None:
    """Heads are ellipses to the turning: a box is as tight around a turned one as it was."""
    sample = red_head_sample((40.0, 60.0, 80.0, 140.0))
    look = (0.0, 20.0, 180.0, 200.0)
    label = scenes._mask_labels(sample)
    for angle in (-30.0, 17.0):
        image, _ = scenes._rendered(sample.photo, label, look, SIZE, angle)
        (box,) = scenes._turned(sample.boxes, look, SIZE, angle)
        red = (image[..., 0] > 130) & (image[..., 1] < 100)
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(box, drawn, atol=1.5)


def test_hats_cover_the_upper_part_of_heads_and_empty_places_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were they on heads alone, a hat would be a head."""
    monkeypatch.setattr(scenes, "FACE_COVERED_SHARE", 0.0)
    image = np.full((SIZE, SIZE, 3), 3, np.uint8)
    boxes = np.array([(50, 40, 80, 80)], np.float32)
    sources = sources_with()
    upper, lower, elsewhere = 0, 0, 0
    for seed in range(40):
        changed = (scenes._covered(image, boxes, sources, np.random.default_rng(seed)) != 3).any(2)
        upper += changed[44:50, 60:70].all()
        lower += changed[70:80, 60:70].any()
        changed[30:80, 40:90] = False
        elsewhere += changed.any()
    assert 10 <= upper <= 30
    assert elsewhere >= 10
    assert lower <= 8  # by an empty place's that fell there


def test_hat_of_another_photo_is_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FACE_COVERED_SHARE", 0.0)
    wearer = replace(red_head_sample(HEAD_AT, colour=(0, 0, 255)), tags=(("hat",),))
    image = np.full((SIZE, SIZE, 3), 3, np.uint8)
    boxes = np.array([(50, 40, 80, 80)], np.float32)
    sources = sources_with(person_crops=wearer)
    blue = (0, 0, 255)
    worn = [
        (scenes._covered(image, boxes, sources, np.random.default_rng(seed))[48, 65] == blue).all()
        for seed in range(20)
    ]
    assert any(worn)


def test_something_hides_a_side_or_the_lower_part_but_never_most() -> None:
    """What is before the upper part is a hat."""
    for seed in range(200):
        cover = scenes._hiding((30, 30, 100, 110), np.random.default_rng(seed))
        assert (cover[1] + cover[3]) / 2 > 30 + 0.3 * 80
        hidden = Image.new("1", (SIZE, SIZE))
        ImageDraw.Draw(hidden).ellipse(cover, fill=1)
        assert 0.02 < np.asarray(hidden)[30:110, 30:100].mean() < 0.45


def test_faces_are_covered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FACE_COVERED_SHARE", 1.0)
    image = np.full((SIZE, SIZE, 3), 3, np.uint8)
    boxes = np.array([(30, 30, 100, 110)], np.float32)
    covered = [
        scenes._covered(image, boxes, sources_with(), np.random.default_rng(seed))
        for seed in range(10)
    ]
    lower = [(picture[70:110, 30:100] != 3).any() for picture in covered]
    assert any(lower)
    assert not all(lower)


def test_scene_may_be_around_a_photo_instead_of_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "SURROUNDED_SHARE", 1.0)
    narrow = red_head_sample((20.0, 20.0, 50.0, 60.0), shape=(200, 70))
    surrounded = 0
    for picture in far_pictures(monkeypatch, narrow, 20):
        green = (np.abs(picture.image.astype(int) - (0, 90, 0)) < 3).all(2)
        surrounded += green.mean() > 0.2
        assert not (picture.image == OUTSIDE_GREY).all(2).any()
        assert picture.weight.min() == 1
    assert surrounded >= 10


def test_two_heads_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = red_head_sample((10, 60, 60, 120), (110, 60, 160, 120))
    counts = [
        int((picture.target[0] == 1).sum())
        for picture in far_pictures(monkeypatch, sample, 30, size=256)
    ]
    assert max(counts) == 2


def test_photo_without_heads_teaches_that_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for picture in far_pictures(monkeypatch, scene_sample(), 10):
        assert not picture.target.any()
        assert not picture.box_weight.any()
        assert picture.weight.all()


def test_what_is_not_searched_weighs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where heads may stand without a box, finding one is not wrong."""
    sample = red_head_sample((20, 40, 60, 90), unknown=(90, 0, 180, 200))
    for picture in far_pictures(monkeypatch, sample, 30):
        size = SIZE // FINDER_STRIDE
        blue = picture.image[..., 2].reshape(size, FINDER_STRIDE, size, FINDER_STRIDE)
        unsearched = (blue > 250).all((1, 3)) & (picture.target[0] < 0.3)
        assert not picture.weight[0][unsearched].any()


def test_composed_people_are_labelled_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "FAR_MIX", {"composed": 1.0})
    red = red_head_sample(HEAD_AT)
    sources = sources_with(celebamask=red, clothing_coparsing=red)
    people = []
    for seed in range(20):
        picture = far_picture(sources, np.random.default_rng(seed), 256)
        heads = heads_in_maps(picture.target[0], picture.target[1:], (0, 0, 256, 256), 1.0)
        for head in heads:
            left, top, right, bottom = (round(max(0, v)) for v in head.box_px)
            assert (picture.image[top:bottom, left:right, 0] > 200).mean() > 0.2
        people.append(len(heads))
    assert sum(people) > 20
    assert 2 <= max(people) <= 8


def test_head_mostly_hidden_in_a_composed_picture_is_neither_right_nor_wrong() -> None:
    red = red_head_sample(HEAD_AT)
    sources = sources_with(celebamask=red, clothing_coparsing=red)
    made = [scenes.composed(sources, np.random.default_rng(seed), SIZE) for seed in range(20)]
    assert any(len(scene.ignored) for scene in made)
    for scene in made:
        assert 1 <= len(scene.boxes) + len(scene.ignored) <= scenes.PEOPLE[1]
        assert not {*map(tuple, scene.ignored)} & {*map(tuple, scene.boxes)}


def test_covered_person_is_not_to_be_found() -> None:
    alpha = np.zeros((64, 64), np.float32)
    alpha[10:30, 10:30] = 1
    assert scenes._hidden(np.array([12, 12, 28, 28]), alpha)
    assert scenes._hidden(np.array([-20, -20, -5, -5]), alpha)
    assert not scenes._hidden(np.array([20, 20, 60, 60]), alpha)


# ---------------------------------------------------------------- the finder's maps


def maps_of(
    *boxes: tuple[float, ...], ignored: FloatArray = NO_BOXES, size: int = 256
) -> tuple[FloatArray, FloatArray, FloatArray]:
    cells = size // FINDER_STRIDE
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return centre_maps(array, ignored, np.ones((cells, cells), bool), size)


def test_peak_is_in_the_cell_of_the_centre() -> None:
    target, weight, box_weight = maps_of((70, 30, 110, 90))
    row, column = 60 // 4, 90 // 4
    assert np.argwhere(target[0] == 1).tolist() == [[row, column]]
    assert target[0].argmax() == row * 64 + column
    offset_x, offset_y, log_width, log_height = target[1:, row, column]
    assert (column + 0.5 + offset_x) * 4 == pytest.approx(90)
    assert (row + 0.5 + offset_y) * 4 == pytest.approx(60)
    assert np.exp([log_width, log_height]) * 4 == pytest.approx([40, 60])
    assert weight.all()
    assert box_weight[row, column] > 0.9


def test_every_cell_whose_box_counts_names_the_same_box() -> None:
    """Cells beside the peak answer for it too, with the offset from themselves."""
    target, _, box_weight = maps_of((70, 30, 170, 150))
    cells = np.argwhere(box_weight > 0)
    assert len(cells) > 4
    for row, column in cells:
        offset_x, offset_y = target[1:3, row, column]
        assert (column + 0.5 + offset_x) * 4 == pytest.approx(120, abs=1e-3)
        assert (row + 0.5 + offset_y) * 4 == pytest.approx(90, abs=1e-3)


def test_far_cells_have_no_heat() -> None:
    target, _, box_weight = maps_of((70, 30, 110, 90))
    assert not target[0, 40:].any()
    assert not box_weight[40:].any()


def test_ignored_regions_weigh_nothing() -> None:
    ignored = np.array([[100, 100, 140, 160]], np.float32)
    target, weight, _ = maps_of((10, 10, 40, 50), ignored=ignored)
    assert not weight[0, 25:40, 25:35].any()
    assert weight[0].sum() == 64 * 64 - 15 * 10
    assert (target[0] == 1).sum() == 1


def test_sure_head_counts_inside_an_ignored_region() -> None:
    """Somebody stands before a doubtful head: the sure one is still to be found."""
    ignored = np.array([[0, 0, 256, 256]], np.float32)
    target, weight, _ = maps_of((100, 100, 140, 160), ignored=ignored)
    assert weight[0][target[0] == 1].all()
    assert not weight[0, 0, 0]


@pytest.mark.parametrize(
    "box",
    [(100, 100, 103, 104), (240, 100, 300, 180), (-60, -80, 300, 340)],
    ids=["too small", "centre outside", "too large"],
)
def test_head_that_cannot_be_found_is_neither_right_nor_wrong(box: tuple[float, ...]) -> None:
    target, weight, box_weight = maps_of(box)
    assert not target[0].any()
    assert not box_weight.any()
    left, top, right, bottom = np.clip(np.array(box) / FINDER_STRIDE, 0, 64)
    inside = np.s_[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
    assert not weight[0][inside].any()
    assert weight.sum() == weight.size - weight[0][inside].size


def test_of_two_heads_each_cell_answers_for_the_nearer() -> None:
    target, _, _ = maps_of((40, 60, 80, 120), (76, 60, 116, 120))
    assert (target[0] == 1).sum() == 2
    row = 90 // 4
    assert (15 + 0.5 + target[1, row, 15]) * 4 == pytest.approx(60, abs=1e-3)
    assert (24 + 0.5 + target[1, row, 24]) * 4 == pytest.approx(96, abs=1e-3)


# ---------------------------------------------------------------- colours


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


# ---------------------------------------------------------------- hard negatives


def test_mistakes_are_shown_empty_to_the_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of the picture is what was mistaken for a head; it is no head."""
    monkeypatch.setattr(scenes, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(scenes, "MISTAKEN_SHARE", 1.0)
    sample = scene_sample()
    sample.photo[:] = 0
    sample.photo[40:80, 60:100] = 255
    sample = replace(sample, mistaken=np.array([[60, 40, 100, 80]], np.float32))
    sources = {name: [sample] for name in scenes.EMPTY_MIX}
    for seed in range(10):
        picture = near_picture(sources, np.random.default_rng(seed), SIZE)
        assert picture.image[SIZE // 2, SIZE // 2].min() == 255
        assert picture.target.max() == 0
        assert picture.weight.min() == 1


def test_finder_looks_at_its_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = scene_sample()
    sample.photo[:] = 0
    sample.photo[10:20, 10:20] = 255
    mined = replace(sample, mistaken=np.array([[10, 10, 20, 20]], np.float32))
    shown = [
        np.mean([p.image.max() == 255 for p in far_pictures(monkeypatch, s, 40)])
        for s in (sample, mined)
    ]
    assert shown[1] > shown[0] + 0.2


def test_necks_are_a_mask_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = red_head_sample(HEAD_AT)
    neck = np.s_[130:150, 80:100]
    sample.photo[neck] = (0, 0, 255)
    sample.plane[neck] |= NECK | PERSON
    for picture in near_pictures(monkeypatch, sample, 20):
        inside = picture.target[1] > 0.99
        assert picture.target[0][inside].max(initial=0) < 0.05
        assert picture.image[..., 2][inside].min(initial=255) > 240
        assert (picture.weight[0][inside] == scenes.NECK_WEIGHT).all()


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
    drawn = [scenes._pick({source: samples}, source, rng) is samples[0] for _ in range(1000)]
    assert least < np.mean(drawn) < most


def test_colour_alone_does_not_tell_the_head_apart() -> None:
    """Clothes or background take on a colour of the head's rim; the head keeps its own."""
    sample = red_head_sample(HEAD_AT)
    sample.plane[150:, :] |= PERSON
    labels = scenes._mask_labels(sample)
    look = (0.0, 0.0, 200.0, 200.0)
    image, channels = scenes._rendered(sample.photo, labels, look, SIZE, 0.0)
    head, person = channels[..., 0] > scenes.SURE, channels[..., 2] > scenes.SURE
    tinted = set()
    for seed in range(10):
        changed = scenes._coloured_alike(image, channels, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed[head], image[head])
        for name, beside in (("clothes", person & ~head), ("background", ~person)):
            known = beside & (channels[..., 0] == 0) & (channels[..., 1] > scenes.SURE)
            if changed[known][:, 0].mean() > 100:
                tinted.add(name)
    assert tinted == {"clothes", "background"}


def test_hat_that_is_put_on_belongs_to_the_head() -> None:
    """Where it surely is, it is head; at its rim nobody knows; below it nothing changes."""
    sample = red_head_sample((60.0, 60.0, 140.0, 180.0), shape=(200, 260))
    wearer = replace(red_head_sample(HEAD_AT), tags=(("hat",),))
    wearer.photo[:] = (0, 0, 255)
    above = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hatted = scenes._hatted(sample, {"person_crops": [wearer]}, rng)
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
    assert scenes._hatted(sample, bare, np.random.default_rng(0)) is sample


def test_hat_of_a_portrait_is_put_on_as_it_is_masked() -> None:
    """It is head, the neck under it is none, and nothing else changes."""
    bare = red_head_sample(HEAD_AT)
    bare.plane[70:75, 80:100] |= NECK
    wearer = replace(red_head_sample(HEAD_AT), tags=(("hat",),))
    wearer.photo[:] = (250, 250, 250)
    wearer.plane[40:80, 50:110] |= HAT
    bare = replace(bare, name="celebamask/train/0")
    for seed in range(20):
        hatted = scenes._in_hat_of([wearer], bare, np.random.default_rng(seed))
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
    assert scenes._in_hat_of([bare], bare, np.random.default_rng(0)) is bare


def test_hat_of_a_portrait_sits_on_a_smaller_head() -> None:
    wearer = replace(red_head_sample(HEAD_AT, shape=(200, 200)), tags=(("hat",),))
    wearer.photo[:] = (250, 250, 250)
    wearer.plane[1:60, 40:160] |= HAT  # to a third of a portrait's head
    left, top, right, bottom = face = (200.0, 120.0, 240.0, 170.0)
    for seed in range(20):
        bare = red_head_sample(face, shape=(300, 400))
        hatted = scenes._in_hat_of([wearer], bare, np.random.default_rng(seed))
        white = (hatted.photo > 245).all(-1)
        assert (hatted.plane[white] & HEAD).all()
        rows, columns = (np.flatnonzero(white.any(axis)) for axis in (1, 0))
        assert rows[-1] == pytest.approx(top + (bottom - top) * 0.32, abs=2)
        assert columns.mean() == pytest.approx((left + right) / 2, abs=1)
        assert 0.7 < (np.ptp(columns) + 1) / (right - left) < 1.2
    wearer.plane[0, 40:160] |= HAT  # cut by the photo
    assert scenes._in_hat_of([wearer], bare, np.random.default_rng(0)) is bare


def test_hair_from_behind_hides_the_face() -> None:
    """All of it is head, its neck is none, and what is beside it stays."""
    hair = red_head_sample((60.0, 50.0, 120.0, 120.0), shape=(200, 180))
    hair.photo[:] = (0, 0, 255)
    left, top, right, bottom = face = (140.0, 40.0, 180.0, 90.0)
    for seed in range(20):
        sample = red_head_sample(face, shape=(120, 300))
        sample.plane[85:100, 150:170] |= NECK
        turned = scenes._from_behind([hair], sample, np.random.default_rng(seed))
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
        assert scenes._from_behind([other], face, np.random.default_rng(0)) is face


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
    kind = replace(scenes.NEAR, behind=behind, hats=hats)
    boxed = red_head_sample(HEAD_AT, masked=False)
    for sample in (bare, two, hat, boxed, scene_sample()):
        changed = scenes._disguised(sample, worn_and_hair(), np.random.default_rng(1), kind)
        assert (changed is not sample) == (sample is bare and behind + hats > 0)


def test_disguises_reach_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = replace(scenes.FRAMED, mix={"lfw_parts": 1.0}, behind=1.0, hats=0.0, elsewhere=0.0)
    monkeypatch.setattr(scenes, "FRAMED", replace(kind, hidden=0.0, beside=0.0, toned=0.0))
    monkeypatch.setattr(scenes, "VEILED_SHARE", 0.0)
    monkeypatch.setattr(scenes, "HATTED_SHARE", 0.0)
    sources = sources_with(lfw_parts=red_head_sample(HEAD_AT)) | worn_and_hair()
    for seed in range(20):
        picture = framed_picture(sources, np.random.default_rng(seed), SIZE)
        blue = (picture.image[..., 2] > 250) & (picture.image[..., 0] < 5)
        assert blue.sum() > 0.1 * SIZE**2
        assert picture.target[0][blue].min() > 0.95


def eroded(mask: BoolArray, reach: int) -> BoolArray:
    return ~dilated(~mask, reach)


def test_near_pictures_have_hats_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned and framed with the head; who wears a hat gets none."""
    monkeypatch.setattr(scenes, "HATTED_SHARE", 1.0)
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


def test_a_body_before_the_head_hides_some_of_it_and_never_the_hat() -> None:
    """What hides it is no head; the photo is the label, so no red is left there."""
    head = red_head_sample((60.0, 40.0, 140.0, 160.0), shape=(200, 200))
    look = (0.0, 0.0, 200.0, 200.0)
    image, channels = scenes._rendered(head.photo, scenes._mask_labels(head), look, SIZE, 0.0)
    body = red_head_sample((80.0, 20.0, 120.0, 70.0), shape=(200, 200), colour=(0, 255, 0))
    body.plane[80:, 60:140] |= PERSON
    body.photo[80:, 60:140] = (0, 0, 255)
    sources = {"clothing_coparsing": [body]}
    hidden = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed, labels = scenes._partly_hidden(image, channels, sources, rng)
        lost = (channels[..., 0] > 127) & (labels[..., 0] <= 127)
        hidden.append(lost.sum() / (channels[..., 0] > 127).sum())
        assert (changed[lost][:, 0] < 160).all()
        assert changed[..., 1].max() < 128  # nothing of the other head
        assert not lost[:40].any()
    assert 0 < max(hidden) < scenes.HIDDEN[1] + 0.05
