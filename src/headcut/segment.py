"""Crops -> soft masks: the second look, at one head."""

from __future__ import annotations

import numpy as np

from headcut.geometry import FloatArray, U8Array
from headcut.model_file import Model


class HeadSegmenter:
    """Says which pixels of a crop belong to the head in its middle.

    Attributes:
        size: side of the square crops in pixels.
    """

    def __init__(self, model: Model):
        self.model = model
        self.size = model.size

    def segment(self, crops: U8Array) -> FloatArray:
        """Return one soft mask per crop: (N, S, S) float32 in [0, 1], 1 is head.

        Args:
            crops: (N, S, S, 3) uint8 sRGB, S = `size`.

        Raises:
            ModelError: the crops have another size.
        """
        masks = [self.model.run(crop)[0][0] for crop in crops]
        return np.stack(masks) if masks else np.zeros((0, self.size, self.size), np.float32)
