"""`vtg weights`: which weights there are, where they lie, and how to get them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtg_cli.console import out
from vtg_cli.options import Offline, Quiet

app = typer.Typer(no_args_is_help=True, help="List, fetch and add the weights of encoders and models.")

Name = Annotated[
    str, typer.Argument(help="Name of the weights, as `vtg weights list` shows it.", show_default=False)
]


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the weights known by name, and which of them are on this machine.

    [bold]Example[/]

      vtg weights list
    """
    from extractors.weights import artefacts, locate

    rows = [(item, locate(item)) for item in artefacts()]
    if json:
        import json as json_module

        document = [
            {
                "name": item.name,
                "kind": item.kind,
                "file": item.file,
                "size_bytes": item.size_bytes,
                "sha256": item.sha256 or None,
                "licence": item.licence,
                "source": item.source,
                "path": None if path is None else str(path),
            }
            for item, path in rows
        ]
        typer.echo(json_module.dumps(document, indent=2))
        return

    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "kind", "size", "here", "licence"):
        table.add_column(heading)
    for item, path in rows:
        table.add_row(item.name, item.kind, item.size_text, "yes" if path else "no", escape(item.licence))
    out().print(table)


@app.command()
def pull(name: Name, quiet: Quiet = False, offline: Offline = False) -> None:
    """Download weights; an interrupted download goes on where it stopped.

    [bold]Example[/]

      vtg weights pull clip-vit-b-32
    """
    del quiet
    from extractors import weights
    from vtg_cli.progress import DownloadProgress

    if (here := weights.find(name)) is not None:
        typer.echo(here)
        return
    progress = DownloadProgress(name)
    try:
        typer.echo(weights.pull(name, progress=progress, offline=offline))
    finally:
        progress.stop()


@app.command()
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The file, or the folder it lies in.", show_default=False)],
) -> None:
    """Put a file that you have where vtg looks for it, after checking it.

    [bold]Example[/]

      vtg weights add slowfast-r50-8x8 ~/Downloads/SLOWFAST_8x8_R50.pkl
    """
    from extractors import weights

    typer.echo(weights.add(name, file))


@app.command()
def path(name: Name) -> None:
    """Print where weights lie; exits with 1 if they are not on this machine.

    [bold]Example[/]

      vtg weights path clip-vit-b-32
    """
    from extractors import weights

    typer.echo(weights.resolve(name, offline=True))
