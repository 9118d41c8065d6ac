"""The networks as Core ML models, for `HeadFinder` and `HeadSegmenter`.

The packages are made by `make app-models`; a checkout and a wheel hold none. Not run on a device
yet: see `apple`.
"""

from __future__ import annotations

from pathlib import Path

from headcut.app.apple import CoreMLFile
from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array
from headcut.model_file import BUNDLED

MODELS = {name: BUNDLED / f"{name}.mlpackage" for name in ("finder", "segmenter", "refiner")}

OUTPUTS = {"finder": ["centre", "box"], "segmenter": ["mask", "neck"]}
"""In the order of `headcut.model_file.Model.run`; a segmenter need not know necks. A refiner is one
too."""


class CoreMLModel:
    """A Core ML file with the face of `headcut.model_file.Model`; for one thread at a time."""

    def __init__(self, path: Path):
        if not path.exists():
            raise ModelError(f"{path}: no such model; run make app-models and build the app again")
        self._file = CoreMLFile(path)
        self.path = path
        self.metadata = dict(self._file.metadata)
        try:
            self.size = int(self.metadata["size"])
            self.threshold = float(self.metadata["threshold"])
            known = OUTPUTS[self.metadata["network"]]
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path}: not a headcut model (metadata: {error})") from error
        self.outputs = [name for name in known if name in self._file.outputs]

    def run(self, image: U8Array) -> list[FloatArray]:
        """Return the network's outputs for one (size, size, 3) uint8 picture, batch axis dropped.

        Raises:
            ModelError: the picture has another size, or Core ML cannot run it.
        """
        if image.shape != (self.size, self.size, 3):
            raise ModelError(f"{self.path}: wants {self.size}x{self.size}x3, got {image.shape}")
        return [output[0] for output in self._file.predict(image, self.outputs)]


def open_coreml(name: str) -> CoreMLModel:
    """Open a network by its name ("finder", "segmenter", "refiner").

    Raises:
        ModelError: it is missing, damaged, or not a headcut model.
    """
    return CoreMLModel(MODELS[name])
