"""Measure the page in Chromium: milliseconds a photo by stage, beside Python's, and memory.

With WebAssembly on one thread and on several, and with WebGPU where there is a GPU. Needs the built
page (`make page`) and Chromium. Photos and Python's clock are those of bench.py.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from bench import PHOTO_SIZES, StageClock, Table, describe_machine, make_photo, print_table
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

import headcut
from headcut.photo import read_photo
from headcut.pipeline import cut_one

REPEATS = 5
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
GPU_FLAGS = ["--enable-unsafe-webgpu", "--enable-features=Vulkan"]
"""For Chromium on Linux, which has WebGPU but does not offer it everywhere."""

NETWORKS = ("finder", "segmenter", "refiner")
STAGES = ("decode", "looks", *NETWORKS, "cut", "save", "total")
"""`looks`: all until the masks, the networks included. `save` of the page decodes the photo again
and cuts it at its own size if it is over 2048 pixels a side."""


@contextmanager
def served() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "headcut", "serve", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(address).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            server.terminate()


def cut_in_page(page: Page, photo: Path) -> dict[str, float]:
    page.evaluate("delete document.documentElement.dataset.ms")
    page.set_input_files("#file", photo)
    page.wait_for_selector("html[data-ms]")
    page.wait_for_selector("#stage[data-settled=true]")
    stage_ms = json.loads(page.get_attribute("html", "data-ms") or "")
    start = time.perf_counter()
    with page.expect_download() as download:
        page.click("#save")
    download.value.path()
    stage_ms["save"] = (time.perf_counter() - start) * 1e3
    return with_total(stage_ms)


def cut_in_python(cutter: headcut.HeadCutter, photo: Path) -> dict[str, float]:
    clock = StageClock()
    with ExitStack() as stack:
        for name in NETWORKS:
            model = getattr(cutter, name).model
            stack.enter_context(patch.object(model, "run", clock.timed(name, model.run)))
        pixels = clock.timed("decode", read_photo)(photo, cutter.limits)
        first = clock.timed("looks", cutter.look)(pixels.pixels)
        seen = [clock.timed("looks", cutter.framed)(pixels.pixels, head) for head in first]
        head = clock.timed("cut", cut_one)(pixels, seen[0], cutter.neck)
        clock.timed("save", head.encode)(headcut.SaveOptions(crop=True))
    return with_total(clock.stage_ms)


def with_total(stage_ms: dict[str, float]) -> dict[str, float]:
    parts = {stage: stage_ms[stage] for stage in STAGES[:-1]}
    in_looks = sum(parts[name] for name in NETWORKS)
    return {**parts, "total": sum(parts.values()) - in_looks}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {stage: statistics.median(run[stage] for run in runs[1:]) for stage in STAGES}


def measure_page(
    browser: Browser, address: str, photos: dict[str, Path]
) -> tuple[str, dict[str, dict[str, float]], dict[str, float]]:
    """Return how many threads it had, milliseconds by photo, and what the whole took."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    context.set_default_timeout(180_000)
    page = context.new_page()
    figures = {"first visit until ready, ms": ready_ms(page, address)}
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    figures["later visit until ready, ms"] = ready_ms(page, address)
    if "backend=webgpu" in address:
        cut_in_page(page, next(iter(photos.values())))
        page.wait_for_selector("html[data-backend=webgpu]")
    stage_ms = {}
    for name, photo in photos.items():
        before_mb = {folder: memory_mb(folder, "VmRSS") for folder in renderers(browser)}
        for folder in before_mb:
            (folder / "clear_refs").write_text("5")  # the peak starts anew
        stage_ms[name] = medians([cut_in_page(page, photo) for _ in range(1 + REPEATS)])
        grown_mb = max(memory_mb(folder, "VmHWM") - mb for folder, mb in before_mb.items())
        figures[f"memory for {name}, MB"] = grown_mb
    threads = page.get_attribute("html", "data-threads") or ""
    context.close()
    return threads, stage_ms, figures


@contextmanager
def chromium(driver: Playwright, *flags: str) -> Iterator[Browser]:
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *flags])
    try:
        yield browser
    finally:
        browser.close()


def has_gpu(browser: Browser, address: str) -> bool:
    page = browser.new_page()
    page.goto(address)
    adapter = "navigator.gpu?.requestAdapter().then((a) => a && !a.info.isFallbackAdapter)"
    has = bool(page.evaluate(adapter))
    page.close()
    return has


def ready_ms(page: Page, address: str) -> float:
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("html[data-threads]")
    return (time.perf_counter() - start) * 1e3


def renderers(browser: Browser) -> list[Path]:
    """Return the folders in /proc of the processes that pages run in."""
    said = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    return [Path(f"/proc/{p['id']}") for p in said["processInfo"] if p["type"] == "renderer"]


def memory_mb(process: Path, row: str) -> float:
    status = (process / "status").read_text()
    return int(status.split(f"{row}:")[1].split()[0]) * 1024 / 1e6


def main() -> None:
    load = os.getloadavg()[0]
    print(", ".join(f"{key} {value}" for key, value in describe_machine(load).items()))
    columns = {}
    whole: Table = {}
    with tempfile.TemporaryDirectory() as name, served() as address, sync_playwright() as driver:
        photos = {label: Path(name) / f"{label}.jpg" for label in PHOTO_SIZES}
        for label, (width, height) in PHOTO_SIZES.items():
            make_photo(photos[label], width, height)

        def measure(browser: Browser, switches: str, column: str) -> None:
            threads, columns[column.format(threads)], figures = measure_page(
                browser, f"{address}?{switches}", photos
            )
            for row, figure in figures.items():
                whole.setdefault(row, {})[column.format(threads)] = figure

        with chromium(driver) as browser:
            print("Chromium", browser.version)
            measure(browser, "backend=wasm&threads=1", "1 thread")
            measure(browser, "backend=wasm", "{} threads")
        with chromium(driver, *GPU_FLAGS) as browser:
            if has_gpu(browser, address):
                measure(browser, "backend=webgpu", "WebGPU")
            else:
                print("No GPU here: WebGPU is not measured")
        cutter = headcut.HeadCutter()
        columns["Python"] = {
            label: medians([cut_in_python(cutter, photo) for _ in range(1 + REPEATS)])
            for label, photo in photos.items()
        }
    for label in photos:
        table: Table = {
            stage: {column: by_photo[label][stage] for column, by_photo in columns.items()}
            for stage in STAGES
        }
        print_table(f"ms, {label}", table)
    print_table("the page", whole)


if __name__ == "__main__":
    main()
