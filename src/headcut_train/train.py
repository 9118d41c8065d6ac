"""The training loop, read downwards. The same code runs alone and under `torchrun`.

Picture k of a run is made from the seed (recipe seed, k) alone, so a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from headcut.errors import ModelError, OptionError
from headcut_train.cache import CachedSource
from headcut_train.far import far_picture
from headcut_train.losses import LOSSES
from headcut_train.near import framed_picture, near_picture, whole_picture
from headcut_train.networks import NETWORKS, Network, halves_of
from headcut_train.pictures import Sources
from headcut_train.recipe import Recipe

PICTURES = {
    "finder": far_picture,
    "segmenter": near_picture,
    "encoder-decoder": near_picture,
    "lr-aspp": near_picture,
    "framed": framed_picture,
    "whole": whole_picture,
}
"""What each network is trained on; and by the name that a recipe may choose instead."""

TRAIN_SOURCES = (
    "celebamask",
    "lfw_parts",
    "figaro_hair",
    "clothing_coparsing",
    "fasseg",
    "scut_heads",
    "person_crops",
    "scenes",
)


def open_sources(data: Path, cache: Path) -> dict[str, CachedSource]:
    """Return every source that training draws from, decoded into `cache` on first use."""
    return {name: CachedSource(data, cache, name, "train") for name in TRAIN_SOURCES}


class Pictures(Dataset[list[np.ndarray]]):
    """Picture k of a run, made when asked for."""

    def __init__(self, sources: Sources, recipe: Recipe, world: int):
        self.sources, self.recipe, self.world = sources, recipe, world

    def __getitem__(self, k: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.recipe.seed, k])
        size = self.recipe.size_at(k // (self.recipe.batch * self.world))
        make = PICTURES[self.recipe.pictures or self.recipe.network]
        picture = make(self.sources, rng, size)
        return [
            np.ascontiguousarray(picture.image.transpose(2, 0, 1)),
            picture.target,
            picture.weight,
            picture.box_weight,
        ]


def _batches(pictures: Pictures, first: int, rank: int, workers: int) -> Iterator[list[Tensor]]:
    """Yield the batches of this process from step `first` to the recipe's last."""
    batch, steps = pictures.recipe.batch, pictures.recipe.steps
    indices = [
        [(step * pictures.world + rank) * batch + i for i in range(batch)]
        for step in range(first, steps)
    ]
    loader = DataLoader(pictures, batch_sampler=indices, num_workers=workers)
    yield from loader


def _rate(recipe: Recipe, step: int) -> float:
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    least = recipe.last_rate_share
    return recipe.learning_rate * (least + (1 - least) * (1 + math.cos(math.pi * done)) / 2)


MUON_RATE = 3.0
"""Muon's learning rate, in learning rates of the recipe."""


