"""One reader a data set: each gives samples of the same form, and says what it does not know.

A label's *plane* holds bits a pixel: `HEAD`, `KNOWN` (the mask says whether this is head; elsewhere
the pixel counts neither in a loss nor in a score), `PERSON` (belongs to the labelled person, so it
can be cut out and set into a scene), `SEARCHED` (a head whose centre is here has a box), `NECK` and
`HAT` (CelebAMask-HQ alone). Boxes go from the crown (hair and hat included) to the chin, and do not
follow long hair down.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headcut.errors import PhotoError
from headcut.geometry import BoolArray, FloatArray, U8Array, connected, enclosed
from headcut.photo import load_photo
from headcut_train.jaw import DOUBTFUL, below, find_jaw

HEAD, KNOWN, PERSON, SEARCHED, NECK, HAT = 1, 2, 4, 8, 16, 32

HOLD_OUT_EVERY = 7
"""Where a set has no validation folder, every seventh sample (by name) is held out."""

ASPECT = 0.85
"""Width by height of a head's box where only its height is labelled (median in SCUT-HEAD: 0.88)."""


LABELS = Path(__file__).with_name("labels")
"""What somebody saw in the photos that the sets do not say, one file a set; see its reader."""

NO_BOXES = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A photo with what is known of its heads.

    Attributes:
        name: source, split and stem, as in "celebamask/val/00001".
        photo: (H, W, 3) uint8 sRGB.
        plane: (H, W) uint8 of the bits above.
        boxes: (N, 4) float32, left, top, right, bottom in pixels; N may be 0.
        ignored: (M, 4) float32 boxes of doubtful heads, neither right nor wrong to find.
        masked: the plane's `HEAD` bit is the whole head; otherwise boxes tell where heads are, and
            `HEAD`, if any, is but the first head's hair.
        tags: of each box, words on its view and state, where they are labelled.
        mistaken: (K, 4) float32 boxes that a finder took for heads by mistake; see `mistakes`.
        trap: nobody is in the photo, yet finder and segmenter took those for heads.
        neck_labelled: where no `NECK` bit is set, there is surely no neck, among known pixels.
    """

    name: str
    photo: U8Array
    plane: U8Array
    boxes: FloatArray
    ignored: FloatArray
    masked: bool
    tags: tuple[tuple[str, ...], ...] = ()
    mistaken: FloatArray = field(default_factory=lambda: NO_BOXES)
    trap: bool = False
    neck_labelled: bool = True

    @property
    def shows_nobody(self) -> bool:
        """Whether surely no person is in the photo."""
        return self.masked and not (self.plane[::8, ::8] & (HEAD | PERSON)).any()

    @property
    def shows_hat(self) -> bool:
        """Whether somebody in the photo is labelled as wearing a hat."""
        return any("hat" in words for words in self.tags)


Reader = Callable[[Path, str], Iterator[Sample]]


def _photo(path: Path) -> U8Array:
    try:
        return load_photo(path)
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from error


def _label(path: Path) -> U8Array:
    with Image.open(path) as image:
        return np.asarray(image)


def _boxes(rows: list[tuple[float, float, float, float]]) -> FloatArray:
    return np.array(rows, np.float32).reshape(-1, 4)


def _held_out(paths: list[Path], split: str) -> list[Path]:
    """Return the part of a set without folders for its splits that belongs to `split`."""
    return [p for i, p in enumerate(paths) if (i % HOLD_OUT_EVERY == 0) == (split == "val")]


def _pairs(folder: Path) -> Iterator[tuple[Path, U8Array, U8Array]]:
    for path in sorted((folder / "images").iterdir()):
        yield path, _photo(path), _label(folder / "labels" / f"{path.stem}.png")


def skull_box(head: BoolArray, chin: float) -> FloatArray:
    """Return the box from the top of a head mask to the chin, as wide as the mask at eye height.

    Long hair beside the face is cut to what a head can be wide.
    """
    rows = np.flatnonzero(head.any(1))
    top = float(rows[0])
    height = max(chin - top, 4.0)
    middle = head[int(top + 0.25 * height) : int(top + 0.6 * height) + 1]
    columns = np.flatnonzero((middle if middle.any() else head).any(0))
    centre = (columns[0] + columns[-1] + 1) / 2
    width = np.clip(columns[-1] + 1 - columns[0], 0.65 * height, 1.0 * height)
    return _boxes([(centre - width / 2, top, centre + width / 2, top + height)])


def _worn(hat: BoolArray, head: BoolArray) -> tuple[tuple[str, ...], ...]:
    """Return the tags of a photo's one head: "hat" if one covers some of it."""
    return (("hat",) if hat.sum() > 0.03 * head.sum() else (),)


