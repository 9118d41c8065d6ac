"""Networks as if trained, and pictures to compare their files on."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from made_data import noise_photo
from torch import nn

from headcut.geometry import U8Array
from headcut_train.networks import NETWORKS


def used_network(name: str) -> nn.Module:
    """A network whose norms have seen pictures and whose answers are not all one half."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    with torch.no_grad():
        for _ in range(2):
            network(torch.rand(2, 3, 64, 64) * 255)
        network.head.weight *= 20
        network.head.bias.zero_()
    return network.eval()


@cache
def drawn_crops() -> U8Array:
    """(2, 256, 256, 3) uint8: noise, and a slope."""
    smooth = np.linspace(0, 255, 256 * 256 * 3).astype(np.uint8).reshape(256, 256, 3)
    return np.stack([noise_photo((256, 256)), smooth])
