"""A batch against plain loops of `HeadCutter.cut`: rate, memory, and whether all is accounted for.

    python benchmarks/batch.py --photos 20000 --broken 200 --folder /tmp/batch

Draws scenes around the sample head, 1 in 20 without one, and broken files of every kind; cuts them
with one loop, with two loops at once, with a batch of 1 worker and with one of 2. The loops cut a
part of the photos. With --save, they also encode and save, as a batch does.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]

LOOP = """
import sys, time
from pathlib import Path
from headcut.pipeline import HeadCutter
from headcut.find import HeadFinder
from headcut.segment import HeadSegmenter
from headcut.errors import HeadcutError
from headcut.model_file import open_model
cutter = HeadCutter(finder=HeadFinder(open_model("finder", threads=1)),
                    segmenter=HeadSegmenter(open_model("segmenter", threads=1)))
names = sys.stdin.read().split()
out = Path(sys.argv[1])
cutter.cut(names[0])
start, cpu = time.perf_counter(), time.process_time()
for name in names:
    try:
        for number, head in enumerate(cutter.cut(name)):
            if sys.argv[2:]:
                head.save(out / f"{Path(name).stem}-{number}.png")
    except HeadcutError:
        pass
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def main() -> None:
    """Draw, cut, count and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--broken", type=int, default=20)
    parser.add_argument("--side", type=int, default=256, help="of a photo, in pixels")
    parser.add_argument("--loop", type=int, default=200, help="photos that a loop cuts")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--save", action="store_true", help="loops encode and save too")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    photos = arguments.folder / "photos"
    draw(photos, arguments.photos, arguments.broken, arguments.side)
    names = [str(path) for path in sorted(photos.rglob("*.jpg"))[: arguments.loop]]
    for count in (1, 2):
        rate, cpu_ms = loops(names, count, arguments)
        print(f"{count} plain loops: {rate:.2f} photos a second, {cpu_ms:.1f} ms of CPU a photo")
    for count in arguments.workers:
        batch(photos, arguments.folder / f"out-{count}", count)


def draw(photos: Path, count: int, broken: int, side: int) -> None:
    """Write scenes around the sample head, and broken files among them."""
    if photos.exists():
        return
    chance = np.random.default_rng(0)
    head = Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB")
    for number in range(count - broken):
        folder = photos / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        scene(head, number, side, chance).save(folder / f"{number:06d}.jpg", quality=90)
    kinds = list(broken_files().items())
    for number in range(broken):
        kind, data = kinds[number % len(kinds)]
        name = f"{number:04d}-{kind.replace(' ', '-')}.jpg"
        (photos / "broken").mkdir(parents=True, exist_ok=True)
        (photos / "broken" / name).write_bytes(data)


def scene(head: Image.Image, number: int, side: int, chance: np.random.Generator) -> Image.Image:
    """Return shapes on a colour and, but for 1 in 20, the sample head at some size and place."""
    image = Image.new("RGB", (side, side), tuple(map(int, chance.integers(0, 256, 3))))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = map(int, chance.integers(0, side, 2))
        size = int(chance.integers(side // 20, side // 3))
        pen.ellipse([x, y, x + size, y + size], fill=tuple(map(int, chance.integers(0, 256, 3))))
    if number % 20:
        size = int(side * chance.uniform(0.6, 1.0))
        x, y = map(int, chance.integers(0, side - size + 1, 2))
        image.paste(head.resize((size, size)), (x, y))
    return image


def broken_files() -> dict[str, bytes]:
    """Return files that are no photos, by what is wrong with them."""
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "grey").save(file, "JPEG")
    jpeg = file.getvalue()
    tiny = io.BytesIO()
    Image.new("RGB", (1, 1)).save(tiny, "PNG")
    huge = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(huge, "PNG")
    return {
        "empty": b"",
        "text": b"Dear diary, this is no photo.\n",
        "truncated": jpeg[: len(jpeg) // 2],
        "truncated header": jpeg[:30],
        "1x1": tiny.getvalue(),
        "over the limit": huge.getvalue(),
        "video": b"\0\0\0\x18ftypmp42" + b"\0" * 99,
        "broken heic": b"\0\0\0\x18ftypheic" + b"\0" * 99,
    }


def loops(names: list[str], count: int, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return photos a second and CPU milliseconds a photo of so many processes at once."""
    out = arguments.folder / "loops"
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", LOOP, str(out), *(["save"] if arguments.save else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for number, process in enumerate(running):
        process.stdin.write("\n".join(names[number::count]))
        process.stdin.close()
    times = [tuple(map(float, process.stdout.read().split())) for process in running]
    rate = sum(len(names[n::count]) / times[n][0] for n in range(count))
    return rate, 1000 * sum(cpu_s for _, cpu_s in times) / len(names)


