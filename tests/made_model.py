"""A model file made by hand: what it answers is plain to see."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

MADE_SIZE = 32


def write_model(path: Path, **metadata: str) -> Path:
    """Write a network whose mask is the red of the picture, over 255.

    Args:
        path: of the file.
        metadata: instead of what headcut needs; a key with an empty value is left out.
    """
    mask = ("mask", TensorProto.FLOAT, [1, 1, MADE_SIZE, MADE_SIZE])
    image = ("image", TensorProto.FLOAT, [1, 3, MADE_SIZE, MADE_SIZE])
    graph = helper.make_graph(
        [
            helper.make_node("Split", ["image"], ["red", "green", "blue"], axis=1, num_outputs=3),
            helper.make_node("Div", ["red", "white"], ["mask"]),
        ],
        "made",
        [helper.make_tensor_value_info(*image)],
        [helper.make_tensor_value_info(*mask)],
        [helper.make_tensor("white", TensorProto.FLOAT, [], [255.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    values = {"size": str(MADE_SIZE), "threshold": "0.4", "licence": "none"} | metadata
    helper.set_model_props(model, {key: value for key, value in values.items() if value})
    onnx.save(model, path)
    return path
