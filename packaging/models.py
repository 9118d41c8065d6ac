"""Finish the Core ML models of the packaged app: give them what the ONNX files say of themselves.

    headcut-train export coreml weights/finder.pt --network finder -o FOLDER/finder.mlpackage
    python packaging/models.py FOLDER/finder.mlpackage

Thresholds and the finder's calibration are fitted after an export and live in the ONNX file alone.
"""

import sys
from pathlib import Path

import coremltools

from headcut.errors import ModelError
from headcut.model_file import open_model


def finish(path: Path) -> None:
    """Copy the metadata of the bundled ONNX model into the Core ML model of the same weights.

    Raises:
        ModelError: the weights are others.
    """
    known = open_model(path.stem).metadata
    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    if model.user_defined_metadata.get("weights_sha256") != known["weights_sha256"]:
        raise ModelError(f"{path}: its weights are not those of {path.stem}.onnx; export both anew")
    model.user_defined_metadata.update(known)
    model.save(str(path))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        finish(Path(argument))
