"""Open a model file and read what it says of itself: size, threshold, licence, training data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array

BUNDLED = Path(__file__).with_name("models")

MAX_THREADS = 4
"""More threads than this make networks this small slower."""


class Network(Protocol):
    """What a finder or a segmenter needs of a model: `Model`, or another that runs its file."""

    path: Path
    metadata: dict[str, str]
    size: int
    threshold: float

    def run(self, image: U8Array) -> list[FloatArray]:
        """Return the outputs for one (size, size, 3) uint8 picture, batch axis dropped."""


class Model:
    """A network in a file, ready to run. Threads may share it.

    Args:
        path: the file.
        threads: how many a run may take; all cores, up to `MAX_THREADS`, by default.
        gpu: run it on an NVIDIA GPU.

    Attributes:
        path: where it was read from.
        metadata: what the file says of itself, all strings.
        backend: the execution provider that really runs it, by ONNX Runtime's name.
        outputs: their names, in the order of `run`.
        size: side of its square input in pixels.
        threshold: the probability from which its answer counts as yes.
    """

    def __init__(self, path: Path, *, threads: int | None = None, gpu: bool = False):
        # Imported here, for it takes longer than the rest of the package together.
        import onnxruntime

        if not path.is_file():
            raise ModelError(f"{path}: no such model file; bundled are {bundled_models()}")
        options = onnxruntime.SessionOptions()
        # Without this, ONNX Runtime counts the cores of the host, not those of the container.
        options.intra_op_num_threads = threads or min(MAX_THREADS, len(usable_cores()))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CUDAExecutionProvider"] * gpu + ["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own errors share no public base
            reason = str(error).splitlines()[0]
            raise ModelError(f"{path}: not a model that runs here ({reason})") from error
        if gpu and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise ModelError("no GPU that ONNX Runtime can use; install onnxruntime-gpu and CUDA")
        self.path = path
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.backend: str = self._session.get_providers()[0]
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]
        try:
            self.size = int(self.metadata["size"])
            self.threshold = float(self.metadata["threshold"])
        except (KeyError, ValueError) as error:
            raise ModelError(
                f"{path}: not a headcut model (metadata: {error}); export it with headcut-train"
            ) from error

    def run(self, image: U8Array) -> list[FloatArray]:
        """Return the network's outputs for one (size, size, 3) uint8 picture, batch axis dropped.

        Raises:
            ModelError: the picture has another size.
        """
        if image.shape != (self.size, self.size, 3):
            raise ModelError(f"{self.path}: wants {self.size}x{self.size}x3, got {image.shape}")
        planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        outputs: list[Any] = self._session.run(None, {"image": planes})
        return [output[0] for output in outputs]


def open_model(name_or_path: str | Path, *, threads: int | None = None, gpu: bool = False) -> Model:
    """Open a bundled model by its name ("finder", "segmenter", "refiner") or any model by its path.

    Args:
        name_or_path: which.
        threads: as in `Model`.
        gpu: as in `Model`.

    Raises:
        ModelError: it is missing, damaged, or not a headcut model.
    """
    if isinstance(name_or_path, str) and name_or_path in bundled_models():
        return Model(BUNDLED / f"{name_or_path}.onnx", threads=threads, gpu=gpu)
    return Model(Path(name_or_path), threads=threads, gpu=gpu)


def bundled_models() -> list[str]:
    """Return the names of the models that the package holds."""
    return sorted(path.stem for path in BUNDLED.glob("*.onnx"))


def usable_cores() -> set[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
