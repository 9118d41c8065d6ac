"""What a model file says of itself, and what is in it: `.onnx`, `.mlpackage`, `.mlmodel`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from headcut.errors import ModelError


def describe(path: Path) -> str:
    """Return inputs, outputs, operators, sizes, metadata and licence of a model file.

    Raises:
        ModelError: it is missing, damaged, or of another kind.
    """
    readers = {".onnx": _onnx, ".mlpackage": _mlpackage, ".mlmodel": _mlmodel}
    if path.suffix not in readers:
        raise ModelError(f"{path}: not one of {', '.join(readers)}")
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    return "\n".join(readers[path.suffix](path))


def _onnx(path: Path) -> Iterable[str]:
    import onnx

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ModelError(f"{path}: not an ONNX file") from error
    graph = model.graph

    def feature(value: Any) -> str:
        kind = value.type.tensor_type
        shape = "x".join(str(d.dim_value or d.dim_param) for d in kind.shape.dim)
        return f"{value.name}: {onnx.TensorProto.DataType.Name(kind.elem_type).lower()} {shape}"

    weights: Counter[str] = Counter()
    for weight in graph.initializer:
        name = onnx.TensorProto.DataType.Name(weight.data_type).lower()
        weights[name] += onnx.numpy_helper.to_array(weight).nbytes
    sizes = {"whole": path.stat().st_size}
    sizes |= {f"weights, {name}": size for name, size in weights.most_common()}
    opsets = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    yield f"{path}: ONNX, opset {opsets}"
    yield from _listed("inputs", map(feature, graph.input))
    yield from _listed("outputs", map(feature, graph.output))
    yield from _body(
        Counter(node.op_type for node in graph.node),
        sizes,
        {prop.key: prop.value for prop in model.metadata_props},
    )


def _mlpackage(path: Path) -> Iterable[str]:
    from headcut_train.export.mlprogram import read_package

    spec, _ = read_package(path)
    main = spec.mlProgram.functions["main"]
    operations = main.block_specializations[main.opset].operations
    files = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = {str(file.relative_to(path)): file.stat().st_size for file in files}
    kind = f"Core ML ML Program ({main.opset})"
    operators = Counter(o.type for o in operations if o.type != "const")
    yield from _coreml(path, kind, spec, operators, {"whole": sum(sizes.values()), **sizes})


def _mlmodel(path: Path) -> Iterable[str]:
    from headcut_train.export.neuralnetwork import kind_of, read_model

    spec = read_model(path)
    operators = Counter(map(kind_of, spec.neuralNetwork.layers))
    sizes = {"whole": path.stat().st_size}
    yield from _coreml(path, "Core ML neural network", spec, operators, sizes)


def _coreml(
    path: Path, kind: str, spec: Any, operators: Counter[str], sizes: Mapping[str, int]
) -> Iterable[str]:
    description = spec.description
    yield f"{path}: {kind}, specification version {spec.specificationVersion}"
    yield from _listed("inputs", map(_feature, description.input))
    yield from _listed("outputs", map(_feature, description.output))
    metadata = description.metadata
    said = {
        "description": metadata.shortDescription,
        "author": metadata.author,
        "version": metadata.versionString,
        "licence": metadata.license,
    }
    yield from _body(operators, sizes, {**metadata.userDefined, **said})


def _feature(feature: Any) -> str:
    from coremltools.proto import FeatureTypes_pb2

    words = f" ({feature.shortDescription})" if feature.shortDescription else ""
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        colours = FeatureTypes_pb2.ImageFeatureType.ColorSpace.Name(image.colorSpace)
        return f"{feature.name}: {colours} image {image.width}x{image.height}{words}"
    array = feature.type.multiArrayType
    dtype = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Name(array.dataType).lower()
    return f"{feature.name}: {dtype} {'x'.join(map(str, array.shape))}{words}"


def _body(
    operators: Counter[str], sizes: Mapping[str, int], metadata: Mapping[str, str]
) -> Iterable[str]:
    yield from _listed("operators", [", ".join(f"{k} {n}" for k, n in operators.most_common())])
    yield from _listed("bytes", (f"{name}: {size}" for name, size in sizes.items()))
    yield from _listed("metadata", (f"{key}: {metadata[key]}" for key in sorted(metadata)))


def _listed(title: str, lines: Iterable[str]) -> Iterable[str]:
    yield title
    yield from (f"  {line}" for line in lines)
