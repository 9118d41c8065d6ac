"""The Toga part, on toga-dummy: widgets without a screen, pressed as a user would."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import toga
from conftest import Headcut, RedFinder, RedSegmenter, files, picture

from headcut.app import system
from headcut.app.session import Done, Empty, Failed, Networks, Working
from headcut.app.window import HeadcutApp
from headcut.errors import OptionError, OutputError

Drive = Callable[[HeadcutApp], Awaitable[None]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Open the window, with the stand-in networks, and drive it."""
    home = tmp_path / "home"
    (home / "documents").mkdir(parents=True)
    monkeypatch.setenv("TOGA_BACKEND", "toga_dummy")
    monkeypatch.setenv("TOGA_DUMMY_HOME", str(home))
    networks = Networks(RedFinder(), RedSegmenter(), RedSegmenter())
    monkeypatch.setattr(system, "open_networks", lambda: networks)
    monkeypatch.chdir(tmp_path)

    async def main(drive: Drive, photos: tuple[Path, ...]) -> None:
        app = HeadcutApp(photos)
        try:
            await drive(app)
        finally:
            app.request_exit()

    return lambda drive, *photos: asyncio.run(main(drive, photos))


async def settle(app: HeadcutApp) -> object:
    """Let the worker finish all that it has, and the window show it."""
    for _ in range(5):
        idle = app.session._worker.submit(lambda: None)
        await asyncio.wrap_future(idle)
        await asyncio.sleep(0)
    return app.session.state


def shown(widget: toga.Widget) -> bool:
    return bool(widget.visibility == "visible")


def made_photo(name: str, *centres_x: int) -> Path:
    picture(*centres_x).save(name)
    return Path(name)


def test_photo_on_the_command_line_is_opened(run: Callable[..., None], tmp_path: Path) -> None:
    async def drive(app: HeadcutApp) -> None:
        assert isinstance(await settle(app), Done)
        assert app.headline.text == "Saved in documents: a-head.png"
        assert app.report.value == str(tmp_path / "home" / "documents" / "a-head.png")
        assert app.photo.image is not None
        assert app.photo in app.stage.children
        assert app.result.image is not None

    run(drive, made_photo("a.png", 150))
    assert files(tmp_path / "home") == ["documents/a-head.png"]


def test_empty_window_offers_only_to_choose(run: Callable[..., None]) -> None:
    async def drive(app: HeadcutApp) -> None:
        assert isinstance(app.session.state, Empty)
        assert app.hint.text == "Choose a photo, or drop one here"
        assert shown(app.choose_button)
        for widget in (app.cancel_button, app.save_button, app.show_button, app.result_label):
            assert not shown(widget)

    run(drive)


def test_choosing_photos_cuts_them(run: Callable[..., None]) -> None:
    """Through the button and the system's dialog, as a user does."""

    async def drive(app: HeadcutApp) -> None:
        app.window._impl.dialog_responses["OpenFileDialog"] = [
            [made_photo("a.png", 150), made_photo("b.png", 150)],
            None,
        ]
        await app.choose_photos(app.choose_button)
        assert isinstance(app.session.state, Working)
        assert app.headline.text == "Cutting a.png, 1 more waiting"
        assert shown(app.cancel_button)
        assert not shown(app.save_button)
        assert app.progress.is_running
        assert isinstance(await settle(app), Done)
        assert not app.progress.is_running
        await app.choose_photos(app.choose_button)  # thought better of it
        assert isinstance(app.session.state, Done)

    run(drive)
    assert files(Path("home")) == ["documents/a-head.png", "documents/b-head.png"]


def test_panel_changes_the_picture_and_save_writes_it(run: Callable[..., None]) -> None:
    async def drive(app: HeadcutApp) -> None:
        await settle(app)
        before = app.result.image
        app.selections["background"].value = "Pink"
        app.selections["size"].value = "Square, 512 px"
        await settle(app)
        assert app.result.image is not before
        assert app.session.choices.background == "Pink"
        app.save_button._impl.simulate_press()
        await settle(app)
        assert app.headline.text == "Saved in documents: a-head-2.png"

    run(drive, made_photo("a.png", 150))
    assert files(Path("home")) == ["documents/a-head-2.png", "documents/a-head.png"]


