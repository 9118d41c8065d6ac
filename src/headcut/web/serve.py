"""The command `headcut serve`."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from headcut.errors import HeadcutError, OptionError, extra_is_missing
from headcut.options import PhotoLimits

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What this machine calls itself."""

FAILED, WRONG_USAGE = 1, 2
"""Exit codes, as of all commands."""


def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; 0.0.0.0 lets other machines in."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Port to listen on.")
    ] = 8317,
    export_static: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the page as static files that anyone can host, and end."
        ),
    ] = None,
    max_mb: Annotated[float, typer.Option(metavar="MB", help="Refuse larger photo files.")] = 30,
    max_megapixels: Annotated[float, typer.Option(metavar="MP", help="Refuse larger photos.")] = 50,
    waiting: Annotated[
        int, typer.Option(metavar="N", min=1, help="Photos taken at once; further ones get 429.")
    ] = 32,
    at_once: Annotated[int, typer.Option(metavar="N", min=1, help="Photos cut at once.")] = 2,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time for a photo to arrive, and to be cut.")
    ] = 60,
) -> None:
    """Serve the page, in which photos never leave the device, and the HTTP API.

    The API is described at /openapi.json. Needs the extra: pip install '.[web]'.
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
        listening = _listen(host, port)
    except HeadcutError as error:
        typer.echo(f"headcut: {error}", err=True)
        raise typer.Exit(WRONG_USAGE if isinstance(error, OptionError) else FAILED) from None
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    typer.echo(f"API at {address}/v1/cut, described at {address}/openapi.json", err=True)
    typer.echo(f"Page at {address}/" if built else f"No page: {page.NOT_BUILT}", err=True)
    raise typer.Exit(_run(app, listening, timeout))


def _need_extra() -> None:
    try:
        import python_multipart  # noqa: F401  only whether they are there
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise extra_is_missing("serve", "web", error) from error


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens: who connects from now on is answered once the server runs.

    Raises:
        OptionError: the port cannot be had, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(f"port {port} is taken; choose another with --port") from error
        if error.errno == errno.EACCES:
            raise OptionError(f"port {port} is not allowed; choose another with --port") from error
        raise OptionError(
            f"{host} is no address of this machine; choose another with --host"
        ) from error


def _run(app: object, listening: socket.socket, timeout_s: float) -> int:
    import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("headcut.web").setLevel(logging.INFO)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        access_log=False,  # headcut.web has its own
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(timeout_s) + 1,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):  # that is how it is stopped
        server.run([listening])
    return 0 if server.started else FAILED
