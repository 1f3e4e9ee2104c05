"""`vtg weights`: which weights there are, where they are, and how to get them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vtg_cli.parsing import completion, values
from vtg_cli.parsing.help import App
from vtg_cli.parsing.options import Offline, Quiet, path_option
from vtg_cli.terminal.console import print_json

if TYPE_CHECKING:
    from extractors.weights.store import Artefact

app = App(help="List, download and add the weights of encoders and models.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completion.weights,
        help="Name of the weights, from `vtg weights list`.",
        show_default=False,
    ),
]


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the weights known by name, and which of them are on this machine.

    [bold]Example[/]

      vtg weights list
    """
    rows = _rows()
    if json:
        document = [
            {
                "name": name,
                "kind": kind,
                "size_bytes": None if item is None else item.size_bytes,
                "sha256": (item.sha256 or None) if item else None,
                "licence": item.licence if item else None,
                "source": item.source if item else None,
                "path": None if here is None else str(here),
            }
            for name, kind, item, here in rows
        ]
        print_json(document)
        return

    from vtg_cli.terminal.table import print_table

    print_table(
        ("name", "kind", "size", "here", "licence"),
        [
            (
                name,
                kind,
                item.size_text if item else "",
                "yes" if here else "no",
                item.licence if item else "",
            )
            for name, kind, item, here in rows
        ],
    )


@app.command()
def pull(name: Name, quiet: Quiet = False, offline: Offline = False) -> None:
    """Download weights. An interrupted download resumes.

    [bold]Example[/]

      vtg weights pull clip-vit-b-32
    """
    del quiet
    from extractors.weights import store
    from vtg_cli.terminal.progress import DownloadProgress

    if (here := store.find(name)) is not None:
        typer.echo(here)
        return
    with DownloadProgress(name) as progress:
        typer.echo(store.pull(name, progress=progress, offline=offline))


@app.command()
def add(
    name_and_file: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] FILE",
            autocompletion=completion.weights,
            help="A name from `vtg weights list`, and the file or its folder. A trained model needs no name.",
            show_default=False,
        ),
    ],
) -> None:
    """Check a file and copy it to where vtg looks for it.

    A trained FlashVTG, from vtg or from the released code (`model_best.ckpt` with its `opt.json` in the same folder),
    is stored in vtg's format. No code in the file is run.

    [bold]Examples[/]

      vtg weights add slowfast-r50-8x8 ~/Downloads/SLOWFAST_8x8_R50.pkl

      vtg weights add results/model_best.ckpt
    """
    from extractors.errors import UsageError
    from extractors.weights import store
    from model.checkpoints.store import add_model

    *names, file = name_and_file
    if len(names) > 1:
        raise UsageError(f"vtg weights add takes one name and one file, not {' '.join(name_and_file)}")
    if not names and file in {item.name for item in store.artefacts()} and not values.exists(Path(file)):
        raise UsageError(f"{file}: name the file that holds these weights, too: vtg weights add {file} FILE")
    values.existing("FILE")(file)
    if names and store.artefact(names[0]).kind != "model":
        typer.echo(store.add(names[0], file))
    else:
        typer.echo(add_model(file, *names))


@app.command()
def combine(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            autocompletion=completion.models,
            help="Trained models: names, files, or folders of runs. They differ in their seeds only.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        path_option("--output", "-o", metavar="FILE", help="The combined model, a .safetensors file."),
    ],
) -> None:
    """Combine trained models into one that answers with the mean of their answers.

    It is more accurate than each of them, and costs as much as all of them together.

    [bold]Example[/]

      vtg weights combine runs/seed1 runs/seed2 runs/seed3 -o three.safetensors
    """
    from extractors.errors import UsageError
    from model.checkpoints.checkpoint import save_checkpoint
    from model.checkpoints.combined import combine as combined
    from model.checkpoints.store import read_model, require_model

    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: the name of a model ends with .safetensors")
    paths = [require_model(model) for model in models]
    save_checkpoint(combined([(file, read_model(file)) for file in paths]), output)
    typer.echo(output)


@app.command()
def path(name: Name) -> None:
    """Print the path of weights. Exits with 1 if they are not on this machine.

    [bold]Example[/]

      vtg weights path clip-vit-b-32
    """
    from extractors.weights import store
    from model.checkpoints.store import find_model, published_model

    typer.echo(find_model(name) or store.require(published_model(name) or name))


def _rows() -> list[tuple[str, str, Artefact | None, Path | None]]:
    """Name, kind, named artefact and place of everything known: named weights, then other trained models."""
    from extractors.weights.store import artefacts, locate
    from model.checkpoints.store import installed_models

    models = installed_models()
    rows: list[tuple[str, str, Artefact | None, Path | None]] = [
        (item.name, item.kind, item, models.pop(item.name, None) if item.kind == "model" else locate(item))
        for item in artefacts()
    ]
    return rows + [(name, "model", None, file) for name, file in models.items()]
