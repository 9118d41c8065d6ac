"""A batch of photos that are drawn here: account, memory, and its rate against plain loops.

    python benchmarks/batch.py --folder /tmp/batch

draws 20,000 scenes of 256x256 pixels, 19 in 20 with the sample head, 200 of them replaced by broken
files of every kind; cuts them all with 2 workers while it samples memory; checks the ledger photo
by photo; and then cuts 600 of them in each of four ways by turns, so that a changing load hits all
alike: one plain loop of `HeadCutter.cut`, two at once, a batch of 1 worker, one of 2.

The loops do what a batch does with a photo: read, cut, encode, write whole. Their networks have one
thread each, as those of a worker have; with more, two loops hinder each other. Loading the networks
and starting Ray is in no rate: that is of the time in which all workers, or loops, are at work.

The exit code is 1 if a row of the ledger, or an output, is not as it has to be.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]

LOOP = """
import sys, time
from pathlib import Path
from headcut.cutout import merge
from headcut.pipeline import HeadCutter

cutter = HeadCutter(threads=1)
out, names = Path(sys.argv[1]), sys.argv[2:]
cutter.cut(names[0])
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
for name in names:
    heads = cutter.cut(name)
    if heads:
        merge(heads).save(out / f"{Path(name).name}-head.png")
print(time.perf_counter() - start)
"""

WAYS = (("loop", 1), ("batch", 1), ("loop", 2), ("batch", 2))


def main() -> None:
    """Draw, cut, check, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=20_000, help="broken ones included")
    parser.add_argument("--broken", type=int, default=200)
    parser.add_argument("--side", type=int, default=256, help="of a photo, in pixels")
    parser.add_argument("--part", type=int, default=600, help="photos of the comparison")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    arguments = parser.parse_args()
    photos = arguments.folder / f"photos-{arguments.photos}-{arguments.broken}-{arguments.side}"
    start = time.perf_counter()
    draw(photos, arguments.photos, arguments.broken, arguments.side)
    say(f"{arguments.photos} photos drawn, {time.perf_counter() - start:.0f} s")

    with fresh(arguments.folder / "out") as out:
        ran = batch(photos, out, workers=2)
        print_memory(ran)
        wrong = check(photos, out, ran)
    if arguments.part:
        compare(photos, arguments.folder, arguments.part, arguments.rounds)
    sys.exit(1 if wrong else 0)