def around(boxes: FloatArray, shape: tuple[int, int], reach: float) -> BoolArray:
    """Return the (H, W) bool of pixels within `reach` box heights of a box's centre."""
    near = np.zeros(shape, bool)
    for left, top, right, bottom in boxes:
        radius = reach * (bottom - top)
        x, y = (left + right) / 2, (top + bottom) / 2
        rows = slice(max(0, int(y - radius)), max(0, math.ceil(y + radius)))
        near[rows, max(0, int(x - radius)) : max(0, math.ceil(x + radius))] = True
    return near


def celebamask(root: Path, split: str) -> Iterator[Sample]:
    """CelebAMask-HQ: tight portraits, every pixel known; class 17 is the neck.

    Masks with arms and hands in them, or with a halo of background, teach nothing:
    `labels/celebamask.json` has those.
    """
    wrong = set(_drawn("celebamask")["wrong"])
    for path, photo, label in _pairs(root / "celebamask" / split):
        if path.stem in wrong:
            continue
        head = (label >= 1) & (label <= 15)
        face = np.isin(label, (1, 2, 4, 5, 6, 7, 10, 11, 12))
        if not face.any():
            continue
        chin = float(np.flatnonzero(face.any(1))[-1] + 1)
        plane = head * HEAD | (label > 0) * PERSON | (label == 17) * NECK | (label == 14) * HAT
        yield Sample(
            name=f"celebamask/{split}/{path.stem}",
            photo=photo,
            plane=(plane | KNOWN | SEARCHED).astype(np.uint8),
            boxes=skull_box(head, chin),
            ignored=NO_BOXES,
            masked=True,
            tags=_worn(label == 14, head),
        )


JAW_EDGE = 0.01
"""How far from a jaw line, up and down, nobody knows what is neck, as a share of the head's height:
on 150 portraits of CelebAMask-HQ 0.8 % of the neck lies further above, 1.1 % of the face below."""


def parted_by_jaw(photo: U8Array, head: BoolArray) -> tuple[BoolArray, BoolArray, float] | None:
    """Return the (H, W) pixels surely above a jaw, those surely below, and the chin's row.

    None, where no jaw is found or its line is doubtful.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        head: (H, W), the head with its neck.

    Raises:
        OptionError: MediaPipe is not installed.
    """
    jaw = find_jaw(photo, head)
    if jaw is None or jaw.confidence < DOUBTFUL:
        return None
    edge = np.array([0, JAW_EDGE * (jaw.chin_px - np.flatnonzero(head.any(1))[0])], np.float32)
    above = ~below(jaw.line - edge, head.shape)
    return above, below(jaw.line + edge, head.shape), jaw.chin_px


LFW_CHIN = (0.64, 0.72, 0.78)
"""The highest, the typical and the lowest chin in funneled LFW photos, as shares of the height: for
those in which no jaw is found."""

LFW_HAT = 0.24
"""A head that begins below this share of the height wears a hat, or is bald (looked at: 48)."""

LFW_CROWN = 0.18
"""About where the top of a hat is, as a share of the height."""


