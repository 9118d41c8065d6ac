"""The ledger says what is left to do, and keeps one row a photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import files

from headcut.errors import OutputError
from headcut.ledger import FOLDER, SCHEMA, Ledger, Work, output_stems, work
from headcut.store import Entry, Store


def rows(*keys: str, **more: Any) -> Any:
    """Return ledger rows of done photos, size 1, changed at 1."""
    row = {"size": 1, "modified_us": 1, "status": "done", "model": "m", "options": "{}"}
    return pa.Table.from_pylist(
        [{"key": key, **row, "outputs": [f"{key}-head.png"], **more} for key in keys], SCHEMA
    )


def left(listing: Sequence[Entry], then: Any, outputs: Sequence[str] = (), **more: Any) -> Work:
    choice = {"model": "m", "options": "{}", "retry_failed": False, "redo": False, **more}
    return work(listing, then, pa.array(outputs, pa.string()), **choice)


def entries(*keys: str, modified_us: int = 1) -> list[Entry]:
    return [Entry(key, 1, modified_us) for key in keys]


def todo(found: Work) -> list[str]:
    return found.todo["key"].to_pylist()  # type: ignore[no-any-return]


def test_only_what_is_missing_changed_or_lost_is_done() -> None:
    listing = [*entries("a.jpg", "b.jpg", "new.jpg"), *entries("c.jpg", modified_us=2)]
    found = left(listing, rows("a.jpg", "b.jpg", "c.jpg"), ["a.jpg-head.png", "c.jpg-head.png"])
    assert todo(found) == ["b.jpg", "c.jpg", "new.jpg"]
    assert (found.new, found.changed, found.lost) == (1, 1, 1)
    assert found.todo["old_outputs"].to_pylist() == [["b.jpg-head.png"], ["c.jpg-head.png"], None]
    assert todo(left(listing, SCHEMA.empty_table())) == ["a.jpg", "b.jpg", "c.jpg", "new.jpg"]


def test_failed_photos_are_tried_again_when_asked() -> None:
    then = rows("a.jpg", status="failed", outputs=[])
    assert todo(left(entries("a.jpg"), then)) == []
    assert todo(left(entries("a.jpg"), then, retry_failed=True)) == ["a.jpg"]


def test_other_options_and_other_networks_are_noticed() -> None:
    then, outputs = rows("a.jpg"), ["a.jpg-head.png"]
    assert left(entries("a.jpg"), then, outputs).unlike == 0
    for other in ({"model": "n"}, {"options": '{"neck": "keep"}'}):
        found = left(entries("a.jpg"), then, outputs, **other)
        assert (found.unlike, found.unlike_options, todo(found)) == (1, "{}", [])
        assert todo(left(entries("a.jpg"), then, outputs, redo=True, **other)) == ["a.jpg"]


def test_files_that_are_no_photos_are_in_the_ledger_once() -> None:
    """Also headcut's own outputs, as `headcut FOLDER` writes them beside the photos."""
    listing = entries("notes.txt", "a-head.png", "noname", "B.JPG", "sub/._B.jpg")
    found = left(listing, SCHEMA.empty_table())
    assert todo(found) == ["B.JPG"]
    others = ["notes.txt", "a-head.png", "noname", "sub/._B.jpg"]
    assert found.passed_over["key"].to_pylist() == others
    assert len(left(listing, found.passed_over).passed_over) == 0


def test_names_never_meet() -> None:
    """Not on a disk that ignores letter case or the form of an accent either."""
    keys = ["a.jpg", "a.png", "b.jpg", "B.jpg", "\u00e9.jpg", "e\u0301.jpg", "x/b.jpg"]
    stems = output_stems(pa.chunked_array([keys]))
    assert [stem for key, stem in zip(keys, stems, strict=True) if key == stem] == [
        "a.jpg",
        "a.png",
        "x/b.jpg",
    ]
    assert len({stem.casefold() for stem in stems}) == len(keys)


def test_the_last_row_of_a_photo_counts(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)))
    ledger.append(rows("a.jpg", "b.jpg", status="failed"))
    ledger.append(rows("c.jpg", "a.jpg"))
    ledger.append(rows())
    wanted = {"a.jpg": "done", "b.jpg": "failed", "c.jpg": "done"}

    def found() -> dict[str, str]:
        table = Ledger(Store(str(tmp_path))).rows()
        return dict(zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True))

    assert len(ledger.parts()) == 2
    assert found() == wanted
    parts = {part: (tmp_path / part).read_bytes() for part in ledger.parts()}
    ledger.merge()
    assert len(ledger.parts()) == 1
    assert found() == wanted
    for part, data in parts.items():  # as if killed before it deleted them
        (tmp_path / part).write_bytes(data)
    assert found() == wanted


def test_the_last_row_counts_where_the_clock_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine may have written the rows before."""
    Ledger(Store(str(tmp_path))).append(rows("a.jpg", status="failed"))
    monkeypatch.setattr("headcut.ledger.time.time_ns", lambda: 1)
    ledger = Ledger(Store(str(tmp_path)))
    assert ledger.rows()["status"].to_pylist() == ["failed"]
    ledger.append(rows("a.jpg"))
    ledger.merge()
    assert ledger.rows()["status"].to_pylist() == ["done"]


def test_options_take_no_memory_a_row(tmp_path: Path) -> None:
    """Ten million rows share them: 260 bytes each would be gigabytes, and more than Arrow takes."""
    ledger = Ledger(Store(str(tmp_path)))
    for part in range(2):
        ledger.append(rows(*(f"{part}-{n}.jpg" for n in range(1000)), options="x" * 1000))
    ledger.merge()
    found = ledger.rows()
    assert (len(found), found["options"][1999].as_py()) == (2000, "x" * 1000)
    assert found["options"].nbytes < 20_000


def test_damaged_ledger(tmp_path: Path) -> None:
    ledger = Ledger(Store(str(tmp_path)))
    ledger.append(rows("a.jpg"))
    name = files(tmp_path / FOLDER)[0]
    (tmp_path / FOLDER / name).write_bytes(b"nonsense")
    with pytest.raises(OutputError, match="is damaged"):
        ledger.rows()
