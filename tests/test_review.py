"""The review page's server: choices land in the manifest; nobody else is answered."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_workshop import JAW, write_mut1ny
from test_jaw import with_lines

from headcut.errors import OptionError
from headcut_train.manifest import NECK_LEVEL, read_manifest, read_mask
from headcut_train.neck import cut_necks
from headcut_train.review import ReviewServer, serve


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReviewServer]:
    manifest = with_lines(write_mut1ny(tmp_path / "source", 2), tmp_path / "out")
    with ReviewServer(cut_necks(manifest.path, workers=1), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: ReviewServer, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    data = None if body is None else json.dumps(body)
    sent = {"Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, data, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def test_page_pairs_photos_and_masks(server: ReviewServer) -> None:
    status, page, headers = ask(server, "GET", "/")
    assert (status, headers["Content-Security-Policy"][:18]) == (200, "default-src 'none'")
    assert b"http" not in page.replace(b"http-equiv", b""), "nothing from elsewhere"
    rows = json.loads(ask(server, "GET", "/pairs")[1])
    assert [row["name"] for row in rows] == ["00", "01"]
    assert len(rows[0]["jaw"]) == len(JAW)
    status, photo, headers = ask(server, "GET", "/photo/0")
    assert (status, headers["X-Photo-Size"], photo[:2]) == (200, "96 96", b"\xff\xd8")
    assert ask(server, "GET", "/mask/1?3")[1][:4] == b"\x89PNG"


def test_choices_are_in_the_manifest_at_once(server: ReviewServer, tmp_path: Path) -> None:
    status, row, _ = ask(server, "POST", "/pairs/0", {"choice": "drop"})
    assert (status, json.loads(row)["choice"]) == (200, "drop")
    pairs = read_manifest(tmp_path / "out" / "neck.jsonl").pairs
    assert [(pair.name, pair.choice, pair.used) for pair in pairs] == [
        ("00", "drop", False),
        ("01", "", True),
    ]


def test_a_dragged_line_cuts_again(server: ReviewServer, tmp_path: Path) -> None:
    lower = [[x, y + 8] for x, y in JAW]
    status, _, _ = ask(server, "POST", "/pairs/1", {"choice": "accept", "jaw": lower})
    assert status == 200
    manifest = read_manifest(tmp_path / "out" / "neck.jsonl")
    moved, kept = manifest.pairs[1], manifest.pairs[0]
    assert moved.jaw[3] == (48, 72)
    assert moved.chin_px == max(y for _, y in moved.jaw)
    necks = [(read_mask(manifest.file(p.mask)) == NECK_LEVEL).sum() for p in (moved, kept)]
    assert 0 < necks[0] < necks[1], "lower: less is cut"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"choice": "maybe"}, 422),
        ({"choice": "accept", "jaw": [[1, 2]]}, 422),
        ({"choice": "accept", "jaw": [[1, "x"], [2, 3]]}, 422),
        ({"choice": "accept", "jaw": 7}, 422),
        ([1], 400),
    ],
)
def test_nonsense_changes_nothing(
    body: object, status: int, server: ReviewServer, tmp_path: Path
) -> None:
    before = (tmp_path / "out" / "neck.jsonl").read_bytes()
    assert ask(server, "POST", "/pairs/0", body)[0] == status
    assert (tmp_path / "out" / "neck.jsonl").read_bytes() == before


def test_what_is_not_there(server: ReviewServer) -> None:
    for path in ("/photo/9", "/mask/9", "/other", "/photo/../../etc/passwd", "/photo/-1"):
        assert ask(server, "GET", path)[0] == 404, path
    assert ask(server, "POST", "/pairs/9", {"choice": ""})[0] == 404
    assert ask(server, "POST", "/photo/0", {"choice": ""})[0] == 400


def test_other_pages_are_not_answered(server: ReviewServer, tmp_path: Path) -> None:
    """A web page may know the port: by a name of its own, or by a form, it gets nothing."""
    assert ask(server, "GET", "/pairs", Host="evil.example")[0] == 421
    assert ask(server, "POST", "/pairs/0", {"choice": "drop"}, Host="evil.example:80")[0] == 421
    form = "application/x-www-form-urlencoded"
    assert ask(server, "POST", "/pairs/0", {"choice": "drop"}, Content_Type=form)[0] == 400
    assert all(pair.used for pair in read_manifest(tmp_path / "out" / "neck.jsonl").pairs)
    assert server.server_address[0] == "127.0.0.1"


def test_too_long_a_request_is_not_read(server: ReviewServer) -> None:
    assert ask(server, "POST", "/pairs/0", Content_Length="100001")[0] == 413


def test_a_taken_port_is_said(server: ReviewServer) -> None:
    with pytest.raises(OptionError, match="choose another --port"):
        serve(read_manifest(server.review._manifest.path), server.server_port, print)
