"""Scores of the exported files, run through `headcut` as a user runs it, by set of photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from headcut.cutout import CutOut
from headcut.errors import OptionError
from headcut.find import Head, believed
from headcut.geometry import U8Array, crop_for_model, paste_alpha, whole_photo_box
from headcut.pipeline import HeadCutter
from headcut.segment import HeadSegmenter
from headcut_train.cache import CachedSource
from headcut_train.far import COMPOSED_OF, Composed, composed
from headcut_train.manifest import read_manifest, sample_of
from headcut_train.metrics import (
    BoolArray,
    average_precision,
    boundary_f,
    iou,
    is_found,
    match_heads,
    recall_at_precision,
)
from headcut_train.sources import HEAD, KNOWN, NECK, SEARCHED, Sample

MASKED_SETS = ("celebamask", "lfw_parts", "clothing_coparsing", "fasseg")
FOUND_SETS = ("scenes", "scut_heads", "figaro_hair", "wild")
"""Sets whose heads are boxed, or that have none."""

COMPOSED, COMPOSED_PHOTOS, COMPOSED_PX = "composed", 200, 768
"""Name, number and side of the pictures set together from held-out people and scenes."""

SAME_HEAD_IOU = 0.3
"""A cut-out with a larger IoU with a head is a cut of that head."""

FEWEST_TAGGED = 10
"""Words on heads' views and states that fewer heads have get no row."""

HEIGHTS = (0.04, 0.06)
"""Shares of the photo's height from which on heads are counted apart."""

PRECISION = 0.9
"""At which recall is given, whatever the finder's own threshold."""


@dataclass
class MaskScores:
    """Sums over the photos of a set with masks; a head not found scores 0."""

    photos: int = 0
    missed: int = 0
    iou: list[float] = field(default_factory=list)
    boundary_f: list[float] = field(default_factory=list)
    neck_px: int = 0
    neck_called_head_px: int = 0

    def add(self, found: BoolArray, sample: Sample) -> None:
        """Count one photo, given which of its pixels were called head."""
        head, known = (sample.plane & HEAD) > 0, (sample.plane & KNOWN) > 0
        neck = (sample.plane & NECK) > 0
        self.photos += 1
        self.missed += not found.any()
        self.iou.append(iou(found, head, known))
        self.boundary_f.append(boundary_f(found, head, known))
        self.neck_px += int(neck.sum())
        self.neck_called_head_px += int((neck & found).sum())

    def row(self) -> dict[str, float]:
        """Return the means by name; a score that nothing counts in is left out."""
        row: dict[str, float] = {"photos": self.photos, "missed": self.missed}
        if self.photos:
            row["iou"] = float(np.mean(self.iou))
            row["boundary_f"] = float(np.mean(self.boundary_f))
        if self.neck_px:
            row["neck_leak"] = self.neck_called_head_px / self.neck_px
        return row


