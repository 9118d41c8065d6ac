"""The HTTP API: a photo in, its heads out. Nothing is kept, and nothing is fetched.

body, counted as it comes -> a place in the queue -> one thread of the pool cuts -> the answer
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, create_form_parser
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headcut import __version__
from headcut.cutout import CutOut, choose_heads, merge
from headcut.errors import HeadcutError, OptionError, OutputError, PhotoError
from headcut.model_file import BUNDLED
from headcut.options import PhotoLimits
from headcut.photo import Photo, read_photo
from headcut.pipeline import HeadCutter
from headcut.sidecar import SCHEMA, described_frame, described_head
from headcut.web.openapi import PROBLEM, openapi
from headcut.web.request import CutRequest, parse_query

log = logging.getLogger("headcut.web")
"""One JSON object a line for each request; no file names, no addresses."""

RETRY_AFTER_S = 2

HANG_UP = {"Connection": "close"}
"""Where the rest of a body may never come; hung up on while sending, a client reads no answer."""

API_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the server refuses, so that no client can fill its memory or hold it up.

    Raises:
        OptionError: a limit is not above zero.
    """

    photo: PhotoLimits = field(
        default_factory=lambda: PhotoLimits(max_bytes=30_000_000, max_megapixels=50)
    )

    waiting: int = 32
    """Photos taken at once, in work or before it; each may hold `photo.max_bytes`."""

    at_once: int = 2
    """Photos cut at once; each may take about 10 bytes a pixel."""

    timeout_s: float = 60
    """For a photo to arrive, and again for it to be cut."""

    def __post_init__(self) -> None:
        for name in ("waiting", "at_once", "timeout_s"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} is {getattr(self, name)}; give a number above 0")


class Problem(HTTPException):
    """An answer that is not a picture, as RFC 9457 wants it: what is wrong, in one line."""

    def __init__(self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None):
        super().__init__(status, detail, headers)
        self.kind = kind


class Service:
    """Cuts photos in a few threads, with a bounded number of them waiting.

    Args:
        cutter: its networks are shared by all requests.
        limits: what to refuse.
    """

    def __init__(self, cutter: HeadCutter, limits: ServerLimits):
        self.cutter = cutter
        self.limits = limits
        self.taken = 0
        self._pool = ThreadPoolExecutor(limits.at_once, "headcut")

    async def cut(self, request: Request) -> Response:
        """Answer `POST /v1/cut`."""
        try:
            wanted = parse_query(request.query_params.multi_items())
        except OptionError as error:
            raise Problem(400, "option", str(error)) from error
        if self.taken >= self.limits.waiting:
            raise Problem(
                429,
                "busy",
                f"{self.taken} photos are waiting; come again later",
                {"Retry-After": str(RETRY_AFTER_S)},
            )
        self.taken += 1
        try:
            body = await self._body(request)
            future = self._pool.submit(self._answer, body, wanted)
        except BaseException:
            self.taken -= 1
            raise
        # The place is free when the thread is, not when the client was told that it takes too long.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._give_back))
        return await self._within_time(future)

    async def health(self, request: Request) -> Response:
        """Answer `GET /v1/health`."""
        return JSONResponse({"status": "ok", "version": __version__, "waiting": self.taken})

    def close(self) -> None:
        """Finish what was taken."""
        self._pool.shutdown()

    def _give_back(self) -> None:
        self.taken -= 1

    async def _within_time(self, future: Future[Response]) -> Response:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.limits.timeout_s)
        except TimeoutError as error:
            raise Problem(
                503,
                "too-slow",
                f"not cut within {self.limits.timeout_s:g} s; shrink the photo or come again later",
                {"Retry-After": str(RETRY_AFTER_S)},
            ) from error

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await read_photo_body(request, self.limits.photo.max_bytes)
        except TimeoutError as error:
            raise Problem(
                408,
                "too-slow",
                f"the photo did not arrive within {self.limits.timeout_s:g} s",
                HANG_UP,
            ) from error
        except ClientDisconnect as error:
            raise Problem(400, "cut-short", "the photo did not arrive whole") from error

    def _answer(self, body: bytes, wanted: CutRequest) -> Response:
        """Cut one photo; runs in a thread."""
        cutter = HeadCutter(
            finder=self.cutter.finder,
            segmenter=self.cutter.segmenter,
            refiner=self.cutter.refiner,
            limits=self.limits.photo,
            neck=wanted.neck,
        )
        try:
            photo = read_photo(body, self.limits.photo)
            heads = cutter.cut(photo)
            if wanted.answer == "json":
                chosen = choose_heads(heads, wanted.heads) if heads else []
                return JSONResponse(_described(photo, chosen, wanted))
            if not heads:
                raise Problem(422, "no-head", "no head found in the photo")
            picture = merge(choose_heads(heads, wanted.heads)[0])
            return Response(picture.encode(wanted.save), media_type=f"image/{wanted.answer}")
        except (PhotoError, OutputError) as error:
            raise Problem(422, "photo", str(error)) from error
        except HeadcutError as error:
            raise Problem(422, "head", f"the photo {error}") from error
        except MemoryError as error:
            raise Problem(413, "too-large", "not enough memory for it; shrink the photo") from error


