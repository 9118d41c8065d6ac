"""What a worker does with each photo, without Ray and with the stand-in networks."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Headcut, files, picture, red_cutter
from PIL import Image

from headcut.batch import _Progress, _Recorder
from headcut.batch_worker import PhotoJob, PhotoWorker
from headcut.errors import OptionError
from headcut.ledger import Ledger
from headcut.options import PhotoLimits, SaveOptions
from headcut.report import report, totals
from headcut.store import Store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    picture(150).save(tmp_path / "in" / "one.png")
    picture(80, 220).save(tmp_path / "in" / "sub" / "two.png")
    picture().save(tmp_path / "in" / "none.png")
    (tmp_path / "in" / "bad.jpg").write_text("Dear diary")
    return tmp_path


def work_on(place: Path, job: PhotoJob, *old_outputs: str) -> dict[str, dict[str, Any]]:
    """Cut all photos and return the rows by key."""
    return {row["key"]: row for row in results(place, job, *old_outputs).to_pylist()}


def results(place: Path, job: PhotoJob, *old_outputs: str) -> Any:
    worker = PhotoWorker(str(place / "in"), str(place / "out"), job)
    worker._cutter = red_cutter(job.limits, job.neck)
    photos = [
        {**asdict(entry), "output": entry.key, "old_outputs": list(old_outputs)}
        for entry in Store(str(place / "in")).entries()
    ]
    return worker(pa.Table.from_pylist(photos))


def test_rows_and_files(place: Path) -> None:
    rows = work_on(place, PhotoJob(save=SaveOptions(), sidecar=True))
    assert {key: (row["status"], row["heads"]) for key, row in rows.items()} == {
        "bad.jpg": ("failed", 0),
        "none.png": ("no head", 0),
        "one.png": ("done", 1),
        "sub/two.png": ("done", 2),
    }
    assert "is not a photo" in rows["bad.jpg"]["reason"]
    assert rows["sub/two.png"]["outputs"] == ["sub/two.png-head.png", "sub/two.png-head.json"]
    assert rows["sub/two.png"]["confidence"] == pytest.approx(0.8, abs=0.05)
    assert all(rows["one.png"][f"{stage}_ms"] > 0 for stage in ("read", "cut", "encode", "write"))
    assert files(place / "out") == sorted(
        rows["one.png"]["outputs"] + rows["sub/two.png"]["outputs"]
    )


def test_same_files_as_the_small_way(place: Path, headcut: Headcut) -> None:
    """`headcut FOLDER -o OUT` and a batch run the same code on each photo."""
    save = SaveOptions(crop=True)
    work_on(place, PhotoJob(save=save, heads="each"))
    assert headcut("in", "-o", "small", "--crop", "--heads", "each").code == 1
    for name in ("one.png-head-1", "sub/two.png-head-1", "sub/two.png-head-2"):
        small = place / "small" / f"{name.replace('.png', '')}.png"
        assert (place / "out" / f"{name}.png").read_bytes() == small.read_bytes()


def test_outputs_of_an_earlier_run_that_are_none_any_more_go(place: Path) -> None:
    """A photo of two heads may have one now; a photo that fails now keeps what it had."""
    store = Store(str(place / "out"))
    for name in ("old.png", "bad.png"):
        store.write_whole(name, b"picture")
    (place / "in" / "bad.jpg").rename(place / "bad.jpg")
    work_on(place, PhotoJob(save=SaveOptions()), "old.png")
    assert "old.png" not in files(place / "out")
    (place / "bad.jpg").rename(place / "in" / "bad.jpg")
    for name in ("none.png", "one.png", "sub/two.png"):
        (place / "in" / name).unlink()
    rows = work_on(place, PhotoJob(save=SaveOptions()), "bad.png")
    assert rows["bad.jpg"]["outputs"] == ["bad.png"]
    assert "bad.png" in files(place / "out")


def test_nothing_stops_a_worker(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of course")

    monkeypatch.setattr("headcut.batch_worker.read_photo", broken)
    rows = work_on(place, PhotoJob(save=SaveOptions()))
    assert {row["reason"] for row in rows.values()} == {
        "ZeroDivisionError: of course; please report it"
    }


def test_fingerprint_is_of_what_changes_an_output(tmp_path: Path) -> None:
    def fingerprint(**more: Any) -> str:
        return PhotoJob(**{"save": SaveOptions(), **more}).fingerprint()

    assert fingerprint() == fingerprint(limits=PhotoLimits(max_megapixels=1))
    assert fingerprint() != fingerprint(neck="keep")
    background = tmp_path / "wall.png"
    picture().save(background)
    save = SaveOptions(background=str(background))
    before = fingerprint(save=save)
    moved = background.rename(tmp_path / "moved.png")
    assert fingerprint(save=SaveOptions(background=str(moved))) == before
    picture(20).save(background)
    assert fingerprint(save=save) != before


def test_workers_find_the_background(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run in another folder."""
    monkeypatch.chdir(place / "in")
    save = PhotoJob(save=SaveOptions(background="one.png")).for_workers().save
    assert save.background == str(place / "in" / "one.png")
    for word in ("blur", "transparent"):  # even where a file is called so
        picture().save(word, "PNG")
        assert PhotoJob(save=SaveOptions(background=word)).for_workers().save.background == word


