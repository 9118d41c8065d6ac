"""The HTTP API, through a real server on this machine, with the stand-in networks."""

from __future__ import annotations

import base64
import http.client
import io
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
import uvicorn
from conftest import ASTRONAUT, RedFinder, RedSegmenter, picture, png_header, red_cutter
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

import headcut
from headcut.errors import OptionError
from headcut.options import PhotoLimits
from headcut.pipeline import HeadCutter
from headcut.web.api import ServerLimits, make_app
from headcut.web.openapi import openapi
from headcut.web.request import PARAMETERS, parse_query

LIMITS = ServerLimits(
    photo=PhotoLimits(max_bytes=200_000, max_megapixels=1), waiting=8, timeout_s=20
)


@dataclass
class Answered:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.body))


@dataclass
class Served:
    port: int
    server: uvicorn.Server | None = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answered:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}
            )
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answered(response.status, named, response.read())
        finally:
            connection.close()

    def cut(self, photo: bytes, query: str = "", kind: str = "image/png") -> Answered:
        return self.ask("POST", f"/v1/cut{query}", photo, content_type=kind)

    def raw(self, request: bytes, *, half_close: bool = True) -> bytes:
        """Send bytes that no well-behaved client would, and return what comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer


@contextmanager
def serve(cutter: HeadCutter, limits: ServerLimits, **more: Any) -> Iterator[Served]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(make_app(cutter, limits, **more), log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Served(listening.getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serve(red_cutter(), LIMITS) as served:
        yield served


def png(*centres_x: int, **more: int) -> bytes:
    file = io.BytesIO()
    picture(*centres_x, **more).save(file, "PNG")
    return file.getvalue()


def form(name: str, photo: bytes) -> tuple[bytes, str]:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="p.png"\r\n\r\n'
    return head.encode() + photo + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


def assert_problem(answered: Answered, status: int, word: str) -> None:
    assert answered.status == status, answered.body
    assert answered.headers["content-type"] == "application/problem+json"
    problem = answered.json
    assert problem["status"] == status
    assert word in problem["detail"]
    assert not re.search(r"/\w+/\w+\.|Traceback|\.py", answered.body.decode())


# ---------------------------------------------------------------- what it answers


def test_a_photo_becomes_the_cut_out_that_python_makes(server: Served) -> None:
    photo = png(150)
    answered = server.cut(photo)
    assert (answered.status, answered.headers["content-type"]) == (200, "image/png")
    expected = red_cutter().cut(photo)[0].image
    assert np.array_equal(np.asarray(answered.image), np.asarray(expected))


def test_a_form_and_a_raw_body_give_the_same(server: Served) -> None:
    photo = png(150)
    body, kind = form("photo", photo)
    assert server.cut(body, kind=kind).body == server.cut(photo).body


def test_options_are_those_of_the_command_line(server: Served) -> None:
    photo = png(80, 220)
    assert server.cut(photo, "?square=64&heads=largest").image.size == (64, 64)
    assert server.cut(photo, "?format=webp&crop=true").image.format == "WEBP"
    assert server.cut(photo, "?output=mask").image.mode == "L"
    assert server.cut(photo, "?preset=telegram").headers["content-type"] == "image/webp"
    left = server.cut(photo, "?at=80,100").image.getchannel("A").getbbox()
    assert left is not None
    assert left[2] < 150


def test_json_has_every_head_with_its_picture_and_place(server: Served) -> None:
    """It is the command line's sidecar, with the pictures in it."""
    said = server.cut(png(80, 220), "?format=json&crop=true").json
    assert said["source"] == {"width": 300, "height": 200}
    assert [len(p["heads"]) for p in said["pictures"]] == [1, 1]
    for part in said["pictures"]:
        image = Image.open(io.BytesIO(base64.b64decode(part["image"])))
        left, top, right, bottom = part["heads"][0]["box"]
        assert image.size == (right - left, bottom - top)
        assert part["offset"] == [left, top]


def test_json_of_a_photo_without_heads_is_empty(server: Served) -> None:
    assert server.cut(png(), "?format=json").json["pictures"] == []


def test_health_and_description(server: Served) -> None:
    assert server.ask("GET", "/v1/health").json["status"] == "ok"
    described = server.ask("GET", "/openapi.json").json
    assert {p["name"] for p in described["paths"]["/v1/cut"]["post"]["parameters"]} == set(
        PARAMETERS
    )


