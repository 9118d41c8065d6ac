"""The losses: unknown pixels must not pull, right answers must cost next to nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from headcut_train.far import centre_maps
from headcut_train.losses import LOSSES, centre_loss, mask_loss
from headcut_train.networks import NETWORKS
from headcut_train.train import PICTURES

SURE = 20.0


def mask_case() -> tuple[Tensor, Tensor, Tensor]:
    """Target, weight and random logits of two pictures; the right half is unknown."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 16, 16, generator=generator).requires_grad_()
    target = torch.zeros(2, 1, 16, 16)
    target[:, :, 4:12] = 1
    weight = torch.ones_like(target)
    weight[..., 8:] = 0
    return logits, target, weight


def perfect(target: Tensor) -> Tensor:
    return (target * 2 - 1) * SURE


def test_unknown_pixels_do_not_pull_at_the_mask() -> None:
    logits, target, weight = mask_case()
    mask_loss(logits, target, weight, weight).backward()
    assert not logits.grad[weight == 0].any()
    assert (logits.grad[weight == 1] != 0).all()


def test_mask_loss_does_not_see_what_is_said_of_unknown_pixels() -> None:
    logits, target, weight = mask_case()
    other = torch.where(weight > 0, logits, -5 * logits)
    assert mask_loss(logits, target, weight, weight) == mask_loss(other, target, weight, weight)
    swapped = torch.where(weight > 0, target, 1 - target)
    assert mask_loss(logits, target, weight, weight) == mask_loss(logits, swapped, weight, weight)


def test_perfect_mask_costs_next_to_nothing_and_its_opposite_much() -> None:
    _, target, weight = mask_case()
    assert mask_loss(perfect(target), target, weight, weight) < 1e-3
    assert mask_loss(-perfect(target), target, weight, weight) > 10


@pytest.mark.parametrize("known", [True, False], ids=["no head", "nothing known"])
def test_mask_without_a_head_has_a_finite_loss(known: bool) -> None:
    """Dice divides by the head's size; there are crops without one."""
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    weight = torch.full((1, 1, 8, 8), float(known))
    loss = mask_loss(logits, torch.zeros_like(weight), weight, weight)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    if not known:
        assert not logits.grad.any()


def test_better_mask_costs_less() -> None:
    _, target, weight = mask_case()
    half_right = torch.where(torch.arange(16)[:, None] < 8, perfect(target), -perfect(target))
    losses = [
        mask_loss(logits, target, weight, weight)
        for logits in (perfect(target), half_right, -perfect(target))
    ]
    assert losses == sorted(losses)


def centre_case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One picture with a head, and a region that nobody searched."""
    searched = np.ones((64, 64), bool)
    searched[:, 40:] = False
    box = np.array([[60, 60, 100, 120]], np.float32)
    maps = centre_maps(box, np.zeros((0, 4), np.float32), searched, 256)
    target, weight, box_weight = (torch.from_numpy(m)[None] for m in maps)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 5, 64, 64, generator=generator), target, weight, box_weight


def test_unknown_cells_do_not_pull_at_the_centres() -> None:
    maps, target, weight, box_weight = centre_case()
    maps.requires_grad_()
    centre_loss(maps, target, weight, box_weight).backward()
    assert not maps.grad[:, :1][weight == 0].any()
    assert maps.grad[:, :1][weight == 1].any()


def test_boxes_pull_only_where_there_is_a_head() -> None:
    maps, target, weight, box_weight = centre_case()
    maps.requires_grad_()
    centre_loss(maps, target, weight, box_weight).backward()
    pulls = maps.grad[0, 1:].abs().sum(0)
    assert not pulls[box_weight[0] == 0].any()
    assert (pulls[box_weight[0] > 0] > 0).all()


def test_perfect_centres_cost_next_to_nothing() -> None:
    """Beside the peak the heat falls; saying its own value there costs little."""
    _, target, weight, box_weight = centre_case()
    right = target.clone()
    right[:, 0] = torch.where(target[:, 0] == 1, SURE, -SURE)
    assert centre_loss(right, target, weight, box_weight) < 1e-3


def test_missed_and_invented_heads_cost() -> None:
    _, target, weight, box_weight = centre_case()
    right = target.clone()
    right[:, 0] = torch.where(target[:, 0] == 1, SURE, -SURE)
    missed, invented = right.clone(), right.clone()
    missed[:, 0] = -SURE
    invented[:, 0, 2, 2] = SURE
    assert centre_loss(missed, target, weight, box_weight) > 10
    assert centre_loss(invented, target, weight, box_weight) > 10


def test_shifted_box_costs_what_it_is_shifted_by() -> None:
    _, target, weight, box_weight = centre_case()
    right = target.clone()
    right[:, 0] = torch.where(target[:, 0] == 1, SURE, -SURE)
    shifted = right.clone()
    shifted[:, 1] += 0.5
    more = centre_loss(shifted, target, weight, box_weight)
    more = more - centre_loss(right, target, weight, box_weight)
    assert float(more) == pytest.approx(0.5 * 0.5, rel=1e-3)


def test_picture_without_heads_has_a_finite_centre_loss() -> None:
    maps = torch.zeros(1, 5, 64, 64, requires_grad=True)
    nothing = torch.zeros(1, 5, 64, 64)
    centre_loss(maps, nothing, torch.ones(1, 1, 64, 64), nothing[:, 0]).backward()
    assert torch.isfinite(maps.grad).all()
    assert not maps.grad[:, 1:].any()


def test_every_network_has_a_loss_and_pictures() -> None:
    assert set(LOSSES) == {*NETWORKS, "square"}
    assert set(PICTURES) == {*NETWORKS, "framed", "whole"}
