"""Draw the pictures of docs/app.md: the window in each state, on Qt, without a screen.

QT_QPA_PLATFORM=offscreen python docs/app_pictures.py
"""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["TOGA_BACKEND"] = "toga_qt"
from headcut.app import system
from headcut.app.session import Done, Failed, Working
from headcut.app.window import HeadcutApp

ROOT = Path(__file__).parents[1]


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def settle(app: HeadcutApp) -> None:
    """Let the worker finish all that it has, and the window show it."""
    await until(lambda: isinstance(app.session.state, Done | Failed))
    for _ in range(3):
        await asyncio.wrap_future(app.session._worker.submit(lambda: None))
        await asyncio.sleep(0.3)


async def draw(app: HeadcutApp, broken: Path) -> None:
    def picture(name: str) -> None:
        app.window.as_image().save(ROOT / "docs" / f"app-{name}.png")

    await asyncio.sleep(0.5)
    picture("empty")
    app.open_photos([ROOT / "examples" / "astronaut.jpg"])
    await until(lambda: isinstance(app.session.state, Working) and app.session.state.preview)
    picture("working")
    await settle(app)
    for name, value in {"background": "Pink", "size": "Circle, 512 px", "outline": "Wide"}.items():
        app.selections[name].value = value
    await settle(app)
    app.save(None)
    await settle(app)
    picture("done")
    app.open_photos([broken])
    await settle(app)
    picture("failed")
    app.session.close()
    app.exit()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        broken = Path("broken.jpg")
        broken.write_bytes((ROOT / "examples" / "astronaut.jpg").read_bytes()[:2000])
        system.documents_folder = lambda app: Path("Documents")
        app = HeadcutApp()

        async def on_running(app: HeadcutApp, **more: Any) -> None:
            await draw(app, broken)

        app.on_running = on_running
        app.main_loop()


if __name__ == "__main__":
    main()
