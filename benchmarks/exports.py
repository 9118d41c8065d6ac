"""Measure every export: bytes, milliseconds, difference from its network, IoU with people's masks.

Prints the two tables of docs/export.md. Needs the data sets: crops to compare on are pictures as in
training, and people's masks are those of `celebamask/val`. The two networks for comparison are
trained here first, briefly: they are to give masks, not good ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import get_args

import torch
from bench import time_network
from torch import nn

from headcut.errors import ModelError
from headcut_train.cache import CachedSource
from headcut_train.export import coreml_file, onnx_file
from headcut_train.export.coreml_file import SUFFIXES, export_coreml
from headcut_train.export.crops import Labelled, crops_of_training, crops_with_masks
from headcut_train.export.onnx_file import export_onnx
from headcut_train.export.parity import Parity
from headcut_train.networks import INPUT_SIZE, NETWORKS
from headcut_train.pictures import Sources
from headcut_train.recipe import Recipe
from headcut_train.train import load_network, open_sources, train

RATES = {"encoder-decoder": 5e-4, "lr-aspp": 1.5e-3}
"""Of the networks trained here; the first has no norms to hold a larger one."""

PARITY = (
    *("crops, photos", "largest difference", "mean"),
    *("IoU with the network", "IoU with people", "the network's"),
)


def trained_network(name: str, weights: Path, sources: Sources, steps: int) -> nn.Module:
    """Return a network with the weights kept for it, else with those of a brief training."""
    path = weights / f"{name}.pt"
    if not path.is_file():
        recipe = Recipe(
            network=name,
            steps=steps,
            batch=8,
            learning_rate=RATES[name],
            warmup_steps=steps // 10,
            sizes=((0.8, 128), (1.0, 256)),
        )
        path = train(recipe, sources=sources, out=Path("runs/exports") / name, workers=0)
    network, _ = load_network(path)
    return network.eval()


def row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|")
    sys.stdout.flush()


def cells_of(parity: Parity, crops: int, photos: int) -> list[str]:
    alike = [f"{parity.largest:.4f}", f"{parity.mean:.5f}", f"{parity.iou:.4f}"]
    if parity.people is None:
        return [f"{crops}, 0", *alike, "", ""]
    return [
        f"{crops}, {photos}",
        *alike,
        f"{parity.people:.4f}",
        f"{parity.people + parity.lost:.4f}",
    ]


def size_of(path: Path) -> str:
    files = path.rglob("*") if path.is_dir() else [path]
    return f"{sum(f.stat().st_size for f in files if f.is_file()) / 1e6:.2f}"


def measure_onnx(
    name: str, network: nn.Module, sources: Sources, labelled: Labelled, count: int, folder: Path
) -> None:
    crops, calibration = (
        crops_of_training(name, sources, INPUT_SIZE, count, seed) for seed in (9, 8)
    )
    for quantize in get_args(onnx_file.Quantize):
        path = folder / f"{name}-{quantize}.onnx"
        try:
            parity = export_onnx(
                network,
                name,
                path,
                threshold=0.5,
                crops=crops,
                quantize=quantize,
                calibration=calibration,
                labelled=labelled,
            )
        except ModelError as error:
            row(name, quantize, f"refused: {error}")
            continue
        times = [f"{time_network(path, threads, 30):.1f}" for threads in (1, 2)]
        row(name, quantize, size_of(path), *times, *cells_of(parity, count, len(labelled)))


def measure_coreml(
    name: str, network: nn.Module, sources: Sources, labelled: Labelled, count: int, folder: Path
) -> None:
    crops = crops_of_training(name, sources, INPUT_SIZE, count, seed=9)
    for format in get_args(coreml_file.Format):
        for quantize in get_args(coreml_file.Quantize):
            path = folder / f"{name}-{quantize}{SUFFIXES[format]}"
            try:
                parity = export_coreml(
                    network,
                    name,
                    path,
                    crops=crops,
                    format=format,
                    quantize=quantize,
                    labelled=labelled,
                )
            except ModelError as error:
                row(name, format, quantize, f"refused: {error}")
                continue
            row(name, format, quantize, size_of(path), *cells_of(parity, count, len(labelled)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="(%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="(%(default)s)")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="(%(default)s)")
    parser.add_argument("--crops", type=int, default=100, help="to compare on (%(default)s)")
    parser.add_argument("--photos", type=int, help="with people's masks, at the most (all)")
    parser.add_argument("--steps", type=int, default=500, help="of a brief training (%(default)s)")
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources = open_sources(arguments.data, arguments.cache)
    held_out = CachedSource(arguments.data, arguments.cache, "celebamask", "val")
    labelled = crops_with_masks(held_out, INPUT_SIZE, arguments.photos)
    print(f"{arguments.crops} crops, {len(labelled)} photos, load {os.getloadavg()[0]:.1f}")
    networks = {
        name: trained_network(name, arguments.weights, sources, arguments.steps)
        for name in arguments.only
    }
    tables = (
        (measure_onnx, ("network", "ONNX", "MB", "ms, 1 thread", "2 threads", *PARITY)),
        (measure_coreml, ("network", "Core ML", "weights", "MB", *PARITY)),
    )
    with tempfile.TemporaryDirectory() as folder:
        for measure, columns in tables:
            print()
            row(*columns)
            row(*["---"] * len(columns))
            for name, network in networks.items():
                masks = labelled if "mask" in network.output_names else ()
                measure(name, network, sources, masks, arguments.crops, Path(folder))


if __name__ == "__main__":
    main()