def test_answers_may_not_be_kept_or_run(server: Served) -> None:
    headers = server.cut(png(150)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'"
    assert headers["x-content-type-options"] == "nosniff"


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("?format=bmp", "format"),
        ("?heads=0", "heads"),
        (f"?heads={'1' * 5000}", "heads"),
        ("?heads=each", "format=json"),
        ("?at=1,2&heads=1", "leave one"),
        ("?square=9", "square"),
        ("?square=4096", "at most 2048"),
        ("?padding=200&crop=true", "at most 100"),
        ("?square=1e3", "whole number"),
        ("?padding=much", "padding"),
        ("?padding=nan&crop=true", "padding"),
        ("?crop=maybe", "crop"),
        ("?crop=true&crop=true", "twice"),
        ("?colour=red", "colour"),
        ("?background=/etc/hostname", "background"),
        ("?preset=icq", "preset"),
    ],
)
def test_senseless_options_are_refused(server: Served, query: str, word: str) -> None:
    """A background is no file: a request must not read this machine's disk."""
    assert_problem(server.cut(png(150), query), 400, word)


def test_bad_bodies_are_refused(server: Served) -> None:
    photo = png(150)
    assert_problem(server.cut(b""), 400, "no photo")
    assert_problem(server.cut(b"<svg/>"), 422, "not a photo")
    assert_problem(server.cut(photo[: len(photo) // 2]), 422, "cut short")
    assert_problem(server.cut(png_header(30_000, 30_000)), 422, "over the 1 MP limit")
    assert_problem(server.cut(png_header(1000, 1000)), 422, "damaged")
    assert_problem(server.cut(png()), 422, "no head")
    assert_problem(server.cut(photo, "?heads=7"), 422, "no number 7")
    assert_problem(server.cut(photo, kind="text/html"), 415, "image/*")
    assert_problem(server.cut(bytes(200_001)), 413, "0.2 MB")


def test_bad_forms_are_refused(server: Served) -> None:
    body, kind = form("photo", png(150))
    assert_problem(server.cut(body[:-30], kind=kind), 400, "cut short")
    assert_problem(server.cut(body, kind="multipart/form-data"), 400, "form")
    assert_problem(server.cut(form("foto", png(150))[0], kind=kind), 400, "called photo")
    assert_problem(server.cut(form("photo", bytes(300_000))[0], kind=kind), 413, "0.2")
    assert_problem(server.cut(form("photo", b"")[0], kind=kind), 400, "no photo")


def test_options_in_a_form_are_refused_and_not_passed_over(server: Served) -> None:
    body, kind = form("photo", png(150))
    option = b'--b\r\nContent-Disposition: form-data; name="crop"\r\n\r\ntrue\r\n'
    assert_problem(server.cut(option + body, kind=kind), 400, "'crop' is not read")


def test_a_body_without_a_length_is_counted_as_it_comes(server: Served) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(10_000)

    assert_problem(server.ask("POST", "/v1/cut", endless()), 413, "0.2 MB")


def test_a_refusal_reaches_clients_that_would_hang_up_after_it(server: Served) -> None:
    """They say so at once, and send it all before they read; hung up on, they see no answer."""
    assert_problem(server.ask("POST", "/v1/cut", bytes(20_000_000), connection="close"), 413, "0.2")


def test_a_lying_length_gets_no_picture(server: Served) -> None:
    """Too short a body is no photo; the server stays well."""
    start = b"POST /v1/cut HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    photo = png(150)
    for length in (len(photo) + 1000, len(photo) - 100, -5):
        answer = server.raw(start + f"Content-Length: {length}\r\n\r\n".encode() + photo)
        assert b" 200 " not in answer.split(b"\r\n")[0]
    assert server.cut(photo).status == 200
    assert server.ask("GET", "/v1/health").json["waiting"] == 0


def test_other_addresses_and_methods(server: Served) -> None:
    assert_problem(server.ask("GET", "/v1/nothing"), 404, "openapi.json")
    assert_problem(server.ask("GET", "/v1/cut"), 405, "Allow")
    assert server.ask("GET", "/v1/cut").headers["allow"] == "POST"


def test_other_sites_may_not_use_the_server() -> None:
    """A page elsewhere can send a form to this machine, or point its own name at it."""
    with serve(red_cutter(), LIMITS, hosts=frozenset({"127.0.0.1"})) as server:
        sent = server.ask("POST", "/v1/cut", png(150), sec_fetch_site="cross-site")
        assert_problem(sent, 403, "other sites")
        sent = server.ask("POST", "/v1/cut", png(150), sec_fetch_site="same-site")
        assert_problem(sent, 403, "other sites")
        own = f"http://127.0.0.1:{server.port}"
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"{own}.evil.example"):
            sent = server.ask("POST", "/v1/cut", png(150), origin=origin)
            assert_problem(sent, 403, "other sites")
        for site in ("same-origin", "none"):
            sent = server.ask("POST", "/v1/cut", png(150), origin=own, sec_fetch_site=site)
            assert sent.status == 200
        assert server.cut(png(150)).status == 200, "programs say nothing of where they are"
        assert_problem(server.ask("GET", "/v1/health", host="evil.example"), 403, "own name")
        assert server.ask("GET", "/v1/health").status == 200


def test_only_whole_options_and_known_names_are_read() -> None:
    with pytest.raises(OptionError, match="parameter"):
        parse_query([("max_bytes", "1")])
    assert parse_query([("format", "json")]).heads == "each"
    assert parse_query([]).heads == "all"


# ---------------------------------------------------------------- under load


class HeldFinder(RedFinder):
    """Finds nothing before it may, and says when it begins."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_go_on = threading.Event()

    def find(self, photo: Any) -> Any:
        self.begun.release()
        assert self.may_go_on.wait(60)
        return super().find(photo)


def held_cutter() -> tuple[HeadCutter, HeldFinder]:
    finder = HeldFinder()
    return HeadCutter(finder=finder, segmenter=RedSegmenter()), finder


def wait_until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        time.sleep(0.01)


def test_200_requests_at_once_are_answered_or_sent_away() -> None:
    """Every answer is right, and no more photos are held than the server says it takes."""
    photos = [png(60 + 2 * n, width=300, height=200) for n in range(10)]
    expected = [server_free(photo) for photo in photos]
    with serve(red_cutter(), LIMITS) as server:
        most = 0

        def ask(n: int) -> Answered:
            nonlocal most
            answered = server.cut(photos[n % 10])
            for _ in range(1000):
                if answered.status != 429:
                    break
                assert int(answered.headers["retry-after"]) > 0
                assert_problem(answered, 429, "waiting")
                waiting = server.ask("GET", "/v1/health").json["waiting"]
                most = max(most, waiting)
                time.sleep(0.05)
                answered = server.cut(photos[n % 10])
            return answered

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(ask, range(200)))
    assert [a.status for a in answers] == [200] * 200
    assert all(a.body == expected[n % 10] for n, a in enumerate(answers))
    assert 0 < most <= LIMITS.waiting


def server_free(photo: bytes) -> bytes:
    """What Python makes of a photo."""
    return red_cutter().cut(photo)[0].encode()


def test_beyond_the_queue_comes_429_until_a_place_is_free() -> None:
    cutter, finder = held_cutter()
    limits = ServerLimits(waiting=3, at_once=1)
    with serve(cutter, limits) as server, ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(server.cut, png(150)) for _ in range(3)]
        wait_until(lambda: server.ask("GET", "/v1/health").json["waiting"] == 3)
        refused = server.cut(png(150))
        assert_problem(refused, 429, "3 photos are waiting")
        assert int(refused.headers["retry-after"]) > 0
        finder.may_go_on.set()
        assert [future.result().status for future in taken] == [200] * 3
        assert server.cut(png(150)).status == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_real_server_under_load_keeps_its_memory_and_is_stopped_gracefully() -> None:
    """200 photos of 6 MB at once; `headcut serve` holds 8 of them, and finishes what it took."""
    photo, expected = large_photo()
    with started_server("--waiting", "8") as (process, server):
        before_mb = peak_mb(process)
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda _: server.cut(photo, "?crop=true"), range(200)))
        grown_mb = peak_mb(process) - before_mb
        statuses = Counter(answered.status for answered in answers)
        assert statuses.keys() == {200, 429}
        assert statuses[200] >= 8
        assert all(a.body == expected for a in answers if a.status == 200)
        assert grown_mb < 400  # all photos at once would be 1200
        with ThreadPoolExecutor(4) as pool:
            taken = [pool.submit(server.cut, photo, "?crop=true") for _ in range(4)]
            wait_until(lambda: server.ask("GET", "/v1/health").json["waiting"] == 4)
            process.send_signal(signal.SIGTERM)
            assert all(future.result().body == expected for future in taken)
        assert process.wait(60) == -signal.SIGTERM


def test_a_server_says_where_it_is_when_it_listens_and_takes_no_port_from_another() -> None:
    command, server = serve_command()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = process.stderr.readline()
            assert said.startswith(f"API at http://127.0.0.1:{server.port}/v1/cut, "), said
            assert server.ask("GET", "/v1/health").status == 200
            second = subprocess.run(command, capture_output=True, text=True, check=False)
        finally:
            process.kill()
    assert (second.returncode, second.stderr) == (
        2,
        f"headcut: port {server.port} is taken; choose another with --port\n",
    )


def large_photo() -> tuple[bytes, bytes]:
    """The sample photo as a PNG of 6 MB, and its head as Python cuts it."""
    with Image.open(ASTRONAUT) as image:
        large = image.convert("RGB").resize((1414, 1414))
    file = io.BytesIO()
    large.save(file, "PNG", compress_level=0)
    (head,) = headcut.cut(file.getvalue())
    return file.getvalue(), head.encode(headcut.SaveOptions(crop=True))


def serve_command() -> tuple[list[str], Served]:
    """A command that serves on a port that is free, and what will be there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [sys.executable, "-m", "headcut", "serve", "--port", str(port)], Served(port)


@contextmanager
def started_server(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], Served]]:
    command, server = serve_command()
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: process.poll() is not None or is_up(server))
            yield process, server
        finally:
            process.kill()


