"""Run a Core ML neural network without Core ML: read an `.mlmodel` as it lies on disk.

The older of Core ML's two formats, that of NeuralNetwork.proto. Weights may be in 32 or 16 bits, in
8 with a scale, or in a palette; everything is computed in float32, as Core ML may do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import Model_pb2, NeuralNetwork_pb2
from google.protobuf.message import DecodeError

from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array
from headcut_train.export import kernels
from headcut_train.export.features import as_planes, as_probability

_UPSAMPLE = NeuralNetwork_pb2.UpsampleLayerParams
_POOLING = NeuralNetwork_pb2.PoolingLayerParams


class NeuralNetwork:
    """An `.mlmodel`, ready to run in NumPy.

    Attributes:
        path: of the file.
        spec: its Core ML description, as protocol buffer.

    Raises:
        ModelError: it is missing or damaged, or has a layer that is not known here.
    """

    def __init__(self, path: Path):
        self.path = path
        self.spec = read_model(path)
        self._layers = self.spec.neuralNetwork.layers
        for kind in map(kind_of, self._layers):
            if kind not in LAYERS:
                raise ModelError(
                    f"{path}: the reference executor does not know the operator "
                    f"{kind!r}; known are {', '.join(sorted(LAYERS))}"
                )
        for preprocessing in self.spec.neuralNetwork.preprocessing:
            scaler = preprocessing.scaler
            biases = (scaler.redBias, scaler.greenBias, scaler.blueBias, scaler.grayBias)
            if preprocessing.HasField("meanImage") or any(biases) or scaler.channelScale != 1:
                raise ModelError(f"{path}: scales its picture outside the network")

    def run(self, image: U8Array) -> list[FloatArray]:
        """Return the outputs for one (size, size, 3) uint8 RGB picture, batch axis dropped.

        Image outputs are in [0, 1], in steps of 1/255.

        Raises:
            ModelError: the picture has another size.
        """
        (wanted,) = self.spec.description.input
        values = {wanted.name: as_planes(image, wanted, self.path)}
        for layer in self._layers:
            given = [values[name] for name in layer.input]
            parameters = getattr(layer, layer.WhichOneof("layer"))
            result = LAYERS[kind_of(layer)](parameters, given)
            values[layer.output[0]] = np.asarray(result, np.float32)
        return [as_probability(values[out.name], out) for out in self.spec.description.output]


def read_model(path: Path) -> Any:
    """Return the Core ML description of a neural network, weights included.

    Raises:
        ModelError: it is missing, damaged, or of another kind.
    """
    try:
        spec = Model_pb2.Model.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path}: missing, or not a Core ML model") from error
    if spec.WhichOneof("Type") != "neuralNetwork":
        raise ModelError(f"{path}: not a neural network")
    return spec


def kind_of(layer: Any) -> str:
    """Return the name of a layer's type, with the function for an activation."""
    kind: str = layer.WhichOneof("layer") or "nothing"
    if kind == "activation":
        return f"activation.{layer.activation.WhichOneof('NonlinearityType')}"
    return kind


def weights(params: Any, shape: tuple[int, ...]) -> FloatArray:
    """Return weights as float32 of a shape, whose first axis is the output channel's.

    Raises:
        ModelError: they are missing, of another size, or kept in a way not known here.
    """
    if len(params.floatValue):
        flat = np.array(params.floatValue, np.float32)
    elif params.float16Value:
        flat = np.frombuffer(params.float16Value, np.float16).astype(np.float32)
    elif params.rawValue:
        flat = _decompressed(params, shape)
    else:
        raise ModelError("weights are missing, or in a form that the reference executor lacks")
    if flat.size != np.prod(shape):
        raise ModelError(f"{flat.size} weights for {shape}")
    return flat.reshape(shape)


def _decompressed(params: Any, shape: tuple[int, ...]) -> FloatArray:
    """Return weights that are packed as whole numbers of a few bits, highest bit first."""
    bits, count = params.quantization.numberOfBits, int(np.prod(shape))
    unpacked = np.unpackbits(np.frombuffer(params.rawValue, np.uint8))[: count * bits]
    places = unpacked.reshape(-1, bits) @ (1 << np.arange(bits)[::-1])
    if params.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        table = np.array(params.quantization.lookupTableQuantization.floatValue, np.float32)
        return table[places]
    linear = params.quantization.linearQuantization
    scale, bias = (np.array(v, np.float32)[:, None] for v in (linear.scale, linear.bias))
    channels = places.reshape(max(len(scale), 1), -1).astype(np.float32)
    result: FloatArray = channels * scale + bias
    return result