class Optimizers:
    """Muon for the kernels within the network, AdamW for its first and last layer and its vectors.

    Muon (Jordan et al., 2024; its rate scaled to AdamW's as by Liu et al., 2025) takes matrices: a
    kernel is one of its output channels by all else. After 500 steps of 16 small crops the loss
    was 0.90 where AdamW alone gave 1.19.
    """

    def __init__(self, network: nn.Module, recipe: Recipe):
        parameters = list(network.parameters())
        kernels = [p for p in parameters if p.ndim == 4]
        self.kernels = kernels[1:-1] if recipe.muon else []
        inner = {id(p) for p in self.kernels}
        vectors = [p for p in parameters if p.ndim < 4]
        outer = [p for p in kernels if id(p) not in inner]
        # Views of the kernels: Muon writes through them.
        self._matrices = [nn.Parameter(_matrix(p.detach())) for p in self.kernels]
        rate, decay = recipe.learning_rate, recipe.weight_decay
        groups = [{"params": outer}, {"params": vectors, "weight_decay": 0.0}]
        self.all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
        ]
        if self._matrices:
            muon = torch.optim.Muon(
                self._matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
            self.all.insert(0, muon)

    def step(self, rate: float) -> None:
        """Take a step along the gradients, then forget them."""
        for matrix, kernel in zip(self._matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad)
        for optimizer in self.all:
            factor = MUON_RATE if isinstance(optimizer, torch.optim.Muon) else 1.0
            for group in optimizer.param_groups:
                group["lr"] = factor * rate
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self.all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for optimizer, state in zip(self.all, states, strict=True):
            optimizer.load_state_dict(state)


def _matrix(kernel: Tensor) -> Tensor:
    """Return a view of a channels-last kernel (O, I, h, w) as (O, h * w * I)."""
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    return kernel.permute(0, 2, 3, 1).view(len(kernel), -1)


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    state = network.state_dict()
    for name, mean in averaged.state_dict().items():
        value = state[name]
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _fast_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the processor multiplies it itself; elsewhere it would be slower."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=native or device.type == "cuda")


def train(
    recipe: Recipe,
    *,
    sources: Sources,
    out: Path,
    start_from: Path | None = None,
    workers: int = 1,
) -> Path:
    """Train a network and return its last checkpoint, `out/last.pt`; resume where one is there.

    Args:
        recipe: what to do.
        sources: samples by name, as from `open_sources`.
        out: folder for the checkpoint and `curves.csv` and `curves.png`.
        start_from: weights to begin with, where there is no checkpoint.
        workers: processes a trainer that make pictures; 0 makes them in the trainer.

    Raises:
        OptionError: the checkpoint in `out` is of another run: only `steps` may differ.
        ModelError: a checkpoint is missing or damaged.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.manual_seed(recipe.seed)
    network: nn.Module = NETWORKS[recipe.network]()
    network = network.to(device, memory_format=torch.channels_last)
    trained_on = set(sources)
    if start_from is not None:
        state = load_weights(network, start_from)
        trained_on.update(state["trained_on"])
    averaged = copy.deepcopy(network).requires_grad_(False)
    optimizer = Optimizers(network, recipe)
    last, first, rows = out / "last.pt", 0, []
    out.mkdir(parents=True, exist_ok=True)
    if last.exists():
        state = read_state(last)
        _refuse_another_run(state, recipe, sources, last)
        trained_on.update(state["trained_on"])
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        first, rows = state["step"], state["rows"]
    trained = DistributedDataParallel(network) if world > 1 else network
    loss_of = LOSSES[recipe.loss or recipe.network]
    batches = _batches(Pictures(sources, recipe, world), first, rank, workers)
    progress = tqdm(batches, initial=first, total=recipe.steps, disable=rank > 0, mininterval=10)
    losses: list[float] = []
    since = time.perf_counter()
    for step, (image, target, weight, box_weight) in enumerate(progress, start=first):
        image = image.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
        with _fast_precision(device):
            output = trained(image)
        known = (t.to(device) for t in (target, weight, box_weight))
        loss = loss_of(output.float(), *known)
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step(_rate(recipe, step))
        _average(averaged, network, min(recipe.ema_decay, (1 + step) / (10 + step)))
        losses.append(loss.item())
        done = step + 1
        if rank == 0 and (done % recipe.steps_an_epoch == 0 or done == recipe.steps):
            seconds, since = time.perf_counter() - since, time.perf_counter()
            rows.append([done, sum(losses) / len(losses), _rate(recipe, step), seconds])
            progress.set_postfix(loss=f"{rows[-1][1]:.4f}")
            losses.clear()
            state = {
                "recipe": asdict(recipe),
                "sources": sorted(sources),
                "trained_on": sorted(trained_on),
                "network": network.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": done,
                "rows": rows,
            }
            part = last.with_suffix(".part")
            torch.save(state, part)
            part.replace(last)
            _write_curves(rows, out)
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()
    return last


def _refuse_another_run(
    state: dict[str, Any], recipe: Recipe, sources: Sources, last: Path
) -> None:
    """Raise if a checkpoint cannot be gone on from; say so if there is nothing left to do."""
    before, now = state["recipe"], asdict(recipe)
    wrong = sorted(name for name in now if name != "steps" and before.get(name) != now[name])
    if state["sources"] != sorted(sources):
        wrong.append("photos")
    if wrong:
        what = ", ".join(wrong)
        raise OptionError(f"{last} is of another run (not the same {what}); choose another --out")
    if state["step"] >= recipe.steps:
        tqdm.write(f"{last}: this run has ended before; for another, choose another --out")


def size_of(state: dict[str, Any]) -> int:
    """Return the side of a checkpoint's last pictures."""
    return int(state["recipe"]["sizes"][-1][1])


def read_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint, whole or as `keep_weights` keeps it.

    Raises:
        ModelError: the file is missing, something else, or of another version.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such checkpoint; train one first")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ModelError(f"{path}: damaged or not a checkpoint; give runs/NAME/last.pt") from error
    known = isinstance(state, dict) and {"recipe", "trained_on", "averaged"} <= state.keys()
    if not known or state["recipe"].get("network") not in NETWORKS:
        raise ModelError(f"{path}: not a checkpoint of this version; give another, or train anew")
    return state


def load_weights(network: nn.Module, path: Path) -> dict[str, Any]:
    """Load the averaged weights of a checkpoint, whole or as `keep_weights` keeps it.

    Returns what was read, as `read_state` does.

    Raises:
        ModelError: the file is missing, damaged, or has the weights of another network.
    """
    state = read_state(path)
    _load(network, state, path)
    return state


def load_network(path: Path) -> tuple[Network, dict[str, Any]]:
    """Return the network that a checkpoint is of, with its averaged weights, and what was read.

    Raises:
        ModelError: as in `load_weights`.
    """
    state = read_state(path)
    network = NETWORKS[state["recipe"]["network"]]()
    _load(network, state, path)
    return network, state


def _load(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    try:
        network.load_state_dict({name: v.float() for name, v in state["averaged"].items()})
    except (RuntimeError, AttributeError) as error:
        wanted = type(network).__name__
        raise ModelError(f"{path}: not the weights of a {wanted}; give another file") from error


def keep_weights(state: dict[str, Any], path: Path) -> None:
    """Keep of a checkpoint what to export or to go on from: its averaged weights as halves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: state[name] for name in ("recipe", "trained_on")}
    torch.save({**kept, "averaged": halves_of(state["averaged"])}, path)


def _write_curves(rows: list[list[float]], out: Path) -> None:
    with (out / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "learning_rate", "seconds"])
        writer.writerows(rows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([row[0] for row in rows], [row[1] for row in rows])
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(out / "curves.png")