def is_up(server: Served) -> bool:
    try:
        return server.ask("GET", "/v1/health").status == 200
    except OSError:
        return False


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def test_what_takes_too_long_keeps_its_place_until_it_ends() -> None:
    """A thread cannot be stopped: if its place were free, more and more of them would run."""
    cutter, finder = held_cutter()
    with serve(cutter, ServerLimits(waiting=1, at_once=1, timeout_s=0.3)) as server:
        assert_problem(server.cut(png(150)), 503, "0.3 s")
        assert_problem(server.cut(png(150)), 429, "waiting")
        finder.may_go_on.set()
        wait_until(lambda: server.ask("GET", "/v1/health").json["waiting"] == 0)
        assert server.cut(png(150)).status in (
            200,
            503,
        )  # 0.3 s can be too short for a busy machine


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with serve(red_cutter(), ServerLimits(timeout_s=0.3)) as server:
        request = b"POST /v1/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
        assert b" 408 " in server.raw(request, half_close=False).split(b"\r\n")[0]
        assert server.ask("GET", "/v1/health").json["waiting"] == 0


def test_a_stop_finishes_what_was_taken() -> None:
    cutter, finder = held_cutter()
    with ThreadPoolExecutor(2) as pool:
        with serve(cutter, ServerLimits(at_once=1)) as server:
            taken = [pool.submit(server.cut, png(150)) for _ in range(2)]
            wait_until(lambda: server.ask("GET", "/v1/health").json["waiting"] == 2)
            assert server.server
            server.server.should_exit = True
            finder.may_go_on.set()
        assert [future.result().status for future in taken] == [200, 200]


