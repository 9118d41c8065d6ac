"""Run by test_app_qt in a process of its own: the real command, its real window, pressed by hand.

    python drive_app.py STORY PHOTO FOLDER

Prints what it saw as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from conftest import RedFinder, RedSegmenter, picture

from headcut.app import system
from headcut.app.session import Networks, Working
from headcut.app.window import HeadcutApp
from headcut.cli import main

PHOTO, FOLDER = Path(sys.argv[2]), Path(sys.argv[3])
seen: dict[str, Any] = {}


async def settle(app: HeadcutApp) -> None:
    """Let the worker finish all that it has, and the window show it."""
    while True:
        await asyncio.wrap_future(app.session._worker.submit(lambda: None))
        await asyncio.sleep(0.05)
        if not isinstance(app.session.state, Working):
            return


async def shown(app: HeadcutApp) -> dict[str, Any]:
    await settle(app)
    return {
        "state": type(app.session.state).__name__,
        "headline": app.headline.text,
        "report": app.report.value,
        "heads": len(app.switches),
        "picture": app.photo in app.stage.children,
    }


async def story(app: HeadcutApp) -> None:
    """Given on the command line, saved otherwise, chosen but broken, dropped, cancelled."""
    from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
    from PySide6.QtGui import QDragEnterEvent, QDropEvent
    from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit

    seen["opened"] = await shown(app)
    app.selections["background"]._impl.native.setCurrentText("Pink")
    app.save_button._impl.native.click()
    seen["saved"] = await shown(app)

    (FOLDER / "broken.jpg").write_bytes(PHOTO.read_bytes()[:2000])
    app.choose_button._impl.native.click()
    await asyncio.sleep(0.2)
    dialogs = [w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog)]
    dialogs[0].findChild(QLineEdit, "fileNameEdit").setText(str(FOLDER / "broken.jpg"))
    dialogs[0].accept()
    await asyncio.sleep(0.2)
    seen["broken"] = await shown(app)

    window, files, both = app.window._impl.native, QMimeData(), Qt.DropAction.CopyAction
    files.setUrls([QUrl.fromLocalFile(str(PHOTO))])
    buttons = (Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier)
    enter = QDragEnterEvent(QPoint(9, 9), both, files, *buttons)
    enter.ignore()
    QApplication.sendEvent(window, enter)
    seen["accepts"] = enter.isAccepted()
    QApplication.sendEvent(window, QDropEvent(QPoint(9, 9), both, files, *buttons))
    seen["dropped"] = await shown(app)

    app.open_photos([PHOTO, PHOTO])
    app.cancel_button._impl.native.click()
    seen["cancelled"] = await shown(app)


async def fifty(app: HeadcutApp) -> None:
    """Fifty photos in one window, with the stand-in networks; memory after 15, and after all."""
    photo = FOLDER / "red.png"
    picture(600, width=1200, height=900, radius=200).save(photo)
    for number in range(1, 51):
        app.open_photos([photo])
        await settle(app)
        if number in (15, 50):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen[f"megabytes after {number}"] = pages * 4096 / 1e6


def drive(story: Callable[[HeadcutApp], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def on_running(app: HeadcutApp) -> None:
        try:
            await story(app)
        finally:
            app.session.close()
            app.exit()

    return on_running


stories = {"story": story, "fifty": fifty}
chosen = stories[sys.argv[1]]
if chosen is fifty:
    red = Networks(RedFinder(), RedSegmenter(), RedSegmenter())
    system.open_networks = lambda: red
HeadcutApp.on_running = drive(chosen)  # type: ignore[method-assign]
sys.argv = ["headcut", "app"] + ([str(PHOTO)] if chosen is story else [])
try:
    main()
except SystemExit as stopped:
    seen["code"] = stopped.code or 0
sys.stdout.write(json.dumps(seen) + "\n")
