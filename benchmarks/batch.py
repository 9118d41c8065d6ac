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
start = time.perf_counter()
for name in names:
    try:
        for number, head in enumerate(cutter.cut(name)):
            if sys.argv[2:]:
                head.save(out / f"{Path(name).stem}-{number}.png")
    except HeadcutError:
        pass
print(time.perf_counter() - start)
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
        print(f"{count} plain loops: {loops(names, count, arguments):.2f} photos a second")
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


def loops(names: list[str], count: int, arguments: argparse.Namespace) -> float:
    """Return the photos a second of so many processes, each with its share of the photos."""
    out = arguments.folder / "loops"
    out.mkdir(exist_ok=True)
    command = [sys.executable, "-c", LOOP, str(out), *(["save"] if arguments.save else [])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for number, process in enumerate(running):
        process.stdin.write("\n".join(names[number::count]))
        process.stdin.close()
    return sum(
        len(names[number::count]) / float(process.stdout.read())
        for number, process in enumerate(running)
    )


def batch(photos: Path, out: Path, workers: int) -> None:
    """Cut all photos and print the rate, the memory and the account."""
    import pyarrow.parquet as pq

    command = [sys.executable, "-m", "headcut", "batch", photos, out, "--workers", str(workers)]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    memory: list[tuple[float, int, int]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(5):
            memory.append((time.perf_counter() - start, *resident_mb(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said = process.stdout.read()
    process.wait()
    whole_s = time.perf_counter() - start
    stop.set()
    watcher.join()
    rows = pq.read_table(out / "headcut-ledger").to_pylist()
    stamps = sorted(row["finished_us"] for row in rows)
    skip = len(stamps) // 10  # the first tenth waits for Ray and the networks
    steady = (len(stamps) - 1 - skip) / ((stamps[-1] - stamps[skip]) / 1e6)
    files = sum(path.is_file() for path in photos.rglob("*"))
    written = {str(path.relative_to(out)) for path in out.rglob("*-head.png")}
    named = {name for row in rows for name in row["outputs"]}
    print(f"batch, {workers} workers: exit {process.returncode}, {whole_s:.0f} s with the start,")
    print(f"  {steady:.2f} photos a second after the first tenth, {len(rows) / whole_s:.2f} in all")
    print(f"  {len(rows)} rows for {files} files: {dict(Counter(r['status'] for r in rows))}")
    print(f"  {len(written)} outputs, the same as in the ledger: {written == named}")
    print("  " + said.strip().replace("\n", "\n  "))
    for when_s, driver, worker in memory[:: max(1, len(memory) // 10)]:
        print(f"  after {when_s:5.0f} s: driver {driver} MB, largest worker {worker} MB")


def resident_mb(pid: int) -> tuple[int, int]:
    """Return the resident memory of the driver and of its largest worker, in MB."""
    workers = [0]
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::" in status.read_bytes() and b"PhotoWorker" in status.read_bytes():
                workers.append(_rss(status.parent))
        except OSError:
            continue
    try:
        return _rss(Path(f"/proc/{pid}")), max(workers)
    except OSError:
        return 0, max(workers)


def _rss(process: Path) -> int:
    pages = int((process / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    main()