def test_unexpected_errors_say_nothing_of_the_machine() -> None:
    class Broken(RedFinder):
        def find(self, photo: Any) -> Any:
            raise RuntimeError("at /secret/place.py")

    with serve(HeadCutter(finder=Broken(), segmenter=RedSegmenter()), LIMITS) as server:
        answered = server.cut(png(150))
    assert_problem(answered, 500, "its log")
    assert b"secret" not in answered.body


def test_access_log_is_structured_and_names_no_file(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headcut.web"), serve(red_cutter(), LIMITS) as server:
        server.cut(png(150), "?crop=true")
    line = json.loads(next(r.message for r in caplog.records if r.name == "headcut.web"))
    assert line.keys() == {"method", "route", "status", "bytes", "ms"}
    assert (line["route"], line["status"]) == ("/v1/cut", 200)


# ---------------------------------------------------------------- any request at all


for kind in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, st.sampled_from([png(), png(150), png(80, 220)]))
schema = schemathesis.openapi.from_dict(openapi())


@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_request_gets_an_answer_of_the_description(
    case: schemathesis.Case, server: Served
) -> None:
    """Schemathesis makes requests up from the description, right and wrong ones."""
    # A description cannot say that two options exclude each other, or that a photo has a head.
    checks = schemathesis.checks
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{server.port}",
        excluded_checks=[checks.positive_data_acceptance],
    )
