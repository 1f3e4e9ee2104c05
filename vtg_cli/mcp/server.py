"""Runs the server: on standard input and output, or over HTTP."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from extractors.errors import UsageError, VtgError
from vtg_cli.mcp.places import Places
from vtg_cli.mcp.settings import Settings
from vtg_cli.mcp.tools import Tools
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.access.addresses import is_loopback, listen, page_address, reached_at
from vtg_cli.serve.access.connections import Connection
from vtg_cli.serve.access.entrance import Entrance, choose_token
from vtg_cli.serve.access.security import Gate
from vtg_cli.serve.grounding import check_choice
from vtg_cli.terminal.console import note, out

PATH = "/mcp"
_ADVICE = "send the header Authorization: Bearer TOKEN"
_GRACE_S = 1


def run(settings: Settings, choice: ModelArguments) -> None:
    """Serve until the client leaves or Ctrl-C.

    Raises:
        UsageError: if a name of a model or features is unknown, a path does not exist, there is nothing to search, or
            the port is taken.
        VtgError: if a standard stream is closed.
    """
    _require_http(settings)
    check_choice(choice)
    paths = settings.paths or []
    unnamed: list[str | None] = [] if paths else [None]
    libraries = settings.libraries or unnamed
    places = Places(paths, libraries, choice)
    if not paths:  # nothing could be added to a library that does not exist
        for place in libraries:
            with LibraryArguments(place).open(choice) as library:
                library.info()
    tools = Tools(places, choice, settings.output)
    try:
        if settings.http:
            _serve_http(tools.server(), settings)
        else:
            _serve_stdio(tools.server())
    finally:
        ended = tools.close(_GRACE_S)
    if not ended:
        _leave()  # what is being encoded cannot be stopped, and an interpreter that ends under it may crash


def _require_http(settings: Settings) -> None:
    """Refuse options that nothing comes of without --http."""
    usual = Settings()
    for name in () if settings.http else ("host", "port", "token", "token_file"):
        if getattr(settings, name) != getattr(usual, name):
            raise UsageError(f"--{name.replace('_', '-')}: needs --http")


def _serve_stdio(server: MCPServer) -> None:
    if sys.stdin is None or sys.stdout is None:
        raise VtgError("vtg mcp: standard input or output is closed, but it talks to its client there")
    if sys.stdin.isatty():
        note(
            "waiting for a client on standard input; vtg mcp --config prints what one needs, Ctrl-C stops this"
        )
    # The thread that reads standard input cannot be interrupted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        anyio.run(server.run_stdio_async)
    except BaseException as error:
        if not _is_broken_pipe(error):
            raise  # otherwise the client has gone, which ends the server as well


def _serve_http(server: MCPServer, settings: Settings) -> None:
    token = choose_token(settings.token, settings.token_file, settings.host)
    # Access is checked as for the page, by the gate in front.
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    with listen(settings.host, settings.port) as listening:
        port = listening.getsockname()[1]
        entrance = None if token is None else Entrance(token, port, advice=_ADVICE)
        gate = Gate(app, host=settings.host, entrance=entrance, upload_path="")
        address = page_address(reached_at(settings.host, listening)[0], port, None).rstrip("/") + PATH
        out().print(f"MCP at {address}", soft_wrap=True, markup=False)
        if token is not None:
            out().print(f"Authorization: Bearer {token}", soft_wrap=True, markup=False)
        sys.stdout.flush()
        note("Ctrl-C stops it")
        if not is_loopback(settings.host):
            note("the connection is not encrypted; on a shared network, put a proxy with TLS in front")
        config = uvicorn.Config(
            gate,
            http=Connection,
            ws="none",
            lifespan="on",
            log_level=logging.ERROR,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        with suppress(KeyboardInterrupt):  # it is how one stops it
            uvicorn.Server(config).run([listening])


def _is_broken_pipe(error: BaseException) -> bool:
    """Whether an error is a closed pipe, or a group of such errors."""
    parts = getattr(error, "exceptions", None)
    return all(map(_is_broken_pipe, parts)) if parts else isinstance(error, BrokenPipeError)


def _leave(number: int = 0, frame: FrameType | None = None) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(0)
