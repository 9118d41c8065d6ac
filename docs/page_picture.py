"""Draw the picture of docs/web.md: the page on a desktop, and on phones in light and dark.

headcut serve & python docs/page_picture.py http://127.0.0.1:8317/
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HEIGHT = 640
GAP = 16
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1200, "height": 844}}


def picture(
    browser: Browser, address: str, scheme: Any, device: dict[str, Any], *clicks: str
) -> Image.Image:
    page = browser.new_context(color_scheme=scheme, **device).new_page()
    page.goto(address)
    page.click("#sample")
    page.wait_for_selector("html[data-ms]")
    for click in clicks:
        page.click(click)
        page.wait_for_selector("#stage[data-settled=true]")
    page.wait_for_selector("#stage[data-settled=true]")
    page.wait_for_timeout(300)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return image.resize((image.width * HEIGHT // image.height, HEIGHT), Image.Resampling.LANCZOS)


with sync_playwright() as driver:
    chromium = driver.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox"]
    )
    coral = ("#frame [title=Circle]", "#background [title=Coral]")
    parts = [
        picture(chromium, sys.argv[1], "light", DESKTOP),
        picture(chromium, sys.argv[1], "light", PHONE, *coral),
        picture(chromium, sys.argv[1], "dark", PHONE, "#tab-heads"),
    ]
    chromium.close()
width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
whole = Image.new("RGB", (width, HEIGHT), "#8a8780")
left = 0
for part in parts:
    whole.paste(part, (left, 0))
    left += part.width + GAP
whole.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(
    Path(__file__).with_name("page.png"), optimize=True
)
