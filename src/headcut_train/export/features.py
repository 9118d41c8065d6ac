"""What goes into a Core ML model and comes out: images and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import FeatureTypes_pb2

from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array

_COLOURS = FeatureTypes_pb2.ImageFeatureType.ColorSpace


def as_planes(image: U8Array, wanted: Any, path: Path) -> FloatArray:
    """Return a picture as a Core ML input holds it: (1, 3, H, W) float32 in [0, 255].

    Args:
        image: (H, W, 3) uint8 RGB.
        wanted: the input's description.
        path: of the model, for the message.

    Raises:
        ModelError: the picture has another size, or the model wants no colour picture.
    """
    kind = wanted.type.imageType
    size = (kind.height, kind.width, 3)
    orders = {_COLOURS.Value("RGB"): [0, 1, 2], _COLOURS.Value("BGR"): [2, 1, 0]}
    if image.shape != size or kind.colorSpace not in orders:
        raise ModelError(f"{path}: wants a picture of {size}, got {image.shape} RGB")
    planes = image.transpose(2, 0, 1)[orders[kind.colorSpace]]
    return np.ascontiguousarray(planes[None], np.float32)


def as_probability(value: FloatArray, given: Any) -> FloatArray:
    """Return an output without its batch axis: an image's 255 becomes 1.

    Args:
        value: (1, C, H, W); of an image, C is 1 and values are grey levels in [0, 255].
        given: the output's description.
    """
    if given.type.WhichOneof("Type") == "imageType":
        value = np.clip(np.round(value), 0, 255) / 255
    result: FloatArray = value.astype(np.float32)[0]
    return result
