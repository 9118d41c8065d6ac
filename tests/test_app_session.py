"""The app's states, without a window: every test is the window's thread."""

from __future__ import annotations

import queue
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT, RedFinder, RedSegmenter, files, picture, red_cutter, run_process
from PIL import Image
from test_boundaries import run_python

from headcut.app.pictures import DIMMED, draw_view, lifted
from headcut.app.session import Choices, Done, Empty, Failed, Networks, Session, Working
from headcut.errors import ModelError
from headcut.geometry import FloatArray, U8Array
from headcut.model_file import open_model
from headcut.options import SaveOptions


class HeldSegmenter(RedSegmenter):
    """Waits to be let go, so that a test can act in the middle of a cut."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def segment(self, crops: U8Array) -> FloatArray:
        self.reached.set()
        assert self.go_on.wait(20)
        return super().segment(crops)


@dataclass
class Desk:
    """A session, and what its worker has posted."""

    session: Session
    posted: queue.SimpleQueue[Callable[[], None]]
    states: list[object]

    def settle(self) -> object:
        """Let the worker finish all that it has, and return the state."""
        idle = False
        while not idle:
            self.session._worker.submit(lambda: None).result(60)
            idle = self.posted.empty()
            while not self.posted.empty():
                self.posted.get()()
        return self.session.state

    def saved(self) -> list[str]:
        return files(self.session.folder) if self.session.folder.is_dir() else []


def made_desk(folder: Path, networks: Networks | None = None) -> Desk:
    posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    states: list[object] = []
    networks = networks or Networks(RedFinder(), RedSegmenter(), RedSegmenter())
    session = Session(
        folder,
        open_networks=lambda: networks,
        post=posted.put,
        changed=lambda: states.append(session.state),
    )
    return Desk(session, posted, states)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = made_desk(tmp_path / "Documents")
    yield desk
    desk.session.close()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Desk, HeldSegmenter]]:
    segmenter = HeldSegmenter()
    desk = made_desk(tmp_path / "Documents", Networks(RedFinder(), segmenter, RedSegmenter()))
    yield desk, segmenter
    segmenter.go_on.set()
    desk.session.close()


def made_photo(folder: Path, name: str, *centres_x: int) -> Path:
    path = folder / name
    picture(*centres_x).save(path)
    return path


def test_photo_is_cut_and_saved_at_once(desk: Desk, tmp_path: Path) -> None:
    """As in the app that this follows: choosing a photo is all there is to do."""
    photo = made_photo(tmp_path, "two.png", 80, 220)
    desk.session.open([photo])
    assert isinstance(desk.session.state, Working)
    state = desk.settle()
    assert isinstance(state, Done)
    assert state.saved == desk.session.folder / "two-head.png"
    assert (len(state.heads), state.chosen) == (2, {0, 1})
    assert desk.session.report == [str(state.saved)]


def test_states_come_in_order_and_show_the_photo_early(desk: Desk, tmp_path: Path) -> None:
    """While the networks think, the photo stands there already, dark."""
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    desk.settle()
    first, second, third = desk.states
    assert isinstance(first, Working)
    assert first.preview is None
    assert isinstance(second, Working)
    assert second.preview is not None
    assert isinstance(third, Done)


def test_saved_png_is_what_the_command_line_writes(tmp_path: Path) -> None:
    """One product: the window is another way to the same file, byte for byte."""
    from headcut.app.system import open_networks

    ran = run_process(ASTRONAUT, "-o", tmp_path / "cli.png")
    assert ran.returncode == 0, ran.stderr
    desk = made_desk(tmp_path / "Documents", open_networks())
    desk.session.open([ASTRONAUT])
    state = desk.settle()
    desk.session.close()
    assert isinstance(state, Done)
    assert state.saved.read_bytes() == (tmp_path / "cli.png").read_bytes()


def test_names_in_documents_are_never_taken_twice(desk: Desk, tmp_path: Path) -> None:
    """What lies there may be somebody's only copy."""
    desk.session.folder.mkdir()
    (desk.session.folder / "a-head.png").write_bytes(b"mine")
    photo = made_photo(tmp_path, "a.png", 150)
    desk.session.open([photo, photo])
    desk.settle()
    assert desk.saved() == ["a-head-2.png", "a-head-3.png", "a-head.png"]
    assert (desk.session.folder / "a-head.png").read_bytes() == b"mine"


def test_photos_queue_up_and_each_is_reported(desk: Desk, tmp_path: Path) -> None:
    """One bad photo must neither stop the others nor go unnoticed."""
    good = [made_photo(tmp_path, f"{name}.png", 150) for name in "ab"]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    desk.session.open([good[0], bad, good[1]])
    assert isinstance(desk.session.state, Working)
    assert desk.session.state.waiting == 2
    assert isinstance(desk.settle(), Done)
    first, second, third = desk.session.report
    assert (Path(first).name, Path(third).name) == ("a-head.png", "b-head.png")
    assert second.startswith(f"{bad}: is not a photo")


