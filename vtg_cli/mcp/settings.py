"""The options of `vtg mcp`, except those of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from vtg_cli.parsing import values
from vtg_cli.parsing.options import path_option

PORT = 8643


@dataclass(frozen=True)
class Settings:
    """What agents may use, and how they connect; None for what the help names as the default."""

    PANEL: ClassVar[str] = "Server"

    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            parser=values.existing("PATH"),
            help="Videos, or folders of videos, that agents may search.",
            show_default=False,
        ),
    ] = None
    libraries: Annotated[
        list[str] | None,
        typer.Option(
            "--library",
            metavar="NAME|FOLDER",
            parser=values.place_text("--library"),
            help="A library that agents may search; can be given several times.",
            show_default="the library named default if there is no PATH",
        ),
    ] = None
    output: Annotated[
        Path | None,
        path_option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder for exports; without it, agents cannot write files. No file in it is ever overwritten.",
        ),
    ] = None
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP instead of standard input and output.")] = (
        False
    )
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on, with --http.")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--port", least=0, most=65535),
            help="Port to listen on, with --http; 0 picks a free one.",
        ),
    ] = PORT
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Token that clients need, with --http; a random one if other machines can connect. Other users of "
            "this machine can see it in the process list; use --token-file or the environment variable VTG_TOKEN to "
            "avoid that.",
        ),
    ] = None
    token_file: Annotated[
        Path | None, path_option("--token-file", metavar="FILE", help="File that holds the token.")
    ] = None
    config: Annotated[
        bool,
        typer.Option(
            "--config", help="Print the configuration that clients need for these options, and exit."
        ),
    ] = False
