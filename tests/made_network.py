"""Networks as if trained, and pictures to compare their files on."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from made_data import noise_photo

from headcut.geometry import U8Array
from headcut_train.networks import NETWORKS, Network


def used_network(name: str) -> Network:
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
def drawn_crops(name: str) -> U8Array:
    """(2, S, S, 3) uint8 of a network's size: noise, and a slope."""
    size = NETWORKS[name].input_size
    smooth = np.linspace(0, 255, size * size * 3).astype(np.uint8).reshape(size, size, 3)
    return np.stack([noise_photo((size, size)), smooth])
