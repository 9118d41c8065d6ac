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
    """Peak of AdamW's rate: a linear warm-up, then a cosine down to 1 % of it."""
    warmup_steps: int = 200
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    """Decay a step of the averaged weights, which are what is exported."""
    sizes: tuple[tuple[float, int], ...] = ((1.0, INPUT_SIZE),)
    """(share of the steps until which, input side): small pictures first, for they are cheap."""
    steps_an_epoch: int = 500
    """A checkpoint and a row of curves are written this often."""
    seed: int = 1

    def size_at(self, step: int) -> int:
        """Return the side of the pictures of a step, in pixels."""
        for share, size in self.sizes:
            if step < share * self.steps:
                return size
        return self.sizes[-1][1]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        OptionError: the file is missing, is not TOML, or has an unknown, missing or wrong key.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path}: {error}") from error
    known = {field.name for field in fields(Recipe)}
    if unknown := set(table) - known:
        raise OptionError(f"{path}: unknown key {sorted(unknown)}; known are {sorted(known)}")
    if missing := {"network", "steps"} - set(table):
        raise OptionError(f"{path}: missing key {sorted(missing)}")
    if table["network"] not in NETWORKS:
        raise OptionError(f"{path}: network must be one of {sorted(NETWORKS)}")
    if "sizes" in table:
        table["sizes"] = tuple((float(share), int(size)) for share, size in table["sizes"])
        if any(size % 32 for _, size in table["sizes"]):
            raise OptionError(f"{path}: sizes must be multiples of 32")
    return Recipe(**table)
