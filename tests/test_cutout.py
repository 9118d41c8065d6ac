"""A cut-out becomes a picture, a picture becomes a file, and neither holds more than it should."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headcut.cutout import CutOut, choose_heads, cut_out, merge
from headcut.errors import HeadChoiceError, OptionError, OutputError
from headcut.geometry import IntBox
from headcut.options import Point, SaveOptions
from headcut.photo import Photo

HEIGHT, WIDTH = 40, 60
MASK, ALPHA = SaveOptions(output="mask"), SaveOptions(output="alpha")


def noise_photo(**more: object) -> Photo:
    pixels = np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return Photo(pixels, **more)  # type: ignore[arg-type]


def head_at(box: IntBox, photo: Photo, alpha: float = 1.0, confidence: float = 0.9) -> CutOut:
    left, top, right, bottom = box
    patch = np.full((bottom - top, right - left), alpha, np.float32)
    head = cut_out(photo, patch, box, confidence)
    assert head is not None
    return head


def test_alpha_and_image_have_the_photos_size() -> None:
    photo = noise_photo()
    head = head_at((10, 5, 20, 25), photo, alpha=0.6)
    assert head.alpha.shape == (HEIGHT, WIDTH)
    assert head.alpha.dtype == np.float32
    assert head.image.mode == "RGBA"
    assert head.image.size == (WIDTH, HEIGHT)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[5:25, 10:20] = True
    assert (head.alpha == np.where(inside, np.float32(0.6), 0)).all()
    assert (np.asarray(head.image)[..., 3] == np.where(inside, 153, 0)).all()


def test_nothing_of_the_photo_hides_under_transparent_pixels() -> None:
    """Whoever lifts the alpha of the file must not see the rest of the photo."""
    rgba = np.asarray(head_at((10, 5, 20, 25), noise_photo()).image)
    assert (rgba[rgba[..., 3] == 0] == 0).all()
    assert (rgba[5:25, 10:20, :3] > 0).all()


def test_box_is_tight_around_what_is_visible() -> None:
    """A residue of alpha 1 or 2 in 65536 must not widen the crop: no viewer shows it."""
    patch = np.full((20, 30), 0.001, np.float32)
    patch[4:8, 10:17] = 0.5
    head = cut_out(noise_photo(), patch, (20, 10, 50, 30), 1.0)
    assert head is not None
    assert head.box_px == (30, 14, 37, 18)
    assert head.box_px == head.image.getchannel("A").getbbox()
    assert np.count_nonzero(head.alpha) == 4 * 7


def test_cut_out_of_nothing_is_none() -> None:
    assert cut_out(noise_photo(), np.zeros((5, 5), np.float32), (0, 0, 5, 5), 0.9) is None
    assert cut_out(noise_photo(), np.zeros((0, 0), np.float32), (60, 40, 60, 40), 0.9) is None


def test_transparent_pixels_of_the_photo_stay_transparent() -> None:
    source = np.full((HEIGHT, WIDTH), 255, np.uint8)
    source[:, :15], source[:, 15] = 0, 51
    head = head_at((10, 5, 20, 25), noise_photo(alpha=source))
    assert head.box_px == (15, 5, 20, 25)
    assert np.allclose(head.alpha[10, 15:18], [0.2, 1, 1])


def test_thirty_heads_cost_little_more_than_the_photo() -> None:
    photo = Photo(np.zeros((3000, 4000, 3), np.uint8))
    heads = [head_at((100 * n, 50, 100 * n + 90, 160), photo) for n in range(30)]
    assert sum(head.alpha_patch.nbytes for head in heads) < photo.pixels.nbytes / 10
    assert all(head.photo is photo and head.alpha_patch.base is None for head in heads)


def test_mask_is_binary_and_alpha_is_soft() -> None:
    photo = noise_photo()
    soft = head_at((10, 5, 20, 25), photo, alpha=0.4)
    assert np.unique(np.asarray(soft.render(MASK))).tolist() == [0]
    assert np.unique(np.asarray(soft.render(ALPHA))).tolist() == [0, 102]
    assert soft.render(MASK).mode == soft.render(ALPHA).mode == "L"
    firm = head_at((10, 5, 20, 25), photo, alpha=0.5)
    assert np.unique(np.asarray(firm.render(MASK))).tolist() == [0, 255]


@pytest.mark.parametrize("output", ["cutout", "mask", "alpha"])
def test_crop_is_the_part_of_the_picture_in_the_box(output: str) -> None:
    head = head_at((10, 5, 20, 25), noise_photo(), alpha=0.8)
    whole = head.render(SaveOptions(output=output)).crop(head.box_px)  # type: ignore[arg-type]
    cropped = head.render(SaveOptions(output=output, crop=True))  # type: ignore[arg-type]
    assert cropped.tobytes() == whole.tobytes()


def test_head_is_chosen_by_a_point() -> None:
    """Where boxes overlap, the head that shows there is meant."""
    photo = noise_photo()
    patch = np.ones((20, 20), np.float32)
    patch[:10, :10] = 0.2
    large = cut_out(photo, patch, (10, 10, 30, 30), 0.9)
    small = head_at((8, 8, 16, 16), photo)
    assert large is not None
    for x, y, wanted in ((12, 12, small), (17, 17, large), (29.9, 10, large), (8, 8, small)):
        assert choose_heads([large, small], Point(x, y)) == [[wanted]]
    with pytest.raises(HeadChoiceError, match="no head at 30,20"):
        choose_heads([large, small], Point(30, 20))


@pytest.mark.parametrize("format", ["png", "webp"])
def test_file_is_made_small_enough(format: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    head = head_at((0, 0, 300, 300), Photo(pixels))
    free = len(head.encode(SaveOptions(format=format)))  # type: ignore[arg-type]
    bound = SaveOptions(format=format, max_bytes=int(0.7 * free))  # type: ignore[arg-type]
    data = head.encode(bound)
    assert len(data) <= 0.7 * free
    with Image.open(io.BytesIO(data)) as saved:
        assert saved.size == (300, 300)
    with pytest.raises(OutputError, match="choose a smaller square"):
        head.encode(replace(bound, max_bytes=100))


def test_merged_heads_are_as_opaque_as_the_most_opaque() -> None:
    photo = noise_photo()
    left = head_at((5, 5, 20, 25), photo, alpha=0.3, confidence=0.9)
    right = head_at((15, 10, 30, 35), photo, alpha=0.7, confidence=0.8)
    both = merge([left, right])
    assert both.box_px == (5, 5, 30, 35)
    assert both.confidence == 0.8
    assert (both.alpha == np.maximum(left.alpha, right.alpha)).all()
    assert merge([left]) is left
    with pytest.raises(HeadChoiceError, match="no heads to merge"):
        merge([])
    rgba = np.asarray(both.image)
    assert (rgba[..., 3] == np.asarray(both.render(ALPHA))).all()
    for head in (left, right):
        own = np.asarray(head.image)
        alone = (own[..., 3] > 0) & (own[..., 3] == rgba[..., 3])
        assert (rgba[alone] == own[alone]).all()


def test_heads_are_chosen_from_the_left() -> None:
    photo = noise_photo()
    small, large = head_at((0, 0, 5, 5), photo), head_at((20, 0, 40, 30), photo)
    both = [small, large]
    assert choose_heads(both, "all") == [both]
    assert choose_heads(both, "each") == [[small], [large]]
    assert choose_heads(both, "largest") == [[large]]
    assert choose_heads(both, 1) == [[small]]
    with pytest.raises(HeadChoiceError, match="has 2 heads, no number 3; choose 1 to 2"):
        choose_heads(both, 3)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_saved_picture_is_the_image(suffix: str, tmp_path: Path) -> None:
    head = head_at((10, 5, 20, 25), noise_photo(), alpha=0.6)
    head.save(tmp_path / f"head.{suffix}")
    with Image.open(tmp_path / f"head.{suffix}") as saved:
        assert saved.format == suffix.upper()
        assert saved.getchannel("A").tobytes() == head.image.getchannel("A").tobytes()
        if suffix == "png":
            assert saved.tobytes() == head.image.tobytes()


@pytest.mark.parametrize("output", ["mask", "alpha"])
def test_masks_are_exact_in_webp_too(output: str, tmp_path: Path) -> None:
    head = head_at((10, 5, 20, 25), noise_photo(), alpha=0.6)
    options = SaveOptions(output=output)  # type: ignore[arg-type]
    head.save(tmp_path / "m.webp", options)
    with Image.open(tmp_path / "m.webp") as saved:
        assert saved.convert("L").tobytes() == head.render(options).tobytes()


def test_outputs_hold_no_metadata() -> None:
    """Where and with what a photo was taken is nobody's business."""
    head = head_at((10, 5, 20, 25), noise_photo())
    for format in ("png", "webp"):
        data = head.encode(SaveOptions(format=format))  # type: ignore[arg-type]
        with Image.open(io.BytesIO(data)) as saved:
            assert not saved.getexif()
            assert not {"exif", "xmp", "icc_profile"} & set(saved.info)