def make_app(
    cutter: HeadCutter,
    limits: ServerLimits | None = None,
    *,
    page: Path | None = None,
    hosts: frozenset[str] | None = None,
) -> Starlette:
    """Return the API and, if it was built, the page.

    Args:
        cutter: its networks are shared by all requests.
        limits: what to refuse.
        page: folder of the built page; see `headcut.web.page`.
        hosts: names that the server answers to; any, if not given. A web page elsewhere can point
            a name of its own at this machine.
    """
    service = Service(cutter, limits or ServerLimits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    async def describe(_: Request) -> Response:
        return JSONResponse(openapi())

    routes: list[BaseRoute] = [
        Route("/v1/cut", service.cut, methods=["POST"]),
        Route("/v1/health", service.health, methods=["GET"]),
        Route("/openapi.json", describe, methods=["GET"]),
    ]
    if page:
        headers = json.loads((page / "headers.json").read_text())
        routes += [
            Mount("/models", _with_headers(StaticFiles(directory=BUNDLED), headers)),
            Mount("/", _with_headers(StaticFiles(directory=page, html=True), headers)),
        ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _problem, Exception: _unexpected},
    )
    app.add_middleware(_Guard, hosts=hosts, timeout_s=service.limits.timeout_s)
    return app


async def read_photo_body(request: Request, max_bytes: int) -> bytes:
    """Return the photo in a request's body, raw or the one file of a form.

    Args:
        request: its body was not read yet.
        max_bytes: largest photo file.

    Raises:
        Problem: the body is empty, too large, of another type, or no such form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = await _read_form(request, max_bytes)
    elif kind in ("", "application/octet-stream") or kind.startswith("image/"):
        body = b"".join([chunk async for chunk in _counted(request, max_bytes)])
    else:
        raise Problem(
            415, "type", "send the photo as image/*, application/octet-stream or a form's file"
        )
    if not body:
        raise Problem(400, "empty", "there is no photo in the body")
    return body


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, and stop a larger one early."""
    too_large = Problem(413, "too-large", f"over the limit of {max_bytes / 1e6:g} MB; shrink it")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise too_large
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > max_bytes:
            raise too_large
        yield chunk


async def _read_form(request: Request, max_bytes: int) -> bytes:
    """Return the file called photo; it is never written to the disk."""
    photos: list[bytes] = []
    fields: list[str] = []

    def keep(file: File) -> None:
        if file.field_name == b"photo":
            file.file_object.seek(0)
            photos.append(file.file_object.read())
        file.close()

    form_bytes = max_bytes + 10_000  # room for the form around the photo
    kind = request.headers["content-type"].encode("latin-1")
    try:
        parser = create_form_parser(
            {"Content-Type": kind},
            lambda field: fields.append((field.field_name or b"").decode("utf-8", "replace")),
            keep,
            config={"MAX_MEMORY_FILE_SIZE": form_bytes, "MAX_FIELD_SIZE": 1000, "MAX_FIELDS": 10},
        )
        async for chunk in _counted(request, form_bytes):
            parser.write(chunk)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Problem(400, "form", "not a form that can be read; send it as browsers do") from error
    if fields:
        raise Problem(
            400, "form", f"the form's field {fields[0]!r} is not read; put options into the address"
        )
    if len(photos) != 1:
        raise Problem(400, "form", "the form has no file called photo, or several, or is cut short")
    return photos[0]


