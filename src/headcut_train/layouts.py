"""What photos and masks of a data set are called, and what the colours of its masks mean.

A mask is read as an array of *kinds*: `BACKGROUND`, `HEAD` (surely head, wherever it hangs: hair,
beard, ears), `FACE` (head above the chin), `SKIN` (the face's, with the neck's in it), `NECK` and
`UNKNOWN`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from headcut.errors import OptionError
from headcut.geometry import U8Array, enclosed
from headcut_train.manifest import UNKNOWN_LEVEL, NeckState
from headcut_train.metrics import dilated

BACKGROUND, HEAD, FACE, SKIN, NECK, UNKNOWN = range(6)

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".bmp", ".tif", ".tiff", ".ppm"}
MASK_ENDINGS = {".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".gif"}

NEAR_COLOUR = 60
"""Colours up to this far (Euclidean, of 255 a channel) from a palette's are that one."""

MOST_STRANGE = 0.01
"""Share of a mask's pixels that may have colours outside its palette, as along edges."""


class MaskError(ValueError):
    """Why a mask cannot be used, in a few words."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """The files of a pair; some may be missing. A mask may be several files, one a part."""

    name: str
    photo: Path | None
    masks: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """One form of data set.

    Attributes:
        neck: what its masks know of necks.
        read: files of one mask, size (width, height) of its photo -> kinds, (H, W) uint8.
    """

    neck: NeckState
    read: Callable[[tuple[Path, ...], tuple[int, int]], U8Array]


# ---------------------------------------------------------------- masks

MUT1NY = {
    (0, 0, 0): BACKGROUND,
    (255, 0, 0): FACE,  # lips
    (0, 255, 0): FACE,  # eyes
    (0, 0, 255): FACE,  # nose
    (255, 255, 0): HEAD,  # hair
    (0, 255, 255): HEAD,  # ears
    (255, 0, 255): FACE,  # brows
    (255, 255, 255): FACE,  # teeth
    (128, 128, 128): SKIN,
    (255, 192, 192): HEAD,  # beard
    (0, 128, 128): HEAD,  # spectacles
}
FASSEG = {
    (255, 0, 0): BACKGROUND,
    (255, 255, 0): SKIN,  # ears too
    (127, 0, 0): HEAD,  # hair
    (0, 0, 255): FACE,  # eyes
    (0, 255, 255): FACE,  # nose
    (0, 255, 0): FACE,  # mouth
}
LFW = {(255, 0, 0): HEAD, (0, 255, 0): SKIN, (0, 0, 255): BACKGROUND}

CELEBAMASK_PARTS = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth"),
    *("u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
"""Names of the parts 1 to 18, as files of CelebAMask-HQ end."""

CELEBAMASK = (
    *(BACKGROUND, FACE, FACE, HEAD, FACE, FACE, FACE, FACE, HEAD, HEAD, FACE, FACE, FACE),
    *(HEAD, HEAD, HEAD, BACKGROUND, NECK, BACKGROUND),
)
LAPA = (BACKGROUND, *(FACE,) * 9, HEAD)


def _opened(path: Path, mode: str | None = None, *, indices: bool = False) -> U8Array:
    """Return a mask's pixels; of one with a palette its colours, or its indices."""
    try:
        with Image.open(path) as image:
            if image.mode == "P" and not indices:
                mode = mode or ("RGBA" if image.has_transparency_data else "RGB")
            return np.asarray(image.convert(mode) if mode else image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MaskError("the mask is unreadable") from error


def _sized(mask: U8Array, size: tuple[int, int]) -> U8Array:
    width, height = size
    if mask.shape[:2] != (height, width):
        raise MaskError(f"the mask is {mask.shape[1]}x{mask.shape[0]}, the photo {width}x{height}")
    return mask


def _coloured(
    palette: Mapping[tuple[int, int, int], int],
) -> Callable[[tuple[Path, ...], tuple[int, int]], U8Array]:
    def read(paths: tuple[Path, ...], size: tuple[int, int]) -> U8Array:
        return kinds_of_colours(_sized(_opened(paths[0], "RGB"), size), palette)

    return read


def kinds_of_colours(mask: U8Array, palette: Mapping[tuple[int, int, int], int]) -> U8Array:
    """Return the kinds (H, W) uint8 of a coloured mask whose edges may be anti-aliased.

    A colour between two of the palette is that of the nearer one that is seen beside it: red and
    yellow mix to an orange that is not taken for a third colour, whatever the palette has there.

    Args:
        mask: (H, W, 3) uint8.
        palette: kinds by colour.

    Raises:
        MaskError: more than `MOST_STRANGE` of the pixels have colours of no kind.
    """
    packed = mask.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    packed_colours, codes = np.unique(packed, return_inverse=True)
    codes = codes.reshape(packed.shape)
    colours = packed_colours[:, None] >> np.array([16, 8, 0], np.uint32) & 255
    palette_colours = np.array(list(palette), np.float32)
    distances = np.linalg.norm(colours[:, None].astype(np.float32) - palette_colours, axis=-1)
    exact = (distances.min(1) < 4)[codes]
    nearest = distances.argmin(1)[codes]
    mixed = ~exact
    if mixed.any():
        best = np.full(mask.shape[:2], np.inf, np.float32)
        chosen = nearest.copy()
        for index in np.unique(nearest[exact]):
            beside = dilated(exact & (nearest == index), 2) & mixed
            distance = distances[:, index][codes]
            better = beside & (distance < best)
            best[better], chosen[better] = distance[better], index
        lone = np.isinf(best) & mixed
        strange = lone & (distances.min(1)[codes] > NEAR_COLOUR)
        if strange.mean() > MOST_STRANGE:
            values, counts = np.unique(mask[strange], axis=0, return_counts=True)
            colour = ", ".join(str(v) for v in values[counts.argmax()])
            raise MaskError(f"unknown colour ({colour}) in {strange.mean():.0%} of the mask")
        kinds = np.array(list(palette.values()), np.uint8)[chosen]
        kinds[strange] = UNKNOWN
        return kinds
    return np.array(list(palette.values()), np.uint8)[nearest]


def _indexed(
    kinds: tuple[int, ...],
) -> Callable[[tuple[Path, ...], tuple[int, int]], U8Array]:
    def read(paths: tuple[Path, ...], size: tuple[int, int]) -> U8Array:
        if any(part.lower().endswith("mask-anno") for part in paths[0].parts):
            return _of_parts(paths, size)
        mask = _sized(_opened(paths[0], indices=True), size)
        if mask.ndim != 2:
            raise MaskError("the mask is coloured; this layout has class numbers")
        if mask.max(initial=0) >= len(kinds):
            raise MaskError(f"unknown class {mask.max()}; this layout has 0 to {len(kinds) - 1}")
        return np.array(kinds, np.uint8)[mask.astype(np.uint8)]  # of 1 bit it is no index

    return read


def _of_parts(paths: tuple[Path, ...], size: tuple[int, int]) -> U8Array:
    """Read CelebAMask-HQ as it is published: one PNG a part, of half the photo's size."""
    width, height = size
    result = np.zeros((height, width), np.uint8)
    by_part = {path.stem.partition("_")[2]: path for path in paths}
    if unknown := set(by_part) - set(CELEBAMASK_PARTS):
        raise MaskError(f"unknown part {sorted(unknown)[0]}")
    for number, part in enumerate(CELEBAMASK_PARTS, start=1):
        if part in by_part:
            mask = _opened(by_part[part], "L")
            scale = width / mask.shape[1]
            if scale not in (1, 2) or mask.shape[0] * scale != height:
                _sized(mask, size)
            mask = mask.repeat(int(scale), 0).repeat(int(scale), 1)
            result[mask > 127] = CELEBAMASK[number]
    return result


def _lfw(paths: tuple[Path, ...], size: tuple[int, int]) -> U8Array:
    """Blue enclosed by head is unknown: dark lenses are labelled so."""
    kinds = _coloured(LFW)(paths, size)
    kinds[enclosed(kinds == BACKGROUND)] = UNKNOWN
    return kinds


def _plain(paths: tuple[Path, ...], size: tuple[int, int]) -> U8Array:
    """Read black and white (0 and 255, or 0 and 1), grey 128 unknown; or alpha."""
    mask = _sized(_opened(paths[0]), size)
    if mask.ndim == 3 and mask.shape[2] in (2, 4) and mask[..., -1].min(initial=255) < 255:
        mask = mask[..., -1]
    elif mask.ndim == 3:
        if mask.shape[2] > 2 and (mask[..., :3] != mask[..., :1]).any():
            mask = _opened(paths[0], indices=True)  # a palette's number 1 has any colour
            if mask.ndim != 2 or mask.max() > 1:
                raise MaskError("the mask is coloured; a plain mask is black and white")
        else:
            mask = mask[..., 0]
    if mask.dtype == bool or mask.max(initial=0) <= 1:
        mask = mask * np.uint8(255)
    if mask.max(initial=0) > 255:
        raise MaskError("the mask has 16 bits; a plain mask has 8")
    return np.where(mask == UNKNOWN_LEVEL, UNKNOWN, np.where(mask > 127, HEAD, 0)).astype(np.uint8)


LAYOUTS = {
    "mut1ny": Layout("inside", _coloured(MUT1NY)),
    "celebamask": Layout("labelled", _indexed(CELEBAMASK)),
    "lapa": Layout("apart", _indexed(LAPA)),
    "lfw": Layout("inside", _lfw),
    "fasseg": Layout("inside", _coloured(FASSEG)),
    "folder": Layout("unsaid", _plain),
}

# ---------------------------------------------------------------- pairs

_PHOTO_FOLDER = re.compile(r"(.*?)[-_ ]?(images?|photos?|img|rgb|lfw_funneled|celeba-hq-img)", re.I)
_MASK_FOLDER = re.compile(
    r"(.*?)[-_ ]?(labels?|masks?|parts_lfw_funneled_gt_images|celebamask-hq-mask-anno)", re.I
)
_MASK_BESIDE = re.compile(r"(.+)[-_](mask|label)", re.I)


def find_pairs(source: Path) -> list[PairFiles]:
    """Return the pairs in a folder, by name, those with a missing partner too.

    Photos and masks lie in sibling folders ("images" and "labels", "Train_RGB" and "Train_Labels")
    and have one stem; or beside each other, as "a.jpg" and "a_mask.png".

    Raises:
        OptionError: there is no such folder, or nothing in it looks like photos with masks.
    """
    if not source.is_dir():
        what = "a file, not a folder" if source.exists() else "no such folder"
        raise OptionError(f"{source}: {what}; name the folder of photos and masks")
    folders = [source, *sorted(path for path in source.rglob("*") if path.is_dir())]
    found: dict[str, PairFiles] = {}
    for folder in folders:
        match = _PHOTO_FOLDER.fullmatch(folder.name)
        masks = _sibling(folder, match.group(1)) if match and folder != source else None
        if masks is not None:
            prefix = folder.parent.relative_to(source) / (match.group(1) if match else "")
            found |= _of_folders(folder, masks, prefix)
    if not found:
        for folder in folders:
            found |= _beside(folder, folder.relative_to(source))
    if not found:
        raise OptionError(f"{source}: no photos with masks; put them into images/ and labels/")
    return [found[name] for name in sorted(found)]


def _sibling(photos: Path, key: str) -> Path | None:
    for folder in sorted(photos.parent.iterdir()):
        match = _MASK_FOLDER.fullmatch(folder.name)
        if match and match.group(1).lower() == key.lower() and folder.is_dir():
            return folder
    return None


def _files(folder: Path, endings: set[str]) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file())


