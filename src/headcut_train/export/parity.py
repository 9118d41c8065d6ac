"""Is a file the network it came from? Both are run on the same pictures and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import headcut
from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array
from headcut_train.networks import INPUT_SIZE
from headcut_train.scenes import SEEN_BY

RESEARCH = "research use only: some of the training photos are for non-commercial research"
"""Licence of weights trained on the project's own data sets."""

Run = Callable[[U8Array], list[FloatArray]]
"""(S, S, 3) uint8 RGB -> the outputs, batch axis dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a file's outputs are from its network's, over some pictures.

    Probabilities, and for the finder also cells: 0.02 of a cell is 0.08 pixels of its input.
    """

    largest: float
    """Largest difference of any value of any output."""
    mean: float
    """Mean difference of the output that differs most."""
    iou: float
    """Intersection over union of both masks, all pictures together; 1 where there is no mask."""

    def __str__(self) -> str:
        return f"difference {self.largest:.5f} at most, {self.mean:.5f} mean, IoU {self.iou:.4f}"

    def within(self, limits: Parity) -> bool:
        """Whether this is as good as the limits; NaN never is."""
        return (
            self.largest <= limits.largest and self.mean <= limits.mean and self.iou >= limits.iou
        )


LIMITS = {
    "none": Parity(largest=0.001, mean=0.0001, iou=0.999),
    "fp16": Parity(largest=0.02, mean=0.002, iou=0.995),
    "int8": Parity(largest=1.0, mean=0.01, iou=0.97),
    "palette6": Parity(largest=1.0, mean=0.01, iou=0.97),
}
"""The worst that is written, by the precision of the weights."""


def compare(
    network: nn.Module,
    run: Run,
    crops: Iterable[U8Array],
    *,
    threshold: float = 0.5,
    binary: bool = False,
) -> Parity:
    """Return how far a file is from its network.

    Args:
        network: with `exported` and `output_names`.
        run: the file.
        crops: (256, 256, 3) uint8 each.
        threshold: the probability from which a pixel is in the mask.
        binary: the file gives masks instead of probabilities.
    """
    largest = 0.0
    sums, values = np.zeros(len(network.output_names)), 0  # type: ignore[arg-type]
    overlap = union = 0
    for crop in crops:
        wanted = outputs_of(network, crop)
        if binary:
            wanted = [(plane >= threshold).astype(np.float32) for plane in wanted]
        given = run(crop)
        for i, (ours, theirs) in enumerate(zip(wanted, given, strict=True)):
            difference = np.abs(theirs - ours)
            largest = float(np.maximum(largest, difference.max()))  # keeps NaN
            sums[i] += difference.mean()
        values += 1
        if network.output_names[0] == "mask":  # type: ignore[index]
            ours, theirs = wanted[0] >= threshold, given[0] >= threshold
            overlap, union = overlap + (ours & theirs).sum(), union + (ours | theirs).sum()
    return Parity(
        largest=largest, mean=float(sums.max()) / values, iou=overlap / union if union else 1.0
    )


def outputs_of(network: nn.Module, crop: U8Array) -> list[FloatArray]:
    """Return what a network gives for one (256, 256, 3) uint8 picture, batch axis dropped."""
    planes = torch.from_numpy(np.array(crop.transpose(2, 0, 1)[None])).float()
    with torch.inference_mode():
        return [output[0].numpy() for output in network.exported(planes)]  # type: ignore[operator]


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

    Of their halves: so a checkpoint and the weights that `train.save_weights` keeps of it agree.
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        kept = value.half() if value.dtype.is_floating_point else value
        digest.update(name.encode())
        digest.update(kept.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def metadata_of(network: nn.Module, name: str, *, threshold: float, licence: str) -> dict[str, str]:
    """Return what every exported file says of itself.

    Args:
        network: the one exported.
        name: of the network.
        threshold: the probability from which an answer counts as yes.
        licence: of the weights.
    """
    return {
        "name": f"headcut-{name}",
        "network": name,
        "version": headcut.__version__,
        "size": str(INPUT_SIZE),
        "threshold": f"{threshold:g}",
        "trained_on": ", ".join(SEEN_BY[name]),
        "licence": licence,
        "weights_sha256": weights_sha256(network),
    }