def lfw_parts(root: Path, split: str) -> Iterator[Sample]:
    """LFW parts: red hair, green skin with the neck in it, blue the rest, on superpixels.

    The jaw line parts face and neck; without one, green below the highest chin is unknown to a
    score, and well below the lowest one it is neck.
    Hats and dark lenses are blue, which is wrong: blue within a face is unknown too, and so is what
    is above or beside a head that begins too low, or wears a hat by `labels/lfw_parts.json`. Masks
    that are "wrong" by that file are left out.
    """
    seen = _drawn("lfw_parts")
    hats, wrong = set(seen["hats"]), set(seen["wrong"])
    for path, photo, label in _pairs(root / "lfw_parts" / split):
        if path.stem in wrong:
            continue
        hair, skin = label[..., 0] > 127, label[..., 1] > 127
        if not skin.any():
            continue
        parted = parted_by_jaw(photo, hair | skin)
        if parted is None:
            rows = np.arange(len(label))[:, None]
            highest, typical, lowest = (share * len(label) for share in LFW_CHIN)
            lowest_skin = float(np.flatnonzero(skin.any(1))[-1] + 1)
            parted = rows < highest, rows >= lowest, min(lowest_skin, typical)
        above, under, chin = parted
        head = hair | (skin & above)
        boxes = skull_box(head, chin)
        hat = np.zeros_like(head)
        middle = head[:, int(0.4 * head.shape[1]) : int(0.6 * head.shape[1])].mean(axis=1)
        if path.stem in hats or (middle > 0.5).argmax() > LFW_HAT * len(label):
            left, _, right, bottom = boxes[0]
            brim = 0.3 * (right - left)
            hat[: int(bottom), max(0, int(left - brim)) : int(right + brim)] = True
            boxes[0, 1] = min(boxes[0, 1], LFW_CROWN * len(label))
        background = ~(hair | skin)
        known = head | (background & ~enclosed(background) & ~hat)
        searched = around(boxes, head.shape, 0.7)  # others who are in the photo have no box
        neck = skin & ~head & under
        plane = head * HEAD | known * KNOWN | searched * SEARCHED | neck * NECK
        yield Sample(
            name=f"lfw_parts/{split}/{path.stem}",
            photo=photo,
            plane=plane.astype(np.uint8),
            boxes=boxes,
            ignored=NO_BOXES,
            masked=True,
        )


def figaro_hair(root: Path, split: str) -> Iterator[Sample]:
    """Figaro: hair is head, and boxes say where the heads are; see `_looked_at`.

    Half of these heads are seen from behind, of which the other sets have few. Hair that is not
    connected with the first box is somebody else's.
    """
    folder = root / "figaro_hair" / "train"
    paths = _held_out(sorted((folder / "images").iterdir()), split)
    for sample in _looked_at("figaro_hair", split, paths):
        hair = _label(folder / "labels" / f"{_stem(sample)}.png") > 127
        left, top, right, bottom = np.maximum(sample.boxes[0], 0).astype(int)
        first = np.zeros_like(hair)
        first[top:bottom, left:right] = True
        own = connected(hair, first)
        yield replace(sample, plane=sample.plane | (own * (HEAD | KNOWN)).astype(np.uint8))


def clothing_coparsing(root: Path, split: str) -> Iterator[Sample]:
    """Clothing co-parsing: full-body photos; the face is skin (41), and so are neck and limbs.

    Skin that touches hair, hat or glasses is the face, the neck or a hand: above the jaw line it is
    head, below and under the head it is neck, elsewhere unknown to a score. Without a jaw line the
    upper part is head, and what is well below the chin is neck. Standing people are 7 to 8 heads
    tall, which bounds the chin.
    """
    folder = root / "clothing_coparsing" / "train"
    for path in _held_out(sorted((folder / "images").iterdir()), split):
        photo, label = _photo(path), _label(folder / "labels" / f"{path.stem}.png")
        worn = np.isin(label, (17, 19, 20, 47))
        person = label > 0
        if worn.sum() < 30:
            continue
        top = int(np.flatnonzero(worn.any(1))[0])
        body = int(np.flatnonzero(person.any(1))[-1]) + 1 - top
        rows = np.arange(len(label))[:, None]
        skin = (label == 41) & (rows < top + int(0.2 * body))
        face = connected(skin | worn, worn) & skin
        if not face.any():
            continue
        parted = parted_by_jaw(photo, worn | face)
        if parted is None:
            lowest = int(np.flatnonzero(face.any(1))[-1]) + 1
            height = float(np.clip(0.8 * (lowest - top), 0.1 * body, 0.15 * body))
            parted = rows < top + 0.75 * height, rows >= top + 1.2 * height, top + height
        above, under, chin = parted
        head = worn | (face & above)
        known = ~(face & ~head)
        boxes = skull_box(head, chin)
        left, _, right, _ = boxes[0]
        between = np.abs(np.arange(label.shape[1]) - (left + right) / 2) < (right - left) / 2
        neck = face & ~head & under & between
        # Passers-by are not labelled, so only on the person there is surely no other head.
        plane = head * HEAD | known * KNOWN | person * (PERSON | SEARCHED) | neck * NECK
        yield Sample(
            name=f"clothing_coparsing/{split}/{path.stem}",
            photo=photo,
            plane=plane.astype(np.uint8),
            boxes=boxes,
            ignored=NO_BOXES,
            masked=True,
            tags=_worn(label == 20, head),
        )


