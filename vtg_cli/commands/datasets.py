"""`vtg datasets`: what the published datasets need, what is on this machine, and how to get the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtg_cli.parsing import completion
from vtg_cli.parsing.help import App
from vtg_cli.parsing.options import Offline, Quiet
from vtg_cli.terminal.console import err, error_line, note, print_json, printable, verbosity

if TYPE_CHECKING:
    from model.config import Config
    from model.dataset_entry import DatasetInfo

app = App(help="List, check, download and add the datasets that models are trained on.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completion.datasets,
        help="Name of the dataset, from `vtg datasets list`.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the dataset, or its parent.",
        show_default="VTG_DATA, else the user's cache folder",
    ),
]
ConfigName = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        autocompletion=completion.configs,
        help="Configuration that selects the features, by name or as a TOML file.",
        show_default="the dataset's first",
    ),
]


@app.command("list")
def list_(
    data: Data = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the known datasets, and what is on this machine.

    [bold]Example[/]

      vtg datasets list
    """
    from model.dataset_entry import datasets

    rows = [_row(info, data) for info in datasets()]
    if json:
        print_json(rows)
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
        bool,
        typer.Option(
            "--deep", help="Open every feature file and check dimensions, finite numbers and lengths."
        ),
    ] = False,
) -> None:
    """Check the files that a configuration reads. Exits with 1 if something is missing or faulty.

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
    """Download annotations and the features with a public address, and explain how to get the others.

    An interrupted download resumes. Every file is checked against its published size and hash, if these are known.

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
            help="Feature archives (tar or zip), or published annotation files.",
            show_default=False,
        ),
    ],
    data: Data = None,
    stream: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the features, for an archive whose folder has another name.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Unpack downloaded features to where vtg looks for them. The archives stay where they are.

    Only feature files are taken from an archive, and an archive that tries to write elsewhere is refused.

    [bold]Examples[/]

      vtg datasets add qvhighlights ~/Downloads/moment_detr_features.tar.gz

      vtg datasets add tacos my_clip.zip --stream clip
    """
    del quiet
    from model.dataset_entry import dataset_info
    from model.datasets.library.catalogue import dataset_folder
    from model.datasets.library.pull import add_file
    from vtg_cli.terminal.progress import DownloadProgress

    info = dataset_info(name)
    folder = dataset_folder(info, data)
    for file in files:
        with DownloadProgress(file.name) as progress:
            added = add_file(info, file, folder, stream=stream, progress=progress)
        for path in added:
            typer.echo(path)


def _chosen(name: str, config: str | None) -> tuple[DatasetInfo, Config]:
    from extractors.errors import UsageError
    from model.config import load_config
    from model.dataset_entry import dataset_info

    info = dataset_info(name)
    chosen = load_config(config or info.configs[0])
    if chosen.data.dataset != info.name:
        raise UsageError(f"--config {config} is for {chosen.data.dataset}, not for {info.name}")
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
                "path": text(find_annotations(item.file, folder)),
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
    """Download something and print where it is, or why it failed."""
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