def test_opening_more_while_working_adds_to_the_queue(
    held: tuple[Desk, HeldSegmenter], tmp_path: Path
) -> None:
    desk, segmenter = held
    photos = [made_photo(tmp_path, f"{name}.png", 150) for name in "ab"]
    desk.session.open(photos[:1])
    desk.session.open(photos[1:])
    assert isinstance(desk.session.state, Working)
    assert (desk.session.state.photo, desk.session.state.waiting) == (photos[0], 1)
    segmenter.go_on.set()
    desk.settle()
    assert desk.saved() == ["a-head.png", "b-head.png"]


def test_errors_are_in_the_words_of_the_command_line(desk: Desk, tmp_path: Path) -> None:
    """Help that is found for one helps with the other."""
    broken, empty = tmp_path / "broken.jpg", tmp_path / "empty.png"
    broken.write_bytes(ASTRONAUT.read_bytes()[:2000])
    picture().save(empty)
    for photo in (broken, tmp_path / "missing.jpg", empty):
        said = run_process(photo).stderr.decode().strip()
        desk.session.open([photo])
        state = desk.settle()
        assert isinstance(state, Failed)
        assert state.message == said
    assert desk.saved() == []


def test_cancel_leaves_no_file(held: tuple[Desk, HeldSegmenter], tmp_path: Path) -> None:
    """The photo that is being cut and those that wait are all dropped."""
    desk, segmenter = held
    desk.session.open([made_photo(tmp_path, f"{name}.png", 150) for name in "ab"])
    assert segmenter.reached.wait(20)
    desk.session.cancel()
    assert isinstance(desk.session.state, Empty)
    segmenter.go_on.set()
    assert isinstance(desk.settle(), Empty)
    assert desk.saved() == []
    assert desk.session.report == [f"{tmp_path / 'a.png'}: cancelled; nothing is written"]


def test_photo_opened_after_a_cancel_is_cut(
    held: tuple[Desk, HeldSegmenter], tmp_path: Path
) -> None:
    """The cancelled one still occupies the worker then."""
    desk, segmenter = held
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    assert segmenter.reached.wait(20)
    desk.session.cancel()
    desk.session.open([made_photo(tmp_path, "b.png", 150)])
    segmenter.go_on.set()
    assert isinstance(desk.settle(), Done)
    assert desk.saved() == ["b-head.png"]


def test_cancel_after_the_file_is_written_is_too_late(desk: Desk, tmp_path: Path) -> None:
    """Then the window must say where the file is, not that there is none."""
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    desk.session._worker.submit(lambda: None).result(20)  # written, but not yet shown
    desk.session.cancel()
    assert isinstance(desk.settle(), Done)
    assert desk.saved() == ["a-head.png"]


def test_options_change_the_picture_and_save_writes_it_beside(desk: Desk, tmp_path: Path) -> None:
    """The first file stays: it may be in use already."""
    photo = made_photo(tmp_path, "a.png", 150)
    desk.session.open([photo])
    before = desk.settle()
    choices = Choices(background="Pink", size="Circle, 512 px", outline="Wide")
    desk.session.choose(choices)
    drawn = desk.settle()
    assert isinstance(before, Done)
    assert isinstance(drawn, Done)
    assert drawn.view.result != before.view.result
    assert desk.saved() == ["a-head.png"]
    desk.session.save()
    state = desk.settle()
    assert isinstance(state, Done)
    assert state.saved.name == "a-head-2.png"
    expected = red_cutter().cut(photo)[0].encode(choices.save_options())
    assert state.saved.read_bytes() == expected


def test_file_that_is_named_is_the_newest(desk: Desk, tmp_path: Path) -> None:
    """A picture drawn right after a save knew only the file before it."""
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    desk.settle()
    desk.session.save()
    desk.session.choose(Choices(background="Pink"))
    state = desk.settle()
    assert isinstance(state, Done)
    assert state.saved.name == "a-head-2.png"
    assert state.choices == desk.session.choices


def test_options_hold_for_the_next_photo(desk: Desk, tmp_path: Path) -> None:
    desk.session.choose(Choices(size="Square, 512 px"))
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    state = desk.settle()
    assert isinstance(state, Done)
    with Image.open(state.saved) as saved:
        assert saved.size == (512, 512)


def test_options_changed_during_a_cut_are_shown_after_it(
    held: tuple[Desk, HeldSegmenter], tmp_path: Path
) -> None:
    """Else the panel would say one thing and the picture another."""
    desk, segmenter = held
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    assert segmenter.reached.wait(20)
    desk.session.choose(Choices(background="Black", neck="Keep"))
    segmenter.go_on.set()
    state = desk.settle()
    assert isinstance(state, Done)
    assert state.choices == desk.session.choices
    assert desk.saved() == ["a-head.png"]


