"""From a photo to its cut-outs, with stand-ins for the networks and then with the real ones."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT, RedFinder, RedSegmenter, is_red, picture
from PIL import Image

import headcut
from headcut import CutOut, HeadCutter, PhotoError, PhotoLimits
from headcut.find import Head
from headcut.geometry import Box, FloatArray, U8Array
from headcut.photo import read_photo
from headcut.pipeline import SeenHead, cut_one


def iou(head: CutOut, truth: np.ndarray) -> float:
    mask = head.alpha >= 0.5
    return float((mask & truth).sum() / (mask | truth).sum())


def test_heads_come_left_to_right_where_they_are(cutter: HeadCutter) -> None:
    photo = picture(220, 80)
    left, right = cutter.cut(photo)
    red = is_red(np.asarray(photo))
    columns = np.arange(photo.width)
    assert iou(left, red & (columns < 150)) > 0.95
    assert iou(right, red & (columns > 150)) > 0.95
    assert (left.confidence, right.confidence) == (0.9, 0.8)


def test_photo_with_no_head_gives_no_cut_out(cutter: HeadCutter) -> None:
    """No mask is stretched until something shows."""
    assert cutter.cut(picture()) == []


class EmptySegmenter(RedSegmenter):
    def segment(self, crops: U8Array) -> FloatArray:
        return np.full((len(crops), 2, self.size, self.size), 0.01, np.float32)


def test_head_without_pixels_is_dropped() -> None:
    """Also from what is found, however sure the finder is: nothing of it could be cut."""

    class SureFinder(RedFinder):
        def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
            return 1.0

    for finder in (RedFinder(), SureFinder()):
        cutter = HeadCutter(finder=finder, segmenter=EmptySegmenter())
        assert cutter.cut(picture(150)) == []
        assert cutter.find(picture(150)) == []


def test_head_that_leaves_the_photo_is_cut_at_its_border(cutter: HeadCutter) -> None:
    photo = picture(5, 295)
    left, right = cutter.cut(photo)
    assert left.box_px[0] == 0
    assert right.box_px[2] == photo.width
    assert iou(left, is_red(np.asarray(photo)) & (np.arange(300) < 150)) > 0.93


class LostFinder(RedFinder):
    """Says that a head is where no photo is."""

    def find(self, photo: U8Array) -> list[Head]:
        return [Head((-500.0, -500.0, -400.0, -400.0), 0.9)]


def test_head_outside_the_photo_is_dropped() -> None:
    assert HeadCutter(finder=LostFinder(), segmenter=RedSegmenter()).cut(picture(150)) == []


def test_what_only_doubt_connects_with_the_head_is_left_out() -> None:
    """A collar that the network believes in, below a neck that it is in doubt of."""
    masks = np.zeros((2, 128, 128), np.float32)
    masks[0, 10:60, 40:90], masks[0, 60:84, 40:90], masks[0, 84:110, 40:90] = 1.0, 0.3, 1.0
    seen = SeenHead(Head((40.0, 10.0, 90.0, 60.0), 0.9), masks, (0.0, 0.0, 128.0, 128.0))
    cut = cut_one(read_photo(picture(width=128, height=128)), seen, "none")
    assert cut is not None
    assert cut.alpha[20:50, 50:80].min() == 1
    assert cut.alpha[70:].max() == 0


def test_background_that_a_mask_has_at_its_rim_is_not_cut_out() -> None:
    """Not even where it looks like a hole of the mask, which would be filled."""
    photo = picture(64, width=128, height=128)  # a red disc, 40 pixels from its middle
    disc = is_red(np.asarray(photo)).astype(np.float32)
    taken = np.maximum(disc, 0.9 * np.roll(disc, 4, axis=1))
    box = (0.0, 0.0, 128.0, 128.0)
    seen = SeenHead(Head(box, 0.9), np.stack([taken, np.zeros_like(taken)]), box)
    cut = cut_one(read_photo(photo), seen, "none")
    assert cut is not None
    assert iou(cut, disc > 0) > 0.98


def test_chin_beside_a_neck_keeps_the_shape_of_its_mask() -> None:
    """What is no edge in the photo does not tear it."""
    random = np.random.default_rng(0)
    stubble = random.integers(60, 200, (64, 64, 1), np.uint8).repeat(3, axis=2)
    stubble = stubble.repeat(8, axis=0).repeat(8, axis=1)
    rows = np.arange(128, dtype=np.float32)[:, None].repeat(128, axis=1)
    wide = np.abs(rows.T - 64) < 40
    head = np.clip((64 - rows) / 6 + 0.5, 0, 1) * wide
    neck = (1 - head) * wide
    box = (0.0, 0.0, 512.0, 512.0)
    seen = SeenHead(Head((96.0, 0.0, 416.0, 256.0), 0.9), np.stack([head, neck]), box)
    alone = cut_one(read_photo(stubble), seen, "none")
    assert alone is not None
    chin = alone.alpha[:, 160:360]
    assert np.ptp(chin, axis=1).max() < 0.2


def test_what_is_transparent_in_the_photo_stays_transparent(cutter: HeadCutter) -> None:
    photo = picture(150).convert("RGBA")
    photo.paste((255, 0, 0, 0), (150, 0, 300, 200))
    (head,) = cutter.cut(photo)
    assert not head.alpha[:, 150:].any()
    assert head.alpha[:, :150].any()


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "pillow", "array"])
def test_every_kind_of_source_gives_the_same_cut(
    kind: str, cutter: HeadCutter, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    picture(150).save(path)
    sources = {
        "path": path,
        "bytes": path.read_bytes(),
        "file": io.BytesIO(path.read_bytes()),
        "pillow": picture(150),
        "array": np.asarray(picture(150)),
    }
    (head,) = cutter.cut(sources[kind])
    assert iou(head, is_red(np.asarray(picture(150)))) > 0.95


class HastyFinder(RedFinder):
    """Takes a grey corner for a head, too."""

    threshold = 0.5

    def find(self, photo: U8Array) -> list[Head]:
        return [Head((0.0, 0.0, 40.0, 50.0), 0.99), *super().find(photo)]


def test_head_that_the_closer_look_denies_is_dropped() -> None:
    """A wheel is as round as a head, until it is looked at with 256 pixels."""
    cutter = HeadCutter(finder=HastyFinder(), segmenter=RedSegmenter())
    (head,) = cutter.cut(picture(150))
    assert head.box_px[0] > 100
    assert [found.box_px for found in cutter.find(picture(150))] == [(110.0, 60.0, 191.0, 141.0)]


class ShortSightedSegmenter(RedSegmenter):
    """Sees a head only where it fills a third of a crop."""

    def segment(self, crops: U8Array) -> FloatArray:
        masks = super().segment(crops)
        return masks * (masks[:, :1].mean(axis=(2, 3), keepdims=True) > 0.3)


class LongSightedSegmenter(RedSegmenter):
    """Sees a head only where it fills less than a sixth of a crop."""

    def segment(self, crops: U8Array) -> FloatArray:
        masks = super().segment(crops)
        return masks * (masks[:, :1].mean(axis=(2, 3), keepdims=True) < 0.16)


@pytest.mark.parametrize("segmenter", [ShortSightedSegmenter(), LongSightedSegmenter()])
def test_head_that_a_crop_does_not_show_is_looked_at_from_nearer_and_farther(
    segmenter: RedSegmenter,
) -> None:
    """Small heads are blurred in a crop that has room for long hair; some need more around them."""
    photo = picture(60, 220)
    heads = HeadCutter(finder=RedFinder(), segmenter=segmenter).cut(photo)
    columns = np.arange(photo.width)
    for head, side in zip(heads, (columns < 150, columns > 150), strict=True):
        assert iou(head, is_red(np.asarray(photo)) & side) > 0.95


@pytest.mark.parametrize(("threshold", "count"), [(0.6, 0), (0.5, 2)])
def test_doubtful_head_counts_beside_a_sure_one(threshold: float, count: int) -> None:
    class ShyFinder(RedFinder):
        def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
            return share * (0.55 if head.confidence == 0.9 else 0.3)

    finder = ShyFinder()
    finder.threshold = threshold
    cutter = HeadCutter(finder=finder, segmenter=RedSegmenter())
    assert len(cutter.cut(picture(60, 220))) == count


CHILD, EAR = (190.0, 82.0, 226.0, 118.0), (90.0, 80.0, 125.0, 115.0)
NARROW, AROUND = (95.0, 30.0, 120.0, 165.0), (0.0, 10.0, 240.0, 190.0)


@pytest.mark.parametrize(("other", "count"), [(CHILD, 2), (EAR, 1), (NARROW, 1), (AROUND, 1)])
def test_head_in_the_box_of_a_larger_one_is_its_part_only_in_its_mask(
    other: Box, count: int
) -> None:
    """Long hair makes a mother's box wide: it holds the child beside her, and her own ear."""

    class BothFinder(RedFinder):
        def find(self, photo: U8Array) -> list[Head]:
            return [Head((0.0, 40.0, 230.0, 160.0), 0.9), Head(other, 0.8)]

    photo = picture(90, radius=60)
    photo.paste(picture(20, width=40, height=40, radius=18), (188, 80))
    assert len(HeadCutter(finder=BothFinder(), segmenter=RedSegmenter()).cut(photo)) == count


