"""The networks: how large they are, what they give, and of what they are made."""

from __future__ import annotations

from functools import cache

import onnx
import pytest
import torch
from torch import Tensor, nn

from headcut_train.export.onnx_file import WEB_OPERATORS, _as_onnx
from headcut_train.networks import FINDER_STRIDE, INPUT_SIZE, NETWORKS

OURS = ("finder", "segmenter")

RUNS_EVERYWHERE = {
    *("Add", "Cast", "Concat", "Constant", "Conv", "DepthToSpace", "Div", "Identity", "MaxPool"),
    *("Mul", "Relu", "Resize", "Sigmoid", "Slice", "Sub"),
}
"""Operators that ONNX Runtime, ONNX Runtime Web (WebGPU too) and Core ML share and run well."""


@cache
def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    with torch.inference_mode(False):  # a caller's mode would stick to the weights
        return NETWORKS[name]().eval()


@cache
def graph_of(name: str) -> onnx.GraphProto:
    return _as_onnx(network_of(name), 256).graph


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def multiplications(network: nn.Module) -> int:
    """Count the multiply-adds of the convolutions of one 256x256 picture."""
    counted = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal counted
        counted += output.shape[2] * output.shape[3] * layer.weight.numel()

    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in convolutions]
    with torch.inference_mode():
        network(torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE))
    for hook in hooks:
        hook.remove()
    return counted


@pytest.mark.parametrize("name", OURS)
def test_ours_are_small_and_fast(name: str) -> None:
    """At most 3 M parameters and 0.5 to 1.2 GMAC: what a phone runs in a few milliseconds."""
    assert parameters(network_of(name)) <= 3_000_000
    assert 0.5e9 <= multiplications(network_of(name)) <= 1.2e9


def test_original_is_what_its_description_says() -> None:
    """An anchor that is not the original's network would flatter ours."""
    assert round(parameters(network_of("encoder-decoder")) / 1e6, 1) == 3.1
    assert round(multiplications(network_of("encoder-decoder")) / 1e9, 1) == 6.1


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("size", [128, 192, 256])
def test_output_follows_the_size_of_the_input(name: str, size: int) -> None:
    """Training begins with small pictures."""
    with torch.inference_mode():
        output = network_of(name)(torch.zeros(2, 3, size, size))
    side = size // FINDER_STRIDE if name == "finder" else size
    channels = {"finder": 5, "segmenter": 2}.get(name, 1)
    assert output.shape == (2, channels, side, side)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_what_is_exported_are_probabilities(name: str) -> None:
    network = network_of(name)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        outputs, logits = network.exported(picture), network(picture)
    assert len(outputs) == len(network.output_names)
    torch.testing.assert_close(outputs[0], torch.sigmoid(logits[:, :1]))
    assert 0 <= outputs[0].min() <= outputs[0].max() <= 1
    if name == "finder":
        torch.testing.assert_close(outputs[1], logits[:, 1:])


@pytest.mark.parametrize("name", [*OURS, "encoder-decoder"])
def test_only_operators_that_run_well_everywhere(name: str) -> None:
    used = {node.op_type for node in graph_of(name).node}
    assert used <= RUNS_EVERYWHERE, used - RUNS_EVERYWHERE


def test_lr_aspp_is_what_it_is_compared_for() -> None:
    """Hard swish, hard sigmoid and pools over whole maps: what ours do without."""
    used = {node.op_type for node in graph_of("lr-aspp").node}
    assert {"HardSwish", "HardSigmoid", "GlobalAveragePool"} <= used
    assert used <= WEB_OPERATORS, used - WEB_OPERATORS


@pytest.mark.parametrize("name", OURS)
def test_ours_resize_without_aligned_corners(name: str) -> None:
    """Aligned corners shift with the size, and Core ML and the browser do them slowly or not."""
    modes = [
        attribute.s
        for node in graph_of(name).node
        if node.op_type == "Resize"
        for attribute in node.attribute
        if attribute.name == "coordinate_transformation_mode"
    ]
    assert modes
    assert b"align_corners" not in modes


@pytest.mark.parametrize("name", list(NETWORKS))
def test_shapes_are_fixed(name: str) -> None:
    """Dynamic shapes cost speed, or the whole graph, on phones."""
    graph = graph_of(name)
    (image,) = graph.input
    assert image.name == "image"
    for value in (image, *graph.output):
        assert all(axis.dim_value > 0 for axis in value.type.tensor_type.shape.dim)
    assert [axis.dim_value for axis in image.type.tensor_type.shape.dim] == [1, 3, 256, 256]


@pytest.mark.parametrize("name", OURS)
def test_brightness_is_scaled_alike_in_every_picture(name: str) -> None:
    """Scaling that depends on the picture would make one pixel change the others' meaning."""
    from headcut_train.networks import _scaled

    dark = torch.full((1, 3, 4, 4), 5.0)
    spark = dark.clone()
    spark[..., 0, 0] = 255
    assert torch.equal(_scaled(dark)[..., 1:, 1:], _scaled(spark)[..., 1:, 1:])
    assert -2 <= _scaled(torch.zeros(1)).item() < _scaled(torch.full((1,), 255.0)).item() <= 2
    assert parameters(network_of(name)) > 0


def test_finder_starts_by_doubting() -> None:
    """Centres are rare: a start at one half would drown the first steps in false heads."""
    with torch.inference_mode():
        centre, _ = network_of("finder").exported(torch.zeros(1, 3, 256, 256))
    assert centre.mean() < 0.1
