"""What the server is told: the options of `vtg serve` but for those of the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from vtg_cli.parsing import values
from vtg_cli.parsing.options import path_option


@dataclass(frozen=True)
class Settings:
    """How to serve; None for what the help names as the default."""

    PANEL: ClassVar[str] = "Server"

    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH", parser=values.path("PATH"), help="Videos, or folders of videos, to offer."
        ),
    ] = None
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; 0.0.0.0 means all addresses of this machine."
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--port", least=0, most=65535),
            help="Port to listen on; 0 picks a free one.",
        ),
    ] = 8642
    library: Annotated[
        Path | None,
        path_option(
            "--library",
            metavar="FOLDER",
            help="Folder for uploads.",
            show_default="vtg/library in the user's data folder",
        ),
    ] = None
    index: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FOLDER",
            parser=values.place_text("--index"),
            help="The library of vtg search that answers searches in all videos. If it is named, videos that it lacks "
            "are added to it in the background, and without PATHs its own videos are offered.",
            show_default="the library named default",
        ),
    ] = None
    max_upload_mb: Annotated[
        int,
        typer.Option(
            "--max-upload-mb",
            metavar="N",
            parser=values.whole_number("--max-upload-mb", least=1),
            help="Largest upload, in MB.",
        ),
    ] = 2048
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Token that visitors need; a random one if other machines can connect. Other users of this machine "
            "can see it in the process list; use --token-file or the environment variable VTG_TOKEN to avoid that.",
        ),
    ] = None
    token_file: Annotated[
        Path | None, path_option("--token-file", metavar="FILE", help="File that holds the token.")
    ] = None
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = (
        False
    )
