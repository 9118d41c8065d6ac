"""Trained network -> Core ML, executed from the disk and compared before it takes its name."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import coremltools as ct
import coremltools.optimize.coreml as compression
import numpy as np
import torch
from coremltools.models.neural_network.quantization_utils import quantize_weights
from torch import Tensor, nn

from headcut.errors import ModelError, OptionError, OutputError
from headcut.geometry import FloatArray, U8Array
from headcut_train.export.crops import Labelled
from headcut_train.export.mlprogram import MLProgram
from headcut_train.export.neuralnetwork import NeuralNetwork
from headcut_train.export.parity import LIMITS, RESEARCH, Parity, compare, metadata_of, refuse
from headcut_train.networks import Network

Format = Literal["mlprogram", "neuralnetwork"]
Quantize = Literal["none", "fp16", "int8", "palette6"]
Output = Literal["array", "image"]

SUFFIXES: dict[Format, str] = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}

AUTHOR = "headcut"

DESCRIPTIONS = {
    "mask": "probability of head",
    "neck": "probability of the head's neck",
    "centre": "probability that a head's centre is in this cell of 4x4 pixels",
    "box": "offset of that head's centre from the cell's centre in x and y, and the logarithms of "
    "its width and height, all in cells",
}

MASKS = ("mask", "neck")
"""Outputs that can be images."""

LABELS = ("background", "head")
COLOURS = ("#000000", "#ff3b30")
"""Of the labels, in Xcode's preview."""

HALF_OF_A_GREY_LEVEL = 0.5 / 255


class _Exported(nn.Module):
    """A network as the file holds it."""

    def __init__(self, network: Network, threshold: float | None, white: float):
        super().__init__()
        self.network, self.threshold, self.white = network, threshold, white

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network.exported(image)
        if self.threshold is not None:
            outputs = tuple((output >= self.threshold).float() for output in outputs)
        return tuple(output * self.white if self.white != 1 else output for output in outputs)


def export_coreml(
    network: Network,
    name: str,
    path: Path,
    *,
    crops: U8Array,
    format: Format = "mlprogram",
    quantize: Quantize = "fp16",
    output: Output = "array",
    threshold: float | None = None,
    labelled: Labelled = (),
    licence: str = RESEARCH,
    trained_on: Sequence[str] = (),
) -> Parity:
    """Write a network as a Core ML model; return how far it is from the network.

    Args:
        network: with `exported` and `output_names`.
        name: of the network, for the metadata.
        path: of the model, `.mlpackage` or `.mlmodel` as the format wants; replaced whole or not
            at all.
        crops: (N, S, S, 3) uint8 pictures to compare on; S becomes the model's input side.
        format: an ML Program (iOS 15 and later; 16 for int8 and palette6) or, for older systems,
            a neural network (iOS 14 and later).
        quantize: how the weights are kept: in 32 bits, in 16, in 8 with a scale per channel, or as
            6-bit places in a palette per layer.
        output: an MLMultiArray of (1, C, H, W), or a greyscale picture per mask.
        threshold: gives masks of 0 and 1 (or black and white) instead of probabilities; for a
            network without masks it is noted in the metadata only.
        labelled: crops with people's masks, on which the file must be as good as the network.
        licence: of the weights, for the metadata.
        trained_on: names of the sources that it saw.

    Raises:
        OptionError: the path has the wrong ending, or the network has no mask to be an image.
        ModelError: the model cannot be converted, has an operator that the executor does not know,
            or differs from the network; nothing was written.
        OutputError: the model cannot be written.
    """
    has_masks = set(network.output_names) <= set(MASKS)
    if path.suffix != SUFFIXES[format]:
        raise OptionError(f"{path}: a {format} is a {SUFFIXES[format]}; choose such a name")
    if output == "image" and not has_masks:
        raise OptionError(f"{name} gives no mask that could be an image; pass --output array")
    network = network.eval()
    binary = threshold is not None and has_masks
    exported = _Exported(network, threshold if binary else None, 255 if output == "image" else 1)
    with _quietly():
        model = _converted(exported, network, crops.shape[1], format, quantize, output)
    metadata = metadata_of(
        network,
        name,
        size=crops.shape[1],
        threshold=0.5 if threshold is None else threshold,
        licence=licence,
        trained_on=trained_on,
    )
    _describe(model, network, metadata, binary=binary, output=output, has_masks=has_masks)
    with _beside(path) as part:
        model.save(str(part))
        opened = MLProgram(part) if format == "mlprogram" else NeuralNetwork(part)
        parity = compare(
            network,
            opened.run,
            crops,
            labelled=labelled,
            threshold=float(metadata["threshold"]),
            binary=binary,
        )
        refuse(path, parity, _limits(quantize, binary=binary, output=output))
    return parity


