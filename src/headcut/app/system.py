"""What differs between systems: networks, folders, and how photos come in and pictures go out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toga
from toga.platform import get_backend

from headcut.app import drops
from headcut.app.drops import OpenPhotos
from headcut.app.session import Networks
from headcut.errors import OptionError, OutputError
from headcut.find import HeadFinder
from headcut.model_file import Network, open_model
from headcut.photo import PHOTO_SUFFIXES
from headcut.segment import HeadSegmenter

PHONE = sys.platform == "ios" or hasattr(sys, "getandroidapilevel")
"""Whether the screen is small, and there are no folders but the app's own."""

APPLE = sys.platform in ("ios", "darwin")


def open_networks() -> Networks:
    """Return the networks: Core ML on iOS, and on macOS where it is at hand; else ONNX Runtime.

    Raises:
        ModelError: one cannot be loaded.
    """
    if APPLE:
        from headcut.app.coreml import MODELS, open_coreml

        if sys.platform == "ios" or all(path.exists() for path in MODELS.values()):
            return _networks(open_coreml)
    return _networks(open_model)


def _networks(opened: Callable[[str], Network]) -> Networks:
    return Networks(
        finder=HeadFinder(opened("finder")),
        segmenter=HeadSegmenter(opened("segmenter")),
        refiner=HeadSegmenter(opened("refiner")),
    )


def require_screen() -> None:
    """Raise OptionError where a window would have no screen: Qt would end the process.

    Raises:
        OptionError: the session has no display.
    """
    named = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not PHONE and not any(os.environ.get(name) for name in named):
        raise OptionError("there is no screen for a window; use headcut PHOTO instead")


def documents_folder(app: toga.App) -> Path:
    """Return where PNGs go: Documents; on a phone the app's own, which Files shows on iOS."""
    if PHONE:
        return app.paths.data
    try:
        return app.paths.documents
    except RuntimeError:  # there is none yet
        return Path.home() / "Documents"


async def choose_photos(window: toga.Window) -> list[Path]:
    """Let the user choose photos; none if they think better of it."""
    if sys.platform == "ios":
        from headcut.app import apple

        return await apple.pick_photos(window)
    endings = sorted(suffix.removeprefix(".") for suffix in PHOTO_SUFFIXES)
    endings += [ending.upper() for ending in endings]  # some systems tell them apart
    dialog: Any = toga.OpenFileDialog("Choose photos", file_types=endings, multiple_select=True)
    return await window.dialog(dialog) or []


def show_in_folder(path: Path) -> None:
    """Show a file in the system's file manager.

    Raises:
        OutputError: there is none.
    """
    commands: dict[str, list[str]] = {
        "darwin": ["open", "-R", str(path)],
        "win32": ["explorer", f"/select,{path}"],
    }
    command = commands.get(sys.platform, ["xdg-open", str(path.parent)])
    try:
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise OutputError(f"cannot show {path}: no file manager; open its folder") from error


def share(window: toga.Window) -> Callable[[Path], None] | None:
    """Return what opens the system's sharing sheet for a file; None where there is none."""
    if not APPLE:
        return None
    from headcut.app import apple

    return lambda path: apple.share(window, path)


def accept_drops(window: toga.Window, open_photos: OpenPhotos) -> Any:
    """Open photos that are dropped on the window; keep what is returned as long as the window.

    Toga has no drag and drop, so this talks to the toolkit below. On macOS, photos are dropped on
    the app's icon instead, which Toga hands to the app.
    """
    accept = {
        "toga_qt": drops.accept_qt_drops,
        "toga_winforms": drops.accept_winforms_drops,
    }.get(get_backend())
    return accept(window._impl.native, open_photos) if accept else None