def test_too_large_for_webp_is_said_before_it_fails() -> None:
    head = head_at((0, 0, 5, 5), Photo(np.zeros((16, 16400, 3), np.uint8)))
    with pytest.raises(OutputError, match="too large for WebP"):
        head.encode(SaveOptions(format="webp"))


def test_photo_is_never_replaced(tmp_path: Path) -> None:
    """Not under its own name, nor a link's, nor one written another way."""
    path = tmp_path / "me.png"
    path.write_bytes(b"precious")
    (tmp_path / "soft.png").symlink_to(path)
    (tmp_path / "hard.png").hardlink_to(path)
    head = head_at((0, 0, 5, 5), noise_photo(path=path))
    for name in ("me.png", "soft.png", "hard.png", "../" + tmp_path.name + "/me.png"):
        with pytest.raises(OutputError, match="never replaced"):
            head.save(tmp_path / name)
    assert path.read_bytes() == b"precious"


def test_older_output_is_replaced_and_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "old.png")
    head_at((0, 0, 5, 5), noise_photo()).save(tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    with Image.open(tmp_path / "old.png") as saved:
        assert saved.size == (WIDTH, HEIGHT)


def test_device_is_not_replaced_by_a_file() -> None:
    """Renaming onto /dev/null as root would break the machine."""
    with pytest.raises(OptionError, match=r"must end in \.png or \.webp"):
        head_at((0, 0, 5, 5), noise_photo()).save("/dev/null")


def test_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OutputError, match="not an ordinary file"):
        head_at((0, 0, 5, 5), noise_photo()).save(tmp_path / "pipe.png")
    assert (tmp_path / "pipe.png").is_fifo()


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output appears whole or not at all, and an older one stays."""
    target = tmp_path / "head.png"
    target.write_bytes(b"older")

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        head_at((0, 0, 5, 5), noise_photo()).save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["head.png"]
    assert target.read_bytes() == b"older"