class HesitantSegmenter(RedSegmenter):
    """In doubt of a head's upper half where a crop shows it small or cuts it off."""

    def segment(self, crops: U8Array) -> FloatArray:
        masks = super().segment(crops)
        for head in masks[:, 0]:
            if head.mean() < 0.4 or head[0].any():
                rows = np.flatnonzero(head.any(axis=1))
                head[: (rows[0] + rows[-1]) // 2] *= 0.4
        return masks


def test_what_is_doubted_at_the_border_of_the_last_look_is_framed_anew() -> None:
    photo = picture(150)
    (head,) = HeadCutter(finder=RedFinder(), segmenter=HesitantSegmenter()).cut(photo)
    assert iou(head, is_red(np.asarray(photo))) > 0.95


class BlindedSegmenter(RedSegmenter):
    """Sees a third of a head that fills a crop, as of a few enlarged pixels."""

    def segment(self, crops: U8Array) -> FloatArray:
        masks = super().segment(crops)
        for head in masks[:, 0]:
            if head.mean() > 0.4:
                rows = np.flatnonzero(head.any(axis=1))
                head[rows[0] + (rows[-1] - rows[0]) // 3 :] = 0
        return masks


def test_further_look_that_loses_most_of_the_head_is_not_believed() -> None:
    photo = picture(150)
    (head,) = HeadCutter(finder=RedFinder(), segmenter=BlindedSegmenter()).cut(photo)
    assert iou(head, is_red(np.asarray(photo))) > 0.9


class CountingSegmenter(RedSegmenter):
    looks = 0

    def segment(self, crops: U8Array) -> FloatArray:
        self.looks += len(crops)
        return super().segment(crops)


def test_what_no_closer_look_could_confirm_is_not_looked_at() -> None:
    """A closer look costs milliseconds, and textures propose many."""

    class DullFinder(HastyFinder):
        def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
            return 0.15 * share

    segmenter = CountingSegmenter()
    assert HeadCutter(finder=DullFinder(), segmenter=segmenter).cut(picture(150)) == []
    assert segmenter.looks == 0


def test_found_heads_are_those_that_are_cut(cutter: HeadCutter) -> None:
    photo = picture(60, 220)
    found, cuts = cutter.find(photo), cutter.cut(photo)
    assert [head.confidence for head in found] == [cut.confidence for cut in cuts]


class UpperPart(RedSegmenter):
    """Sees only what is in the upper 60 percent of a crop."""

    def segment(self, crops: U8Array) -> FloatArray:
        return super().segment(crops) * (np.arange(self.size) < 0.6 * self.size)[:, None]


def test_last_look_is_the_refiners() -> None:
    """The segmenter says where the head is and how sure, the refiner which pixels."""
    photo = picture(150)
    cutter = HeadCutter(finder=RedFinder(), segmenter=RedSegmenter(), refiner=UpperPart())
    (head,) = cutter.cut(photo)
    assert [head.confidence] == [found.confidence for found in cutter.find(photo)]
    assert head.box_px[3] < photo.height / 2 + 15, "of a disc of 40 pixels around the middle"


class LeaningSegmenter(RedSegmenter):
    """Sees what is there some pixels further left than it is."""

    def segment(self, crops: U8Array) -> FloatArray:
        return np.roll(super().segment(crops), -4, axis=-1)


def test_last_look_leans_to_no_side() -> None:
    """It is the mean of a look at the crop and one at its mirror image."""
    photo = picture(150)
    (head,) = HeadCutter(finder=RedFinder(), segmenter=LeaningSegmenter()).cut(photo)
    columns = np.average(np.arange(photo.width), weights=head.alpha.sum(axis=0))
    red = np.average(np.arange(photo.width), weights=is_red(np.asarray(photo)).sum(axis=0))
    assert columns == pytest.approx(red, abs=1)


def test_limits_are_the_cutters_own() -> None:
    cutter = HeadCutter(
        finder=RedFinder(), segmenter=RedSegmenter(), limits=PhotoLimits(max_megapixels=0.01)
    )
    with pytest.raises(PhotoError, match=r"0\.01 MP limit"):
        cutter.cut(picture(150))


def test_photo_that_cannot_be_read_is_named(cutter: HeadCutter, tmp_path: Path) -> None:
    """In a loop over many, the error alone must say which."""
    missing = tmp_path / "missing.jpg"
    for source in (missing, str(missing)):
        for ask in (cutter.cut, cutter.find):
            with pytest.raises(PhotoError) as raised:
                ask(source)
            assert str(raised.value) == f"{missing}: no such file; check the name and the folder"


def test_threads_share_one_cutter(cutter: HeadCutter) -> None:
    photos = [picture(60 + 20 * n) for n in range(8)]
    alone = [cutter.cut(photo)[0].box_px for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = [heads[0].box_px for heads in pool.map(cutter.cut, photos)]
    assert together == alone


def test_astronaut_is_cut_without_her_suit() -> None:
    """The real networks on the sample photo: face and hair in, collar, patches and flag out."""
    (head,) = headcut.cut(ASTRONAUT)
    assert np.abs(np.array(head.box_px) - (153, 11, 303, 190)).max() < 20
    for x, y in ((228, 40), (228, 110), (180, 80), (285, 90)):  # fringe, nose, hair at both sides
        assert head.alpha[y, x] > 0.9, (x, y)
    for x, y in ((228, 230), (120, 300), (40, 120), (420, 150)):  # collar, suit, flag, shuttle
        assert head.alpha[y, x] == 0, (x, y)


@pytest.mark.parametrize("width", [1200, 3600])
def test_heads_in_a_panorama_are_found_as_in_another_photo(width: int) -> None:
    with Image.open(ASTRONAUT) as image:
        head = image.crop((120, 0, 350, 260)).resize((115, 130))
    panorama = Image.new("RGB", (width, 600), (90, 110, 130))
    for place in range(4):
        panorama.paste(head, (width * place // 4 + 60, 100 + 80 * place))
    assert len(headcut.cut(panorama)) == 4


def test_empty_scene_has_no_head_for_the_real_networks() -> None:
    gradient = np.linspace(0, 255, 400, dtype=np.uint8)
    scene = np.dstack([np.tile(gradient, (300, 1))] * 3)
    assert headcut.cut(scene) == []


def test_turned_photo_gives_the_same_cut() -> None:
    """EXIF says how a phone was held; the head is found only if it is upright."""
    with Image.open(ASTRONAUT) as image:
        stored = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        file = io.BytesIO()
        stored.save(file, "JPEG", quality=95, exif=exif)
        (upright,) = headcut.cut(image)
    (turned,) = headcut.cut(file.getvalue())
    assert turned.image.size == upright.image.size
    assert iou(turned, upright.alpha >= 0.5) > 0.97
