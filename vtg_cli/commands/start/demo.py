"""`vtg demo`: the example video, in the terminal and in the browser."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from vtg_cli.commands.ground import answer_videos
from vtg_cli.commands.outputs import Outputs
from vtg_cli.parsing.arguments import SearchArguments
from vtg_cli.parsing.options import ModelArguments

QUERIES = ("a cat", "a cup of coffee", "a rocket on the launch pad")


def demo(
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the report in the web browser.")
    ] = True,
) -> None:
    """Find three things in an example video. Nothing is downloaded.

    The moments appear in the terminal. A report with the video, its curves and the moments opens in the browser.

    [bold]Examples[/]

      vtg demo

      vtg demo --no-browser
    """
    import webbrowser

    from extractors.files.user_folders import vtg_home

    page = vtg_home() / "demo" / "example.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with as_file(files("vtg_cli") / "demo" / "example.mp4") as packaged:
        # A checkout has it where people look for examples.
        video = packaged if packaged.exists() else Path(__file__).parents[3] / "examples" / "example.mp4"
        code = answer_videos(
            [video],
            QUERIES,
            SearchArguments(top_k=3),
            Outputs(html=page, embed=True),
            ModelArguments(features="lite"),
        )
    if code == 0 and browser and sys.stdout.isatty():
        with suppress(webbrowser.Error):
            webbrowser.open(page.resolve().as_uri())
    raise typer.Exit(code)