def test_heads_are_switched_on_and_off(run: Callable[..., None]) -> None:
    """The last one stays on: a picture of nobody is no picture."""

    async def drive(app: HeadcutApp) -> None:
        await settle(app)
        first, second = app.switches
        first.value = False
        done = await settle(app)
        assert isinstance(done, Done)
        assert done.chosen == {1}
        second.value = False
        done = await settle(app)
        assert isinstance(done, Done)
        assert done.chosen == {1}
        assert second.value

    run(drive, made_photo("a.png", 80, 220))


def test_failed_photo_is_named_with_the_reason(run: Callable[..., None]) -> None:
    async def drive(app: HeadcutApp) -> None:
        state = await settle(app)
        assert isinstance(state, Failed)
        assert app.headline.text == "Not cut: README.md"
        assert app.report.value == state.message
        assert app.hint.text.replace("\n", " ") == state.message
        assert app.empty in app.stage.children

    Path("README.md").write_text("no photo")
    run(drive, Path("README.md"))


def test_cancel_empties_the_window(run: Callable[..., None]) -> None:
    async def drive(app: HeadcutApp) -> None:
        app.open_photos([made_photo("a.png", 150)])
        app.cancel_button._impl.simulate_press()
        assert isinstance(await settle(app), Empty | Done)  # Done: it was written already
        assert not shown(app.cancel_button)

    run(drive)


def test_file_is_shown_in_its_folder(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Path] = []
    monkeypatch.setattr(system, "show_in_folder", shown.append)

    async def drive(app: HeadcutApp) -> None:
        await settle(app)
        app.show_button._impl.simulate_press()
        assert isinstance(app.session.state, Done)
        assert shown == [app.session.state.saved]

        def refuse(path: Path) -> None:
            raise OutputError("no file manager")

        monkeypatch.setattr(system, "show_in_folder", refuse)
        app.show_button._impl.simulate_press()
        assert app.report.value == "no file manager"

    run(drive, made_photo("a.png", 150))


def test_sharing_is_offered_where_the_system_has_it(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[Path] = []

    async def without(app: HeadcutApp) -> None:
        assert app.share_button.parent is None

    async def drive(app: HeadcutApp) -> None:
        await settle(app)
        app.share_button._impl.simulate_press()
        assert [path.name for path in shared] == ["a-head.png"]

    run(without)
    monkeypatch.setattr(system, "share", lambda window: shared.append)
    run(drive, made_photo("a.png", 150))


def test_photo_that_macos_hands_over_is_opened(run: Callable[..., None]) -> None:
    """Dropped on the app's icon, or opened with it in Finder."""

    async def drive(app: HeadcutApp) -> None:
        assert app._open_initial_document(str(made_photo("a.png", 150)))
        assert isinstance(await settle(app), Done)

    run(drive)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("linux", ["xdg-open", "folder"]),
        ("darwin", ["open", "-R", "folder/a.png"]),
        ("win32", ["explorer", "/select,folder/a.png"]),
    ],
)
def test_each_system_has_its_file_manager(
    monkeypatch: pytest.MonkeyPatch, name: str, command: list[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(sys, "platform", name)
    monkeypatch.setattr(system.subprocess, "Popen", lambda arguments, **_: ran.append(arguments))
    system.show_in_folder(Path("folder/a.png"))
    assert ran == [command]


def test_missing_file_manager_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(OutputError, match="no file manager; open its folder"):
        system.show_in_folder(Path("folder/a.png"))


def test_missing_documents_folder_is_made(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bare Linux has none; Toga only says so."""
    Path("home/documents").rmdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    async def drive(app: HeadcutApp) -> None:
        await settle(app)

    run(drive, made_photo("a.png", 150))
    assert files(tmp_path / "Documents") == ["a-head.png"]


def test_without_a_screen_there_is_no_window(
    monkeypatch: pytest.MonkeyPatch, headcut: Headcut
) -> None:
    """Qt would end the process, with a core dump."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OptionError, match="no screen"):
        system.require_screen()
    ran = headcut("app")
    assert (ran.code, ran.err) == (
        1,
        "headcut: there is no screen for a window; use headcut PHOTO instead\n",
    )
