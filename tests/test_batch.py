"""A batch on a Ray cluster of this machine: every photo accounted for, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ASTRONAUT, ROOT, files, picture
from PIL import Image

LEDGER = "headcut-ledger"

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray reads them when it is imported."""

SCRIPT = """
import os, sys, time
import headcut.batch
from headcut.cli import main

SEEN, SECONDS_A_PHOTO = os.environ["SEEN"], float(os.environ["SECONDS_A_PHOTO"])

class Watched(headcut.batch.PhotoWorker):
    def _row(self, task):
        '''A slow photo leaves time to kill something; a fatal one takes its worker down.'''
        if "fatal" in task["key"]:
            os.kill(os.getpid(), 9)
        time.sleep(SECONDS_A_PHOTO)
        open(SEEN, "a").write(f"{os.getpid()} {task['key']}\\n")
        return super()._row(task)

headcut.batch.PhotoWorker = Watched
headcut.batch.PHOTOS_A_WAVE = int(os.environ["PHOTOS_A_WAVE"])
sys.argv[0] = "headcut"
main()
"""

DRIVER = [sys.executable, "-c", SCRIPT, "batch", "photos", "out"]


def environment(seen: Path, seconds_a_photo: float, photos_a_wave: int) -> dict[str, str]:
    more = {"SEEN": str(seen), "SECONDS_A_PHOTO": str(seconds_a_photo), **LOOPBACK}
    more["PHOTOS_A_WAVE"] = str(photos_a_wave)
    return {**os.environ, **more, "PYTHONPATH": str(ROOT / "src")}


class Cluster:
    """A Ray head on this machine, to which nodes can be added."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        self._cluster = RayCluster(initialize_head=True, head_node_args=self._node(1))
        self.address: str = self._cluster.address

    @staticmethod
    def _node(cpus: int) -> dict[str, object]:
        return {
            "num_cpus": cpus,
            "object_store_memory": 80 * 2**20,
            "include_dashboard": False,
            "node_ip_address": "127.0.0.1",
            "env_vars": {"PYTHONPATH": str(ROOT / "src"), **LOOPBACK},
        }

    def add_node(self) -> object:
        node = self._node(1)
        del node["include_dashboard"]
        return self._cluster.add_node(**node)

    def kill(self, node: object) -> None:
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    os.environ.update(LOOPBACK)
    pytest.importorskip("ray")
    cluster = Cluster()
    yield cluster
    cluster.stop()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Start]:
    """Start `headcut batch photos out ARGUMENTS...` on the cluster, in the test's folder."""
    running = []

    def begin(
        *arguments: str, seconds_a_photo: float = 0, photos_a_wave: int = 1000
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*DRIVER, "--address", cluster.address, *arguments],
            cwd=tmp_path,
            env=environment(tmp_path / "seen", seconds_a_photo, photos_a_wave),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], code: int) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    return out


def wait_for(count: int, folder: Path, workers: int = 1) -> None:
    """Wait until a run has written that many pictures, and that many workers had a photo."""
    limit_s = time.monotonic() + 600
    while len(list((folder / "out").rglob("*-head.png"))) < count or len(seen(folder)) < workers:
        assert time.monotonic() < limit_s, "the run writes nothing"
        time.sleep(0.05)


def seen(folder: Path) -> set[str]:
    """Return the process numbers of the workers that had a photo."""
    path = folder / "seen"
    return set(path.read_text().split()[::2]) if path.exists() else set()


def draw_heads(folder: Path, count: int) -> None:
    """Write small photos of the sample head, each a little different."""
    head = Image.open(ASTRONAUT).resize((96, 96))
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        head.putpixel((0, 0), (number, 0, 0))
        head.save(path)


def ledger(folder: Path) -> dict[str, dict[str, object]]:
    """Return the rows by key; a photo that is in the ledger twice fails the test."""
    rows = pq.read_table(folder / "out" / LEDGER).to_pylist()
    by_key = {row["key"]: row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def assert_right(folder: Path, done: int) -> None:
    """All is there, nothing is doubled, no file is half-written, and the ledger names each."""
    rows = ledger(folder)
    assert set(rows) == set(files(folder / "photos"))
    assert sum(row["status"] == "done" for row in rows.values()) == done
    written = [name for name in files(folder / "out") if not name.startswith(LEDGER)]
    assert written == sorted(name for row in rows.values() for name in row["outputs"])
    for name in written:
        Image.open(folder / "out" / name).load()


def test_every_photo_is_accounted_for(start: Start, tmp_path: Path) -> None:
    """Good, empty, broken, colliding, no photo at all, and one that takes its worker down."""
    photos = tmp_path / "photos"
    draw_heads(photos, 3)
    (photos / "0" / "000.jpg").write_bytes((photos / "0" / "000.png").read_bytes())
    (photos / "0" / "000.PNG").write_bytes((photos / "0" / "000.png").read_bytes())
    picture(width=64, height=64).save(photos / "empty.png")
    (photos / "text.jpg").write_text("Dear diary")
    (photos / "fatal.png").write_bytes((photos / "0" / "000.png").read_bytes())
    (photos / "notes.txt").write_text("no photo")
    before = {name: (photos / name).stat().st_mtime_ns for name in files(photos)}

    out = end(start("--workers", "1", "--batch", "3", photos_a_wave=5), 1)  # two waves

    assert (
        "8 photos: 5 done, 1 no head, 2 failed\npassed over: 1, no photos by their names\n" in out
    )
    assert_right(tmp_path, done=5)
    rows = ledger(tmp_path)
    assert "is not a photo" in str(rows["text.jpg"]["reason"])
    assert "its worker died" in str(rows["fatal.png"]["reason"])
    assert rows["0/000.jpg"]["outputs"] == ["0/000.jpg-head.png"]
    assert before == {name: (photos / name).stat().st_mtime_ns for name in files(photos)}


def test_killed_worker_then_killed_driver(start: Start, tmp_path: Path) -> None:
    """The run goes on without the worker; without the driver, the next one does the rest."""
    draw_heads(tmp_path / "photos", 24)
    process = start("--workers", "1", "--batch", "2", seconds_a_photo=0.2)
    wait_for(4, tmp_path)
    worker = int((tmp_path / "seen").read_text().split()[0])
    os.kill(worker, signal.SIGKILL)
    wait_for(9, tmp_path)
    assert len(seen(tmp_path)) == 2, "another worker went on"
    process.kill()
    process.communicate()
    time.sleep(1)  # workers of a driver that is gone may finish a photo
    assert len(list((tmp_path / "out").rglob("*-head.png"))) < 24

    end(start("--workers", "1", "--shuffle"), 0)
    assert_right(tmp_path, done=24)


def test_killed_node(cluster: Cluster, start: Start, tmp_path: Path) -> None:
    """Its work is done again by the other node, in the same run."""
    node = cluster.add_node()
    draw_heads(tmp_path / "photos", 24)
    process = start("--workers", "2", "--batch", "2", seconds_a_photo=0.4)
    wait_for(6, tmp_path, workers=2)
    cluster.kill(node)
    assert len(list((tmp_path / "out").rglob("*-head.png"))) < 24, "killed in the middle"
    end(process, 0)
    assert_right(tmp_path, done=24)
