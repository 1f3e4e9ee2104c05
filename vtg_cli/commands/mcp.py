"""`vtg mcp`: the command; the server is imported when it runs."""

from __future__ import annotations

import typer

from vtg_cli.mcp.settings import Settings
from vtg_cli.parsing.options import ModelArguments


def mcp(context: typer.Context, settings: Settings, choice: ModelArguments) -> None:
    """Let agents find moments in your videos: a server of the Model Context Protocol.

    The client of an agent starts it and talks to it on standard input and output; --config prints what the client
    needs. With --http it can be reached at an address. Agents see only the videos of the folders and libraries that
    you name, and can write files only to --output.

    [bold]Examples[/]

      vtg mcp videos/ --config

      vtg mcp videos/ --library holidays --output exports/

      vtg mcp --library holidays --http --port 9000
    """
    from vtg_cli.mcp.sdk import require_sdk
    from vtg_cli.terminal.console import print_json

    require_sdk()
    if settings.config:
        from vtg_cli.mcp.client_config import client_config

        print_json(client_config(context, settings))
        return

    from vtg_cli.mcp.server import run

    run(settings, choice)
