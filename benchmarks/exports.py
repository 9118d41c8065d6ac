"""Measure every export: bytes, difference from its network, IoU; milliseconds of ONNX files.

Prints the tables of docs/export.md. Needs the data sets: crops to compare on are pictures as in
training, and IoU with people's masks is on crops of `celebamask/val`. The two networks for
comparison are trained here, briefly: they are to give masks, not good ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from bench import time_network
from torch import nn

from headcut.errors import ModelError
from headcut.geometry import BoolArray, U8Array, crop_box_for, crop_for_model
from headcut.model_file import Model
from headcut_train.cache import CachedSource
from headcut_train.export import coreml_file, onnx_file
from headcut_train.export.coreml_file import SUFFIXES, export_coreml
from headcut_train.export.crops import crops_of_training
from headcut_train.export.mlprogram import MLProgram
from headcut_train.export.neuralnetwork import NeuralNetwork
from headcut_train.export.onnx_file import export_onnx
from headcut_train.export.parity import Parity, Run, outputs_of
from headcut_train.metrics import iou
from headcut_train.networks import INPUT_SIZE, NETWORKS
from headcut_train.recipe import Recipe
from headcut_train.scenes import Sources
from headcut_train.sources import HEAD, KNOWN
from headcut_train.train import load_weights, open_sources, train

Labelled = list[tuple[U8Array, BoolArray, BoolArray]]
"""Crops, which pixels are head, and which are known."""


def labelled_crops(data: Path, cache: Path, count: int) -> Labelled:
    """Return the crops that the segmenter would see of held-out portraits, with their labels."""
    source = CachedSource(data, cache, "celebamask", "val")
    crops = []
    for sample in (source[i] for i in range(min(count, len(source)))):
        box = crop_box_for(tuple(sample.boxes[0]))
        planes = [(sample.plane & bit > 0) * np.uint8(255) for bit in (HEAD, KNOWN, KNOWN)]
        labels = crop_for_model(np.stack(planes, axis=-1), box, INPUT_SIZE)
        image = crop_for_model(np.array(sample.photo), box, INPUT_SIZE)
        crops.append((image, labels[..., 0] > 127, labels[..., 1] > 250))
    return crops


def iou_with_people(run: Run, labelled: Labelled) -> float:
    """Return the mean IoU of masks with those that people drew."""
    return float(
        np.mean([iou(run(crop)[0][0] >= 0.5, head, known) for crop, head, known in labelled])
    )


def network_of(name: str, path: Path) -> nn.Module:
    network = NETWORKS[name]()
    load_weights(network, path)
    return network.eval()


def briefly_trained(name: str, sources: Sources, steps: int, folder: Path) -> nn.Module:
    recipe = Recipe(
        network=name, steps=steps, batch=8, warmup_steps=steps // 10, sizes=((1.0, 128),)
    )
    return network_of(name, train(recipe, sources=sources, out=folder / name, workers=0))


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{c:.4f}" if isinstance(c, float) else str(c) for c in cells) + " |")
    sys.stdout.flush()


def cells_of(parity: Parity) -> tuple[str, str, str]:
    return f"{parity.largest:.4f}", f"{parity.mean:.5f}", f"{parity.iou:.4f}"


def size_of(path: Path) -> str:
    files = path.rglob("*") if path.is_dir() else [path]
    return f"{sum(f.stat().st_size for f in files if f.is_file()) / 1e6:.2f}"


def measure_onnx(
    networks: dict[str, nn.Module], sources: Sources, labelled: Labelled, count: int, folder: Path
) -> None:
    row("network", "precision", "MB", "ms, 1 thread", "2 threads", *PARITY, "IoU with people")
    row(*["---"] * 9)
    for name, network in networks.items():
        crops, calibration = (crops_of_training(name, sources, count, seed) for seed in (9, 8))
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
                )
            except ModelError as error:
                row(name, quantize, f"refused: {error}")
                continue
            times = [f"{time_network(path, threads, 30):.1f}" for threads in (1, 2)]
            people = iou_with_people(Model(path).run, labelled) if name != "finder" else "-"
            row(name, quantize, size_of(path), *times, *cells_of(parity), people)


def measure_coreml(
    networks: dict[str, nn.Module], sources: Sources, labelled: Labelled, count: int, folder: Path
) -> None:
    row("network", "format", "precision", "MB", *PARITY, "IoU with people")
    row(*["---"] * 8)
    for name, network in networks.items():
        if labelled:
            people = iou_with_people(lambda crop, n=network: outputs_of(n, crop), labelled)
            row(name, "the network itself", "", "", "", "", "", people)
        crops = crops_of_training(name, sources, count, seed=9)
        for format, quantize in kinds():
            path = folder / f"{name}-{quantize}{SUFFIXES[format]}"
            try:
                parity = export_coreml(
                    network, name, path, crops=crops, format=format, quantize=quantize
                )
            except ModelError as error:
                row(name, format, quantize, f"refused: {error}")
                continue
            opened = MLProgram(path) if format == "mlprogram" else NeuralNetwork(path)
            people = iou_with_people(opened.run, labelled) if name != "finder" else "-"
            row(name, format, quantize, size_of(path), *cells_of(parity), people)


PARITY = ("largest difference", "mean", "IoU with the network")


def kinds() -> Iterator[tuple[coreml_file.Format, coreml_file.Quantize]]:
    for format in get_args(coreml_file.Format):
        for quantize in get_args(coreml_file.Quantize):
            yield format, quantize


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="(%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="(%(default)s)")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="(%(default)s)")
    parser.add_argument("--crops", type=int, default=100, help="to compare on (%(default)s)")
    parser.add_argument("--photos", type=int, default=300, help="of people's masks (%(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="of the two others (%(default)s)")
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources = open_sources(arguments.data, arguments.cache)
    labelled = labelled_crops(arguments.data, arguments.cache, arguments.photos)
    print(f"{arguments.crops} crops, {len(labelled)} photos, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = {}
        for name in arguments.only:
            kept = arguments.weights / f"{name}.pt"
            networks[name] = (
                network_of(name, kept)
                if kept.is_file()
                else briefly_trained(name, sources, arguments.steps, folder)
            )
        print("\nONNX\n")
        measure_onnx(networks, sources, labelled, arguments.crops, folder)
        print("\nCore ML\n")
        measure_coreml(networks, sources, labelled, arguments.crops, folder)


if __name__ == "__main__":
    main()