def _described(photo: Photo, chosen: list[list[CutOut]], wanted: CutRequest) -> dict[str, Any]:
    """Return the answer in JSON: the sidecar of the command line, with the pictures in it."""
    height, width = photo.shape
    source = {"width": width, "height": height}
    pictures = []
    for part in chosen:
        picture = merge(part)
        pictures.append(
            {
                "image": base64.b64encode(picture.encode(wanted.save)).decode(),
                **described_frame(picture.frame(wanted.save)),
                "heads": [described_head(head) for head in part],
            }
        )
    return {"schema": SCHEMA, "source": source, "pictures": pictures}


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return _answer_problem(error.status_code, error.kind, error.detail, error.headers)
    details = {
        404: "there is nothing here; see /openapi.json",
        405: "this address knows other methods; see Allow",
    }
    detail = details.get(error.status_code, "the request cannot be answered")
    return _answer_problem(error.status_code, "address", detail, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _answer_problem(500, "unexpected", "something is wrong with the server; see its log")


def _answer_problem(status: int, kind: str, detail: str, headers: Any = None) -> Response:
    titles = {
        400: "The request makes no sense",
        403: "Not from there",
        404: "Not found",
        405: "No such method",
        408: "Too slow",
        413: "Too large",
        415: "Another type",
        422: "Nothing to cut",
        429: "Too busy",
        500: "Unexpected",
        503: "Not in time",
    }
    body = {
        "type": f"urn:headcut:{kind}",
        "title": titles.get(status, "Not possible"),
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status, dict(headers or {}), media_type=PROBLEM)


def _with_headers(app: ASGIApp, headers: dict[str, str]) -> ASGIApp:
    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await app(scope, receive, add)

    return with_headers


class _Guard:
    """Around everything: refuses what other sites send, adds headers, writes the access log."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, timeout_s: float):
        self.app = app
        self.hosts = hosts
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        sent = {"status": 500, "bytes": 0}
        request = Request(scope)
        is_coming = not {"content-length", "transfer-encoding"}.isdisjoint(request.headers)

        async def read() -> Message:
            nonlocal is_coming
            message = await receive()
            is_coming = message.get("more_body", False)
            return message

        async def watch(message: Message) -> None:
            nonlocal is_coming
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in API_HEADERS.items():
                    headers.setdefault(name, value)
                is_coming = is_coming and headers.get("connection") != "close"
            elif message["type"] == "http.response.body":
                sent["bytes"] += len(message.get("body", b""))
                if is_coming and not message.get("more_body"):
                    # A client that is still sending reads no answer if it is hung up on.
                    await send({**message, "more_body": True})
                    await self._read_rest(read)
                    message = {"type": "http.response.body"}
            await send(message)

        try:
            await (self._refusal(request) or self.app)(scope, read, watch)
        finally:
            line = {
                "method": scope["method"],
                "route": getattr(scope.get("route"), "path", None),
                **sent,
                "ms": round((time.perf_counter() - started) * 1000, 1),
            }
            log.info(json.dumps(line))

    async def _read_rest(self, read: Receive) -> None:
        """Throw away what still comes of a body."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_s):
                while (await read()).get("more_body"):
                    pass

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        if self.hosts and host not in self.hosts:
            return _answer_problem(403, "elsewhere", "this server answers to its own name alone")
        if request.method == "POST" and _is_from_elsewhere(request):
            return _answer_problem(403, "elsewhere", "other sites may not use this server")
        return None


def _is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page sends it; programs say nothing of it."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin", "none"):
        return True
    # A proxy may speak TLS, so the scheme is not compared.
    host = request.headers.get("host", "")
    return origin not in (None, f"http://{host}", f"https://{host}")
