"""The reference operators give what torch gives, over shapes, strides, padding and modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from headcut.geometry import FloatArray
from headcut_train.export import kernels
from headcut_train.export.coreml_file import PALETTE, palette

quick = settings(deadline=None, max_examples=60)
sides = st.integers(1, 12)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
numbers = st.floats(-20, 20, width=32)
maps = arrays(np.float32, st.tuples(st.integers(1, 2), st.just(8), sides, sides), elements=numbers)


def same(ours: FloatArray, theirs: Tensor) -> None:
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-4)


@quick
@given(data=st.data(), stride=pairs, dilation=pairs, kernel=pairs, has_bias=st.booleans())
def test_convolution(
    data: st.DataObject,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    kernel: tuple[int, int],
    has_bias: bool,
) -> None:
    groups = data.draw(st.sampled_from([1, 2, 4]))
    c_in, c_out = groups * data.draw(st.integers(1, 3)), groups * data.draw(st.integers(1, 3))
    top, bottom, left, right = (data.draw(st.integers(0, 3)) for _ in range(4))
    least = [dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1)]
    height, width = (data.draw(st.integers(side, side + 8)) for side in least)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.normal(size=(2, c_in, height, width)).astype(np.float32)
    weight = rng.normal(size=(c_out, c_in // groups, *kernel)).astype(np.float32)
    bias = rng.normal(size=c_out).astype(np.float32) if has_bias else None
    ours = kernels.conv2d(
        x,
        weight,
        bias,
        stride=stride,
        before=(top, left),
        after=(bottom, right),
        dilation=dilation,
        groups=groups,
    )
    theirs = F.conv2d(
        F.pad(torch.from_numpy(x), (left, right, top, bottom)),
        torch.from_numpy(weight),
        None if bias is None else torch.from_numpy(bias),
        stride,
        0,
        dilation,
        groups,
    )
    same(ours, theirs)


@quick
@given(x=maps, stride=pairs, data=st.data())
def test_max_pool(x: FloatArray, stride: tuple[int, int], data: st.DataObject) -> None:
    """Padding is never the largest, even where all is negative."""
    kernel = tuple(data.draw(st.integers(1, min(3, side))) for side in x.shape[2:])
    padding = tuple(data.draw(st.integers(0, side // 2)) for side in kernel)
    ours = kernels.max_pool(x, kernel=kernel, stride=stride, before=padding, after=padding)
    same(ours, F.max_pool2d(torch.from_numpy(x), kernel, stride, padding))


@quick
@given(x=maps, scale=st.tuples(st.integers(1, 8), st.integers(1, 8)), aligned=st.booleans())
def test_bilinear_upsampling(x: FloatArray, scale: tuple[int, int], aligned: bool) -> None:
    """Maps of one row or column too, in which corners coincide."""
    ours = kernels.upsample_bilinear(x, scale, "align_corners" if aligned else "half_pixel")
    size = (x.shape[2] * scale[0], x.shape[3] * scale[1])
    picture = torch.from_numpy(x)
    same(ours, F.interpolate(picture, size, mode="bilinear", align_corners=aligned))


@quick
@given(x=maps, factor=st.sampled_from([1, 2]))
def test_pixel_shuffle(x: FloatArray, factor: int) -> None:
    same(kernels.pixel_shuffle(x, factor), F.pixel_shuffle(torch.from_numpy(x), factor))


@quick
@given(x=arrays(np.float32, sides, elements=st.floats(width=32, allow_nan=False)))
def test_functions_of_one_number(x: FloatArray) -> None:
    """Infinities too: half precision overflows to them."""
    picture = torch.from_numpy(x)
    same(kernels.relu(x), F.relu(picture))
    same(kernels.sigmoid(x), torch.sigmoid(picture))
    same(kernels.sigmoid_hard(x, 1 / 6, 0.5), F.hardsigmoid(picture))
    finite = np.clip(x, -1e30, 1e30)
    hard_swish = kernels.thresholded_relu(finite, -3) * kernels.sigmoid_hard(finite, 1 / 6, 0.5)
    same(hard_swish, F.hardswish(torch.from_numpy(finite)))


def test_broken_numbers_stay_broken() -> None:
    """A file that gives NaN must not pass for one that gives 0."""
    x = np.array([np.nan], np.float32)
    for result in (kernels.relu(x), kernels.sigmoid(x), kernels.sigmoid_hard(x, 1, 0)):
        assert np.isnan(result).all()


@quick
@given(seed=st.integers(0, 99), spread=st.sampled_from([1e-3, 1.0, 50.0]))
def test_palette_is_better_than_even_steps(seed: int, spread: float) -> None:
    """Weights are dense near zero; even steps waste most of their values on the tails."""
    weight = (spread * np.random.default_rng(seed).laplace(size=(16, 16, 3, 3))).astype(np.float32)
    values, indices = palette(weight)
    assert values.shape == (PALETTE,)
    assert indices.shape == (weight.size,)
    nearest = np.abs(weight.ravel()[:, None] - values).argmin(1)
    np.testing.assert_allclose(values[indices], values[nearest], atol=1e-5 * spread)
    step = (weight.max() - weight.min()) / (PALETTE - 1)
    even = np.round((weight - weight.min()) / step) * step + weight.min()
    assert np.square(values[indices] - weight.ravel()).mean() < np.square(even - weight).mean()


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_palette_of_a_weight_of_one_value(value: float) -> None:
    values, indices = palette(np.full((8, 8, 3, 3), value, np.float32))
    np.testing.assert_array_equal(values[indices], value)