FASSEG_HELD_OUT = ("personne03", "personne06")
"""Of the seven people whose turned faces FASSEG shows."""


def fasseg(root: Path, split: str) -> Iterator[Sample]:
    """FASSEG: yellow skin with the neck in it, dark red hair, red clothes and background.

    Five people, turned by up to 90 degrees, are trained on: other sets have few necks in profile.
    Two more and all frontal faces are held out. The jaw line parts face and neck; photos without a
    sure one are left out, and so are those whose line is "wrong" by `labels/fasseg.json`: it lies
    above the chin. Head and neck are the person, to be set before other backgrounds than their
    grey wall; clothes are not labelled. Other than LFW's, a neck counts in IoU.
    """
    wrong = set(_drawn("fasseg")["wrong"])
    for folder in ("multipose",) if split == "train" else ("frontal", "multipose"):
        for path in sorted((root / "fasseg" / folder / "images").iterdir()):
            held_out = folder == "frontal" or path.stem.startswith(FASSEG_HELD_OUT)
            if held_out == (split == "train") or path.stem in wrong:
                continue
            photo = _photo(path)
            label = _label(root / "fasseg" / folder / "labels" / f"{path.stem}.png")
            # Blue eyes, a cyan nose and a green mouth are face.
            bright, yellow = label[..., 0] > 191, label[..., 1] > 127
            whole, skin = ~bright | yellow, bright & yellow
            parted = parted_by_jaw(photo, whole)
            if parted is None:
                continue
            above, under, chin = parted
            head = whole & (above | ~skin)
            known = above | under | ~skin
            plane = head * HEAD | known * KNOWN | whole * PERSON | (skin & under) * NECK
            yield Sample(
                name=f"fasseg/{split}/{path.stem}",
                photo=photo,
                plane=(plane | SEARCHED).astype(np.uint8),
                boxes=skull_box(head, chin),
                ignored=NO_BOXES,
                masked=True,
            )


def _boxed(root: Path, folder: str, split: str, stems: list[Path]) -> Iterator[Sample]:
    """Samples of photos whose heads are boxed in `heads.jsonl`, as fractions of the picture."""
    top = root / folder
    lines = (top / "heads.jsonl").read_text("utf-8").splitlines()
    labels = {entry["file"]: entry for entry in map(json.loads, lines)}
    for path in stems:
        if path.stem not in labels:
            continue
        photo = _photo(path)
        height, width = photo.shape[:2]
        heads, ignored, tags = [], [], []
        for head in labels[path.stem]["heads"]:
            tall = head["h"] * height
            wide = head["w"] * width if "w" in head else ASPECT * tall
            x, y = head["x"] * width, head["y"] * height
            box = (x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2)
            if head.get("ignore"):
                ignored.append(box)
                continue
            heads.append(box)
            words = re.split(r"[,|]", f"{head.get('view', '')},{head.get('note', '')}")
            tags.append(tuple(word.strip() for word in words if word.strip()))
        boxes = _boxes(heads)
        # In a crowd not every head is labelled, so none found there is surely wrong.
        searched = np.full((height, width), not labels[path.stem].get("crowd", False))
        yield Sample(
            name=f"{folder}/{split}/{path.stem}",
            photo=photo,
            plane=(searched * SEARCHED).astype(np.uint8),
            boxes=boxes,
            ignored=_boxes(ignored),
            masked=False,
            tags=tuple(tags),
        )


SCUT_BORDER = 0.04
"""Width of the border of a photo, as a share of its shorter side, where SCUT-HEAD's heads are cut:
of a hundred that a finder took for heads there by mistake, nearly half were heads without a box."""


