"""Losses in which unknown pixels do not count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor, _: Tensor) -> Tensor:
    """Return binary cross-entropy plus Dice loss of masks, summed over C, over the known pixels.

    Args:
        logits: (N, C, S, S), one mask a channel.
        target: (N, C', S, S) in [0, 1]; masks that the network does not give are left out.
        weight: (N, C', S, S), how much a pixel counts in each mask, 0 where nobody knows; or
            (N, 1, S, S), for all of them.
    """
    target = target[:, : logits.shape[1]]
    weight = weight[:, : logits.shape[1]].expand_as(target)
    bce = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="none")
    bce = bce.sum((0, 2, 3)) / weight.sum((0, 2, 3)).clamp(min=1)
    share = torch.sigmoid(logits)
    overlap = (share * target * weight).sum((2, 3))
    total = ((share + target) * weight).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return (bce + dice.mean(0)).sum()


def square_loss(logits: Tensor, target: Tensor, weight: Tensor, _: Tensor) -> Tensor:
    """Return the mean squared error of masks over the known pixels; arguments as `mask_loss`."""
    target = target[:, : logits.shape[1]]
    weight = weight[:, : logits.shape[1]].expand_as(target)
    error = (torch.sigmoid(logits) - target) ** 2
    return (error * weight).sum() / weight.sum().clamp(min=1)


def centre_loss(maps: Tensor, target: Tensor, weight: Tensor, box_weight: Tensor) -> Tensor:
    """Return the finder's loss: penalty-reduced focal loss of the centres, L1 of their boxes.

    "Objects as Points" (Zhou et al., 2019) with its alpha 2 and beta 4.

    Args:
        maps: (N, 5, s, s) as `networks.Finder` gives.
        target: (N, 5, s, s): heat in [0, 1], then the box.
        weight: (N, 1, s, s), 0 where nobody knows.
        box_weight: (N, s, s), how much a cell's box counts.
    """
    logit, heat = maps[:, :1], target[:, :1]
    chance = torch.sigmoid(logit)
    centre = (heat == 1).float()
    found = centre * (1 - chance) ** 2 * F.logsigmoid(logit)
    empty = (1 - centre) * (1 - heat) ** 4 * chance**2 * F.logsigmoid(-logit)
    focal = -((found + empty) * weight).sum() / centre.sum().clamp(min=1)
    error = (maps[:, 1:] - target[:, 1:]).abs().sum(1) * box_weight
    return focal + 0.5 * error.sum() / box_weight.sum().clamp(min=1)


LOSSES = {
    "finder": centre_loss,
    "segmenter": mask_loss,
    "encoder-decoder": mask_loss,
    "lr-aspp": mask_loss,
    "square": square_loss,
}
"""By network, and by the name that a recipe may choose instead."""
