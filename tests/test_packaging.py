"""What a wheel of headcut holds, and what it asks for."""

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_MODEL_MB = 6.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel once, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def read(wheel: Path, name_end: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(name_end))
        return archive.read(name).decode()


def test_wheel_holds_only_headcut_with_its_models(wheel: Path) -> None:
    """A cut needs all networks in the package: nothing is downloaded at run time."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folders = {name.split("/")[0].split("-")[0] for name in names}
    assert folders == {"headcut"}
    networks = ("finder", "segmenter", "refiner")
    assert {f"headcut/models/{network}.onnx" for network in networks} <= set(names)
    assert "headcut/py.typed" in names


def test_wheel_holds_the_page(wheel: Path) -> None:
    """Whoever installs it needs no Node.js; where it is missing at the build, the rest works."""
    with zipfile.ZipFile(wheel) as archive:
        page = {n.removeprefix("headcut/web/built/") for n in archive.namelist() if "built" in n}
    if not page:
        pytest.skip("the page is not built; `make page` needs Node.js")
    assert {"index.html", "sw.js", "headers.json", "manifest.webmanifest"} <= page
    assert any(name.endswith(".wasm") for name in page)


def test_models_are_small(wheel: Path) -> None:
    """The weights travel in the wheel, so a careless export (32 bits, say) shows here."""
    with zipfile.ZipFile(wheel) as archive:
        sizes_mb = {
            info.filename: info.file_size / 1e6
            for info in archive.infolist()
            if info.filename.endswith(".onnx")
        }
    assert max(sizes_mb.values()) < MAX_MODEL_MB, sizes_mb


def test_wheel_offers_one_command(wheel: Path) -> None:
    """headcut-train needs the checkout; in a wheel it could only fail."""
    assert read(wheel, "entry_points.txt").split() == [
        "[console_scripts]",
        "headcut",
        "=",
        "headcut.cli:main",
    ]


def test_core_install_is_five_packages(wheel: Path) -> None:
    """No OpenCV, SciPy, numba or torch at run time."""
    requires = Parser().parsestr(read(wheel, "METADATA")).get_all("Requires-Dist", [])
    core = {re.split("[<>]", line)[0] for line in requires if "extra ==" not in line}
    assert core == {"numpy", "onnxruntime", "pillow", "pillow-heif", "typer"}


def test_wheel_carries_the_licence_and_the_weights_terms(wheel: Path) -> None:
    """Code and weights have different terms; both go where the wheel goes."""
    assert "Apache License" in read(wheel, "licenses/LICENSE")
    assert "research" in read(wheel, "licenses/MODEL_CARD.md")
