"""A batch from bucket to bucket of an S3-compatible server here that fails and dawdles on purpose.

    pip install 'moto[server]==5.2.5'
    python benchmarks/batch_s3.py serve --port 9010 --errors 0.05 --slow 0.05 &
    python benchmarks/batch_s3.py run PHOTOS --port 9010

`run` copies a folder into a bucket, runs `headcut batch` to another bucket twice, and compares the
objects that are there with the ledger. Of the answers, 5 % are errors (503 Slow Down) and 5 % come
after a second; copying and comparing are spared.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>injected</Message></Error>"


def main() -> None:
    """Serve or run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["serve", "run"])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--port", type=int, default=9010)
    parser.add_argument("--errors", type=float, default=0.05)
    parser.add_argument("--slow", type=float, default=0.05)
    arguments = parser.parse_args()
    if arguments.what == "serve":
        serve(arguments.port, arguments.errors, arguments.slow)
    else:
        run(arguments.photos, arguments.port)


def serve(port: int, errors: float, slow: float) -> None:
    """Serve S3 on 127.0.0.1; /injected tells what was done, POST /inject?on or off switches it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    application = DomainDispatcherApplication(create_backend_app)
    chance, state, done = random.Random(0), {"on": False}, Counter[str]()

    def shaky(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/injected":
            if environ["QUERY_STRING"]:
                state["on"] = environ["QUERY_STRING"] == "on"
            start("200 OK", [("Content-Type", "text/plain")])
            return [str(dict(done)).encode()]
        if state["on"]:
            done["answers"] += 1
            dice = chance.random()
            if dice < errors:
                done["errors"] += 1
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start("503 Slow Down", [("Content-Type", "application/xml")])
                return [SLOW_DOWN]
            if dice < errors + slow:
                done["slow"] += 1
                time.sleep(1)
        answer: Iterable[bytes] = application(environ, start)
        return answer

    run_simple("127.0.0.1", port, shaky, threaded=True)


def run(photos: Path, port: int) -> None:
    """Copy, cut twice, compare."""
    import pyarrow.parquet as pq
    from pyarrow import fs

    os.environ.update(CREDENTIALS)
    s3 = fs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True
    )
    for bucket in ("photos", "heads"):
        s3.create_dir(bucket)
    names = [path for path in sorted(photos.rglob("*")) if path.is_file()]
    for path in names:
        with s3.open_output_stream(f"photos/{path.relative_to(photos).as_posix()}") as stream:
            stream.write(path.read_bytes())
    query = f"?endpoint_override=127.0.0.1:{port}&scheme=http"
    command = [
        sys.executable,
        "-m",
        "headcut",
        "batch",
        f"s3://photos{query}",
        f"s3://heads{query}",
    ]
    for attempt in ("first", "second"):
        inject(port, "?on")
        start = time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{attempt} run: exit {ran.returncode}, {time.perf_counter() - start:.0f} s")
        print(ran.stdout + (ran.stderr if ran.returncode not in (0, 1, 3) else ""))
        print("injected:", inject(port, "?off"))
    there = {
        info.path.removeprefix("heads/")
        for info in s3.get_file_info(fs.FileSelector("heads", recursive=True))
        if info.type == fs.FileType.File and "headcut-ledger" not in info.path
    }
    rows = pq.read_table("heads/headcut-ledger", filesystem=s3).to_pylist()
    named = [name for row in rows for name in row["outputs"]]
    print(f"{len(rows)} rows for {len(names)} objects, keys all there:", end=" ")
    print({row["key"] for row in rows} == {p.relative_to(photos).as_posix() for p in names})
    print(f"{len(there)} outputs, each named once in the ledger: {sorted(there) == sorted(named)}")


def inject(port: int, query: str = "") -> str:
    """Switch errors on or off; return what was injected so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/injected{query}") as answer:
        text: str = answer.read().decode()
    return text


if __name__ == "__main__":
    main()
