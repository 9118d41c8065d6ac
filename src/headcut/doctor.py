"""A self-test: names what a cut really runs on, and makes one."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from headcut import __version__
from headcut.cutout import CutOut
from headcut.errors import ModelError
from headcut.find import HeadFinder, intersection_over_union
from headcut.geometry import IntBox
from headcut.model_file import Model, open_model
from headcut.pipeline import HeadCutter
from headcut.segment import HeadSegmenter

SAMPLE_PHOTO = Path(__file__).with_name("sample.jpg")
"""NASA's portrait of Eileen Collins, 1999, in the public domain; 448x448."""

SAMPLE_HEAD_PX: IntBox = (134, 10, 265, 166)
"""Her head in it, drawn by hand: left, top, right, bottom."""

LEAST_OVERLAP = 0.75
"""The cut of the sample is right if its box has this IoU with that one."""


def examine() -> Iterator[str]:
    """Yield the lines of the report, the cut of the sample photo last.

    Raises:
        ModelError: a model cannot be loaded, or the sample's head is not where it should be.
    """
    yield f"headcut      {__version__}"
    yield f"python       {platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in ("onnxruntime", "numpy", "pillow", "pillow-heif"):
        yield f"{package:12} {_version(package)}"
    finder, segmenter, refiner = map(open_model, ("finder", "segmenter", "refiner"))
    yield f"finder       {_describe(finder)}"
    yield f"segmenter    {_describe(segmenter)}"
    yield f"refiner      {_describe(refiner)}"
    cutter = HeadCutter(
        finder=HeadFinder(finder),
        segmenter=HeadSegmenter(segmenter),
        refiner=HeadSegmenter(refiner),
    )
    yield f"licence      {refiner.metadata.get('licence', 'not named')}"
    cutter.cut(SAMPLE_PHOTO)  # the first cut also warms the backend up
    start = time.perf_counter()
    heads = cutter.cut(SAMPLE_PHOTO)
    milliseconds = (time.perf_counter() - start) * 1000
    yield f"sample photo {_verdict(heads)} in {milliseconds:.0f} ms: all is well"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _describe(model: Model) -> str:
    """Return name, size, backend and file of a model in one line."""
    named = " ".join(model.metadata.get(key, "") for key in ("name", "version")).strip()
    size, megabytes = model.metadata.get("size", "?"), model.path.stat().st_size / 1e6
    return (
        f"{named}, {size}x{size}, threshold {model.threshold:g}, {megabytes:.1f} MB, "
        f"{model.backend}, {model.path}"
    )


def _verdict(heads: list[CutOut]) -> str:
    """Say what was found in the sample photo; raise ModelError if that is wrong."""
    if len(heads) != 1:
        raise ModelError(f"found {len(heads)} heads in the sample photo, not 1; install again")
    box, confidence = heads[0].box_px, heads[0].confidence
    if intersection_over_union(box, SAMPLE_HEAD_PX) < LEAST_OVERLAP:
        raise ModelError(f"found the sample's head at {box}, not {SAMPLE_HEAD_PX}; install again")
    return f"1 head, confidence {confidence:.2f},"
