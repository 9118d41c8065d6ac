"""Finish the Core ML models of the packaged app: give them what the ONNX files say of themselves.

    headcut-train export coreml weights/finder.pt -o FOLDER/finder.mlpackage
    python packaging/models.py FOLDER/finder.mlpackage

Thresholds and the finder's calibration are fitted after an export and live in the ONNX file alone.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from headcut.doctor import SAMPLE_PHOTO
from headcut.errors import ModelError
from headcut.model_file import open_model
from headcut_train.export.mlprogram import MLProgram, read_package

LARGEST_MEAN = 0.02
"""Mean difference of an output above which the weights are others; those of one network differ by
0.001, for both files keep them in 16 bits."""


def finish(path: Path) -> None:
    """Copy the metadata of the bundled ONNX model into the Core ML model of the same network.

    Raises:
        ModelError: the two answer differently: one is older than the other.
    """
    known = open_model(path.stem)
    photo = Image.open(SAMPLE_PHOTO).convert("RGB").resize((known.size, known.size))
    pixels = np.asarray(photo)
    pairs = zip(known.run(pixels), MLProgram(path).run(pixels), strict=True)
    difference = max(float(np.abs(a - b).mean()) for a, b in pairs)
    if difference > LARGEST_MEAN:
        raise ModelError(
            f"{path}: differs by {difference:.3f} from {path.stem}.onnx; export both anew"
        )
    spec, _ = read_package(path)
    spec.description.metadata.userDefined.update(known.metadata)
    (file,) = path.rglob("*.mlmodel")
    file.write_bytes(spec.SerializeToString())


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        finish(Path(argument))
