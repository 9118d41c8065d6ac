"""The command `headcut serve`."""

from __future__ import annotations

import logging
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from headcut.errors import HeadcutError, OptionError
from headcut.options import PhotoLimits

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What this machine calls itself."""

FAILED, WRONG_USAGE = 1, 2
"""Exit codes, as of all commands."""


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8317,
    export_static: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the page as static files that anyone can host, and end."
        ),
    ] = None,
    max_mb: Annotated[float, typer.Option(metavar="MB", help="Refuse larger photo files.")] = 30,
    max_megapixels: Annotated[float, typer.Option(metavar="MP", help="Refuse larger photos.")] = 50,
    waiting: Annotated[
        int, typer.Option(min=1, help="Photos taken at once; further ones get 429.")
    ] = 32,
    at_once: Annotated[int, typer.Option(min=1, help="Photos cut at once.")] = 2,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time for a photo to arrive, and to be cut.")
    ] = 60,
) -> None:
    """Serve the page, in which photos never leave the device, and the HTTP API.

    The API is described at /openapi.json. Needs the extra: pip install 'headcut[web]'.
    """
    from headcut.web import page

    try:
        if export_static:
            page.export_static(export_static)
            typer.echo(f"Wrote {export_static}: any web server can host it", err=True)
            return
        _need_extra()
        from headcut.pipeline import HeadCutter
        from headcut.web.api import ServerLimits, make_app

        photo = PhotoLimits(max_bytes=int(max_mb * 1e6), max_megapixels=max_megapixels)
        limits = ServerLimits(photo=photo, waiting=waiting, at_once=at_once, timeout_s=timeout)
        built = page.built_page()
        hosts = LOOPBACK if host in LOOPBACK or host == "::1" else None
        app = make_app(HeadCutter(limits=photo), limits, page=built, hosts=hosts)
    except HeadcutError as error:
        typer.echo(f"headcut: {error}", err=True)
        raise typer.Exit(WRONG_USAGE if isinstance(error, OptionError) else FAILED) from None
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(f"API at {address}/v1/cut, described at {address}/openapi.json", err=True)
    typer.echo(f"Page at {address}/" if built else f"No page: {page.NOT_BUILT}", err=True)
    raise typer.Exit(_run(app, host, port, timeout))


def _need_extra() -> None:
    for package in ("starlette", "uvicorn", "python_multipart"):
        if find_spec(package) is None:
            raise OptionError("headcut serve needs more packages: pip install 'headcut[web]'")


def _run(app: object, host: str, port: int, timeout_s: float) -> int:
    import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("headcut.web").setLevel(logging.INFO)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=host,
        port=port,
        access_log=False,  # headcut.web has its own
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(timeout_s) + 1,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # that is how it is stopped
        server.run()
    return 0 if server.started else FAILED
