"""Any photo -> upright sRGB pixels, or a PhotoError that says what to do.

The way of a file: bytes (counted first) -> header (size checked, nothing decoded) -> pixels ->
upright -> transparency apart -> sRGB. Array and Pillow pictures join where they fit.
"""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from headcut.errors import PhotoError
from headcut.options import PhotoLimits

if TYPE_CHECKING:
    from headcut.geometry import U8Array

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"}
    | {".gif", ".tif", ".tiff", ".bmp"}
)
"""Endings of the files that a folder is searched for; a file given by name may have any."""

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split())
"""What stands at byte 8 of an AVIF, HEIC or HEIF file; videos have other words there."""

ICC_NOISE_LEVELS = 1
"""A profile that moves no colour by more than this is sRGB already: rounding makes such steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """An upright sRGB photo, as the whole pipeline shares it; treat the arrays as read-only."""

    pixels: U8Array
    """(H, W, 3) uint8 sRGB."""

    alpha: U8Array | None = None
    """(H, W) uint8, 0 is transparent; None when the source is opaque.

    A cut-out's alpha is multiplied by it: what nobody could see must not come back.
    """

    path: Path | None = field(default=None, kw_only=True)
    """The file it was read from, if it was one: outputs never replace it."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.pixels.shape[:2]
        return height, width


PhotoSource: TypeAlias = "str | PathLike[str] | bytes | IO[bytes] | Image.Image | U8Array | Photo"
"""A path, the bytes of a file, an open binary file, a Pillow image, or an RGB(A) array."""


def load_photo(source: PhotoSource, limits: PhotoLimits | None = None) -> U8Array:
    """Return the pixels of a photo: upright, (H, W, 3) uint8 sRGB. See `read_photo`."""
    return read_photo(source, limits).pixels


def read_photo(source: PhotoSource, limits: PhotoLimits | None = None) -> Photo:
    """Return an upright sRGB photo, with its transparency if it has any.

    Fully transparent pixels become white, as a viewer shows them: the colours that files keep
    there are noise, or what somebody cut away. Half transparent pixels keep their colour.

    Args:
        source: JPEG, PNG, WebP, AVIF, HEIC/HEIF, GIF (first frame), TIFF or BMP, as a path, bytes
            or an open binary file; or a Pillow image; or an (H, W, 3 or 4) uint8 array of RGB(A),
            which is copied.
        limits: caps that are checked before anything is decoded.

    Raises:
        PhotoError: the photo is missing, damaged, not a photo, or outside the limits.
    """
    limits = limits or PhotoLimits()
    if isinstance(source, Photo):
        return source
    if isinstance(source, np.ndarray):
        return _from_array(source, limits)
    if isinstance(source, Image.Image):
        return _decode(source, limits, _named(getattr(source, "filename", None)))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(source), limits)
    if isinstance(source, (str, PathLike)):
        return _from_path(Path(source), limits)
    if hasattr(source, "read"):
        try:
            data = _read_capped(source, limits)
        except OSError as error:
            raise PhotoError(f"cannot be read: {_reason(error)}; give a file") from error
        return _from_bytes(data, limits, _named(getattr(source, "name", None)))
    raise PhotoError(
        f"cannot read a photo from {type(source).__name__}; "
        "give a path, bytes, a binary file, a Pillow image or an RGB array"
    )


def _from_path(path: Path, limits: PhotoLimits) -> Photo:
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise PhotoError("is a folder; give a photo file")
        _check_bytes(info.st_size, limits)
        with path.open("rb") as file:
            data = _read_capped(file, limits)
    except FileNotFoundError as error:
        raise PhotoError(_missing(path)) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise PhotoError(f"cannot be opened: {_reason(error)}; check its permissions") from error
    return _from_bytes(data, limits, path)


def _named(name: object) -> Path | None:
    """Return the file that an open photo comes from, if it says so."""
    return Path(name) if isinstance(name, str) and name else None


def _missing(path: Path) -> str:
    if str(path).startswith(("http:/", "https:/")):
        return "headcut fetches nothing; download the photo first and give the file"
    return "no such file; check the name and the folder"


def _read_capped(file: IO[bytes], limits: PhotoLimits) -> bytes:
    """Read a whole binary file of unknown length, one byte past the limit at most."""
    data = b""
    while chunk := file.read(limits.max_bytes + 1 - len(data)):  # a pipe gives a part at a time
        if not isinstance(chunk, bytes):
            raise PhotoError("the file is open as text; open it in binary mode ('rb')")
        data += chunk
    return data


def _check_bytes(count: int, limits: PhotoLimits) -> None:
    if count > limits.max_bytes:
        raise PhotoError(
            f"{count / 1e6:.0f} MB or more is over the {limits.max_bytes / 1e6:g} MB limit; "
            "save it smaller, for instance as JPEG"
        )


def _check_size(width: int, height: int, limits: PhotoLimits) -> None:
    if min(width, height) < limits.min_side_px:
        raise PhotoError(
            f"{width}x{height} is too small; both sides need at least {limits.min_side_px} pixels"
        )
    if width * height > limits.max_megapixels * 1e6:
        raise PhotoError(
            f"{width}x{height} is {width * height / 1e6:g} MP, over the "
            f"{limits.max_megapixels:g} MP limit; shrink it or raise --max-megapixels"
        )


def _from_array(array: U8Array, limits: PhotoLimits) -> Photo:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4):
        raise PhotoError(
            f"the array is {array.dtype} {array.shape}; give uint8 (height, width, 3 or 4) in RGB"
        )
    _check_size(array.shape[1], array.shape[0], limits)
    # A copy: cut-outs share these pixels, and callers reuse their frame buffers.
    pixels = np.array(array[..., :3], order="C", copy=True)
    return _with_alpha(pixels, array[..., 3].copy() if array.shape[2] == 4 else None)


