"""Talks to a real `vtg mcp` through the client of the SDK, from tests without coroutines."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.cli.running import clean_environment

PATIENCE_S = 300.0


class Agent:
    """A client that is connected.

    Attributes:
        progress: of the last call: share that is done, and what is being done.
    """

    def __init__(self, portal: Any, client: Client) -> None:
        self._portal = portal
        self._client = client
        self.progress: list[tuple[float, str | None]] = []

    def tools(self) -> dict[str, Any]:
        return {tool.name: tool for tool in self._portal.call(self._client.list_tools).tools}

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool returns."""
        result = self._call(tool, arguments)
        assert not result.is_error, result.content[0].text
        return result.structured_content

    def refused(self, tool: str, **arguments: Any) -> str:
        """The message of a call that is an error."""
        result = self._call(tool, arguments)
        assert result.is_error, result.structured_content
        return result.content[0].text

    def _call(self, tool: str, arguments: dict[str, Any]) -> Any:
        self.progress = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append((progress, message))

        call = functools.partial(
            self._client.call_tool, tool, arguments, PATIENCE_S, progress_callback=on_progress
        )
        return self._portal.call(call)


@contextmanager
def connected(server: Any) -> Iterator[Agent]:
    """A client of an address or of a command."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client(server, read_timeout_seconds=PATIENCE_S)) as client,
    ):
        yield Agent(portal, client)


def command(*arguments: str | Path, home: Path) -> StdioServerParameters:
    """`vtg mcp` with all its state in one folder."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "vtg_cli.main", "mcp", *map(str, arguments)],
        env=environment(home),
        cwd=home,
    )


def environment(home: Path) -> dict[str, str]:
    """What clients start servers with, and where this vtg is."""
    return clean_environment(home) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
