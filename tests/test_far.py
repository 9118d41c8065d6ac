"""What the finder sees in training: boxes must move with the photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_data import red_head_sample, scene_sample
from made_pictures import HEAD_AT, SIZE, sources_with
from PIL import Image, ImageDraw

from headcut.find import heads_in_maps, intersection_over_union
from headcut.geometry import OUTSIDE_GREY, FloatArray
from headcut_train import far
from headcut_train.far import centre_maps, far_picture
from headcut_train.networks import FINDER_STRIDE
from headcut_train.pictures import Picture, mask_labels, rendered_look
from headcut_train.sources import Sample

NO_BOXES = np.zeros((0, 4), np.float32)

pytestmark = pytest.mark.usefixtures("colours_unchanged")


def far_pictures(
    monkeypatch: pytest.MonkeyPatch, sample: Sample, count: int, size: int = SIZE
) -> list[Picture]:
    monkeypatch.setattr(far, "FAR_MIX", {"scut_heads": 1.0})
    sources = sources_with(scut_heads=sample)
    return [far_picture(sources, np.random.default_rng(i), size) for i in range(count)]


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
    monkeypatch.setattr(far, "MOSAIC_SHARE", 1.0)
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
    label = mask_labels(sample)
    for angle in (-30.0, 17.0):
        image, _ = rendered_look(sample.photo, label, look, SIZE, angle)
        (box,) = far._turned(sample.boxes, look, SIZE, angle)
        red = (image[..., 0] > 130) & (image[..., 1] < 100)
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        drawn = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(box, drawn, atol=1.5)


def test_hats_cover_the_upper_part_of_heads_and_empty_places_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were they on heads alone, a hat would be a head."""
    monkeypatch.setattr(far, "FACE_COVERED_SHARE", 0.0)
    image = np.full((SIZE, SIZE, 3), 3, np.uint8)
    boxes = np.array([(50, 40, 80, 80)], np.float32)
    sources = sources_with()
    upper, lower, elsewhere = 0, 0, 0
    for seed in range(40):
        changed = (far._covered(image, boxes, sources, np.random.default_rng(seed)) != 3).any(2)
        upper += changed[44:50, 60:70].all()
        lower += changed[70:80, 60:70].any()
        changed[30:80, 40:90] = False
        elsewhere += changed.any()
    assert 10 <= upper <= 30
    assert elsewhere >= 10
    assert lower <= 8  # by an empty place's that fell there


def test_hat_of_another_photo_is_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "FACE_COVERED_SHARE", 0.0)
    wearer = replace(red_head_sample(HEAD_AT, colour=(0, 0, 255)), tags=(("hat",),))
    image = np.full((SIZE, SIZE, 3), 3, np.uint8)
    boxes = np.array([(50, 40, 80, 80)], np.float32)
    sources = sources_with(person_crops=wearer)
    blue = (0, 0, 255)
    worn = [
        (far._covered(image, boxes, sources, np.random.default_rng(seed))[48, 65] == blue).all()
        for seed in range(20)
    ]
    assert any(worn)


def test_something_hides_a_side_or_the_lower_part_but_never_most() -> None:
    """What is before the upper part is a hat."""
    for seed in range(200):
        cover = far._hiding((30, 30, 100, 110), np.random.default_rng(seed))
        assert (cover[1] + cover[3]) / 2 > 30 + 0.3 * 80
        hidden = Image.new("1", (SIZE, SIZE))
        ImageDraw.Draw(hidden).ellipse(cover, fill=1)
        assert 0.02 < np.asarray(hidden)[30:110, 30:100].mean() < 0.45


def test_faces_are_covered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "FACE_COVERED_SHARE", 1.0)
    image = np.full((SIZE, SIZE, 3), 3, np.uint8)
    boxes = np.array([(30, 30, 100, 110)], np.float32)
    covered = [
        far._covered(image, boxes, sources_with(), np.random.default_rng(seed))
        for seed in range(10)
    ]
    lower = [(picture[70:110, 30:100] != 3).any() for picture in covered]
    assert any(lower)
    assert not all(lower)


def test_scene_may_be_around_a_photo_instead_of_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far, "SURROUNDED_SHARE", 1.0)
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
    monkeypatch.setattr(far, "FAR_MIX", {"composed": 1.0})
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
    made = [far.composed(sources, np.random.default_rng(seed), SIZE) for seed in range(20)]
    assert any(len(scene.ignored) for scene in made)
    for scene in made:
        assert 1 <= len(scene.boxes) + len(scene.ignored) <= far.PEOPLE[1]
        assert not {*map(tuple, scene.ignored)} & {*map(tuple, scene.boxes)}


def test_covered_person_is_not_to_be_found() -> None:
    alpha = np.zeros((64, 64), np.float32)
    alpha[10:30, 10:30] = 1
    assert far._hidden(np.array([12, 12, 28, 28]), alpha)
    assert far._hidden(np.array([-20, -20, -5, -5]), alpha)
    assert not far._hidden(np.array([20, 20, 60, 60]), alpha)


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
