"""The golden cases are Python's answers of today, and the page's code gives the same."""

import base64
import json
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from make_golden import GOLDEN, golden

WEB = ROOT / "web"


def leaves(case: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all numbers, texts and arrays of the cases, each with where it is."""
    if isinstance(case, dict) and set(case) == {"shape", "type", "data"}:
        data = zlib.decompress(base64.b64decode(case["data"]))
        yield path, np.frombuffer(data, case["type"]).reshape(case["shape"])
    elif isinstance(case, (dict, list)):
        for key, value in case.items() if isinstance(case, dict) else enumerate(case):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, case


def test_golden_cases_are_what_python_makes_today() -> None:
    """Stale cases would hold the page to what Python no longer does; `make golden` renews them."""
    kept = dict(leaves(json.loads(GOLDEN.read_text())))
    now = dict(leaves(json.loads(json.dumps(golden(), default=float))))
    assert kept.keys() == now.keys()
    for path, value in now.items():
        if isinstance(value, np.ndarray):
            # Another CPU may round otherwise.
            tolerance = 1 if value.dtype == np.uint8 else 1e-4
            different = np.abs(kept[path].astype(float) - value.astype(float)) > tolerance
            assert not different.any(), path
        elif isinstance(value, float):
            assert kept[path] == pytest.approx(value, rel=1e-4, abs=1e-3), path
        else:
            assert kept[path] == value, path


def test_page_code_makes_the_same_of_the_golden_cases() -> None:
    """The page cuts as Python does, stage by stage; its own tests say so."""
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / ".ready").exists():
        pytest.skip("Node.js or its packages are missing; `make page` installs them")
    vitest = WEB / "node_modules" / "vitest" / "vitest.mjs"
    ran = subprocess.run([node, vitest, "run"], cwd=WEB, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