def _limits(quantize: Quantize, *, binary: bool, output: Output) -> Parity:
    """Return the worst that is written: a pixel on the threshold may flip in a binary mask."""
    limits = LIMITS[quantize]
    if binary:
        return replace(limits, largest=1.0)
    if output == "image":
        return replace(
            limits,
            largest=limits.largest + HALF_OF_A_GREY_LEVEL,
            mean=limits.mean + HALF_OF_A_GREY_LEVEL,
        )
    return limits


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a path in a folder beside `path`; what is written there takes its place if all is well.

    Raises:
        OutputError: it cannot be written, or something else has its place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not (path / "Manifest.json").is_file():
            raise OutputError(f"{path}: is a folder, not a Core ML package; choose another name")
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            part = Path(folder) / path.name
            yield part
            if path.is_dir():
                path.replace(Path(folder) / "old")
            part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hide the converter's progress bars, and the tracer's word that it is no longer developed."""
    hidden = io.StringIO()
    with (
        contextlib.redirect_stderr(hidden),
        contextlib.redirect_stdout(hidden),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _converted(
    exported: nn.Module,
    network: Network,
    size: int,
    format: Format,
    quantize: Quantize,
    output: Output,
) -> Any:
    """Return the Core ML model of a network."""
    shape = (1, 3, size, size)
    names = network.output_names
    if output == "image":
        outputs = [ct.ImageType(name=n, color_layout=ct.colorlayout.GRAYSCALE) for n in names]
    elif format == "mlprogram":
        outputs = [ct.TensorType(name=n, dtype=np.float32) for n in names]
    else:
        outputs = [ct.TensorType(name=n) for n in names]
    target = ct.target.iOS14 if format == "neuralnetwork" else ct.target.iOS15
    options = {}
    if format == "mlprogram":
        if quantize in ("int8", "palette6"):
            target = ct.target.iOS16  # the first that decompresses weights
        full = quantize == "none"
        options["compute_precision"] = ct.precision.FLOAT32 if full else ct.precision.FLOAT16
    try:
        model = ct.convert(
            torch.jit.trace(exported.eval(), torch.zeros(shape)),
            inputs=[ct.ImageType(name="image", shape=shape, color_layout=ct.colorlayout.RGB)],
            outputs=outputs,
            convert_to=format,
            minimum_deployment_target=target,
            skip_model_load=True,
            **options,
        )
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or repr(error)
        raise ModelError(f"coremltools cannot convert the network: {reason}") from error
    return _compressed(model, format, quantize)


def _compressed(model: Any, format: Format, quantize: Quantize) -> Any:
    """Return the model with its weights in the precision asked for."""
    if quantize == "none" or (quantize == "fp16" and format == "mlprogram"):
        return model
    if format == "neuralnetwork":
        if quantize == "palette6":
            spec = model.get_spec()
            _palettize_layers(spec.neuralNetwork.layers)
            return ct.models.MLModel(spec, skip_model_load=True)
        return quantize_weights(model, *((16,) if quantize == "fp16" else (8, "linear_symmetric")))
    if quantize == "int8":
        by_channel = compression.OpLinearQuantizerConfig(mode="linear_symmetric")
        return compression.linear_quantize_weights(
            model, compression.OptimizationConfig(global_config=by_channel)
        )
    by_palette = compression.OpPalettizerConfig(mode="custom", lut_function=palette)
    return compression.palettize_weights(
        model, compression.OptimizationConfig(global_config=by_palette)
    )


LARGE_WEIGHT = 2048
"""Numbers from which a weight is worth a palette, as in coremltools."""


def _palettize_layers(layers: Any) -> None:
    """Keep the large weights of a neural network as places in palettes, highest bit first.

    coremltools can too, but takes minutes: it packs bit by bit, in Python.
    """
    for layer in layers:
        weights = layer.convolution.weights
        if len(weights.floatValue) > LARGE_WEIGHT:
            values, indices = palette(np.array(weights.floatValue, np.float32))
            bits = np.unpackbits(indices[:, None], axis=1)[:, -PALETTE_BITS:]
            weights.Clear()
            weights.rawValue = np.packbits(bits).tobytes()
            weights.quantization.numberOfBits = PALETTE_BITS
            weights.quantization.lookupTableQuantization.floatValue.extend(values.tolist())


PALETTE_BITS = 6
PALETTE = 2**PALETTE_BITS
"""Values in a palette."""

MOST_ROUNDS = 100
"""In which a palette's values move to the means of theirs."""


