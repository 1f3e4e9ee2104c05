"""`vtg datasets`: what the published datasets need, what of it is here, and how to get the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtg_cli.parsing.help import App
from vtg_cli.parsing.options import Offline, Quiet
from vtg_cli.terminal.console import err, error_line, note, printable, verbosity

if TYPE_CHECKING:
    from model.config import Config
    from model.datasets.library.catalogue import DatasetInfo

app = App(help="List, check, fetch and add the datasets that models learn from.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the dataset, as `vtg datasets list` shows it.", show_default=False
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the dataset, or the one it lies in.",
        show_default="VTG_DATA, else the user's cache folder",
    ),
]
ConfigName = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="Configuration whose features are meant, a name or a TOML file.",
        show_default="the dataset's first",
    ),
]


@app.command("list")
def list_(
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the datasets known by name, and what of each is on this machine.

    [bold]Example[/]

      vtg datasets list
    """
    rows = [_row(info, data) for info in _datasets()]
    if json:
        import json as json_module

        typer.echo(json_module.dumps(rows, indent=2))
        return

    from vtg_cli.terminal.table import print_table

    table = []
    for row in rows:
        annotations = row["annotations"]
        present = sum(item["path"] is not None for item in annotations)
        streams = [stream for stream, path in row["features"].items() if path is not None]
        # Editions of one split (`train, for InternVideo2`) would only repeat its row.
        splits = [f"{item['split']} {item['rows']:,}" for item in annotations if "," not in item["split"]]
        table.append(
            (
                row["name"],
                ", ".join(row["aliases"][:1]),
                ", ".join([f"{present} of {len(annotations)} files", *streams]),
                row["licence"],
                ", ".join(splits),
            )
        )
    print_table(("name", "also", "here", "licence", "rows"), table)


@app.command()
def check(
    name: Name,
    config: ConfigName = None,
    data: Data = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Open every feature file: dimensions, finite numbers, lengths.")
    ] = False,
) -> None:
    """Check what a configuration reads of a dataset; exits with 1 if something is missing or faulty.

    [bold]Examples[/]

      vtg datasets check qvhighlights

      vtg datasets check charades --config charades-sta-internvideo2 --deep
    """
    from model.datasets.library.catalogue import dataset_folder, how_to_get
    from model.datasets.library.check import check_dataset

    info, chosen = _chosen(name, config)
    folder = dataset_folder(info, data)
    if deep:
        with _bar() as progress:
            findings = check_dataset(info, chosen, folder, deep=True, progress=progress)
    else:
        findings = check_dataset(info, chosen, folder)
    typer.echo(f"{info.title}, {chosen.name}, in {printable(str(folder))}")
    for finding in findings:
        wanted = finding.requirement
        place = wanted.path.relative_to(folder) if wanted.path.is_relative_to(folder) else wanted.path
        detail = "" if finding.status == "missing" else f": {finding.detail}"
        typer.echo(f"{finding.status:8}  {wanted.what:20}  {printable(f'{place}{detail}')}")
    typer.echo()
    for line in how_to_get(chosen, folder):
        typer.echo(printable(line))
    if any(finding.status in ("missing", "faulty") for finding in findings):
        typer.echo("incomplete")
        raise typer.Exit(1)
    typer.echo("complete")


@app.command()
def pull(
    name: Name,
    config: ConfigName = None,
    data: Data = None,
    quiet: Quiet = False,
    offline: Offline = False,
) -> None:
    """Download annotations, and the features that have a public address; say how to get the others.

    An interrupted download goes on where it stopped; every file is checked against its published size and hash where
    these are known.

    [bold]Examples[/]

      vtg datasets pull qvhighlights

      vtg datasets pull qvhighlights --config qvhighlights-internvideo2
    """
    del quiet
    from model.datasets.library.catalogue import dataset_folder, how_to_get, needed_archives
    from model.datasets.library.pull import pull_annotations, pull_archive

    info, chosen = _chosen(name, config)
    folder = dataset_folder(info, data)
    fetched = [
        _fetched(item.file, partial(pull_annotations, info, item, folder, offline=offline))
        for item in info.annotations
    ]
    fetched += [
        _fetched(archive.name, partial(pull_archive, info, archive, folder, offline=offline))
        for archive in needed_archives(info, chosen, folder)
        if archive.url
    ]
    note(f"licence of the annotations: {info.licence} ({info.page})")
    if (rest := how_to_get(chosen, folder)) and not verbosity.quiet:
        typer.echo(f"\nStill missing for {chosen.name}:", err=True)
        for line in rest:
            typer.echo(printable(line), err=True)
    if not all(fetched):
        raise typer.Exit(1)


