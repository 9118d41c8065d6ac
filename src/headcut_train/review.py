"""A page on this machine to go through cut necks: accept, drop, or drag the jaw line.

Every choice is in the manifest at once. The server listens on 127.0.0.1 alone and answers to no
other name, so that no web page can reach it by one of its own. The page loads nothing from
elsewhere.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from headcut.errors import HeadcutError, OptionError
from headcut.geometry import U8Array, shrunk_to
from headcut.photo import load_photo
from headcut_train.manifest import (
    HEAD_LEVEL,
    NECK_LEVEL,
    Manifest,
    Pair,
    read_mask,
    shrunk_mask,
    write_manifest,
)
from headcut_train.neck import by_doubt, cut_neck

PAGE = Path(__file__).with_name("review.html")

LONGEST_SHOWN_PX = 1000
LARGEST_REQUEST_BYTES = 100_000

POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
)


class Review:
    """The pairs of a manifest, doubtful ones first, and what a person says of them."""

    def __init__(self, manifest: Manifest):
        self._manifest = manifest
        self._order = [pair.name for pair in by_doubt(manifest.pairs)]
        self._pairs = {pair.name: pair for pair in manifest.pairs}
        self._lock = Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Return what the page shows of each pair."""
        return [self._row(self._pairs[name]) for name in self._order]

    def _row(self, pair: Pair) -> dict[str, Any]:
        return {
            "name": pair.name,
            "confidence": pair.confidence,
            "aside": pair.aside,
            "choice": pair.choice,
            "jaw": pair.jaw,
        }

    def photo(self, number: int) -> tuple[U8Array, tuple[int, int]]:
        """Return a photo, shrunk to what a page shows, and its true (width, height)."""
        pair = self._pairs[self._order[number]]
        photo = load_photo(self._manifest.file(pair.photo))
        return shrunk_to(photo, LONGEST_SHOWN_PX), (photo.shape[1], photo.shape[0])

    def mask(self, number: int) -> U8Array:
        """Return (H, W, 4): black where nothing is head, blue the cut neck, clear the head."""
        pair = self._pairs[self._order[number]]
        mask = shrunk_mask(read_mask(self._manifest.file(pair.mask)), LONGEST_SHOWN_PX)
        layer = np.zeros((*mask.shape, 4), np.uint8)
        layer[mask != HEAD_LEVEL] = (0, 0, 0, 170)
        layer[mask == NECK_LEVEL] = (0, 90, 255, 150)
        return layer

    def choose(self, number: int, choice: str, jaw: list[list[float]] | None) -> dict[str, Any]:
        """Note a choice, cut again where the line was moved, save, and return the pair's row.

        Raises:
            OptionError: no such choice, or the line is not one.
            HeadcutError: the pair cannot be cut or saved.
        """
        if choice not in ("", "accept", "drop"):
            raise OptionError(f"choice {choice!r}: accept, drop or nothing")
        with self._lock:
            pair = self._pairs[self._order[number]]
            if jaw is not None:
                line = _line(jaw)
                pair = replace(pair, jaw=line, chin_px=max(y for _, y in line))
                photo = load_photo(self._manifest.file(pair.photo))
                pair = cut_neck(self._manifest, pair, photo)
            pair = replace(pair, choice=choice)
            self._pairs[pair.name] = pair
            pairs = tuple(self._pairs.values())
            self._manifest = replace(self._manifest, pairs=pairs)
            write_manifest(self._manifest)
            return self._row(pair)


def _line(jaw: list[list[float]]) -> tuple[tuple[float, float], ...]:
    try:
        line = tuple((round(float(x), 1), round(float(y), 1)) for x, y in jaw)
    except (TypeError, ValueError) as error:
        raise OptionError("the jaw line must be pairs of numbers") from error
    if len(line) < 2 or not np.isfinite(line).all() or np.abs(line).max() > 100_000:
        raise OptionError("the jaw line needs two points or more, inside the photo")
    return line


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer

    def do_GET(self) -> None:
        """Answer the page, the pairs, a photo or a mask."""
        review = self.server.review
        if self.path == "/":
            self._send(PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/pairs":
            self._json(review.rows())
        elif match := re.fullmatch(r"/(photo|mask)/(\d{1,9})(\?\d*)?", self.path):
            self._try(lambda: self._picture(match[1], int(match[2])))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        """Note a choice; only what this page itself can send is taken."""
        match = re.fullmatch(r"/pairs/(\d{1,9})", self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Content-Type") != "application/json" or not match:
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif length > LARGEST_REQUEST_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = self.rfile.read(length)
            self._try(lambda: self._chosen(int(match[1]), body))

    def _chosen(self, number: int, body: bytes) -> None:
        said = json.loads(body)
        choice, jaw = said.get("choice", ""), said.get("jaw")
        self._json(self.server.review.choose(number, choice, jaw))

    def _picture(self, kind: str, number: int) -> None:
        file = io.BytesIO()
        if kind == "photo":
            pixels, size = self.server.review.photo(number)
            Image.fromarray(pixels).save(file, "JPEG", quality=90)
            self._send(file.getvalue(), "image/jpeg", size)
        else:
            Image.fromarray(self.server.review.mask(number)).save(file, "PNG")
            self._send(file.getvalue(), "image/png")

    def _try(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        except IndexError:
            self.send_error(HTTPStatus.NOT_FOUND)
        except HeadcutError as error:
            self._json({"error": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except (ValueError, AttributeError):
            self.send_error(HTTPStatus.BAD_REQUEST)

    def parse_request(self) -> bool:
        """Refuse requests under another name: a page elsewhere could have one of its own."""
        if not super().parse_request():
            return False
        if self.headers.get("Host") not in self.server.names:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return False
        return True

    def _json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status=status)

    def _send(
        self,
        body: bytes,
        kind: str,
        photo_size: tuple[int, int] | None = None,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if photo_size:
            self.send_header("X-Photo-Size", "{} {}".format(*photo_size))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the terminal has the address only."""


class ReviewServer(ThreadingHTTPServer):
    """Serves one manifest's review on 127.0.0.1.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, manifest: Manifest, port: int):
        super().__init__(("127.0.0.1", port), _Handler)
        self.review = Review(manifest)

    @cached_property
    def names(self) -> set[str]:
        """What the server is called."""
        return {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"


def serve(manifest: Manifest, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        manifest: from `neck.cut_necks`.
        port: 0 takes any that is free.
        ready: called with the page's address.

    Raises:
        OptionError: the port is taken.
    """
    try:
        server = ReviewServer(manifest, port)
    except OSError as error:
        raise OptionError(f"port {port}: {error.strerror}; choose another --port") from error
    with server:
        ready(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