def _convolution(params: Any, given: list[FloatArray]) -> FloatArray:
    if params.isDeconvolution or params.WhichOneof("ConvolutionPaddingType") != "valid":
        raise ModelError("the reference executor does not know this kind of convolution")
    before, after = _borders(params.valid)
    shape = (params.outputChannels, params.kernelChannels, *params.kernelSize)
    return kernels.conv2d(
        given[0],
        weights(params.weights, shape),
        weights(params.bias, (params.outputChannels,)) if params.hasBias else None,
        stride=tuple(params.stride),
        before=before,
        after=after,
        dilation=tuple(params.dilationFactor),
        groups=params.nGroups,
    )


def _borders(valid: Any) -> tuple[kernels.Pair, kernels.Pair]:
    borders = [(b.startEdgeSize, b.endEdgeSize) for b in valid.paddingAmounts.borderAmounts]
    if not borders:
        return (0, 0), (0, 0)
    (top, bottom), (left, right) = borders
    return (top, left), (bottom, right)


def _pooling(params: Any, given: list[FloatArray]) -> FloatArray:
    if params.type == _POOLING.AVERAGE and params.globalPooling:
        return given[0].mean((2, 3), keepdims=True)
    if params.type != _POOLING.MAX or params.globalPooling:
        raise ModelError("the reference executor knows max pooling and global average pooling only")
    if params.WhichOneof("PoolingPaddingType") != "valid":
        raise ModelError("the reference executor does not know this padding of a pooling")
    before, after = _borders(params.valid)
    kernel, stride = tuple(params.kernelSize), tuple(params.stride)
    return kernels.max_pool(given[0], kernel=kernel, stride=stride, before=before, after=after)


def _upsample(params: Any, given: list[FloatArray]) -> FloatArray:
    modes: dict[int, kernels.Sampling] = {
        _UPSAMPLE.ALIGN_CORNERS_TRUE: "align_corners",
        _UPSAMPLE.ALIGN_CORNERS_FALSE: "half_pixel",
    }
    if params.mode != _UPSAMPLE.BILINEAR or params.linearUpsampleMode not in modes:
        raise ModelError("the reference executor does not know this mode of upsample")
    scale = tuple(params.scalingFactor)
    return kernels.upsample_bilinear(given[0], scale, modes[params.linearUpsampleMode])


def _slice(params: Any, given: list[FloatArray]) -> FloatArray:
    axes = {"CHANNEL_AXIS": 1, "HEIGHT_AXIS": 2, "WIDTH_AXIS": 3}
    axis = axes[NeuralNetwork_pb2.SliceLayerParams.SliceAxis.Name(params.axis)]
    end = params.endIndex or None  # 0 is not an end that anybody wants
    cut = slice(params.startIndex, end, params.stride)
    return given[0][(slice(None),) * axis + (cut,)]


def _reorganize(params: Any, given: list[FloatArray]) -> FloatArray:
    modes = NeuralNetwork_pb2.ReorganizeDataLayerParams
    if params.mode != modes.PIXEL_SHUFFLE:
        raise ModelError("the reference executor does not know this mode of reorganizeData")
    return kernels.pixel_shuffle(given[0], params.blockSize)


def _constant(params: Any, given: list[FloatArray]) -> FloatArray:
    return weights(params.data, tuple(params.shape))


def _add(params: Any, given: list[FloatArray]) -> FloatArray:
    return given[0] + (given[1] if len(given) > 1 else np.float32(params.alpha))


def _multiply(params: Any, given: list[FloatArray]) -> FloatArray:
    return given[0] * (given[1] if len(given) > 1 else np.float32(params.alpha))


def _greater_equal(params: Any, given: list[FloatArray]) -> FloatArray:
    return given[0] >= (given[1] if len(given) > 1 else np.float32(params.alpha))


def _linear(params: Any, given: list[FloatArray]) -> FloatArray:
    return given[0] * np.float32(params.linear.alpha) + np.float32(params.linear.beta)


LAYERS: dict[str, Callable[[Any, list[FloatArray]], FloatArray]] = {
    "activation.ReLU": lambda p, g: kernels.relu(g[0]),
    "activation.linear": _linear,
    "activation.sigmoid": lambda p, g: kernels.sigmoid(g[0]),
    "activation.sigmoidHard": lambda p, g: kernels.sigmoid_hard(
        g[0], p.sigmoidHard.alpha, p.sigmoidHard.beta
    ),
    "activation.thresholdedReLU": lambda p, g: kernels.thresholded_relu(
        g[0], p.thresholdedReLU.alpha
    ),
    "add": _add,
    "addBroadcastable": _add,
    "convolution": _convolution,
    "greaterEqual": _greater_equal,
    "loadConstantND": _constant,
    "multiply": _multiply,
    "multiplyBroadcastable": _multiply,
    "pooling": _pooling,
    "reorganizeData": _reorganize,
    "slice": _slice,
    "upsample": _upsample,
}
"""What the networks are made of, by the names of NeuralNetwork.proto."""