def _of_folders(photos: Path, masks: Path, prefix: Path) -> dict[str, PairFiles]:
    if masks.name.lower().endswith("mask-anno"):
        return _of_published_celebamask(photos, masks, prefix)
    found: dict[str, PairFiles] = {}
    photo_at = {p: p.relative_to(photos).with_suffix("") for p in _files(photos, PHOTO_ENDINGS)}
    masks_with_places = [
        (m.relative_to(masks).with_suffix(""), m) for m in _files(masks, MASK_ENDINGS)
    ]
    mask_at = dict(reversed(masks_with_places))  # of two at one place, the first
    mask_of_stem = {place.name: mask for place, mask in mask_at.items()}
    stems = Counter(place.name for places in (set(photo_at.values()), mask_at) for place in places)
    for path, place in photo_at.items():
        mask = mask_at.get(place)
        if mask is None and stems[place.name] == 2:  # a photo and a mask in different folders
            mask = mask_of_stem.get(place.name)
        _add(found, prefix / place, path, (mask,) if mask else ())
    _add_lone(found, ((prefix / place, mask) for place, mask in masks_with_places))
    return found


def _add(found: dict[str, PairFiles], name: Path, photo: Path, masks: tuple[Path, ...]) -> None:
    text = name.as_posix()
    if text in found:  # a.jpg beside a.png
        text = f"{text}{photo.suffix}"
    found[text] = PairFiles(text, photo, masks)


