"""The Toga part: widgets that show a `Session`'s state, and handlers that call its methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import toga

from headcut.app import system
from headcut.app.pictures import THUMBNAIL_PX
from headcut.app.session import (
    BACKGROUNDS,
    NECKS,
    OUTLINES,
    SIZES,
    Choices,
    Done,
    Empty,
    Failed,
    Session,
    State,
    Working,
)
from headcut.errors import OutputError

PANEL_PX = 280
"""Width of the options, beside the photo."""

RESULT_SIZE: dict[str, Any] = {"height": 180} if system.PHONE else {"width": PANEL_PX, "flex": 1}
"""Of the picture as it would be saved: on a desktop it takes what is left of the panel."""

GAP_PX = 8

STAGE, HINT = "#202226", "#d5d8de"
"""Behind the photo, as in a dark room, and what is written there."""

HINT_COLUMNS = 64
"""Letters in a line of the hint, which does not wrap by itself."""

OPTIONS: dict[str, tuple[str, Iterable[str]]] = {
    "background": ("Background", BACKGROUNDS),
    "size": ("Size", SIZES),
    "outline": ("Outline", OUTLINES),
    "neck": ("Neck", NECKS),
}
"""For each field of `Choices`: what the panel calls it, and what there is to choose."""


class HeadcutApp(toga.App):
    """The app, with its one window.

    Args:
        photos: to open at the start.
    """

    def __init__(self, photos: Sequence[Path] = ()) -> None:
        self._photos = photos
        super().__init__("headcut", "org.headcut.headcut", app_name="headcut")

    def startup(self) -> None:
        """Build the window; called by Toga."""
        self.session = Session(
            system.documents_folder(self),
            open_networks=system.open_networks,
            post=self._post,
            changed=self.refresh,
        )
        self._drawn: tuple[bytes, ...] = ()
        self.switches: list[toga.Switch] = []
        self.window: toga.Window = toga.MainWindow(  # type: ignore[no-untyped-call]
            title="headcut", size=(980, 700)
        )
        self.main_window = self.window
        self._share = system.share(self.window)
        self.window.content = self._content()
        self._add_commands()
        self._drops = system.accept_drops(self.window, self.open_photos)
        self.refresh()
        self.window.show()
        self.open_photos(self._photos)

    def open_photos(self, photos: Sequence[Path]) -> None:
        """Cut photos, after those that are being cut."""
        self.session.open(photos)

    def on_exit(self) -> bool:
        """End the worker; called by Toga."""
        self.session.close()
        return True

    def _open_initial_document(self, filename: Path | str) -> bool:
        """Open what macOS hands over: dropped on the app's icon, or opened with it in Finder."""
        self.open_photos([Path(filename)])
        return True

    def _post(self, work: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(work)

    # Widgets

    def _content(self) -> toga.Box:
        self.photo = toga.ImageView(flex=1)
        self.hint = toga.Label("", text_align="center", color=HINT, font_size=12)
        self.empty = toga.Box(
            children=[toga.Box(flex=1), self.hint, toga.Box(flex=1)],
            direction="column",
            align_items="center",
            flex=1,
        )
        self.stage = toga.Box(
            flex=1, direction="column", align_items="center", background_color=STAGE
        )
        self.progress = toga.ProgressBar(max=None, flex=1)  # type: ignore[arg-type]
        self.headline = toga.Label("", font_weight="bold", flex=1)
        self.report = toga.MultilineTextInput(readonly=True, height=76)
        body = toga.Box(
            children=[self.stage, self._panel()],
            direction="column" if system.PHONE else "row",
            flex=1,
            gap=GAP_PX,
        )
        self.cancel_button = toga.Button("Cancel", on_press=self.cancel)
        state = toga.Box(
            children=[self.headline, self.progress, self.cancel_button],
            align_items="center",
            gap=GAP_PX,
        )
        return toga.Box(
            children=[self._buttons(), body, state, self.report],
            direction="column",
            gap=GAP_PX,
            margin=GAP_PX,
        )

    def _buttons(self) -> toga.Box:
        self.choose_button = toga.Button("Choose photo", on_press=self.choose_photos)
        self.save_button = toga.Button("Save", on_press=self.save)
        self.share_button = toga.Button("Share", on_press=self.share)
        self.show_button = toga.Button("Show in folder", on_press=self.show_in_folder)
        buttons = [self.choose_button, self.save_button]
        if self._share:
            buttons.append(self.share_button)
        if not system.PHONE:
            buttons.append(self.show_button)
        return toga.Box(children=buttons, gap=GAP_PX)

    def _panel(self) -> toga.Widget:
        self.heads_label, self.result_label = toga.Label("Heads"), toga.Label("Save writes")
        self.result = toga.ImageView(**RESULT_SIZE)
        self.strip = toga.Box(gap=GAP_PX)
        self.heads = toga.ScrollContainer(content=self.strip, vertical=False, height=124)
        self.selections = {
            name: toga.Selection(items=list(table), on_change=self.options_changed, flex=1)
            for name, (_, table) in OPTIONS.items()
        }
        rows = [
            toga.Box(
                children=[toga.Label(OPTIONS[name][0], width=90), selection], align_items="center"
            )
            for name, selection in self.selections.items()
        ]
        parts = [
            *rows,
            self.heads_label,
            self.heads,
            self.result_label,
            self.result,
        ]
        if system.PHONE:
            column = toga.Box(children=parts, direction="column", gap=GAP_PX)
            return toga.ScrollContainer(content=column, horizontal=False, flex=1)
        return toga.Box(children=parts, direction="column", gap=GAP_PX, width=PANEL_PX)

    def _add_commands(self) -> None:
        """Put the buttons into the menu too, with their keys."""
        key, group = toga.Key.MOD_1, toga.Group.FILE
        choose: Any = self.choose_photos  # Toga's type of handlers knows no methods
        save: Any = self.save
        self.commands.add(
            toga.Command(choose, "Choose photo", shortcut=key + "o", group=group),
            toga.Command(save, "Save", shortcut=key + "s", group=group),
        )

    # Handlers

    async def choose_photos(self, widget: Any, **more: Any) -> None:
        """Let the user choose photos, and cut them."""
        self.open_photos(await system.choose_photos(self.window))

    def cancel(self, widget: Any, **more: Any) -> None:
        """Stop cutting."""
        self.session.cancel()

    def save(self, widget: Any, **more: Any) -> None:
        """Write the picture as it is chosen now."""
        self.session.save()

    def share(self, widget: Any, **more: Any) -> None:
        """Open the system's sharing sheet."""
        if self._share and isinstance(self.session.state, Done):
            self._share(self.session.state.saved)

    def show_in_folder(self, widget: Any, **more: Any) -> None:
        """Show the file that was written last."""
        if isinstance(self.session.state, Done):
            try:
                system.show_in_folder(self.session.state.saved)
            except OutputError as error:
                self.report.value = str(error)

    def options_changed(self, widget: Any, **more: Any) -> None:
        """Draw the picture as the panel says."""
        chosen = {name: str(selection.value) for name, selection in self.selections.items()}
        choices = Choices(**chosen)
        if choices != self.session.choices:
            self.session.choose(choices)

    def heads_changed(self, widget: Any, **more: Any) -> None:
        """Put the heads that are switched on into the picture."""
        self.session.choose_heads(n for n, switch in enumerate(self.switches) if switch.value)

    # State -> widgets

    def refresh(self) -> None:
        """Show the session's state."""
        state = self.session.state
        working, done = isinstance(state, Working), isinstance(state, Done)
        # Hidden, not disabled: toga-qt draws a disabled button as it draws any other.
        for widget in (self.progress, self.cancel_button):
            widget.visibility = "visible" if working else "hidden"
        results = (self.heads_label, self.result_label)
        for widget in (self.save_button, self.share_button, self.show_button, *results):
            widget.visibility = "visible" if done else "hidden"
        (self.progress.start if working else self.progress.stop)()
        lines = list(self.session.report)
        self.hint.text = _hint(state)
        match state:
            case Empty():
                self.headline.text = ""
                self._draw()
            case Working(photo, waiting, preview):
                more = f", {waiting} more waiting" if waiting else ""
                self.headline.text = f"Cutting {photo.name}{more}"
                self._draw(preview)
            case Done():
                self.headline.text = f"Saved in {state.saved.parent.name}: {state.saved.name}"
                if state.problem:
                    self.headline.text = "Not done"
                    lines.append(state.problem)
                self._draw(state.view.lifted, state.view.result)
                self._draw_heads(state.view.thumbnails, state.chosen)
            case Failed(photo):
                self.headline.text = f"Not cut: {photo.name}"
                self._draw()
        self.report.value = "\n".join(lines)
        self.report.scroll_to_bottom()

    def _draw(self, photo: bytes | None = None, result: bytes | None = None) -> None:
        """Show pictures, as their files."""
        shown = self.photo if photo else self.empty
        if shown not in self.stage.children:
            self.stage.clear()
            self.stage.add(shown)
        _show(self.photo, photo)
        _show(self.result, result)
        if result is None:
            self._draw_heads((), frozenset())

    def _draw_heads(self, thumbnails: tuple[bytes, ...], chosen: Collection[int]) -> None:
        """Show the heads, each with its switch; made anew only where the heads are others."""
        if thumbnails == self._drawn:
            for number, switch in enumerate(self.switches):
                if switch.value != (number in chosen):
                    switch.value = number in chosen
            return
        self._drawn = thumbnails
        self.strip.clear()
        self.switches = [
            toga.Switch(f"{number + 1}", value=number in chosen, on_change=self.heads_changed)
            for number in range(len(thumbnails))
        ]
        for picture, switch in zip(thumbnails, self.switches, strict=True):
            view = toga.ImageView(toga.Image(picture), width=THUMBNAIL_PX, height=THUMBNAIL_PX)
            self.strip.add(toga.Box(children=[view, switch], direction="column"))


def _show(view: toga.ImageView, file: bytes | None) -> None:
    """Show a picture's file, and let go of the one before.

    A toga.Image and its other half hold each other: unless they are parted, megabytes wait for
    Python's collector of cycles, which does not see how large they are.
    """
    before: Any = view.image
    view.image = toga.Image(file) if file else None
    if before is not None:
        before._impl = None


def _hint(state: State) -> str:
    """Return what stands in the photo's place."""
    match state:
        case Failed(message=message):
            return fill(message, HINT_COLUMNS)
        case Working(photo):
            return f"Reading {photo.name}"
    return "Choose a photo" if system.PHONE else "Choose a photo, or drop one here"
