"""Run a Core ML ML Program without Core ML: read an `.mlpackage` as it lies on disk.

The weights are read from its blob, compressed ones included; each operator is computed in float32
and its result kept in the type that the file declares, so that what overflows half precision on a
device overflows here. The format is that of MIL.proto and of MIL's blob storage, version 2.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from coremltools.proto import MIL_pb2, Model_pb2
from google.protobuf.message import DecodeError

from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array
from headcut_train.export import kernels
from headcut_train.export.features import as_planes, as_probability

Value = Any
"""An array, a number, a string, or a tuple of them."""

Array = npt.NDArray[Any]

BLOB_MARK = 0xDEADBEEF
"""What each entry of the weight blob begins with."""

_MIL = MIL_pb2.DataType
DTYPES: dict[int, type[np.generic]] = {
    _MIL.Value("FLOAT16"): np.float16,
    _MIL.Value("FLOAT32"): np.float32,
    _MIL.Value("INT8"): np.int8,
    _MIL.Value("UINT8"): np.uint8,
    _MIL.Value("INT32"): np.int32,
    _MIL.Value("UINT32"): np.uint32,
    _MIL.Value("BOOL"): np.bool_,
}


class MLProgram:
    """An `.mlpackage`, ready to run in NumPy.

    Attributes:
        path: of the package.
        spec: its Core ML description, as protocol buffer.

    Raises:
        ModelError: it is missing or damaged, or has an operator that is not known here.
    """

    def __init__(self, path: Path):
        self.path = path
        self.spec, self._folder = read_package(path)
        main = self.spec.mlProgram.functions["main"]
        self._block = main.block_specializations[main.opset]
        self._constants: dict[str, Value] = {}
        self._steps = []
        for operation in self._block.operations:
            if operation.type == "const":
                value = self._value(operation.attributes["val"])
                self._constants[operation.outputs[0].name] = value
            elif operation.type in CONSTANTS:
                attributes = {name: self._value(v) for name, v in operation.attributes.items()}
                value = CONSTANTS[operation.type](attributes)
                self._constants[operation.outputs[0].name] = value
            elif operation.type in OPERATORS:
                self._steps.append(operation)
            else:
                raise ModelError(
                    f"{path}: the reference executor does not know the operator "
                    f"{operation.type!r}; known are {', '.join(sorted(OPERATORS))}"
                )

    def run(self, image: U8Array) -> list[FloatArray]:
        """Return the outputs for one (size, size, 3) uint8 RGB picture, batch axis dropped.

        Image outputs are in [0, 1], in steps of 1/255.

        Raises:
            ModelError: the picture has another size.
        """
        (wanted,) = self.spec.description.input
        values = {**self._constants, wanted.name: as_planes(image, wanted, self.path)}
        for operation in self._steps:
            arguments = {
                name: self._argument(argument, values)
                for name, argument in operation.inputs.items()
                if argument.arguments
            }
            result = OPERATORS[operation.type](arguments)
            output = operation.outputs[0]
            values[output.name] = _kept(result, output.type.tensorType)
        return [as_probability(values[out.name], out) for out in self.spec.description.output]

    def _argument(self, argument: Any, values: dict[str, Value]) -> Value:
        given = [
            values[binding.name] if binding.name else self._value(binding.value)
            for binding in argument.arguments
        ]
        return given if len(given) > 1 else given[0]

    def _value(self, value: Any) -> Value:
        """Decode a constant: a string, a bool, an integer, a float, or an array."""
        tensor_type = value.type.tensorType
        if value.HasField("blobFileValue"):
            return self._from_blob(value.blobFileValue, tensor_type)
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        if kind == "strings":
            return tensor.strings.values[0]
        if kind == "bytes":
            flat = np.frombuffer(tensor.bytes.values, DTYPES[tensor_type.dataType])
        else:
            flat = np.array(getattr(tensor, kind).values, DTYPES[tensor_type.dataType])
        array = flat.reshape(_shape(tensor_type))
        return array.item() if array.ndim == 0 else array

    def _from_blob(self, place: Any, tensor_type: Any) -> Array:
        path = self._folder / place.fileName.removeprefix("@model_path/")
        shape, dtype = _shape(tensor_type), np.dtype(DTYPES[tensor_type.dataType])
        try:
            blob = np.memmap(path, np.uint8, "r")
            mark, _, size, offset = struct.unpack("<IIQQ", bytes(blob[place.offset :][:24]))
        except (OSError, ValueError, struct.error) as error:
            raise ModelError(f"{path}: damaged weights; export the model again") from error
        data = bytes(blob[offset:][:size])
        if mark != BLOB_MARK or len(data) != size or size != prod(shape) * dtype.itemsize:
            raise ModelError(f"{path}: damaged weights at {place.offset}; export the model again")
        return np.frombuffer(data, dtype).reshape(shape)


def read_package(path: Path) -> tuple[Any, Path]:
    """Return the Core ML description of a package and the folder that its weights are named from.

    Raises:
        ModelError: it is missing, damaged, or not an ML Program.
    """
    try:
        manifest = json.loads((path / "Manifest.json").read_text("utf-8"))
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
        model = path / "Data" / entry["path"]
        spec = Model_pb2.Model.FromString(model.read_bytes())
    except (OSError, ValueError, KeyError, DecodeError) as error:
        raise ModelError(f"{path}: missing, or not a Core ML package") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise ModelError(f"{path}: not an ML Program")
    return spec, model.parent


def _shape(tensor_type: Any) -> tuple[int, ...]:
    return tuple(dimension.constant.size for dimension in tensor_type.dimensions)


def _kept(result: Array, tensor_type: Any) -> Array:
    """Return a result as the file keeps it: rounded to half precision where it says so."""
    dtype = DTYPES[tensor_type.dataType]
    with np.errstate(over="ignore"):  # what overflows is infinite, as on a device
        result = np.asarray(result).astype(dtype)
    return result.astype(np.float32) if dtype is np.float16 else result


# ---------------------------------------------------------------- compressed weights


def _dequantized(given: dict[str, Value]) -> Array:
    """Return (quantized - zero point) scale, both per channel of an axis or for all."""
    quantized, axis = given["quantized_data"], given["axis"]
    beside = tuple(i for i in range(quantized.ndim) if i != axis)

    def spread(value: Value) -> FloatArray:
        value = np.asarray(value, np.float32)
        return np.expand_dims(value, beside) if value.ndim else value

    return (quantized.astype(np.float32) - spread(given["zero_point"])) * spread(given["scale"])


def _looked_up(given: dict[str, Value]) -> Array:
    """Return the values of a palette by indices that are packed, lowest bit first."""
    palette, shape = given["lut"], tuple(given["shape"])
    bits = (len(palette) - 1).bit_length()
    unpacked = np.unpackbits(given["indices"], bitorder="little")[: prod(shape) * bits]
    indices = np.packbits(unpacked.reshape(-1, bits), axis=1, bitorder="little")[:, 0]
    looked_up: Array = palette[indices].astype(np.float32).reshape(shape)
    return looked_up


CONSTANTS: dict[str, Callable[[dict[str, Value]], Array]] = {
    "constexpr_affine_dequantize": _dequantized,
    "constexpr_lut_to_dense": _looked_up,
}
"""Operators without inputs, computed when the file is opened."""


# ---------------------------------------------------------------- operators


def _float(value: Value) -> FloatArray:
    return np.asarray(value, np.float32)


def _pair(value: Value) -> kernels.Pair:
    rows, columns = (int(v) for v in value)
    return rows, columns


def _padding(given: dict[str, Value]) -> tuple[kernels.Pair, kernels.Pair]:
    """Return the padding before and after; only padding that the file spells out is known."""
    if given["pad_type"] == "valid":
        return (0, 0), (0, 0)
    if given["pad_type"] != "custom":
        raise ModelError(f"the reference executor does not know the padding {given['pad_type']!r}")
    top, bottom, left, right = (int(v) for v in given["pad"])
    return (top, left), (bottom, right)


def _conv(given: dict[str, Value]) -> FloatArray:
    before, after = _padding(given)
    return kernels.conv2d(
        given["x"],
        _float(given["weight"]),
        _float(given["bias"]) if "bias" in given else None,
        stride=_pair(given["strides"]),
        before=before,
        after=after,
        dilation=_pair(given["dilations"]),
        groups=given["groups"],
    )


def _max_pool(given: dict[str, Value]) -> FloatArray:
    if given["ceil_mode"]:
        raise ModelError("the reference executor does not know max_pool with ceil_mode")
    before, after = _padding(given)
    kernel, stride = _pair(given["kernel_sizes"]), _pair(given["strides"])
    return kernels.max_pool(given["x"], kernel=kernel, stride=stride, before=before, after=after)


def _upsample_bilinear(given: dict[str, Value]) -> FloatArray:
    scale = _pair((given["scale_factor_height"], given["scale_factor_width"]))
    sampling: kernels.Sampling = "align_corners" if given["align_corners"] else "half_pixel"
    if given.get("half_pixel_centers", sampling == "half_pixel") != (sampling == "half_pixel"):
        raise ModelError("the reference executor does not know this mode of upsample_bilinear")
    return kernels.upsample_bilinear(given["x"], scale, sampling)


def _slice_by_index(given: dict[str, Value]) -> Array:
    x: Array = given["x"]
    all_axes = np.zeros(x.ndim, bool)
    begin_mask, end_mask = given.get("begin_mask", all_axes), given.get("end_mask", all_axes)
    strides = given.get("stride", np.ones(x.ndim, int))
    if given.get("squeeze_mask", all_axes).any():
        raise ModelError("the reference executor does not know slice_by_index with squeeze_mask")
    begin, end = given["begin"], given["end"]
    return x[
        tuple(
            slice(
                None if begin_mask[i] else int(begin[i]),
                None if end_mask[i] else int(end[i]),
                int(strides[i]),
            )
            for i in range(x.ndim)
        )
    ]


def _cast(given: dict[str, Value]) -> Array:
    return np.asarray(given["x"])  # the declared type of the output does the rest


OPERATORS: dict[str, Callable[[dict[str, Value]], Array]] = {
    "add": lambda g: _float(g["x"]) + _float(g["y"]),
    "cast": _cast,
    "conv": _conv,
    "greater_equal": lambda g: _float(g["x"]) >= _float(g["y"]),
    "max_pool": _max_pool,
    "mul": lambda g: _float(g["x"]) * _float(g["y"]),
    "pixel_shuffle": lambda g: kernels.pixel_shuffle(g["x"], g["upscale_factor"]),
    "reduce_mean": lambda g: g["x"].mean(tuple(g["axes"]), keepdims=g["keep_dims"]),
    "relu": lambda g: kernels.relu(g["x"]),
    "sigmoid": lambda g: kernels.sigmoid(g["x"]),
    "sigmoid_hard": lambda g: kernels.sigmoid_hard(g["x"], g["alpha"], g["beta"]),
    "slice_by_index": _slice_by_index,
    "sub": lambda g: _float(g["x"]) - _float(g["y"]),
    "thresholded_relu": lambda g: kernels.thresholded_relu(g["x"], g["alpha"]),
    "upsample_bilinear": _upsample_bilinear,
}
"""What the networks are made of, by the names of MIL."""
