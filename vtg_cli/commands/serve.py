"""`vtg serve`: the command's options; the server is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtg_cli.parsing import values
from vtg_cli.parsing.options import (
    Cache,
    Device,
    Features,
    Fps,
    Model,
    Offline,
    Precision,
    Quiet,
    Verbose,
    Weights,
    weights_by_feature,
)


def serve(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            parser=values.path("PATH"),
            help="Videos, or folders of videos, to offer.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on; 0.0.0.0 means all addresses of this machine.",
            rich_help_panel="Server",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=values.whole_number("--port", least=0, most=65535),
            help="Port to listen on; 0 picks a free one.",
            rich_help_panel="Server",
        ),
    ] = 8642,
    library: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=values.path("--library"),
            help="Folder for uploads.",
            show_default="vtg/library in the user's data folder",
            rich_help_panel="Server",
        ),
    ] = None,
    max_upload_mb: Annotated[
        int,
        typer.Option(
            "--max-upload-mb",
            metavar="N",
            parser=values.whole_number("--max-upload-mb", least=1),
            help="Largest upload, in MB.",
            rich_help_panel="Server",
        ),
    ] = 2048,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Token that visitors need; a random one if other machines can connect. Other users of this machine "
            "can see it in the process list; use --token-file or the environment variable VTG_TOKEN to avoid that.",
            show_default=False,
            rich_help_panel="Server",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=values.path("--token-file"),
            help="File that holds the token.",
            show_default=False,
            rich_help_panel="Server",
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.", rich_help_panel="Server")
    ] = False,
    model: Model = "auto",
    features: Features = "auto",
    fps: Fps = None,
    device: Device = "auto",
    precision: Precision = "auto",
    weights: Weights = None,
    cache: Cache = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
) -> None:
    """Offer videos on a local web page: type a query, see its curve, click a moment to play it.

    Without --host only this machine can connect. With it, visitors need the token in the printed address. Uploads are
    kept, and your folders are never changed. Ctrl-C stops the server.

    [bold]Examples[/]

      vtg serve videos/

      vtg serve talk.mp4 --open

      vtg serve videos/ --host 0.0.0.0 --port 9000
    """
    del quiet, verbose
    from vtg_cli.serve.grounding import ModelChoice, check_choice
    from vtg_cli.serve.server import Settings, run

    choice = ModelChoice(
        model=model,
        features=features,
        fps=fps,
        device=device,
        precision=precision,
        weights=weights_by_feature(weights),
        cache=cache,
        offline=offline,
    )
    check_choice(choice)
    run(
        Settings(
            paths=tuple(paths or ()),
            host=host,
            port=port,
            library=library,
            max_upload_bytes=max_upload_mb * 1_000_000,
            token=token,
            token_file=token_file,
            open_browser=open_browser,
        ),
        choice,
    )