@dataclass
class FoundScores:
    """Counts over the photos of a set whose heads are boxed."""

    photos: int = 0
    photos_with_false: int = 0
    false: int = 0
    confidences: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    found_heights: list[float] = field(default_factory=list)
    """Of the labelled heads that were found, as `heights`; 0 for a false one."""
    heights: list[float] = field(default_factory=list)
    """Of the labelled heads, as shares of the photo's height."""
    hit: list[bool] = field(default_factory=list)
    """Whether each labelled head was found, sure enough alone or in company."""
    tags: list[tuple[str, ...]] = field(default_factory=list)
    """Words on each labelled head's view and state."""
    iou: list[float] = field(default_factory=list)
    """Of the cut-outs of found heads, where the heads have masks."""

    def add(self, heads: Sequence[Head], sample: Sample, threshold: float) -> None:
        """Count one photo; `heads` may hold some below the threshold, for the curve."""
        ordered = sorted(heads, key=lambda head: -head.confidence)
        taken = match_heads([head.box_px for head in ordered], sample.boxes)
        heights = [float(box[3] - box[1]) / len(sample.plane) for box in sample.boxes]
        counted = believed(ordered, threshold)
        found, false = set(), 0
        for head, label in zip(ordered, taken, strict=True):
            if label is None and not counts_as_false(head, sample):
                continue
            self.confidences.append(head.confidence)
            self.right.append(label is not None)
            self.found_heights.append(0.0 if label is None else heights[label])
            if head in counted:
                found.add(label)
                false += label is None
        self.photos += 1
        self.false += false
        self.photos_with_false += false > 0
        self.heights += heights
        self.hit += [i in found for i in range(len(sample.boxes))]
        self.tags += sample.tags or [()] * len(sample.boxes)

    def add_cut_outs(self, cut_outs: Sequence[CutOut], scene: Composed) -> None:
        """Count the masks of one composed picture."""
        masks = [cut_out.alpha >= 0.5 for cut_out in cut_outs]
        for head, known in zip(scene.heads > 127, scene.known, strict=True):
            best = max((iou(mask, head, known) for mask in masks), default=0.0)
            if best > SAME_HEAD_IOU:
                self.iou.append(best)

    def rows_by_tag(self) -> dict[str, dict[str, float]]:
        """Return heads and recall from the first of `HEIGHTS` on, by word."""
        large = np.array(self.heights) >= HEIGHTS[0]
        words = Counter(
            word for tags, counts in zip(self.tags, large, strict=True) if counts for word in tags
        )
        rows = {}
        for word, count in words.most_common():
            if count >= FEWEST_TAGGED:
                mine = large & [word in tags for tags in self.tags]
                rows[word] = {
                    "heads": count,
                    f"recall_from_{HEIGHTS[0]:.0%}": float(np.array(self.hit)[mine].mean()),
                }
        return rows

    def _recall_at_precision(self, least: float) -> float:
        """Return the recall of heads of a height on, where their precision is `PRECISION`."""
        counted = [
            (confidence, right)
            for confidence, right, height in zip(
                self.confidences, self.right, self.found_heights, strict=True
            )
            if not right or height >= least
        ]
        confidences, right = zip(*counted, strict=True) if counted else ((), ())
        labelled = sum(height >= least for height in self.heights)
        return recall_at_precision(confidences, right, labelled, PRECISION)

    def row(self) -> dict[str, float]:
        """Return the scores by name; a score that nothing counts in is left out."""
        row: dict[str, float] = {"photos": self.photos, "heads": len(self.hit)}
        if self.photos:
            row["false_a_photo"] = self.false / self.photos
            row["photos_with_false"] = self.photos_with_false / self.photos
        if self.hit:
            hit, heights = np.array(self.hit), np.array(self.heights)
            row["recall"] = float(hit.mean())
            for height in HEIGHTS:
                large = heights >= height
                if large.any():
                    row[f"recall_from_{height:.0%}"] = float(hit[large].mean())
                    at_precision = f"recall_from_{height:.0%}_at_precision_{PRECISION}"
                    row[at_precision] = self._recall_at_precision(height)
            row["average_precision"] = average_precision(self.confidences, self.right, len(hit))
        if any(self.tags):
            not_tiny = np.array(["tiny" not in tags for tags in self.tags])
            row["recall_not_tiny"] = float(hit[not_tiny].mean())
        if self.iou:
            row["iou"] = float(np.mean(self.iou))
        return row


def counts_as_false(head: Head, sample: Sample) -> bool:
    """Whether a head that matches no label is surely wrong."""
    left, top, right, bottom = head.box_px
    if any(is_found(head.box_px, tuple(box)) for box in sample.ignored):
        return False
    x, y = (left + right) / 2, (top + bottom) / 2
    height, width = sample.plane.shape
    row, column = int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))
    return bool(sample.plane[row, column] & SEARCHED)


def main_head(cut_outs: Sequence[CutOut], sample: Sample) -> BoolArray:
    """Return the (H, W) pixels of the cut-out that covers most of the labelled head.

    In sets with masks only the main person is labelled: others are neither right nor wrong.
    """
    head = (sample.plane & HEAD) > 0
    masks = [cut_out.alpha >= 0.5 for cut_out in cut_outs]
    return max(masks, key=lambda mask: int((mask & head).sum()), default=np.zeros_like(head))


def evaluate(
    cutter: HeadCutter, doubter: HeadCutter, *, data: Path, cache: Path, limit: int | None = None
) -> dict[str, dict[str, float]]:
    """Return the scores of a cutter by set, on held-out photos.

    Args:
        cutter: what is scored.
        doubter: the same with a threshold low enough for a precision-recall curve.
        data: folder of the data sets.
        cache: folder of the decoded samples.
        limit: photos a set at the most.
    """
    table: dict[str, dict[str, float]] = {}
    for name in MASKED_SETS:
        masks = MaskScores()
        for sample in _samples(data, cache, name, limit):
            masks.add(main_head(cutter.cut(np.array(sample.photo)), sample), sample)
        table[name] = masks.row()
    for name in FOUND_SETS:
        found = FoundScores()
        for sample in _samples(data, cache, name, limit):
            found.add(doubter.find(np.array(sample.photo)), sample, cutter.finder.threshold)
        table[name] = found.row()
        table |= {f"{name}, {word}": row for word, row in found.rows_by_tag().items()}
    found = FoundScores()
    people = {name: CachedSource(data, cache, name, "val") for name in COMPOSED_OF}
    for seed in range(min(COMPOSED_PHOTOS, limit or COMPOSED_PHOTOS)):
        scene = composed(people, np.random.default_rng([COMPOSED_PX, seed]), COMPOSED_PX)
        sample = _as_sample(scene)
        found.add(doubter.find(sample.photo), sample, cutter.finder.threshold)
        found.add_cut_outs(cutter.cut(sample.photo), scene)
    table[COMPOSED] = found.row()
    return table