def batch(photos: Path, out: Path, workers: int) -> None:
    """Cut all photos and print the rate, the memory and the account."""
    import pyarrow.parquet as pq

    command = [sys.executable, "-m", "headcut", "batch", photos, out, "--workers", str(workers)]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    samples: list[Sample] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(2):
            samples.append(sample(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.stdout.read()
    process.wait()
    whole_s = time.perf_counter() - start
    stop.set()
    watcher.join()
    rows = pq.read_table(out / "headcut-ledger").to_pylist()
    stamps = np.sort([row["finished_us"] / 1e6 for row in rows])
    skip = len(stamps) // 10  # the first tenth waits for Ray and the networks
    steady = (len(stamps) - 1 - skip) / (stamps[-1] - stamps[skip])
    within = [s for s in samples if stamps[skip] < s.when_s < stamps[-1]]
    between = np.searchsorted(stamps, [within[0].when_s, within[-1].when_s])
    cpu_ms = 1000 * (within[-1].cpu_s - within[0].cpu_s) / (between[1] - between[0])
    files = sum(path.is_file() for path in photos.rglob("*"))
    written = {str(path.relative_to(out)) for path in out.rglob("*-head.png")}
    named = {name for row in rows for name in row["outputs"]}
    print(f"batch, {workers} workers: exit {process.returncode}, {whole_s:.0f} s with the start,")
    print(f"  {steady:.2f} photos a second after the first tenth, {len(rows) / whole_s:.2f} in all")
    print(f"  {cpu_ms:.1f} ms of CPU a photo, of all processes of the batch together")
    print(f"  {len(rows)} rows for {files} files: {dict(Counter(r['status'] for r in rows))}")
    print(f"  {len(written)} outputs, the same as in the ledger: {written == named}")
    print("  " + said.strip().replace("\n", "\n  "))
    for taken in within[:: max(1, len(within) // 8)]:
        print(
            f"  after {np.searchsorted(stamps, taken.when_s):6d} photos: "
            f"driver {taken.driver_mb} MB, largest worker {taken.worker_mb} MB"
        )


@dataclass
class Sample:
    """What the processes of a batch took so far."""

    when_s: float
    cpu_s: float
    driver_mb: int
    worker_mb: int


def sample(driver: int) -> Sample:
    """Look at a process and all below it."""
    parents, found = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            # The name, in brackets, may hold spaces.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            pages = int((folder / "statm").read_text().split()[1])
            cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            worker = b"PhotoWorker" in (folder / "cmdline").read_bytes()
            found[int(folder.name)] = (cpu_s, pages * os.sysconf("SC_PAGE_SIZE") // 2**20, worker)

    def is_below(pid: int) -> bool:
        while pid > 1 and pid != driver:
            pid = parents.get(pid, 0)
        return pid == driver

    mine = {pid: taken for pid, taken in found.items() if is_below(pid)}
    return Sample(
        time.time(),
        sum(cpu_s for cpu_s, _, _ in mine.values()),
        mine.get(driver, (0, 0, False))[1],
        max((mb for _, mb, worker in mine.values() if worker), default=0),
    )


if __name__ == "__main__":
    main()
