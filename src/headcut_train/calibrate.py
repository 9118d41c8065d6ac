"""How sure a found head is: fitted on held-out photos, with the threshold that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from tqdm import tqdm

from headcut.errors import OptionError
from headcut.find import Calibration, Head, HeadFinder, log_odds, may_be_part, size_in
from headcut.geometry import BoolArray, FloatArray, U8Array
from headcut.pipeline import HeadCutter, Segmenter
from headcut_train.evaluate import counts_as_false
from headcut_train.metrics import match_heads
from headcut_train.sources import Sample

FITTED_ON = {
    "scut_heads": 0.2,
    "scenes": 1.0,
    "celebamask": 1.0,
    "lfw_parts": 1.0,
    "figaro_hair": 1.0,
    "clothing_coparsing": 1.0,
}
"""Held-out sets that the calibration is fitted on, and their weights.

In a lecture hall heads hide each other, and the closer look says little of them. With a weight of 1
for these it once counted for so little anywhere that portraits were missed. With 0.2 all of those
are found, and recall in lecture halls at a precision of 0.9 is 0.91; with 0.05 it is 0.90.
"""

MOST_PHOTOS_A_SET = 150
"""Photos that are looked at of a set, spread over it: looking takes a second each."""

MOST_SCENES_WITH_FALSE = 0.01
"""The threshold lets a false head into at most this share of the photos without people."""

THRESHOLD_MARGIN = 0.03
"""What is added to the least such threshold: the photos are few, and one of them decides. With
0.08, recall in ordinary photos was 0.835 instead of 0.851, with 5 false heads for 6 in 122."""


@dataclass
class Observations:
    """What was proposed in the photos of a set, and whether it was a head.

    Attributes:
        evidence: rows of `Calibration`'s terms: 1, log odds proposed, log odds confirmed, log size.
        right: whether each was a labelled head.
        photo: number of the photo of each.
        photos: how many photos were looked at.
    """

    evidence: list[list[float]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    photo: list[int] = field(default_factory=list)
    photos: int = 0


class _Recorder:
    """A finder that keeps what the closer look says of each proposal, and believes none."""

    threshold = 0.5

    def __init__(self, finder: HeadFinder):
        self.finder = finder
        self.seen: dict[Head, float] = {}

    def find(self, photo: U8Array) -> list[Head]:
        self.seen = {}
        return self.finder.find(photo)

    def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
        self.seen[head] = share  # the last one counts: a share of 1 asks if a look is worth it
        return float(share == 1)


def observe(finder: HeadFinder, segmenter: Segmenter, samples: Sequence[Sample]) -> Observations:
    """Return what is proposed in photos, and whether it is right.

    The calibration that is in the finder's file already has no say in it.
    """
    recorder = _Recorder(finder)
    cutter = HeadCutter(finder=recorder, segmenter=segmenter)
    observed = Observations()
    for sample in tqdm(samples, leave=False, disable=None):
        cutter.find(np.array(sample.photo))
        by_box = {h.box_px: (h.confidence, share) for h, share in recorder.seen.items()}
        shape = (sample.plane.shape[0], sample.plane.shape[1])
        found = [
            Head(head.box_px, Calibration().chance(head.confidence, share, size=1.0))
            for head, share in recorder.seen.items()
        ]
        # By their boxes alone: what a cutter keeps by its mask is rare.
        whole = [head for head in found if not any(may_be_part(head, other) for other in found)]
        ordered = sorted(whole, key=lambda head: -head.confidence)
        taken = match_heads([head.box_px for head in ordered], sample.boxes)
        for head, label in zip(ordered, taken, strict=True):
            if label is None and not counts_as_false(head, sample):
                continue
            sure, share = by_box[head.box_px]
            size = float(np.log(size_in(head, shape)))
            observed.evidence.append([1.0, log_odds(sure), log_odds(share), size])
            observed.right.append(label is not None)
            observed.photo.append(observed.photos)
        observed.photos += 1
    return observed


def fit(sets: Mapping[str, Observations]) -> Calibration:
    """Return the logistic regression of what is right, sets weighing as in `FITTED_ON`, or 1.

    Raises:
        OptionError: nothing was proposed, or all of it is right, or none.
    """
    used = {name: observed for name, observed in sets.items() if observed.right}
    right = np.concatenate([o.right for o in used.values()]) if used else np.zeros(0)
    if right.all() or not right.any():
        raise OptionError(
            "calibration needs right and wrong heads; give more photos or another finder"
        )
    evidence = np.concatenate([observed.evidence for observed in used.values()])
    weight = np.concatenate(
        [np.full(len(o.right), FITTED_ON.get(name, 1.0) / len(o.right)) for name, o in used.items()]
    )
    terms = np.zeros(evidence.shape[1])
    for _ in range(50):  # Newton's method; the ridge keeps it defined
        chance = 1 / (1 + np.exp(-evidence @ terms))
        slope = evidence.T @ (weight * (right - chance)) - 1e-4 * terms
        bend = (evidence * (weight * chance * (1 - chance))[:, None]).T @ evidence
        terms += np.linalg.solve(bend + 1e-4 * np.eye(len(terms)), slope)
    return Calibration(*(float(f"{term:.4g}") for term in terms))


def chances(calibration: Calibration, observed: Observations) -> FloatArray:
    """Return the chance of each observation, in [0, 1]."""
    terms = [calibration.constant, calibration.proposed, calibration.confirmed, calibration.size]
    evidence = np.array(observed.evidence, np.float32).reshape(-1, len(terms))
    chance: FloatArray = 1 / (1 + np.exp(-(evidence @ np.array(terms, np.float32))))
    return chance


def safe_threshold(calibration: Calibration, scenes: Observations) -> float:
    """Return a threshold that lets false heads into few enough photos without people.

    It is the least such hundredth, and `THRESHOLD_MARGIN` more; 0.95 at the most.
    """
    chance, photo = chances(calibration, scenes), np.array(scenes.photo, int)
    for hundredth in range(5, 96):
        with_false = len(np.unique(photo[chance >= hundredth / 100]))
        if with_false <= MOST_SCENES_WITH_FALSE * scenes.photos:
            return min(0.95, round(hundredth / 100 + THRESHOLD_MARGIN, 2))
    return 0.95


def write_calibration(path: Path, calibration: Calibration, threshold: float) -> None:
    """Put a calibration and a threshold into a finder's model file."""
    model = onnx.load(str(path))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    numbers = (calibration.constant, calibration.proposed, calibration.confirmed, calibration.size)
    metadata |= {
        "calibration": " ".join(f"{number:g}" for number in numbers),
        "threshold": f"{threshold:g}",
    }
    helper.set_model_props(model, metadata)
    part = path.with_suffix(".part")
    part.write_bytes(model.SerializeToString())
    part.replace(path)


def draw_reliability(
    calibration: Calibration, sets: Mapping[str, Observations], path: Path
) -> None:
    """Draw, by set, which share of heads of a confidence is right: ideally as many as it says."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    edges = np.linspace(0, 1, 11)
    for name, observed in sets.items():
        chance, right = chances(calibration, observed), np.array(observed.right, float)
        bins: BoolArray = np.digitize(chance, edges[1:-1]) == np.arange(10)[:, None]
        points = [(chance[b].mean(), right[b].mean()) for b in bins if b.sum() >= 10]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="confidence", ylabel="share of right heads", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(path)
