"""The Typer app: registers the commands without importing anything heavy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vtg_cli.commands import (
    bench,
    cache,
    datasets,
    doctor,
    evaluate,
    extract,
    ground,
    mcp,
    serve,
    train,
    weights,
)
from vtg_cli.commands.cues import transcript
from vtg_cli.commands.library import index, search
from vtg_cli.commands.start import demo, next_steps
from vtg_cli.parsing.help import App
from vtg_cli.parsing.options import Offline, Quiet, Verbose

app = App(
    name="vtg",
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    help="Find the moments in a video that match a sentence.",
    epilog='[bold]Examples[/]\n\n  vtg ground video.mp4 "man opens fridge"\n\n  vtg extract videos/\n\n  vtg doctor',
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"vtg {version('vtg')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    # The options act through their callbacks.
    del quiet, verbose, offline, version
    if context.invoked_subcommand is not None:
        return
    if sys.stdout.isatty():
        next_steps.show(Path.cwd())
        raise typer.Exit
    typer.echo(context.get_help())
    raise typer.Exit(2)


app.command("demo")(demo.demo)
app.command("ground")(ground.ground)
app.command("search")(search.search)
app.command("extract")(extract.extract)
app.command("transcript")(transcript.transcript)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("serve")(serve.serve)
app.command("mcp")(mcp.mcp)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.add_typer(index.app, name="index")
app.add_typer(datasets.app, name="datasets")
app.add_typer(weights.app, name="weights")
app.add_typer(cache.app, name="cache")
