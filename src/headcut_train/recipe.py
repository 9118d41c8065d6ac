"""A training recipe: a TOML file read into a frozen dataclass; an unknown key is an error."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from headcut.errors import OptionError
from headcut_train.networks import INPUT_SIZE, NETWORKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one network is trained."""

    network: str
    """A name in `networks.NETWORKS`."""
    steps: int
    """Optimiser steps in all."""
    batch: int = 16
    """Pictures a step and process."""
    learning_rate: float = 1.5e-3
    """Peak of AdamW's rate, a third of Muon's: a linear warm-up, then a cosine down."""
    last_rate_share: float = 0.01
    """Where the cosine ends, as a share of the peak."""
    warmup_steps: int = 200
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    """Decay a step of the averaged weights, which are what is exported."""
    sizes: tuple[tuple[float, int], ...] = ((1.0, INPUT_SIZE),)
    """(share of the steps until which, input side): small pictures first, for they are cheap."""
    steps_an_epoch: int = 500
    """A checkpoint and a row of curves are written this often."""
    seed: int = 1
    muon: bool = True
    """Whether Muon takes the inner kernels; else AdamW takes all."""
    loss: str = ""
    """"square" for the mean squared error; else the network's own of `losses.LOSSES`."""
    pictures: str = ""
    """"framed" for heads that fill the picture, "whole" for whole photos, mirrored or not; else the
    network's own of `train.PICTURES`."""

    def size_at(self, step: int) -> int:
        """Return the side of the pictures of a step, in pixels."""
        for share, size in self.sizes:
            if step < share * self.steps:
                return size
        return self.sizes[-1][1]


_WHOLE = {"steps": 1, "batch": 1, "warmup_steps": 0, "steps_an_epoch": 1, "seed": 0}
"""Keys of whole numbers, with the least that makes sense."""
_REAL = {"learning_rate", "last_rate_share", "weight_decay", "ema_decay"}
_CHOSEN = {"loss": ("", "square"), "pictures": ("", "framed", "whole")}


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        OptionError: the file is missing, is not TOML, or has an unknown, missing or wrong key.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither UTF-8 nor TOML
        raise OptionError(f"{path}: cannot be read as a recipe ({error})") from error
    known = {field.name for field in fields(Recipe)}
    if unknown := set(table) - known:
        raise OptionError(f"{path}: unknown key {sorted(unknown)}; known are {sorted(known)}")
    if missing := {"network", "steps"} - set(table):
        raise OptionError(f"{path}: missing key {sorted(missing)}")
    if table["network"] not in NETWORKS:
        raise OptionError(f"{path}: network must be one of {sorted(NETWORKS)}")
    for name, value in table.items():
        if name in _WHOLE and not (type(value) is int and value >= _WHOLE[name]):
            raise OptionError(f"{path}: {name} must be a whole number from {_WHOLE[name]} on")
        if name in _REAL and not (type(value) in (int, float) and value >= 0):
            raise OptionError(f"{path}: {name} must be a number from 0 on")
        if name == "muon" and type(value) is not bool:
            raise OptionError(f"{path}: muon must be true or false")
        if name in _CHOSEN and value not in _CHOSEN[name]:
            allowed = " or ".join(map(repr, _CHOSEN[name][1:]))
            raise OptionError(f"{path}: {name} must be {allowed}, or not be there")
    if "sizes" in table:
        table["sizes"] = _read_sizes(path, table["sizes"])
    return Recipe(**table)


def _read_sizes(path: Path, rows: object) -> tuple[tuple[float, int], ...]:
    try:
        sizes = tuple((float(share), int(size)) for share, size in rows)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise OptionError(f"{path}: sizes must be pairs, as in [[0.5, 128], [1.0, 256]]") from error
    if not sizes or any(size % 32 or size <= 0 for _, size in sizes):
        raise OptionError(f"{path}: sizes must be multiples of 32")
    return sizes