def test_another_neck_is_cut_anew(desk: Desk, tmp_path: Path) -> None:
    """How much neck is kept is decided when the head is cut."""
    photo = picture(150)
    photo.paste((0, 0, 255), (140, 138, 160, 200))
    photo.save(tmp_path / "a.png")
    desk.session.open([tmp_path / "a.png"])
    before = desk.settle()
    desk.session.choose(Choices(neck="Keep"))
    desk.session.choose(Choices(neck="Keep", outline="Thin"))  # must not lose the neck
    after = desk.settle()
    assert isinstance(before, Done)
    assert isinstance(after, Done)
    assert after.heads[0].box_px[3] > before.heads[0].box_px[3]


def test_single_heads_can_be_chosen(desk: Desk, tmp_path: Path) -> None:
    photo = made_photo(tmp_path, "two.png", 80, 220)
    desk.session.open([photo])
    desk.settle()
    desk.session.choose_heads([1])
    desk.session.choose(Choices(size="Head only"))  # must not lose the choice
    desk.session.save()
    state = desk.settle()
    assert isinstance(state, Done)
    assert state.chosen == {1}
    expected = red_cutter().cut(photo)[1].encode(SaveOptions(crop=True))
    assert state.saved.read_bytes() == expected
    desk.session.choose_heads([])
    assert isinstance(desk.session.state, Done)
    assert desk.session.state.chosen == {1}


def test_what_cannot_be_saved_says_why_and_keeps_the_picture(desk: Desk, tmp_path: Path) -> None:
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    desk.settle()
    desk.session.folder = tmp_path / "a.png" / "Documents"
    desk.session.save()
    state = desk.settle()
    assert isinstance(state, Done)
    assert state.problem is not None
    assert "cannot write" in state.problem
    assert state.saved.name == "a-head.png"


def test_damaged_networks_are_named(tmp_path: Path) -> None:
    def fail() -> Networks:
        raise ModelError("finder.onnx: no such model file")

    desk = made_desk(tmp_path)
    desk.session._open_networks = fail
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    state = desk.settle()
    desk.session.close()
    assert isinstance(state, Failed)
    assert state.message == "headcut: finder.onnx: no such model file"


def test_unexpected_error_is_shown_too(tmp_path: Path) -> None:
    """A window that waits for ever tells nobody anything."""

    class Broken(RedSegmenter):
        def segment(self, crops: U8Array) -> FloatArray:
            raise ZeroDivisionError("by zero")

    desk = made_desk(tmp_path / "Documents", Networks(RedFinder(), Broken(), RedSegmenter()))
    desk.session.open([made_photo(tmp_path, "a.png", 150)])
    state = desk.settle()
    desk.session.close()
    assert isinstance(state, Failed)
    assert "ZeroDivisionError: by zero; please report this" in state.message


def test_memory_stays_flat_over_fifty_photos(desk: Desk, tmp_path: Path) -> None:
    """Only the photo that is shown is kept: 45 more would be 36 MB."""
    photo = tmp_path / "a.png"
    picture(150, width=600, height=450).save(photo)

    def kept_after(photos: int) -> int:
        for _ in range(photos):
            desk.session.open([photo])
            desk.settle()
            desk.states.clear()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    first, last = kept_after(5), kept_after(45)
    tracemalloc.stop()
    assert last - first < 5e6


def test_states_need_no_window_toolkit_and_nothing_that_phones_lack() -> None:
    """The part that decides is tested without a screen, and stays when the toolkit changes."""
    script = "import sys, headcut.app.session; print(*sys.modules)"
    modules = {name.split(".")[0] for name in run_python(script).split()}
    assert not modules & {"toga", "PySide6", "rubicon", "onnxruntime", "pillow_heif", "typer"}


@pytest.mark.parametrize("name", ["segmenter", "refiner"])
def test_bundled_networks_know_the_necks_that_are_offered(name: str) -> None:
    assert open_model(name).outputs == ["mask", "neck"]


def test_lifted_head_is_bright_and_the_rest_is_dark() -> None:
    """The window shows what is cut out, in its place in the photo."""
    photo = picture(100, 220)
    heads = red_cutter().cut(photo)
    shown = np.asarray(lifted(heads[:1]))
    assert tuple(shown[100, 100]) == (255, 0, 0)
    assert tuple(shown[100, 220]) == (round(255 * DIMMED), 0, 0)


def test_pictures_of_a_large_photo_are_small() -> None:
    """They travel to the screen at each change of an option."""
    photo = picture(1500, width=4000, height=3000, radius=400)
    view = draw_view(red_cutter().cut(photo), {0}, SaveOptions())
    assert sum(map(len, [view.lifted, view.result, *view.thumbnails])) < 500_000
