"""Samples decoded once: one memory-mapped file a source and split, so that a step never decodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headcut.errors import OptionError, PhotoError
from headcut.geometry import FloatArray
from headcut_train.sources import READERS, Reader, Sample

FORMAT = 3
"""Of the cache files; it grows when what samples hold changes, as the bits of their planes."""


class CachedSource(Sequence[Sample]):
    """The samples of one source and split, read from a memory map.

    Args:
        data: folder of the data sets, or what else the reader reads.
        cache: folder of the cache files; made anew when missing.
        source: a name in `sources.READERS`; with a reader, any name.
        split: "train" or "val".
        reader: what gives the samples, if not the source's in `sources.READERS`.
        anew: make the cache files anew; those that are there stay until all samples are read.

    Raises:
        OptionError: the data set is missing or damaged, or the cache cannot be written, or is of
            another `FORMAT`.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        source: str,
        split: str,
        reader: Reader | None = None,
        *,
        anew: bool = False,
    ):
        self._index = index = _index_of(cache, source, split)
        pixels = cache / f"{source}-{split}.bin"
        if anew or not index.exists():
            cache.mkdir(parents=True, exist_ok=True)
            try:
                _write((reader or READERS[source])(data, split), pixels, index)
            except (OSError, PhotoError) as error:
                reason = f"cannot prepare {source}/{split}: {error}"
                where = "--cache" if reader else "--data and --cache"
                raise OptionError(f"{data}: {reason}; check {where}") from error
        kept = json.loads(index.read_text())
        if not (isinstance(kept, dict) and kept["format"] == FORMAT):
            what = f"{index} was written by another version; delete {cache}"
            raise OptionError(f"{what}, and run `headcut-train mine` and `guess` again if you had")
        self._rows: list[dict[str, Any]] = kept["samples"]
        self._pixels = np.memmap(pixels, np.uint8, "r") if self._rows else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> Sample:  # type: ignore[override]
        row = self._rows[i]
        height, width = row["shape"]
        packed = self._pixels[row["offset"] :][: height * width * 4]
        area = height * width * 3
        return Sample(
            name=row["name"],
            photo=packed[:area].reshape(height, width, 3),
            plane=packed[area:].reshape(height, width),
            boxes=np.array(row["boxes"], np.float32).reshape(-1, 4),
            ignored=np.array(row["ignored"], np.float32).reshape(-1, 4),
            masked=row["masked"],
            tags=tuple(tuple(words) for words in row["tags"]),
            mistaken=np.array(row.get("mistaken", []), np.float32).reshape(-1, 4),
            trap=row.get("trap", False),
            neck_labelled=row["neck_labelled"],
        )

    def remember(self, found: Sequence[FloatArray], traps: Sequence[bool]) -> None:
        """Keep, for each sample, what was taken for heads where no label is.

        Args:
            found: (K, 4) float32 for each sample.
            traps: whether each is one; see `Sample.trap`.
        """
        for row, boxes, trap in zip(self._rows, found, traps, strict=True):
            row["mistaken"] = boxes.tolist()
            row["trap"] = trap
        _write_index(self._index, self._rows)


def is_kept(cache: Path, source: str, split: str) -> bool:
    """Whether the samples of a source and split are in the cache."""
    return _index_of(cache, source, split).exists()


def _index_of(cache: Path, source: str, split: str) -> Path:
    return cache / f"{source}-{split}.json"


def _write(samples: Iterable[Sample], pixels: Path, index: Path) -> None:
    """Decode samples into `pixels`, then name it in `index`: a stop leaves no index behind."""
    part = pixels.with_suffix(f".part{os.getpid()}")
    try:
        rows = _decoded(samples, part)
        index.unlink(missing_ok=True)
        part.replace(pixels)
    finally:
        part.unlink(missing_ok=True)
    _write_index(index, rows)


def _decoded(samples: Iterable[Sample], pixels: Path) -> list[dict[str, Any]]:
    rows = []
    with pixels.open("wb") as out:
        for sample in samples:
            rows.append(
                {
                    "name": sample.name,
                    "offset": out.tell(),
                    "shape": sample.plane.shape,
                    "boxes": sample.boxes.tolist(),
                    "ignored": sample.ignored.tolist(),
                    "masked": sample.masked,
                    "tags": sample.tags,
                    "neck_labelled": sample.neck_labelled,
                }
            )
            out.write(sample.photo.tobytes())
            out.write(sample.plane.tobytes())
    return rows


def _write_index(index: Path, rows: list[dict[str, Any]]) -> None:
    part = index.with_suffix(f".part{os.getpid()}")
    part.write_text(json.dumps({"format": FORMAT, "samples": rows}))
    part.replace(index)