def scut_heads(root: Path, split: str) -> Iterator[Sample]:
    """SCUT-HEAD part B: heads boxed, front, side and back, but for many that the border cuts.

    Nothing at the border teaches that there is no head. What was taken for heads by
    mistake was looked at: `labels/scut_heads.json` has the heads among that, in the form of
    `_looked_at`. Scores go by the boxes of the set.
    """
    drawn = _drawn("scut_heads")
    paths = sorted((root / "scut_heads" / "images").iterdir())
    for sample in _boxed(root, "scut_heads", split, _held_out(paths, split)):
        if split == "train":
            border = math.ceil(SCUT_BORDER * min(sample.plane.shape))
            inner = sample.plane[border:-border, border:-border]
            stem, shape = _stem(sample), sample.plane.shape
            heads = _in_pixels(drawn["heads"], stem, shape)
            doubtful = _in_pixels(drawn["doubtful"], stem, shape)
            sample = replace(
                sample,
                plane=np.pad(inner, border),
                boxes=np.concatenate([sample.boxes, heads]),
                ignored=np.concatenate([sample.ignored, doubtful]),
                tags=(*sample.tags, *((),) * len(heads)),
            )
        yield sample


def person_crops(root: Path, split: str) -> Iterator[Sample]:
    """People cut from ordinary photos: boxes; see `_looked_at`.

    The set's own boxes, one a photo, were placed by a pose model, small, on the face.
    """
    paths = sorted((root / "person_crops" / "images").iterdir())
    yield from _looked_at("person_crops", split, paths if split == "train" else [])


def _looked_at(source: str, split: str, paths: list[Path]) -> Iterator[Sample]:
    """Samples of photos in which somebody has drawn the boxes, after a look at every photo.

    `labels/SOURCE.json` has them as (left, top, right, bottom) in thousandths of the width and the
    height. "heads" are all that a photo shows, the main person's first, and that one wears a hat
    in "hats". In "open" photos there are more, so only what is near a box is searched. A photo
    without a box is left out.
    """
    drawn = _drawn(source)
    hats, open_photos = set(drawn["hats"]), set(drawn["open"])
    for path in paths:
        if not drawn["heads"].get(path.stem):
            continue
        photo = _photo(path)
        shape = photo.shape[:2]
        boxes = _in_pixels(drawn["heads"], path.stem, shape)
        is_open = path.stem in open_photos
        searched = around(boxes, shape, 1.5) if is_open else np.ones(shape, bool)
        yield Sample(
            name=f"{source}/{split}/{path.stem}",
            photo=photo,
            plane=(searched * SEARCHED).astype(np.uint8),
            boxes=boxes,
            ignored=_in_pixels(drawn["doubtful"], path.stem, shape),
            masked=False,
            tags=(("hat",) if path.stem in hats else (), *((),) * (len(boxes) - 1)),
        )


def _drawn(source: str) -> dict[str, Any]:
    """Return what somebody drew, or said, of a source's photos."""
    drawn: dict[str, Any] = json.loads((LABELS / f"{source}.json").read_text("utf-8"))
    return drawn


def _stem(sample: Sample) -> str:
    return sample.name.rsplit("/", 1)[1]


def _in_pixels(boxes: dict[str, Any], stem: str, shape: tuple[int, ...]) -> FloatArray:
    """Return (N, 4), a photo's boxes in pixels, of boxes by stem in thousandths."""
    height, width = shape
    scale = np.array([width, height, width, height], np.float32) / 1000
    return _boxes(boxes.get(stem, [])) * scale


def wild(root: Path, split: str) -> Iterator[Sample]:
    """Ordinary photos with every head labelled by eye: to measure on, never to train on."""
    paths = sorted((root / "wild").glob("*.webp"))
    return _boxed(root, "wild", split, paths if split == "val" else [])


def scenes(root: Path, split: str) -> Iterator[Sample]:
    """Photos without any person."""
    for path in _held_out(sorted((root / "scenes").iterdir()), split):
        photo = _photo(path)
        yield Sample(
            name=f"scenes/{split}/{path.stem}",
            photo=photo,
            plane=np.full(photo.shape[:2], KNOWN | SEARCHED, np.uint8),
            boxes=NO_BOXES,
            ignored=NO_BOXES,
            masked=True,
        )


READERS: dict[str, Reader] = {
    reader.__name__: reader
    for reader in (
        celebamask,
        lfw_parts,
        figaro_hair,
        clothing_coparsing,
        fasseg,
        scut_heads,
        person_crops,
        scenes,
        wild,
    )
}
