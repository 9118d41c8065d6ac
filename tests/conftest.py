"""Stand-ins for the networks, so that all around them is tested without them.

A head is a red disc here, a neck is blue: `RedFinder` finds the discs, `RedSegmenter` marks both.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from headcut.find import Head
from headcut.geometry import FloatArray, U8Array
from headcut.options import Neck, PhotoLimits
from headcut.pipeline import HeadCutter

# Before torch is loaded: on a busy machine its threads wait for each other, 9 times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
ASTRONAUT = ROOT / "examples" / "astronaut.jpg"
RED, GREY = (255, 0, 0), (120, 130, 140)


def is_red(pixels: U8Array) -> np.ndarray:
    return (pixels[..., 0] > 150) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)


class RedFinder:
    """Finds red discs that share no column, the surest on the left."""

    threshold = 0.1

    def find(self, photo: U8Array) -> list[Head]:
        red = is_red(photo)
        columns = np.concatenate([[False], red.any(axis=0), [False]])
        edges = np.flatnonzero(columns[1:] != columns[:-1])
        spans = zip(edges[::2], edges[1::2], strict=True)
        return [_head(red, int(left), int(right), n) for n, (left, right) in enumerate(spans)]

    def confidence(self, head: Head, share: float, photo_shape: tuple[int, int]) -> float:
        return head.confidence * share


def _head(red: np.ndarray, left: int, right: int, number: int) -> Head:
    rows = np.flatnonzero(red[:, left:right].any(axis=1))
    return Head((left, float(rows[0]), right, float(rows[-1]) + 1), 0.9 - 0.1 * number)


class RedSegmenter:
    size = 128

    def segment(self, crops: U8Array) -> FloatArray:
        blue = (crops[..., 2] > 150) & (crops[..., 0] < 90) & (crops[..., 1] < 90)
        return np.stack([is_red(crops), blue], axis=1).astype(np.float32)


def red_cutter(
    limits: PhotoLimits | None = None, neck: Neck = "none", threads: int | None = None
) -> HeadCutter:
    return HeadCutter(finder=RedFinder(), segmenter=RedSegmenter(), limits=limits, neck=neck)


@pytest.fixture(scope="session", autouse=True)
def _faces_without_a_jaw() -> Iterator[None]:
    """Drawn faces have none; to look for one would open MediaPipe, which leaves threads behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headcut_train.sources.find_jaw", lambda *_: None)
        yield


@pytest.fixture
def cutter() -> HeadCutter:
    return red_cutter()


def picture(*centres_x: int, width: int = 300, height: int = 200, radius: int = 40) -> Image.Image:
    """Grey, with a red disc at half the height for each centre."""
    image = Image.new("RGB", (width, height), GREY)
    draw = ImageDraw.Draw(image)
    for x in centres_x:
        draw.ellipse([x - radius, height // 2 - radius, x + radius, height // 2 + radius], fill=RED)
    return image


@dataclass
class Ran:
    """What a command line did."""

    code: int
    out: bytes
    err: str

    @property
    def written(self) -> list[str]:
        return os.fsdecode(self.out).splitlines()


Headcut = Callable[..., Ran]


@pytest.fixture
def headcut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> Headcut:
    """Run `headcut ARGUMENTS...` in an empty folder, with the stand-in networks."""
    from headcut.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("headcut.pipeline.HeadCutter", red_cutter)

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["headcut", *map(str, arguments)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Ran(int(stopped.value.code or 0), out, err.decode())

    return run


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends after its header."""

    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


def files(folder: Path) -> list[str]:
    """All files below a folder, sorted."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def run_process(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[bytes]:
    """Run the real command with the real networks, as a user does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "headcut", *map(str, arguments)]
    more = {"capture_output": True, **more}
    return subprocess.run(command, env=environment, check=False, **more)  # type: ignore[call-overload]


@pytest.fixture
def colours_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training pictures of made samples: colours are labels there, so nothing recolours them."""
    from headcut_train import disguises, far, near  # they need torch

    for module in (disguises, far, near):
        monkeypatch.setattr(module, "photometric", lambda picture, rng, **_: np.array(picture))
    for share in ("COVERED_SHARE", "SURROUNDED_SHARE", "MOSAIC_SHARE"):
        monkeypatch.setattr(far, share, 0.0)