def test_wrong_jobs() -> None:
    with pytest.raises(OptionError, match="use files, parquet or webdataset"):
        PhotoJob(save=SaveOptions(), form="zip")
    with pytest.raises(OptionError, match="leave --json out"):
        PhotoJob(save=SaveOptions(), form="parquet", sidecar=True)


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_shards(form: str, place: Path) -> None:
    """Boxes and one mask a head, in shards that the ledger names."""
    job = PhotoJob(save=SaveOptions(output="mask"), heads="each", form=form)
    target = Store(str(place / "out"))
    ledger = Ledger(target)
    recorder = _Recorder(ledger, target, form)
    recorder.add(results(place, job))
    assert files(place / "out") == []
    recorder.flush()
    rows = {row["key"]: row for row in ledger.rows().to_pylist()}
    shard = rows["one.png"]["outputs"][0]
    assert rows["sub/two.png"]["outputs"] == [shard]
    assert rows["bad.jpg"]["outputs"] == []
    if form == "parquet":
        photos = pq.read_table(place / "out" / shard).to_pylist()
    else:
        photos = read_tar(place / "out" / shard)
    assert [(row["key"], row["width"], len(row["boxes"])) for row in photos] == [
        ("one.png", 300, 1),
        ("sub/two.png", 300, 2),
    ]
    left, top, right, bottom = photos[1]["boxes"][0]
    mask = Image.open(io.BytesIO(photos[1]["masks"][0]))
    assert (mask.size, mask.mode) == ((300, 200), "L")
    assert mask.getbbox() == pytest.approx((left, top, right, bottom), abs=2)


def record(place: Path, job: PhotoJob) -> list[str]:
    """Put a whole run into the target, without Ray, and return the files there."""
    target = Store(str(place / "out"))
    recorder = _Recorder(Ledger(target), target, job.form)
    recorder.add(results(place, job))
    recorder.flush()
    return [name for name in files(place / "out") if not name.startswith("headcut-ledger")]


def test_photos_that_are_gone_are_not_counted(place: Path, headcut: Headcut) -> None:
    """A broken photo that somebody took away must not fail every run to come."""
    record(place, PhotoJob(save=SaveOptions()))
    again = headcut("batch", "in", "out")
    assert (again.code, again.written[0]) == (1, "4 photos: 2 done, 1 no head, 1 failed")
    ran = headcut("batch", "in", "out", "--retry-failed", "--dry-run")
    assert (ran.code, ran.written) == (0, ["to do: 1 photos (1 failed before)"])
    (place / "in" / "bad.jpg").unlink()
    ran = headcut("batch", "in", "out")
    assert (ran.code, ran.written) == (
        0,
        [
            "3 photos: 2 done, 1 no head, 0 failed",
            "in this run: 0",
            "1 in the ledger, but no longer in SOURCE: not counted",
        ],
    )


def test_a_source_that_is_gone_is_said(place: Path, headcut: Headcut) -> None:
    """A disk that is not there must not look like a run in which all was done already."""
    record(place, PhotoJob(save=SaveOptions()))
    ran = headcut("batch", "nowhere", "out")
    assert ran.code == 2
    assert "no photos there" in ran.err


def test_the_option_that_differs_is_named(place: Path, headcut: Headcut) -> None:
    record(place, PhotoJob(save=SaveOptions()))
    assert "other options (crop);" in headcut("batch", "in", "out", "--crop").err


def test_photos_of_a_shard_that_is_lost_are_cut_again(place: Path, headcut: Headcut) -> None:
    """Those in a shard that is still there would be doubled: that is refused."""
    (shard,) = record(
        place, PhotoJob(save=SaveOptions(output="mask"), heads="each", form="parquet")
    )
    command = ("batch", "in", "out", "--as", "parquet", "--dry-run")
    picture(100).save(place / "in" / "one.png")
    ran = headcut(*command)
    assert (ran.code, ran.out) == (2, b"")
    assert "1 photos to be cut again are in the shards of TARGET" in ran.err
    (place / "out" / shard).unlink()
    ran = headcut(*command)
    assert ran.written == ["to do: 2 photos (1 changed, 1 whose output is gone)"]