@app.command()
def add(
    name: Name,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Archives of features (tar or zip), or published files of annotations.",
            show_default=False,
        ),
    ],
    data: Data = None,
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the features are, for an archive whose folders are not named as published.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Unpack features that you downloaded to where vtg looks for them; the archives stay where they are.

    Nothing but feature files is taken from an archive, and one that tries to write elsewhere is refused.

    [bold]Examples[/]

      vtg datasets add qvhighlights ~/Downloads/moment_detr_features.tar.gz

      vtg datasets add tacos my_clip.zip --stream clip
    """
    del quiet
    from model.datasets.library.catalogue import dataset_folder, dataset_info
    from model.datasets.library.pull import add_file
    from vtg_cli.terminal.progress import DownloadProgress

    info = dataset_info(name)
    folder = dataset_folder(info, data)
    for file in files:
        with DownloadProgress(file.name) as progress:
            added = add_file(info, file, folder, stream=stream, progress=progress)
        for path in added:
            typer.echo(path)


def _datasets() -> tuple[DatasetInfo, ...]:
    from model.datasets.library.catalogue import datasets

    return datasets()


def _chosen(name: str, config: str | None) -> tuple[DatasetInfo, Config]:
    from extractors.errors import UsageError
    from model.config import load_config
    from model.datasets.library.catalogue import dataset_info

    info = dataset_info(name)
    chosen = load_config(config or info.configs[0])
    if chosen.data.dataset != info.name:
        raise UsageError(f"--config {config} learns from {chosen.data.dataset}, not from {info.name}")
    return info, chosen


def _row(info: DatasetInfo, data: Path | None) -> dict[str, Any]:
    from model.datasets.library.catalogue import dataset_folder, find_annotations, find_features

    folder = dataset_folder(info, data)

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    return {
        "name": info.name,
        "title": info.title,
        "aliases": list(info.aliases),
        "licence": info.licence,
        "page": info.page,
        "configs": list(info.configs),
        "folder": str(folder),
        "annotations": [
            {
                "file": item.file,
                "split": item.split,
                "rows": item.rows,
                "size_bytes": item.size_bytes,
                "sha256": item.sha256 or None,
                "urls": list(item.urls),
                "path": text(find_annotations(info, item.file, folder)),
            }
            for item in info.annotations
        ],
        "features": {stream: text(find_features(info, stream, folder)) for stream in info.features},
        "archives": [
            {
                "name": archive.name,
                "size": archive.size_text,
                "streams": list(archive.streams),
                "url": archive.url or None,
                "page": archive.page,
            }
            for archive in info.archives
        ],
    }


def _fetched(label: str, fetch: Callable[..., Path | tuple[Path, ...]]) -> bool:
    """Fetch something and say where it is, or why it is not."""
    from extractors.errors import VtgError
    from vtg_cli.terminal.progress import DownloadProgress

    try:
        with DownloadProgress(label) as progress:
            paths = fetch(progress=progress)
    except VtgError as error:
        error_line(str(error))
        return False
    for path in (paths,) if isinstance(paths, Path) else paths:
        typer.echo(path)
    return True


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """Shows how many files were opened, in a terminal and unless `--quiet`."""
    from rich.progress import Progress

    console = err()
    disable = verbosity.quiet or not console.is_terminal
    with Progress(console=console, transient=True, disable=disable) as bar:
        task = bar.add_task("checking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