def palette(weight: FloatArray) -> tuple[FloatArray, U8Array]:
    """Return 64 values for a weight, and which one stands for each of its numbers.

    Lloyd's k-means on a line; coremltools would need scikit-learn for it. It begins with values as
    dense as the cube root of the weight's density, which is best for many values (Bennett, 1948).

    Args:
        weight: of any shape.

    Returns:
        (64,) in the weight's dtype, ascending, and (N,) uint8 of the flat weight.
    """
    flat = weight.astype(np.float64).ravel()
    line = np.sort(flat)
    sums = np.concatenate([[0.0], line.cumsum()])
    counts, edges = np.histogram(line, 128)
    share = np.cbrt(counts).cumsum()
    values = np.interp((np.arange(PALETTE) + 0.5) / PALETTE, share / share[-1], edges[1:])
    for _ in range(MOST_ROUNDS):
        borders = np.searchsorted(line, (values[1:] + values[:-1]) / 2)
        starts, ends = np.append(0, borders), np.append(borders, len(line))
        means = (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)
        moved = np.sort(np.where(ends > starts, means, values))
        if (moved == values).all():
            break
        values = moved
    indices = np.searchsorted((values[1:] + values[:-1]) / 2, flat)
    return values.astype(weight.dtype), indices.astype(np.uint8)


def _describe(
    model: Any,
    network: Network,
    metadata: dict[str, str],
    *,
    binary: bool,
    output: Output,
    has_masks: bool,
) -> None:
    """Write descriptions, author, licence, version and metadata, where Xcode shows them."""
    model.author, model.license, model.version = AUTHOR, metadata["licence"], metadata["version"]
    model.short_description = f"{metadata['name']}: cuts heads out of photos"
    side = metadata["size"]
    model.input_description["image"] = f"{side}x{side} RGB; the network scales it itself"
    for name in network.output_names:
        words = DESCRIPTIONS[name]
        if binary:
            words = f"1 where the {words} is at least {metadata['threshold']}, else 0"
        if output == "image":
            words += "; white is 1"
        model.output_description[name] = words
    model.user_defined_metadata.update(metadata)
    if has_masks:
        model.user_defined_metadata["labels"] = ", ".join(LABELS)
        preview = {"labels": LABELS, "colors": COLOURS}
        model.user_defined_metadata["com.apple.coreml.model.preview.type"] = "imageSegmenter"
        model.user_defined_metadata["com.apple.coreml.model.preview.params"] = json.dumps(preview)
