"""Is a file the network it came from? Both are run on the same pictures and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import headcut
from headcut.errors import ModelError
from headcut.find import PROPOSED
from headcut.geometry import FloatArray, U8Array
from headcut_train.export.crops import Labelled
from headcut_train.metrics import iou
from headcut_train.networks import Network, halves_of

RESEARCH = "research use only: some of the training photos are for non-commercial research"
"""Licence of weights trained on the project's own data sets."""

Run = Callable[[U8Array], list[FloatArray]]
"""(S, S, 3) uint8 RGB -> the outputs, batch axis dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a file's outputs are from its network's, over some pictures.

    Probabilities, and for the finder also cells: 0.02 of a cell is 0.08 pixels of its input. Its
    boxes count where it proposes a head, and in the likeliest cell: elsewhere they mean nothing.
    """

    largest: float
    """Largest difference of any value of any output."""
    mean: float
    """Mean difference of the output that differs most."""
    iou: float
    """Intersection over union of both masks, all pictures together; 1 where there is no mask."""
    people: float | None = None
    """Mean IoU of the file's masks with those that people drew, where there are any."""
    lost: float = 0.0
    """How much larger that IoU is of the network's masks."""

    def __str__(self) -> str:
        words = f"difference {self.largest:.5f} at most, {self.mean:.5f} mean, IoU {self.iou:.4f}"
        if self.people is not None:
            words += f", IoU with people {self.people:.4f} ({-self.lost:+.4f})"
        return words

    def within(self, limits: Parity) -> bool:
        """Whether this is as good as the limits; NaN never is."""
        return (
            self.largest <= limits.largest
            and self.mean <= limits.mean
            and self.iou >= limits.iou
            and abs(self.lost) <= limits.lost
        )


LIMITS = {
    "none": Parity(largest=0.001, mean=0.0001, iou=0.999, lost=0.003),
    "fp16": Parity(largest=0.02, mean=0.002, iou=0.995, lost=0.003),
    "int8": Parity(largest=1.0, mean=0.05, iou=0.97, lost=0.003),
    "palette6": Parity(largest=1.0, mean=0.05, iou=0.97, lost=0.003),
}
"""The worst that is written, by the precision of the weights. Where they have few bits, masks are
held by their IoU; the mean holds the finder's boxes: 0.05 of a cell is 0.2 pixels of its input."""


def compare(
    network: Network,
    run: Run,
    crops: Iterable[U8Array],
    *,
    labelled: Labelled = (),
    threshold: float = 0.5,
    binary: bool = False,
) -> Parity:
    """Return how far a file is from its network.

    Args:
        network: with `exported` and `output_names`.
        run: the file.
        crops: (S, S, 3) uint8 each.
        labelled: crops with people's masks, for a network whose first output is a mask.
        threshold: the probability from which a pixel is in the mask.
        binary: the file gives masks instead of probabilities.
    """
    names = network.output_names
    largest = 0.0
    sums, values = np.zeros(len(names)), np.zeros(len(names))
    overlap = union = 0
    for crop in crops:
        wanted = outputs_of(network, crop)
        if binary:
            wanted = [(plane >= threshold).astype(np.float32) for plane in wanted]
        given = run(crop)
        for i, (ours, theirs) in enumerate(zip(wanted, given, strict=True)):
            difference = np.abs(theirs - ours)
            if names[i] == "box":
                chance = wanted[0][0]
                difference = difference[:, chance >= min(PROPOSED, chance.max())]
            largest = float(np.maximum(largest, difference.max()))  # keeps NaN
            sums[i] += difference.sum()
            values[i] += difference.size
        if names[0] == "mask":
            ours, theirs = wanted[0] >= threshold, given[0] >= threshold
            overlap, union = overlap + (ours & theirs).sum(), union + (ours | theirs).sum()
    parity = Parity(
        largest=largest,
        mean=float((sums / values).max()),
        iou=overlap / union if union else 1.0,
    )
    if not labelled:
        return parity
    people = _iou_with_people(run, labelled, threshold)
    lost = _iou_with_people(partial(outputs_of, network), labelled, threshold) - people
    return replace(parity, people=people, lost=lost)


def _iou_with_people(run: Run, labelled: Labelled, threshold: float) -> float:
    """Return the mean IoU of the masks with those that people drew."""
    scores = [iou(run(crop)[0][0] >= threshold, head, known) for crop, head, known in labelled]
    return float(np.mean(scores))


def outputs_of(network: Network, crop: U8Array) -> list[FloatArray]:
    """Return what a network gives for one (S, S, 3) uint8 picture, batch axis dropped."""
    planes = torch.from_numpy(np.array(crop.transpose(2, 0, 1)[None])).float()
    with torch.inference_mode():
        return [output[0].numpy() for output in network.exported(planes)]


def refuse(path: Path, parity: Parity, limits: Parity) -> None:
    """Raise if a file differs too much from its network.

    Raises:
        ModelError: it does.
    """
    if not parity.within(limits):
        raise ModelError(
            f"{path}: differs from the network ({parity}; limit {limits}); not written"
        )


def weights_sha256(network: nn.Module) -> str:
    """Return the sha-256 of a network's weights, in the order of its state.

    Of their halves: so a checkpoint and the weights that `train.keep_weights` keeps of it agree.
    """
    digest = hashlib.sha256()
    for name, kept in halves_of(network.state_dict()).items():
        digest.update(name.encode())
        digest.update(kept.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def metadata_of(
    network: Network,
    name: str,
    *,
    size: int,
    threshold: float,
    licence: str,
    trained_on: Sequence[str],
) -> dict[str, str]:
    """Return what every exported file says of itself.

    Args:
        network: the one exported.
        name: of the network.
        size: side of its input in pixels.
        threshold: the probability from which an answer counts as yes.
        licence: of the weights.
        trained_on: names of the sources it saw.
    """
    return {
        "name": f"headcut-{name}",
        "network": name,
        "version": headcut.__version__,
        "size": str(size),
        "threshold": f"{threshold:g}",
        "trained_on": ", ".join(trained_on),
        "licence": licence,
        "weights_sha256": weights_sha256(network),
    }
