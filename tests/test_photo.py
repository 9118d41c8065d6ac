"""Any photo becomes upright sRGB, and what cannot is refused before it costs memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import png_header
from PIL import Image, ImageCms

from headcut.errors import OptionError, PhotoError
from headcut.options import PhotoLimits
from headcut.photo import load_photo, read_photo

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters() -> Image.Image:
    """48x32: red and green above, blue and white below."""
    image = Image.new("RGB", (48, 32))
    for colour, corner in zip(
        (RED, GREEN, BLUE, WHITE), ((0, 0), (24, 0), (0, 16), (24, 16)), strict=True
    ):
        image.paste(colour, (*corner, corner[0] + 24, corner[1] + 16))
    return image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    image.save(file, format, **options)
    return file.getvalue()


def assert_is_quarters(pixels: np.ndarray, tolerance: int = 12) -> None:
    assert pixels.shape == (32, 48, 3)
    assert pixels.dtype == np.uint8
    middles = pixels[8::16, 12::24].astype(int)
    expected = np.array([[RED, GREEN], [BLUE, WHITE]])
    assert np.abs(middles - expected).max() <= tolerance


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP"])
def test_every_format_gives_the_same_photo(format: str) -> None:
    assert_is_quarters(load_photo(encoded(quarters(), format)))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "jpeg"])
def test_compressed_tiff_is_read(compression: str) -> None:
    assert_is_quarters(load_photo(encoded(quarters(), "TIFF", compression=compression)), 40)


STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_every_orientation_comes_out_upright(orientation: int, format: str) -> None:
    """A phone stores the sensor's picture and says how to turn it; only some is a known bug."""
    turn = STORED_AS[orientation]
    stored = quarters() if turn is None else quarters().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_is_quarters(load_photo(encoded(stored, format, exif=exif.tobytes())), 40)


def test_broken_exif_does_not_cost_the_photo() -> None:
    assert_is_quarters(load_photo(encoded(quarters(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff")))


def test_orientation_of_a_pillow_image_is_applied() -> None:
    image = Image.open(io.BytesIO(encoded(quarters().transpose(Image.Transpose.ROTATE_180), "PNG")))
    image.getexif()[0x0112] = 3
    assert_is_quarters(load_photo(image))


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "P", "YCbCr", "HSV", "LAB", "RGBX"])
def test_colour_modes_keep_their_colours(mode: str) -> None:
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(quarters(), *profiles, outputMode="LAB")
    else:
        image = quarters().convert(mode)
    assert_is_quarters(load_photo(image), 25 if mode == "LAB" else 12)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16", "I;16B"])
def test_grey_modes_become_grey(mode: str) -> None:
    level = 65535 if mode.startswith("I") else 255
    flat = Image.new("L" if mode in ("1", "LA") else mode, (20, 20), level).convert(mode)
    assert (load_photo(flat) == 255).all()


def test_cmyk_jpeg_keeps_its_colours() -> None:
    """JPEG stores CMYK inverted; a reader that forgets it gives a negative."""
    assert_is_quarters(load_photo(encoded(quarters().convert("CMYK"), "JPEG", quality=95)), 40)


def test_16_bit_is_scaled_by_its_range_not_its_content() -> None:
    """A dark photo stays dark: dividing by the picture's own maximum would not let it."""
    dark = Image.fromarray(np.full((20, 20), 257 * 3, np.uint16))
    assert (load_photo(encoded(dark, "PNG")) == 3).all()
    assert (load_photo(encoded(dark, "TIFF")) == 3).all()


def test_float_pictures_are_refused() -> None:
    with pytest.raises(PhotoError, match="save it with 8 or 16 bits"):
        load_photo(Image.new("F", (20, 20), 0.5))


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, BLUE)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_photo(data)[10, 10].tolist() == [255, 0, 0]


def half_clear(mode: str) -> Image.Image:
    """20x20 red, the left half transparent."""
    image = Image.new("RGBA", (20, 20), (*RED, 255))
    image.paste((1, 2, 3, 0), (0, 0, 10, 20))
    if mode == "P":
        palette = Image.new("P", (20, 20), 1)
        palette.putpalette([1, 2, 3, *RED])
        palette.paste(0, (0, 0, 10, 20))
        palette.info["transparency"] = 0
        return palette
    return image


@pytest.mark.parametrize("mode", ["RGBA", "P"])
@pytest.mark.parametrize("format", [None, "PNG", "WEBP", "GIF"])
def test_transparency_is_kept_and_hides_its_colours(mode: str, format: str | None) -> None:
    """What lies under transparent pixels is noise, or what somebody cut away on purpose."""
    image = half_clear(mode)
    options = {"lossless": True} if format == "WEBP" else {}
    photo = read_photo(encoded(image, format, **options) if format else image)
    assert photo.alpha is not None
    assert photo.alpha[10].tolist() == [0] * 10 + [255] * 10
    assert (photo.pixels[:, :10] == 255).all()
    assert photo.pixels[10, 15].tolist() == [255, 0, 0]


def test_grey_with_a_transparent_level_keeps_it() -> None:
    for mode, level in (("L", 7), ("I;16", 1799)):
        flat = Image.new(mode, (20, 20), level)
        alpha = read_photo(encoded(flat, "PNG", transparency=level)).alpha
        assert alpha is not None, mode
        assert not alpha.any()


def test_opaque_alpha_is_dropped() -> None:
    assert read_photo(quarters().convert("RGBA")).alpha is None


def profile_with_red_and_green_swapped() -> bytes:
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF"])
def test_icc_profile_is_applied(format: str) -> None:
    """Phones store Display P3; dropping the profile shifts every colour."""
    swapped = Image.new("RGB", (32, 32), GREEN)
    data = encoded(swapped, format, icc_profile=profile_with_red_and_green_swapped(), quality=95)
    assert np.abs(load_photo(data)[16, 16].astype(int) - RED).max() < 12


def test_srgb_profile_changes_no_pixel() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(Image.fromarray(noise), "PNG", icc_profile=srgb)
    assert (load_photo(data) == noise).all()


def test_open_photos_know_their_file(tmp_path: Path) -> None:
    """Otherwise saving under the same name would replace the photo."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 40)).save(path)
    with Image.open(path) as image:
        assert read_photo(image).path == path
    with path.open("rb") as file:
        assert read_photo(file).path == path


def test_profile_reaches_pictures_with_palette_and_alpha() -> None:
    profile = profile_with_red_and_green_swapped()
    for mode in ("P", "RGBA"):
        image = Image.new("RGB", (20, 20), GREEN).convert(mode)
        pixels = load_photo(encoded(image, "PNG", icc_profile=profile))
        assert np.abs(pixels[0, 0].astype(int) - RED).max() < 12, mode


@pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 200])
def test_broken_profile_is_ignored(profile: bytes) -> None:
    """Viewers show such a photo as sRGB."""
    assert_is_quarters(load_photo(encoded(quarters(), "PNG", icc_profile=profile)))


def test_profile_for_another_mode_is_ignored() -> None:
    """Grey scans carry RGB profiles, and RGB pictures carry printers' CMYK profiles."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (load_photo(encoded(Image.new("L", (20, 20), 99), "PNG", icc_profile=srgb)) == 99).all()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert_is_quarters(load_photo(encoded(quarters(), "PNG", icc_profile=lab)))


def test_source_can_be_path_bytes_file_picture_or_array(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    quarters().save(path, "PNG")
    data = path.read_bytes()
    sources = [path, str(path), data, bytearray(data), io.BytesIO(data), quarters()]
    for source in [*sources, np.asarray(quarters()), read_photo(path)]:
        assert_is_quarters(load_photo(source), 0)
    with path.open("rb") as file:
        assert_is_quarters(load_photo(file), 0)
    assert read_photo(path).path == path


def test_array_with_alpha_is_rgba_and_is_copied() -> None:
    """Callers reuse their frame buffers; a cut-out must not change under them."""
    frame = np.zeros((20, 30, 4), np.uint8)
    frame[:, 10:, 3] = 200
    photo = read_photo(frame)
    frame[:] = 77
    assert photo.alpha is not None
    assert photo.alpha[0, 15] == 200
    assert photo.pixels[0, 15].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "array",
    [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3), np.float32), np.zeros((3, 20, 20), "u1")],
)
def test_other_arrays_are_refused_with_the_shape_they_need(array: np.ndarray) -> None:
    with pytest.raises(PhotoError, match=r"give uint8 \(height, width, 3 or 4\)"):
        load_photo(array)