def whole_head(segmenter: HeadSegmenter, photo: U8Array, threshold: float) -> BoolArray:
    """Return the (H, W) pixels that a network calls head when it looks at the whole photo.

    That is how the original works: no finder, one head.
    """
    shape = (photo.shape[0], photo.shape[1])
    look = whole_photo_box(shape)
    masks = segmenter.segment(crop_for_model(photo, look, segmenter.size)[None])
    alpha, (left, top, right, bottom) = paste_alpha(masks[0, 0], look, shape)
    head = np.zeros(shape, bool)
    head[top:bottom, left:right] = alpha >= threshold
    return head


def score_manifests(
    head_of: Callable[[Sample], BoolArray],
    paths: Sequence[Path],
    *,
    limit: int | None = None,
    keep: Callable[[Sample, BoolArray, float], None] = lambda *_: None,
) -> dict[str, dict[str, float]]:
    """Return the scores on the held-out pairs of manifests, by set.

    Args:
        head_of: what is scored: a sample -> the (H, W) pixels called head.
        paths: the manifests.
        limit: pairs a set at the most.
        keep: called with each sample, the (H, W) pixels called head, and their IoU.

    Raises:
        OptionError: a manifest is missing, damaged, or holds out no pair.
        PhotoError: a photo is missing or damaged.
    """
    table = {}
    for path in paths:
        manifest = read_manifest(path)
        if not (pairs := manifest.used("val")[:limit]):
            raise OptionError(f"{path}: no pair is held out; prepare with a larger --held-out")
        masks = MaskScores()
        for pair in tqdm(pairs, desc=manifest.name, leave=False, disable=None):
            sample = sample_of(manifest, pair)
            found = head_of(sample)
            masks.add(found, sample)
            keep(sample, found, masks.iou[-1])
        f1 = np.mean([2 * score / (1 + score) for score in masks.iou])
        name = str(path) if manifest.name in table else manifest.name
        table[name] = {**masks.row(), "f1": float(f1)}
    return table


def _as_sample(scene: Composed) -> Sample:
    """Return a composed picture with its boxes; those of which little shows are ignored."""
    side = len(scene.image)
    middles = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
    inside = ((middles > 0) & (middles < side)).all(axis=1)
    return Sample(
        name=COMPOSED,
        photo=scene.image,
        plane=np.full((side, side), KNOWN | SEARCHED, np.uint8),
        boxes=scene.boxes[inside],
        ignored=np.concatenate([scene.ignored, scene.boxes[~inside]]),
        masked=False,
    )


def _samples(data: Path, cache: Path, name: str, limit: int | None) -> tqdm[Sample]:
    source = CachedSource(data, cache, name, "val")
    chosen = [source[i] for i in range(min(len(source), limit or len(source)))]
    return tqdm(chosen, desc=name, leave=False, disable=None)


def as_text(table: dict[str, dict[str, float]]) -> str:
    """Return the scores as a table in Markdown, one row a set and "-" where nothing counts."""
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = [["set", *columns], ["---"] * (1 + len(columns))]
    for name, row in table.items():
        lines.append([name, *(f"{row[c]:.4g}" if c in row else "-" for c in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(1 + len(columns))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def contact_sheet(cutter: HeadCutter, photos: Sequence[U8Array], side: int = 240) -> U8Array:
    """Return (rows, columns, 3) uint8: photos dimmed where no head was found, to be looked at."""
    columns = 8
    rows = -(-len(photos) // columns)
    sheet = np.zeros((rows * side, columns * side, 3), np.uint8)
    for i, photo in enumerate(photos):
        alpha = np.zeros(photo.shape[:2], np.float32)
        for cut_out in cutter.cut(np.array(photo)):
            alpha = np.maximum(alpha, cut_out.alpha)
        shown = (photo * (0.25 + 0.75 * alpha[..., None])).astype(np.uint8)
        tile = crop_for_model(shown, whole_photo_box(alpha.shape), side)
        row, column = divmod(i, columns)
        sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return sheet
