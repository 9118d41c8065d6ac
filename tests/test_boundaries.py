"""What the product never does: import torch, reach for the network, or import upwards."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ASTRONAUT, ROOT

PACKAGE = ROOT / "src" / "headcut"

LAYERS = [
    {"errors"},
    {"options"},
    {"geometry", "photo", "model_file", "writing"},
    {"find", "segment", "edge", "neck", "finish"},
    {"cutout"},
    {"pipeline"},
    {"plan", "sidecar", "doctor"},
    {"outputs", "store"},
    {"ledger"},
    {"batch_worker", "report"},
    {"batch"},
    {"cli"},
    {"__main__"},
]
"""From the ground up: a module imports from the layers below it, or from its own."""


FACES = {"app", "web"}
"""Packages of their own, above all of these; only the command line opens them."""


def run_python(script: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a script in a fresh interpreter and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


CUT_ALONE = """
import sys

class NoTraining:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "onnx", "headcut_train", "cv2", "scipy"}:
            raise ImportError(f"{name} is not for the product")

def no_network(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.")):
        raise RuntimeError(f"the network was reached for: {event} {arguments}")

sys.meta_path.insert(0, NoTraining())
sys.addaudithook(no_network)

import headcut
heads = headcut.cut(sys.argv[1])
assert heads, "the sample photo has a head"
heads[0].save("head.png")

import socket
try:
    socket.socket()
except RuntimeError:
    print("blocked and cut")
"""


def test_whole_cut_without_torch_and_without_network(tmp_path: Path) -> None:
    """Nothing leaves the machine, and nothing of training is needed to run."""
    assert run_python(CUT_ALONE, ASTRONAUT, cwd=tmp_path) == "blocked and cut\n"
    assert (tmp_path / "head.png").stat().st_size > 1000


def test_import_is_light() -> None:
    """A program that imports headcut pays for the runtime when it cuts, not before."""
    script = "import sys, headcut; print(*sorted(m.split('.')[0] for m in sys.modules))"
    heavy = {"onnxruntime", "pillow_heif", "typer", "numpy", "PIL", "torch"}
    assert not heavy & set(run_python(script).split())


def test_runtime_is_loaded_once_there_is_something_to_cut() -> None:
    script = "import sys, headcut.cli; print(*sys.modules)"
    assert not {"onnxruntime", "pillow_heif", "numpy"} & set(run_python(script).split())
    script = "import sys, headcut.pipeline; print(*sys.modules)"
    assert not {"onnxruntime", "pillow_heif"} & set(run_python(script).split())


def test_public_names_are_all_there() -> None:
    import headcut

    for name in headcut.__all__:
        assert getattr(headcut, name) is not None
    assert set(headcut.__all__) <= set(dir(headcut))
    with pytest.raises(AttributeError, match="no attribute 'cut_head'"):
        headcut.cut_head  # noqa: B018


def imported_modules(path: Path) -> set[str]:
    """Return the headcut modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headcut."):
            found.add((node.module or "").split(".")[1])
    return found


def test_every_module_has_a_layer_and_imports_only_downwards() -> None:
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set(height)
    for module in modules:
        for below in imported_modules(PACKAGE / f"{module}.py") - FACES:
            assert height[below] <= height[module], f"{module} imports {below}"


def test_only_the_command_line_knows_the_faces() -> None:
    """`import headcut` must work without the extras."""
    for path in PACKAGE.glob("*.py"):
        assert path.stem == "cli" or not FACES & imported_modules(path)


def test_product_never_imports_training_code() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                names.append(getattr(node, "module", None) or "")
                assert not {name.split(".")[0] for name in names} & {"torch", "headcut_train"}
