"""The Briefcase configuration: read as Briefcase reads it, and what it names exists."""

from __future__ import annotations

import plistlib
import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from PIL import Image

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
APP: dict[str, Any] = PYPROJECT["tool"]["briefcase"]["app"]["headcut-app"]
PLATFORMS = {
    "iOS": "toga-iOS",
    "macOS": "toga-cocoa",
    "windows": "toga-winforms",
    "linux": "toga-qt",
    "android": "toga-android",
}

IOS_SIDES = (20, 29, 40, 58, 60, 76, 80, 87, 120, 152, 167, 180, 640, 1024, 1280, 1920)
ANDROID_SIDES = {
    "round": (48, 72, 96, 144, 192),
    "square": (48, 72, 96, 144, 192, 320, 480, 640, 960, 1280),
    "adaptive": (108, 162, 216, 324, 432),
}
"""What the templates of Briefcase 0.4 ask for; splash screens are the large ones."""


def requirements(platform: str) -> list[str]:
    """Return what a packaged app gets: the project's own dependencies that apply, and Toga."""
    names = {"iOS": "ios", "android": "android", "linux": "linux"}
    system = names.get(platform, platform)
    own = [
        line
        for line in PYPROJECT["project"]["dependencies"]
        if f"sys_platform != '{system}'" not in line
    ]
    return [re.split(r"[\[>;]", line)[0] for line in own + APP[platform]["requires"]]


@pytest.mark.parametrize(("platform", "toga"), PLATFORMS.items())
def test_every_platform_has_its_toolkit_and_what_runs_there(platform: str, toga: str) -> None:
    """Asked for what has no wheels for phones, or needs what has none, the build would fail."""
    names = requirements(platform)
    assert {"numpy", "pillow", toga} <= set(names)
    no_wheels = {"onnxruntime", "pillow-heif", "typer"}
    assert no_wheels & set(names) == (set() if platform in ("iOS", "android") else no_wheels)
    assert len([name for name in names if name.startswith("toga")]) == 1


def test_sources_hold_the_module_that_briefcase_starts() -> None:
    """It starts the module that is named as the app."""
    names = {Path(source).name for source in APP["sources"]}
    assert names == {"headcut", "headcut_app"}
    for source in APP["sources"]:
        assert (ROOT / source / "__init__.py").is_file()


def test_packaged_app_opens_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    class App:
        def __init__(self, photos: list[Path]) -> None:
            opened.append(photos)

        def main_loop(self) -> None:
            opened.append("running")

    monkeypatch.setattr("headcut.app.window.HeadcutApp", App)
    monkeypatch.setattr(sys, "argv", ["headcut_app", "a.jpg"])
    runpy.run_path(str(ROOT / "packaging" / "headcut_app" / "__main__.py"), run_name="__main__")
    assert opened == [[Path("a.jpg")], "running"]


def test_documents_are_seen_in_files_and_no_permission_is_asked_for() -> None:
    """The picker of the system hands over only what was picked, so nothing need be allowed."""
    info = APP["iOS"]["info"]
    assert info["UIFileSharingEnabled"] is True
    assert info["LSSupportsOpeningDocumentsInPlace"] is True
    assert not [name for name in info if name.endswith("UsageDescription")]
    assert not any("permission" in table for table in (APP, *(APP[name] for name in PLATFORMS)))


def test_info_can_be_written_as_a_plist() -> None:
    """Briefcase copies it into Info.plist as it stands."""
    for platform in ("iOS", "macOS"):
        assert plistlib.loads(plistlib.dumps(APP[platform]["info"])) == APP[platform]["info"]
    (photos,) = APP["macOS"]["info"]["CFBundleDocumentTypes"]
    assert photos["LSItemContentTypes"] == ["public.image"]


def test_systems_are_new_enough_for_the_core_ml_models() -> None:
    """docs/export.md: an ML Program needs iOS 15 and macOS 12."""
    assert float(APP["iOS"]["min_os_version"]) >= 15
    assert float(APP["macOS"]["min_os_version"]) >= 12


def test_every_icon_is_there_in_its_size() -> None:
    wanted = {f"{APP['iOS']['icon']}-{side}.png": side for side in IOS_SIDES}
    wanted |= {f"{APP['icon']}-{side}.png": side for side in (16, 32, 64, 128, 256, 512)}
    for variant, sides in ANDROID_SIDES.items():
        wanted |= {f"{APP['android']['icon']}-{variant}-{side}.png": side for side in sides}
    for name, side in wanted.items():
        with Image.open(ROOT / name) as icon:
            assert icon.size == (side, side), name
    for platform, ending in (("windows", "ico"), ("macOS", "icns")):
        assert (ROOT / f"{APP[platform]['icon']}.{ending}").is_file()


def test_package_for_debian_names_the_libraries_that_the_docs_do() -> None:
    """One that is missing is a window that does not open, with a message of Qt's."""
    docs = (ROOT / "docs" / "app.md").read_text()
    named = re.search(r"apt install ([a-z0-9.+ -]+)", docs)
    assert named
    assert named[1].split() == APP["linux"]["system"]["debian"]["system_runtime_requires"]


def test_briefcase_reads_the_configuration() -> None:
    """With its own checks, where it is installed."""
    config = pytest.importorskip("briefcase.config", reason="Briefcase is not installed")
    from briefcase.console import Console

    for platform, output in (("iOS", "xcode"), ("linux", "system"), ("android", "gradle")):
        *_, apps = config.parse_config(ROOT / "pyproject.toml", platform, output, Console())
        (app,) = apps.values()
        assert app["formal_name"] == "headcut"
        assert f"{PLATFORMS[platform]}" in " ".join(app["requires"])