def _add_lone(found: dict[str, PairFiles], masks: Iterable[tuple[Path, Path]]) -> None:
    """Add the masks, each with its name, that are of none of the photos."""
    used = {mask for pair in found.values() for mask in pair.masks}
    for name, mask in masks:
        if mask not in used:
            found.setdefault(name.as_posix(), PairFiles(name.as_posix(), None, (mask,)))


def _of_published_celebamask(photos: Path, masks: Path, prefix: Path) -> dict[str, PairFiles]:
    parts: dict[int, list[Path]] = {}
    for path in _files(masks, {".png"}):
        number = path.stem.partition("_")[0]
        if number.isdigit():
            parts.setdefault(int(number), []).append(path)
    by_number = {int(p.stem): p for p in _files(photos, PHOTO_ENDINGS) if p.stem.isdigit()}
    found = {}
    for number in sorted({*parts, *by_number}):
        name = (prefix / f"{number:05d}").as_posix()
        found[name] = PairFiles(name, by_number.get(number), tuple(parts.get(number, ())))
    return found


def _beside(folder: Path, prefix: Path) -> dict[str, PairFiles]:
    masks = {}
    for path in folder.iterdir():
        match = _MASK_BESIDE.fullmatch(path.stem)
        if match and path.suffix.lower() in MASK_ENDINGS:
            masks[match.group(1)] = path
    if not masks:
        return {}
    found: dict[str, PairFiles] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PHOTO_ENDINGS and not _MASK_BESIDE.fullmatch(path.stem):
            mask = masks.get(path.stem)
            _add(found, prefix / path.stem, path, (mask,) if mask else ())
    _add_lone(found, ((prefix / stem, mask) for stem, mask in masks.items()))
    return found