def _from_bytes(data: bytes, limits: PhotoLimits, path: Path | None = None) -> Photo:
    if not data:
        raise PhotoError("the file is empty; copy it again")
    _check_bytes(len(data), limits)
    return _decode(_open(data), limits, path)


def _open(data: bytes) -> Image.Image:
    """Read the header only.

    Image.open is not used: it warns or refuses by a limit that is global to the process, and it
    would try decoders for formats that nobody photographs in.
    """
    name = _format_of(data)
    if name is None:
        raise PhotoError(
            "is not a photo that headcut reads; give JPEG, PNG, WebP, AVIF, HEIC, GIF, TIFF or BMP"
        )
    try:
        if name == "HEIF":
            import_module("pillow_heif").register_heif_opener(thumbnails=False)
        else:
            import_module(f"PIL.{name}ImagePlugin")
        factory, _ = Image.OPEN[name.upper()]
        return factory(io.BytesIO(data), "")
    # Decoders meet damaged bytes with many types: SyntaxError, struct.error, IndexError...
    except Exception as error:
        raise PhotoError(
            f"damaged {name.upper()} header; copy or export the photo again"
        ) from error


def _format_of(data: bytes) -> str | None:
    """Return Pillow's name for the format, from the first bytes; the file's name may lie."""
    signatures = {
        b"\xff\xd8\xff": "Jpeg",
        b"\x89PNG\r\n\x1a\n": "Png",
        b"GIF8": "Gif",
        b"II*\0": "Tiff",
        b"MM\0*": "Tiff",
        b"II+\0": "Tiff",
        b"MM\0+": "Tiff",
        b"BM": "Bmp",
    }
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp" and data[8:12] in AVIF_BRANDS:
        return "Avif"
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "HEIF"
    return next((name for start, name in signatures.items() if data.startswith(start)), None)


def _decode(image: Image.Image, limits: PhotoLimits, path: Path | None = None) -> Photo:
    _check_size(*image.size, limits)
    try:
        image.load()
        upright = _upright(image)
        alpha = _alpha_of(upright)
        pixels = _srgb(upright)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("not enough memory to decode it; shrink the photo") from error
    except Exception as error:  # as in _open
        raise PhotoError(
            f"damaged or cut short ({_reason(error)}); copy or export the photo again"
        ) from error
    _check_size(pixels.shape[1], pixels.shape[0], limits)  # a header can lie
    return _with_alpha(pixels, alpha, path)


def _reason(error: BaseException) -> str:
    """Return one line about an error that is not ours."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _with_alpha(pixels: U8Array, alpha: U8Array | None, path: Path | None = None) -> Photo:
    """Return the photo; transparency that hides nothing is dropped, hidden colours go white."""
    if alpha is None or alpha.min() == 255:
        return Photo(pixels, None, path=path)
    return Photo(np.where(alpha[..., None] == 0, np.uint8(255), pixels), alpha, path=path)


_EXIF_ORIENTATION_TAG = 0x0112
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """Turn a decoded picture as its EXIF says; TIFF and HEIC decoders have done it already."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  broken EXIF must not cost the photo
        return image
    if orientation not in _TO_UPRIGHT:
        return image
    turned = image.transpose(_TO_UPRIGHT[orientation])
    turned.info = image.info
    return turned


def _alpha_of(image: Image.Image) -> U8Array | None:
    """Return the (H, W) uint8 transparency of a picture of any mode, or None if opaque."""
    if image.mode.startswith("I;16"):
        clear = image.info.get("transparency")
        return None if clear is None else np.where(np.asarray(image) == clear, 0, 255).astype("u1")
    if not image.has_transparency_data:
        return None
    return np.asarray(image.convert("RGBA").getchannel("A"))


def _srgb(image: Image.Image) -> U8Array:
    """Return (H, W, 3) uint8 sRGB of a picture of any mode, its ICC profile applied."""
    flat = _eight_bit(image)
    profile = image.info.get("icc_profile")
    if profile and (converted := _convert_profile(flat, profile)):
        flat = converted
    return np.asarray(flat if flat.mode == "RGB" else flat.convert("RGB"))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return the colours alone, 8 bits each: L, RGB, CMYK, or another mode that Pillow turns RGB.

    16-bit grey is divided by 257, whatever the picture holds: stretching it by its own brightest
    pixel would make a dark photo another photo.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if mode in ("I", "F"):
        raise PhotoError("32-bit pictures have no fixed white; save it with 8 or 16 bits")
    if mode in ("1", "LA"):
        return image.convert("L")
    if mode == "LAB":
        return _lab_to_rgb(image)
    if mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("RGBA").convert("RGB")  # P and PA have no way to RGB that drops alpha


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return _applied(ImageCms.buildTransform(*profiles, "LAB", "RGB"), image)


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Return the picture in sRGB, or None where the profile is sRGB, broken or for another mode."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if space == "RGB" and image.mode == "L":
            image = image.convert("RGB")  # a grey scan with the scanner's colour profile
        if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space) != image.mode:
            return None
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), image.mode, "RGB"
        )
        if image.mode == "RGB" and _changes_nothing(transform):
            return None
        return _applied(transform, image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # viewers show a photo with a broken profile as sRGB, so do we


def _changes_nothing(transform: Any) -> bool:
    """Whether a profile is sRGB in all but name, as in most photos: 729 colours tell.

    It saves 0.17 s on a 12 megapixel photo.
    """
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(_applied(transform, Image.fromarray(cube))).astype(np.int16) - cube
    return bool(np.abs(moved).max() <= ICC_NOISE_LEVELS)


def _applied(transform: Any, image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only for in-place work
    return converted