class SlowPipe(io.RawIOBase):
    """Gives a few bytes a read, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self.rest = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self.rest.read(min(size, 100))


def test_pipe_that_gives_parts_is_read_to_its_end() -> None:
    assert_is_quarters(load_photo(SlowPipe(encoded(quarters(), "PNG"))))


def test_byte_limit_is_checked_before_reading(tmp_path: Path) -> None:
    big = tmp_path / "big.jpg"
    with big.open("wb") as file:
        file.truncate(10**12)  # sparse: reading it would fill the memory
    with pytest.raises(PhotoError, match="over the 100 MB limit"):
        load_photo(big)


def test_endless_stream_is_cut_off_at_the_byte_limit() -> None:
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(PhotoError, match=r"0\.1 MB limit"):
        load_photo(zeros, PhotoLimits(max_bytes=100_000))


@pytest.mark.parametrize("wrong", [{"max_bytes": 5e6}, {"min_side_px": 0}, {"max_megapixels": "1"}])
def test_limits_are_checked_when_they_are_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"give a (whole )?number above 0"):
        PhotoLimits(**wrong)


def test_byte_limit_holds_for_bytes() -> None:
    with pytest.raises(PhotoError, match=r"over the 0\.0001 MB limit"):
        load_photo(encoded(quarters(), "PNG"), PhotoLimits(max_bytes=100))


def test_pixel_limit_is_checked_from_the_header() -> None:
    """30,000x30,000 pixels would decode to 2.7 GB."""
    with pytest.raises(PhotoError, match=r"900 MP, over the 100 MP limit; .*--max-megapixels"):
        load_photo(png_header(30_000, 30_000))


def test_pixel_limit_is_the_callers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's limit is global to the process: it is neither used nor changed."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert_is_quarters(load_photo(encoded(quarters(), "JPEG")))
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(PhotoError, match="MP limit"):
        load_photo(encoded(quarters(), "JPEG"), PhotoLimits(max_megapixels=0.001))