def say(line: str) -> None:
    """Print at once: a run takes long, and somebody may watch."""
    print(line, flush=True)


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """Give an empty folder, and delete it in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def draw(photos: Path, count: int, broken: int, side: int) -> None:
    """Write scenes and, in the place of some, broken files; nothing if they are there already.

    A name says what a file is: `with.000123.jpg`, `without.000140.jpg`, `broken.empty.000100.jpg`.
    """
    if photos.exists():
        return
    unfinished = photos.with_suffix(".drawing")
    shutil.rmtree(unfinished, ignore_errors=True)
    chance = np.random.default_rng(0)
    head = Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB").resize((side, side))
    kinds = list(broken_files().items())
    every = count // broken if broken else 0
    bad = 0
    for number in range(count):
        folder = unfinished / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        if bad < broken and number % every == 0:
            kind, data = kinds[bad % len(kinds)]
            path = folder / f"broken.{kind}.{number:06d}.jpg"
            if data is None:
                path.symlink_to("nowhere.jpg")
            else:
                path.write_bytes(data)
            bad += 1
        else:
            with_head = bool(chance.integers(20))
            name = f"{'with' if with_head else 'without'}.{number:06d}.jpg"
            scene(head if with_head else None, side, chance).save(folder / name, quality=90)
    unfinished.rename(photos)


def scene(head: Image.Image | None, side: int, chance: np.random.Generator) -> Image.Image:
    """Return shapes on a colour and the head, if any, at some size and place."""
    image = Image.new("RGB", (side, side), tuple(map(int, chance.integers(0, 256, 3))))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = map(int, chance.integers(0, side, 2))
        size = int(chance.integers(side // 20, side // 3))
        pen.ellipse([x, y, x + size, y + size], fill=tuple(map(int, chance.integers(0, 256, 3))))
    if head:
        size = int(side * chance.uniform(0.6, 1.0))
        x, y = map(int, chance.integers(0, side - size + 1, 2))
        image.paste(head.resize((size, size)), (x, y))
    return image


def broken_files() -> dict[str, bytes | None]:
    """Return files that are no photos, by what is wrong with them; None is a link to nowhere."""
    file = io.BytesIO()
    Image.effect_noise((300, 200), 60).save(file, "JPEG")
    jpeg = file.getvalue()
    return {
        "missing": None,
        "empty": b"",
        "text": b"Dear diary, this is no photo.\n",
        "truncated": jpeg[: len(jpeg) // 2],
        "truncated-header": jpeg[:30],
        "0x0": png(0, 0),
        "1x1": png(1, 1),
        "30000x30000": png(30_000, 30_000),
        "video": b"\0\0\0\x18ftypmp42" + b"\0" * 99,
        "broken-heic": b"\0\0\0\x18ftypheic" + b"\0" * 99,
    }


def png(width: int, height: int) -> bytes:
    """Return a black picture of one bit a pixel, whole, whatever its size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)

    about = width.to_bytes(4) + height.to_bytes(4) + b"\1\0\0\0\0"
    pixels = zlib.compress(b"\0" * (height * (1 + -(-width // 8))))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", about) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@dataclass
class Ran:
    """What a batch did."""

    code: int
    said: str
    rows: list[dict[str, Any]]
    samples: list[Sample]
    whole_s: float
    start_s: float
    """Until all workers are at work: Python, the listing, Ray, the networks."""
    rate: float
    """Photos a second from then on, until the first worker has none left."""


def batch(photos: Path, out: Path, workers: int) -> Ran:
    """Cut all photos and look at the memory meanwhile."""
    command = [sys.executable, "-m", "headcut", "batch", photos, out, "--workers", workers]
    start, clock_s = time.perf_counter(), time.time()
    process = subprocess.Popen(
        [*map(str, command), "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    samples: list[Sample] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(5):
            samples.append(sample(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = process.communicate()
    whole_s = time.perf_counter() - start
    stop.set()
    watcher.join()
    rows = pq.read_table(out / "headcut-ledger").to_pylist()
    begin_s, end_s = all_at_work_s(rows, workers)
    within = sum(begin_s < row["finished_us"] / 1e6 <= end_s for row in rows)
    rate = within / (end_s - begin_s)
    return Ran(process.returncode, said.strip(), rows, samples, whole_s, begin_s - clock_s, rate)


def all_at_work_s(rows: list[dict[str, Any]], workers: int) -> tuple[float, float]:
    """Return the first and the last time at which every worker had a photo in hand."""
    stages = ("read_ms", "decode_ms", "cut_ms", "encode_ms", "write_ms")
    changes = []
    for row in rows:
        end_s = row["finished_us"] / 1e6
        changes += [(end_s - sum(row[stage] or 0 for stage in stages) / 1000, 1), (end_s, -1)]
    at_work, times = 0, []
    for when_s, change in sorted(changes):
        if at_work == workers:
            times.append(when_s)  # they all were, until now
        at_work += change
        if at_work == workers:
            times.append(when_s)
    return times[0], times[-1]


@dataclass
class Sample:
    """What the processes of a batch hold."""

    when_s: float
    driver_mb: int
    worker_mb: int
    """Of the largest worker."""
    all_mb: int
    """Of all processes with Ray's; what some share counts once."""


def sample(driver: int) -> Sample:
    """Look at a process and all below it."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name, in brackets, may hold spaces.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])

    def is_below(pid: int) -> bool:
        while pid > 1 and pid != driver:
            pid = parents.get(pid, 0)
        return pid == driver

    taken = Sample(time.time(), 0, 0, 0)
    for pid in filter(is_below, parents):
        with suppress(OSError, KeyError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            kb = {line.split()[0]: int(line.split()[1]) for line in lines}
            taken.all_mb += kb["Pss:"] // 1024
            if pid == driver:
                taken.driver_mb = kb["Rss:"] // 1024
            elif b"PhotoWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                taken.worker_mb = max(taken.worker_mb, kb["Rss:"] // 1024)
    return taken


def print_memory(ran: Ran) -> None:
    """Print the rate and, at ten moments, what the batch held."""
    say(
        f"batch of {len(ran.rows)} with 2 workers: exit {ran.code}, {ran.whole_s:.0f} s, of these "
        f"{ran.start_s:.1f} s until all work; then {ran.rate:.2f} photos a second"
    )
    say("  " + ran.said.replace("\n", "\n  "))
    stamps = np.sort([row["finished_us"] / 1e6 for row in ran.rows])
    within = [taken for taken in ran.samples if stamps[0] < taken.when_s < stamps[-1]]
    say("| photos | driver MB | largest worker MB | all processes MB |\n|---|---|---|---|")
    for index in np.unique(np.linspace(0, len(within) - 1, min(len(within), 10)).astype(int)):
        taken = within[index]
        photos = np.searchsorted(stamps, taken.when_s)
        say(f"| {photos} | {taken.driver_mb} | {taken.worker_mb} | {taken.all_mb} |")


def check(photos: Path, out: Path, ran: Ran) -> int:
    """Hold every row against its photo and its output; return how many are wrong."""
    keys = {path.relative_to(photos).as_posix() for path in photos.rglob("*") if not path.is_dir()}
    wrong = [f"{key}: not in the ledger" for key in keys - {row["key"] for row in ran.rows}]
    times = Counter(row["key"] for row in ran.rows)
    wrong += [f"{key}: {count} rows" for key, count in times.items() if count > 1]
    became: dict[str, Counter[str]] = {}
    for row in ran.rows:
        kind = Path(row["key"]).name.rsplit(".", 2)[0]
        became.setdefault(kind, Counter())[row["status"]] += 1
        problem = what_is_wrong(photos, out, row)
        if problem:
            wrong.append(f"{row['key']}: {problem}")
    named = sorted(name for row in ran.rows for name in row["outputs"])
    there = sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and "headcut-ledger" not in path.parts
    )
    if there != named:
        wrong.append(f"{len(there)} files in the target, {len(named)} in the ledger")
    say("| what | files | became |\n|---|---|---|")
    for kind, counts in sorted(became.items()):
        say(f"| {kind} | {counts.total()} | {', '.join(f'{n} {s}' for s, n in counts.items())} |")
    say(
        f"checked {len(keys)} files, {len(ran.rows)} rows, {len(there)} outputs: {len(wrong)} wrong"
    )
    for line in wrong[:10]:
        say(f"  {line}")
    return len(wrong)


def what_is_wrong(photos: Path, out: Path, row: dict[str, Any]) -> str | None:
    """Return what a row says that is not so."""
    path = photos / row["key"]
    data = path.read_bytes() if path.exists() else b""
    if row["size"] != len(data):
        return f"{row['size']} bytes in the ledger, {len(data)} in the photo"
    if path.exists() and row["sha256"] != sha256(data).hexdigest():
        return "another sha-256"
    if path.name.startswith("broken.") != (row["status"] == "failed"):
        return f"{row['status']}, {row['reason']}"
    if (row["status"] == "failed") != bool(row["reason"]):
        return f"{row['status']}, but the reason is {row['reason']}"
    if (row["status"] == "done") != bool(row["outputs"]):
        return f"{row['status']}, but the outputs are {row['outputs']}"
    for name in row["outputs"]:
        with Image.open(out / name) as output, Image.open(path) as photo:
            output.load()
            if output.size != photo.size or not output.getbbox():
                return f"{name} is {output.size}, or clear all over"
    return None


def compare(photos: Path, folder: Path, count: int, rounds: int) -> None:
    """Print the rates of loops and batches on the same photos, and what the batch adds."""
    rates: dict[tuple[str, int], list[float]] = {way: [] for way in WAYS}
    starts = []
    with fresh(folder / "part") as part:
        scenes = [path for path in sorted(photos.rglob("*.jpg")) if "broken." not in path.name]
        for path in scenes[:count]:
            shutil.copy(path, part / path.name)
        for turn in range(rounds):
            for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                with fresh(folder / "part-out") as out:
                    if way[0] == "loop":
                        rate = loops(part, out, way[1])
                    else:
                        ran = batch(part, out, way[1])
                        rate = ran.rate
                        starts.append(ran.start_s)
                rates[way].append(rate)
                say(f"round {turn + 1}, {way[1]} x {way[0]}: {rate:.2f} photos a second")
    names = {("loop", 1): "one plain loop", ("loop", 2): "two plain loops at once"}
    names |= {("batch", 1): "batch, 1 worker", ("batch", 2): "batch, 2 workers"}
    say(f"| the same {min(count, len(scenes))} photos | photos a second, median of {rounds} |")
    say("|---|---|")
    for way in WAYS:
        say(f"| {names[way]} | {statistics.median(rates[way]):.1f} |")

    def ratio(a: tuple[str, int], b: tuple[str, int]) -> str:
        each = [x / y for x, y in zip(rates[a], rates[b], strict=True)]
        return f"{statistics.median(each):.2f} ({', '.join(f'{r:.2f}' for r in each)})"

    say(f"batch of 2 workers / two loops: {ratio(('batch', 2), ('loop', 2))}; at least 0.9 wanted")
    say(f"batch of 1 worker / one loop: {ratio(('batch', 1), ('loop', 1))}")
    say(f"batch, 2 workers / 1 worker: {ratio(('batch', 2), ('batch', 1))}")
    say(f"start of a batch, until all work: {statistics.median(starts):.1f} s")


def loops(photos: Path, out: Path, count: int) -> float:
    """Return photos a second of so many processes at once, each with its part of the photos."""
    names = sorted(map(str, photos.iterdir()))
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    parts = [names[number::count] for number in range(count)]
    # Sessions of their own, as Ray's workers have: Linux shares the cores out by session.
    running = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP, str(out), *part], **pipes, start_new_session=True
        )
        for part in parts
    ]
    for process in running:
        process.stdout.readline()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    seconds = [float(process.communicate()[0]) for process in running]
    return sum(len(part) / taken for part, taken in zip(parts, seconds, strict=True))


if __name__ == "__main__":
    # Workers and loops use the code of this checkout, wherever the command is given.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    )
    main()
