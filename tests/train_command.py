"""`headcut-train` run in this process, and the shortest of recipes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headcut_train.cli import main

RECIPE = """
network = "{network}"
steps = 2
batch = 2
steps_an_epoch = 1
sizes = [[1.0, 64]]
"""


def run(*arguments: str | Path) -> int:
    """Run the command; return its exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["headcut-train", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
    return int(stopped.value.code or 0)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Run a command that fails; return its exit code and its one line."""
    capsys.readouterr()
    code = run(*arguments)
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "Warning" not in line]
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("headcut-train: ")
    return code, lines[0]