def test_shards_outlive_a_change_to_files(place: Path, headcut: Headcut) -> None:
    """Other photos are in them."""
    record(place, PhotoJob(save=SaveOptions(output="mask"), form="parquet"))
    ran = headcut("batch", "in", "out", "--redo", "--dry-run")
    assert ran.code == 2
    assert "2 photos to be cut again are in the shards of TARGET" in ran.err


def test_pictures_are_not_lost_to_a_data_set(place: Path, headcut: Headcut) -> None:
    """They would be deleted before the shard is written."""
    record(place, PhotoJob(save=SaveOptions()))
    ran = headcut("batch", "in", "out", "--as", "parquet", "--redo", "--dry-run")
    assert ran.code == 2
    assert "2 pictures of photos to be cut again are in TARGET" in ran.err


def test_webp_in_a_webdataset_is_called_so(place: Path) -> None:
    (shard,) = record(place, PhotoJob(save=SaveOptions(format="webp"), form="webdataset"))
    with tarfile.open(place / "out" / shard) as tar:
        suffixes = {name.partition(".")[2] for name in tar.getnames()}
    assert suffixes == {"json", "1.webp"}


def test_shards_of_a_killed_run_go(place: Path, headcut: Headcut) -> None:
    """Killed before the rows were written, its photos would be in two shards."""
    job = PhotoJob(save=SaveOptions(output="mask"), heads="each", form="webdataset")
    (shard,) = record(place, job)
    orphan = f"headcut-{1:020d}-abcdef.tar"
    for name in (orphan, "mine.tar"):
        (place / "out" / name).write_bytes(b"")
    assert headcut("batch", "in", "out", "--as", "webdataset").code == 1  # the broken photo
    assert [name for name in files(place / "out") if name.endswith(".tar")] == [shard, "mine.tar"]


def test_progress_says_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0, 1, 50, 60, 100))
    monkeypatch.setattr("headcut.batch.time.monotonic", lambda: next(clock))
    said: list[str] = []
    progress = _Progress(9000, said.append)
    for _ in range(4):
        progress.add(pa.table({"key": ["a"] * 100}))
    assert said == [
        "200 of 9000, 4.0 a second, 0:36:40 left",
        "400 of 9000, 4.0 a second, 0:35:50 left",
    ]


def read_tar(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a WebDataset shard; the files of a photo stand together."""
    rows: list[dict[str, Any]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            if member.name.endswith(".json"):
                rows.append({**json.load(file), "masks": [], "name": member.name.split(".")[0]})
            else:
                assert member.name.startswith(rows[-1]["name"])
                rows[-1]["masks"].append(file.read())
    return rows


def test_report(place: Path) -> None:
    record(place, PhotoJob(save=SaveOptions()))
    target = Store(str(place / "out"))
    lines = list(report(str(place / "out")))
    assert lines[0] == "4 photos: 2 done, 1 no head, 1 failed"
    assert lines[1].startswith("  failed 1: is not a photo")
    assert lines[1].endswith("(bad.jpg)")
    assert lines[-1] == f"least confident: {place / 'out'}/headcut-least-confident.png"
    with Image.open(place / "out" / "headcut-least-confident.png") as sheet:
        assert sheet.size == (960, 174)
    assert totals(Ledger(target).rows())[:1] == lines[:1]
    with pytest.raises(OptionError, match="has no headcut-ledger"):
        list(report(str(place / "in")))


def test_command_line(place: Path, headcut: Headcut) -> None:
    """What is wrong is said before anything starts."""
    assert "give SOURCE and TARGET" in headcut("batch", "in").err
    assert "lie in each other" in headcut("batch", "in", "in/out").err
    assert "no photos there" in headcut("batch", "nowhere", "out").err
    assert "leave SOURCE out" in headcut("batch", "in", "--report", "out").err
    assert headcut("batch", "--report", "in").code == 2
    assert headcut("batch", "in", "out", "--heads", "0").code == 2
    ran = headcut("batch", "in", "out", "--dry-run", "--limit", "3")
    assert (ran.code, ran.out) == (0, b"to do: 3 photos (4 new)\n")
    assert files(place) == sorted(f"in/{name}" for name in files(place / "in"))
