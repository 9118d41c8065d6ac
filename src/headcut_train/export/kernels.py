"""What operators of a network compute, in NumPy float32: the reference that exports are held to.

Nothing here knows a file format or calls torch, so a mistake in either shows as a difference.
Maps are (N, C, H, W).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from headcut.geometry import FloatArray

Pair = tuple[int, int]
"""Of rows, then of columns."""

Sampling = Literal["align_corners", "half_pixel"]
"""Where a resized map looks: corners on corners, or each pixel's middle at its share."""


def conv2d(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    stride: Pair = (1, 1),
    before: Pair = (0, 0),
    after: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> FloatArray:
    """Return a convolution, as networks mean it: the kernel is not mirrored.

    Args:
        x: (N, C, H, W).
        weight: (O, C / groups, rows, columns).
        bias: (O,).
        stride: of the kernel's places.
        before: zeros added above and to the left.
        after: zeros added below and to the right.
        dilation: distance between the kernel's taps.
        groups: output channel o sees only the input channels of its group.
    """
    out_channels, seen_channels, rows, columns = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1])))
    height = _places(padded.shape[2], rows, stride[0], dilation[0])
    width = _places(padded.shape[3], columns, stride[1], dilation[1])
    by_group = weight.reshape(groups, out_channels // groups, seen_channels, rows, columns)
    taps = np.ascontiguousarray(by_group.transpose(3, 4, 0, 1, 2))  # else `@` is 20 times slower
    total = np.zeros((len(x), groups, out_channels // groups, height * width), np.float32)
    for row in range(rows):
        for column in range(columns):
            seen = padded[
                ...,
                row * dilation[0] :: stride[0],
                column * dilation[1] :: stride[1],
            ][..., :height, :width].reshape(len(x), groups, seen_channels, -1)
            tap = taps[row, column]
            # One channel a group is a product, which `@` would make in a loop over the groups.
            total += tap * seen if seen_channels == 1 else tap @ seen
    result = total.reshape(len(x), out_channels, height, width)
    return result if bias is None else result + bias[:, None, None]


def _places(side: int, taps: int, stride: int, dilation: int) -> int:
    """Return how many places a kernel has along a padded side."""
    return (side - dilation * (taps - 1) - 1) // stride + 1


def max_pool(
    x: FloatArray, *, kernel: Pair, stride: Pair, before: Pair = (0, 0), after: Pair = (0, 0)
) -> FloatArray:
    """Return the largest value under the kernel at each place; padding is never the largest."""
    beside = ((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1]))
    padded = np.pad(x, beside, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))
    return windows[:, :, :: stride[0], :: stride[1]].max((-2, -1))


def upsample_bilinear(x: FloatArray, scale: Pair, sampling: Sampling) -> FloatArray:
    """Return a map that is larger by whole factors, each value between its four neighbours."""
    height, width = x.shape[2:]
    by_row = _blend(height, height * scale[0], sampling)
    by_column = _blend(width, width * scale[1], sampling)
    return by_row @ x @ by_column.T


def _blend(side: int, larger: int, sampling: Sampling) -> FloatArray:
    """Return (larger, side): how much of each value goes into each of a resized line."""
    places = np.arange(larger, dtype=np.float64)
    if sampling == "align_corners":
        places *= (side - 1) / max(1, larger - 1)
    else:
        places = np.clip((places + 0.5) * side / larger - 0.5, 0, side - 1)
    low = np.minimum(np.floor(places).astype(int), side - 1)
    high = np.minimum(low + 1, side - 1)
    share = places - low
    weights = np.zeros((larger, side))
    np.add.at(weights, (np.arange(larger), low), 1 - share)
    np.add.at(weights, (np.arange(larger), high), share)
    return weights.astype(np.float32)


def pixel_shuffle(x: FloatArray, factor: int) -> FloatArray:
    """Return (N, C / factor^2, H factor, W factor): groups of channels become squares of pixels."""
    n, channels, height, width = x.shape
    squares = x.reshape(n, channels // factor**2, factor, factor, height, width)
    return squares.transpose(0, 1, 4, 2, 5, 3).reshape(n, -1, height * factor, width * factor)


def relu(x: FloatArray) -> FloatArray:
    """Return x where it is positive, else 0; NaN stays NaN."""
    return np.maximum(x, np.float32(0))


def thresholded_relu(x: FloatArray, alpha: float) -> FloatArray:
    """Return x from alpha on, else 0."""
    return np.where(x >= alpha, x, np.float32(0))


def sigmoid(x: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    shrunk = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, shrunk) / (1 + shrunk)


def sigmoid_hard(x: FloatArray, alpha: float, beta: float) -> FloatArray:
    """Return alpha x + beta, held to [0, 1]."""
    return np.clip(np.float32(alpha) * x + np.float32(beta), 0, 1)
