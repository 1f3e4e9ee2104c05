"""`vtg index`: build libraries of videos to search, and keep them up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vtg_cli.parsing import values
from vtg_cli.parsing.help import App
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, note, out, print_json, printable
from vtg_cli.terminal.sizes import size

if TYPE_CHECKING:
    from model.search.library import Changes, Library, LibraryInfo

app = App(help="Build libraries of videos that vtg search looks into, and keep them up to date.")


@app.command()
def add(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            parser=values.path_text("PATH"),
            help="Videos, folders of videos, or globs.",
            show_default=False,
        ),
    ],
    library: LibraryArguments,
    choice: ModelArguments,
) -> None:
    """Add videos to a library.

    Features that the cache lacks are extracted first. What is in the library already is skipped, so an interrupted
    run continues where it stopped. If a file cannot be read, it is reported, the others are added, and the exit code
    is 1. Several processes may add to one library.

    [bold]Examples[/]

      vtg index add videos/

      vtg index add talks/ "clips/*.mp4" --library work

      vtg index add videos/ --features clip
    """
    from vtg_cli.terminal.progress import DownloadProgress, ExtractionProgress

    progress = ExtractionProgress()
    with (
        progress as on_event,
        DownloadProgress("weights") as on_download,
        library.open(choice, on_download=on_download) as opened,
    ):
        for sentence in opened.grounder.notes:
            note(sentence)
        changes = opened.add(paths, on_event=on_event, on_start=progress.expect)
        progress.pause()
        _report(opened, changes)


@app.command()
def info(
    library: LibraryArguments,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show where a library is and what it holds.

    [bold]Example[/]

      vtg index info --library work
    """
    with library.open() as opened:
        held = opened.info()
    if json:
        print_json(_document(held))
        return

    from vtg_cli.terminal.table import print_table
    from vtg_cli.terminal.timecode import span

    copies = f" in {counted(held.files, 'file')}" if held.files != held.videos else ""
    typer.echo(
        f"{printable(str(held.folder))}: {counted(held.videos, 'video')}{copies}, {span(held.duration_s)}, "
        f"{size(held.size_bytes)}"
    )
    for root in held.roots:
        typer.echo(f"  {printable(str(root))}")
    if held.recipes:
        rows = [
            (recipe.spec.name, f"{recipe.spec.clip_length_s:g} s", str(recipe.videos), str(recipe.vectors))
            for recipe in held.recipes
        ]
        print_table(("features", "clip", "videos", "vectors"), rows, right=(1, 2, 3))


def _report(library: Library, changes: Changes) -> None:
    """Print what became of the videos; exits with 1 if one failed."""
    extracted = sum(result.status == "extracted" for result in changes.results)
    there = len(changes.results) - extracted - len(changes.failed)
    parts = [f"{extracted} extracted", f"{there} already there", f"{len(changes.failed)} failed"]
    out().print(
        f"{printable(str(library.folder))}: {', '.join(parts)}; {counted(len(library.videos()), 'video')} in all",
        soft_wrap=True,
        markup=False,
    )
    if changes.failed:
        raise typer.Exit(1)


def _document(held: LibraryInfo) -> dict[str, Any]:
    return {
        "folder": str(held.folder),
        "roots": [str(root) for root in held.roots],
        "videos": held.videos,
        "files": held.files,
        "duration_s": round(held.duration_s, 3),
        "recipes": [
            {"spec": recipe.spec.to_json(), "videos": recipe.videos, "vectors": recipe.vectors}
            for recipe in held.recipes
        ],
        "size_bytes": held.size_bytes,
    }
