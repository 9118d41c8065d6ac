"""Folders and buckets: files appear whole, a shaky network is tried again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import files

from headcut import store
from headcut.errors import OptionError, OutputError, PhotoError
from headcut.store import Entry, Store


def keys(place: Store, folder: str = "") -> list[str]:
    return [entry.key for entry in place.entries(folder)]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FIRST_WAIT_S", 0)


def test_a_folder(tmp_path: Path) -> None:
    place = Store(str(tmp_path))
    place.write_whole("sub/b.txt", b"older")
    place.write_whole("sub/b.txt", b"newer")
    place.write_whole("ü é.txt", b"")
    assert keys(place) == ["ü é.txt", "sub/b.txt"]
    assert keys(place, "sub") == ["sub/b.txt"]
    assert keys(place, "nowhere") == keys(Store(str(tmp_path / "nowhere"))) == []
    entry = next(iter(place.entries("sub")))
    info = (tmp_path / "sub" / "b.txt").stat()
    assert entry == Entry("sub/b.txt", 5, info.st_mtime_ns // 1000)
    assert place.read("sub/b.txt", 100) == b"newer"
    assert place.read("sub/b.txt", 2) == b"new", "one more, so that the reader sees it"
    place.delete("sub/b.txt")
    place.delete("sub/b.txt")
    place.sweep()
    assert files(tmp_path) == ["ü é.txt"]


def test_fsspec() -> None:
    """Any storage that fsspec knows; its own memory stands for those here."""
    place = Store("memory://bucket/out")
    place.write_whole("sub/a.txt", b"one")
    place.write_whole("sub/a.txt", b"two")
    assert keys(place) == ["sub/a.txt"]
    assert place.read("sub/a.txt", 100) == b"two"
    place.delete("sub/a.txt")
    assert keys(place) == []
    with pytest.raises(PhotoError, match="no such file"):
        place.read("sub/a.txt", 100)


def test_unknown_storage() -> None:
    with pytest.raises(OptionError, match="nonsense://x cannot be opened"):
        Store("nonsense://x")


def test_shaky_network_is_tried_again(no_waiting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Store("memory://shaky")
    real, attempts = place._write, []

    def shaky(key: str, data: bytes) -> None:
        attempts.append(key)
        if len(attempts) < store.ATTEMPTS:
            raise OSError("SLOW_DOWN")
        real(key, data)

    monkeypatch.setattr(place, "_write", shaky)
    place.write_whole("a.txt", b"whole")
    assert place.read("a.txt", 100) == b"whole"


def test_network_that_stays_away(no_waiting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Store("memory://away")

    def away(key: str, data: bytes) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(place, "_write", away)
    with pytest.raises(OutputError, match="cannot write a"):
        place.write_whole("a.txt", b"other")


def test_what_cannot_be_written_names_the_target(tmp_path: Path) -> None:
    """A batch has no -o."""
    (tmp_path / "a").write_bytes(b"")
    for key, fix in (("a/b.png", "choose another TARGET"), ("n" * 300, "rename the photo")):
        with pytest.raises(OutputError, match=fix):
            Store(str(tmp_path)).write_whole(key, b"data")


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe would be read for ever; a name in another encoding cannot be a key."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_bytes(b"photo")
    place = Store(str(tmp_path))
    found = keys(place)
    assert sorted(found) == ["\\xff.jpg", "nowhere.jpg", "pipe.jpg"]
    for key, reason in zip(
        sorted(found), ("not UTF-8; rename it", "no such file", "no ordinary file"), strict=True
    ):
        with pytest.raises(PhotoError, match=reason):
            place.read(key, 100)


def test_one_inside_the_other(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    photos, link = Store(str(tmp_path / "photos")), Store(str(tmp_path / "link" / "out"))
    assert photos.holds(link)
    assert photos.holds(photos)
    assert not link.holds(photos)
    assert not photos.holds(Store(str(tmp_path / "photos2")))
    assert Store("memory://a").holds(Store("memory://a/b"))
    assert not Store("memory://a").holds(Store("memory://ab"))
    assert not photos.holds(Store("memory://a"))
