"""The real window: `headcut app` on Qt, in a process of its own, without a screen or on Xvfb."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ASTRONAUT, ROOT, files, run_process

DRIVE = ROOT / "tests" / "drive_app.py"


@pytest.fixture(scope="module", autouse=True)
def qt() -> None:
    """Skip where Qt does not load: it needs libraries of the system, libegl1 among them."""
    script = "from PySide6 import QtWidgets; import toga_qt"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    if ran.returncode:
        reason = ran.stderr.decode().strip().splitlines()[-1]
        pytest.skip(f"toga-qt does not load here: {reason}")


def drive(
    story: str, folder: Path, photo: Path, *before: str, **environment: str
) -> dict[str, Any]:
    """Run a story of drive_app.py; its Documents is `folder / "Documents"`."""
    (folder / "Documents").mkdir(exist_ok=True)
    settings = {
        **{k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")},
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
        "TOGA_BACKEND": "toga_qt",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "XDG_RUNTIME_DIR": str(folder),
        **environment,
    }
    command = [*before, sys.executable, str(DRIVE), story, str(photo), str(folder)]
    ran = subprocess.run(command, env=settings, capture_output=True, check=False, timeout=240)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    seen: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return seen


@pytest.mark.parametrize("screen", ["none", "xvfb"])
def test_photo_goes_through_the_window_as_through_the_command_line(
    screen: str, tmp_path: Path
) -> None:
    """The one story that a user has with it: open, see, save otherwise, meet a broken photo."""
    if screen == "none":
        seen = drive("story", tmp_path, ASTRONAUT, QT_QPA_PLATFORM="offscreen")
    else:
        if not (shutil.which("xvfb-run") and shutil.which("xauth")):
            pytest.skip("no xvfb-run here: apt install xvfb xauth")
        seen = drive("story", tmp_path, ASTRONAUT, "xvfb-run", "-a", QT_QPA_PLATFORM="xcb")
    documents = tmp_path / "Documents"

    plain, pink, broken = (tmp_path / name for name in ("cli.png", "pink.png", "broken.jpg"))
    assert run_process(ASTRONAUT, "-o", plain).returncode == 0
    assert run_process(ASTRONAUT, "-o", pink, "--background", "#ff4081").returncode == 0
    said = run_process(broken).stderr.decode().strip()

    assert seen["opened"] == {
        "state": "Done",
        "headline": "Saved in Documents: astronaut-head.png",
        "report": str(documents / "astronaut-head.png"),
        "heads": 1,
        "picture": True,
    }
    assert (documents / "astronaut-head.png").read_bytes() == plain.read_bytes()
    assert seen["saved"]["headline"] == "Saved in Documents: astronaut-head-2.png"
    assert (documents / "astronaut-head-2.png").read_bytes() == pink.read_bytes()
    assert seen["broken"]["state"] == "Failed"
    assert seen["broken"]["report"] == said
    assert not seen["broken"]["picture"]
    assert seen["accepts"]
    assert seen["dropped"]["headline"] == "Saved in Documents: astronaut-head-3.png"
    assert seen["cancelled"]["state"] == "Empty"
    assert len(files(documents)) == 3


def test_memory_stays_flat_over_fifty_photos_in_one_window(tmp_path: Path) -> None:
    """35 pictures on the screen that were kept until Python looks for cycles cost 50 MB."""
    seen = drive("fifty", tmp_path, ASTRONAUT, QT_QPA_PLATFORM="offscreen")
    assert len(files(tmp_path / "Documents")) == 50
    grown = seen["megabytes after 50"] - seen["megabytes after 15"]
    assert grown < 20, seen
