"""Measure headcut: milliseconds a photo by stage, the networks, start-up, memory, size.

The stages are timed inside `HeadCutter.cut` itself. The photos are the sample photo, enlarged and
given a sensor's noise, because an enlarged photo alone would compress better than real ones do.
The network of the original is exported as ours are and timed in the same runtime, with random
weights: they do not matter for speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnxruntime
from PIL import Image, ImageFilter

import headcut
from headcut import pipeline
from headcut_train.export.onnx_file import export_onnx
from headcut_train.networks import INPUT_SIZE, EncoderDecoder

ROOT = Path(__file__).parents[1]
MODELS = Path(headcut.__file__).parent / "models"
PHOTO_SIZES = {"0.3 MP": (640, 480), "2 MP": (1632, 1224), "12 MP": (4000, 3000)}
SENSOR_NOISE = 3.0
STAGES = ("decode", "find", "crop", "segment", "refine", "paste and edge", "encode PNG")
ORIGINAL = "original's encoder-decoder"
BUSY_LOAD = 0.5
# As on a user's machine: modules are compiled once, at the first start.
USER_ENV = {key: val for key, val in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

Table = dict[str, dict[str, float]]
"""Row -> column -> figure."""


def make_photo(path: Path, width: int, height: int) -> None:
    """Write a JPEG with the sample photo at full height, before a blur of itself."""
    sample = Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB")
    photo = sample.filter(ImageFilter.GaussianBlur(12)).resize((width, height))
    sharp = sample.resize((height, height), Image.Resampling.BICUBIC)
    photo.paste(sharp, ((width - height) // 2, 0))
    noise = np.random.default_rng(1).normal(0, SENSOR_NOISE, (height, width, 3))
    pixels = np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


class StageClock:
    """Adds up the milliseconds spent in each stage of a cut."""

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.stage_ms[stage] += (time.perf_counter() - start) * 1e3

        return wrapper

    @contextmanager
    def inside(self, cutter: headcut.HeadCutter) -> Iterator[None]:
        """Time the functions that `HeadCutter.cut` calls, for as long as the context lasts."""
        places: list[tuple[object, str, str]] = [
            (pipeline, "read_photo", "decode"),
            (cutter.finder, "find", "find"),
            (pipeline, "crop_for_model", "crop"),
            (cutter.segmenter, "segment", "segment"),
            (cutter.refiner, "segment", "refine"),
            (pipeline, "cut_one", "paste and edge"),
        ]
        with ExitStack() as stack:
            for owner, name, stage in places:
                timed = self.timed(stage, getattr(owner, name))
                stack.enter_context(patch.object(owner, name, timed))
            yield


def time_one_cut(cutter: headcut.HeadCutter, photo: Path) -> dict[str, float]:
    """Return milliseconds by stage, and in total, of one photo to the bytes of a PNG."""
    clock = StageClock()
    start = time.perf_counter()
    with clock.inside(cutter):
        heads = cutter.cut(photo)
    if len(heads) != 1:
        raise SystemExit(f"{len(heads)} heads found in the sample photo instead of one")
    clock.timed("encode PNG", heads[0].encode)()
    total_ms = (time.perf_counter() - start) * 1e3
    return {
        **clock.stage_ms,
        "other": total_ms - sum(clock.stage_ms.values()),
        "total": total_ms,
    }


def time_stages(photos: dict[str, Path], repeats: int) -> Table:
    cutter = headcut.HeadCutter()
    table: Table = {stage: {} for stage in (*STAGES, "other", "total")}
    for column, photo in photos.items():
        time_one_cut(cutter, photo)
        runs = [time_one_cut(cutter, photo) for _ in range(repeats)]
        for stage in table:
            table[stage][column] = statistics.median(run[stage] for run in runs)
    return table


def time_network(path: Path, threads: int, repeats: int) -> float:
    """Return the median milliseconds of one run of a model file on one picture."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    picture = np.random.default_rng(0).integers(0, 256, wanted.shape).astype(np.float32)
    times_ms = []
    for _ in range(10 + repeats):
        start = time.perf_counter()
        session.run(None, {wanted.name: picture})
        times_ms.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times_ms[10:])


def time_networks(folder: Path, repeats: int) -> Table:
    original = folder / "original.onnx"
    crops = np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    export_onnx(EncoderDecoder(), "encoder-decoder", original, threshold=0.5, crops=crops)
    files = {
        "finder": MODELS / "finder.onnx",
        "segmenter": MODELS / "segmenter.onnx",
        "refiner": MODELS / "refiner.onnx",
        ORIGINAL: original,
    }
    table: Table = {
        name: {
            "1 thread": time_network(path, 1, repeats),
            "2 threads": time_network(path, 2, repeats),
        }
        for name, path in files.items()
    }
    table["segmenter is faster, times"] = {
        threads: table[ORIGINAL][threads] / table["segmenter"][threads]
        for threads in ("1 thread", "2 threads")
    }
    return table


def time_process(command: list[str], repeats: int) -> float:
    """Return the median milliseconds of a fresh process, after one that warms the caches."""
    times_ms = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, env=USER_ENV, capture_output=True)
        times_ms.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times_ms[1:])


def peak_memory_mb(command: list[str]) -> float:
    """Return the peak resident memory of a command.

    It is started by a bare Python: a child of this process would be charged with this one's peak.
    """
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    run = [sys.executable, "-c", script, *command]
    peak = int(subprocess.run(run, check=True, env=USER_ENV, capture_output=True).stdout)
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes; kibibytes


def wheel_mb(folder: Path) -> float:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl")).stat().st_size / 1e6


def measure_whole(photos: dict[str, Path], folder: Path, repeats: int) -> Table:
    """Return what a user sees of the whole: start-up, memory and size."""
    command = [str(Path(sys.executable).parent / "headcut")]
    output = ["-o", str(folder / "head.png")]
    bare_ms, import_ms, cutter_ms = (
        time_process([sys.executable, "-c", code], repeats)
        for code in ("pass", "import headcut", "import headcut; headcut.HeadCutter()")
    )
    small, large = str(photos["0.3 MP"]), str(photos["12 MP"])
    figures = {
        "headcut PHOTO, 0.3 MP, cold start, ms": time_process([*command, small, *output], repeats),
        "headcut PHOTO, 12 MP, cold start, ms": time_process([*command, large, *output], repeats),
        "import headcut, ms": import_ms - bare_ms,
        "import and load the networks, ms": cutter_ms - bare_ms,
        "peak memory, 12 MP, MB": peak_memory_mb([*command, large, *output]),
        "finder.onnx, MB": (MODELS / "finder.onnx").stat().st_size / 1e6,
        "segmenter.onnx, MB": (MODELS / "segmenter.onnx").stat().st_size / 1e6,
        "refiner.onnx, MB": (MODELS / "refiner.onnx").stat().st_size / 1e6,
        "wheel, MB": wheel_mb(folder),
    }
    return {row: {"": figure} for row, figure in figures.items()}


def print_table(title: str, table: Table) -> None:
    columns = list(next(iter(table.values())))
    width = max(len(title), *map(len, table))
    print(f"\n{title:{width}}" + "".join(f"{column:>11}" for column in columns))
    for row, figures in table.items():
        print(f"{row:{width}}" + "".join(f"{figures[column]:11.1f}" for column in columns))


def describe_machine(load: float) -> dict[str, str | float | int | None]:
    return {
        "headcut": headcut.__version__,
        "onnxruntime": version("onnxruntime"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(load, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure headcut's speed, memory and size.")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures here too")
    parser.add_argument("--repeats", type=int, default=5, help="photos and processes (%(default)s)")
    parser.add_argument("--runs", type=int, default=50, help="runs of a network (%(default)s)")
    arguments = parser.parse_args()

    load = os.getloadavg()[0]
    machine = describe_machine(load)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if load > BUSY_LOAD:
        print("MEASURED UNDER LOAD: something else is running here, so the times are too long.")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = {label: folder / f"{label}.jpg" for label in PHOTO_SIZES}
        for label, (width, height) in PHOTO_SIZES.items():
            make_photo(photos[label], width, height)
        tables = {
            "ms a photo, by stage": time_stages(photos, arguments.repeats),
            "ms a picture, network alone": time_networks(folder, arguments.runs),
            "the whole": measure_whole(photos, folder, arguments.repeats),
        }
    for title, table in tables.items():
        print_table(title, table)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, **tables}, indent=2) + "\n")


if __name__ == "__main__":
    main()
