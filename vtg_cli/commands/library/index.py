"""`vtg index`: build libraries of videos to search, and keep them up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from extractors.places import local_path
from vtg_cli.commands.cues.speech import SpeechWeights, wanted_model, wanted_speech
from vtg_cli.commands.library.intake import extracting, taking_in
from vtg_cli.commands.library.words import note_unreadable
from vtg_cli.parsing import values
from vtg_cli.parsing.cluster import ClusterArguments
from vtg_cli.parsing.help import App
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, note, out, print_json, printable
from vtg_cli.terminal.sizes import size

if TYPE_CHECKING:
    from model.search.library import Library
    from model.search.results import Changes, LibraryInfo


@dataclass(frozen=True)
class WordReading:
    """Which words are read, beside subtitles."""

    screen: Annotated[
        bool,
        typer.Option(
            "--screen",
            help="Read the text on the screen of these videos, too, so that vtg search finds it. Needs pip install "
            "'vtg\\[ocr]'.",
        ),
    ] = False
    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="Transcribe the speech in these videos, too. Needs pip install 'vtg\\[speech]' and vtg weights pull "
            "whisper-small.",
        ),
    ] = False
    speech_model: SpeechWeights = None

    def check(self) -> None:
        """Make sure that what reads is here, before hours of work begin.

        Raises:
            UsageError, WeightsMissing, WeightsInvalid: if it is not.
        """
        if self.screen:
            from extractors.cues.screen.recogniser import require_recogniser

            require_recogniser()
        if self.speech or self.speech_model is not None:
            wanted_model(self.speech_model)

    def read(self, library: Library, files: Sequence[Path] = ()) -> None:
        """Make words of some files ready for searches, or of all, with progress; raises as `Library.read_words`."""
        from model.search.filters import Filters
        from vtg_cli.terminal.progress import CountProgress

        # Words that are known will do, unless weights are named.
        speech = wanted_speech(self.speech, self.speech_model)
        with CountProgress("words") as on_video:
            failures = library.read_words(
                Filters(among=tuple(files)), screen=self.screen, speech=speech, on_video=on_video
            )
        note_unreadable(failures)


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
    words: WordReading,
    cluster: ClusterArguments,
) -> None:
    """Add videos to a library.

    Features that the cache lacks are extracted first. What is in the library already is skipped, so an interrupted
    run continues where it stopped. If a file cannot be read, it is reported, the others are added, and the exit code
    is 1. Several processes may add to one library. Subtitles are read, too, so that vtg search finds what is said.

    [bold]Examples[/]

      vtg index add videos/

      vtg index add talks/ "clips/*.mp4" --library work

      vtg index add videos/ --features clip

      vtg index add talks/ --speech

      vtg index add /shared/videos --ray auto --cache /shared/features
    """
    words.check()
    with (
        taking_in(library, choice) as intake,
        extracting(intake.library, cluster, choice.encoders) as extract,
    ):
        changes = intake.library.add(
            paths, on_event=intake.on_event, on_start=intake.on_start, extract=extract
        )
        intake.pause()
        words.read(intake.library, [local_path(result.path) for result in changes.results])
        _report(intake.library, changes)


@app.command()
def update(
    library: LibraryArguments,
    choice: ModelArguments,
    words: WordReading,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make all vectors again from the feature cache.")
    ] = False,
) -> None:
    """Look for new, changed, moved and deleted videos in the folders that were added.

    Moved and renamed files are recognised by their content, so nothing is extracted for them. Deleted files leave the
    library. If a folder is not there or is empty, perhaps because its drive is not connected, its videos are kept.
    New subtitles are read, and speech and text on the screen that were read since.

    [bold]Examples[/]

      vtg index update

      vtg index update --library work
    """
    words.check()
    with taking_in(library, choice) as intake:
        changes = intake.library.update(rebuild=rebuild, on_event=intake.on_event, on_start=intake.on_start)
        intake.pause()
        words.read(intake.library)
        for place in changes.unreachable:
            note(f"{place}: is not there, or empty; its videos are kept. To forget it: vtg index remove")
        _report(intake.library, changes)


@app.command()
def remove(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            parser=values.path_text("PATH"),
            help="Videos, folders of videos, or patterns; they need not exist any more.",
            show_default=False,
        ),
    ],
    library: LibraryArguments,
) -> None:
    """Take videos out of a library, and free the space of their vectors. The videos and their features stay.

    [bold]Examples[/]

      vtg index remove videos/old/

      vtg index remove "draft*.mp4" --library work
    """
    with library.open() as opened:
        changes = opened.remove(paths)
        _report(opened, changes)


@app.command()
def verify(library: LibraryArguments, choice: ModelArguments) -> None:
    """Compare a library with one that is built now. Exits with 1 if there is a difference.

    [bold]Example[/]

      vtg index verify
    """
    from vtg_cli.terminal.progress import CountProgress

    with CountProgress("comparing") as on_progress, library.open(choice) as opened:
        findings = opened.verify(on_progress=on_progress)
        count = len(opened.videos())
    for finding in findings:
        typer.echo(printable(finding.what if finding.path is None else f"{finding.path}: {finding.what}"))
    typer.echo(f"{counted(count, 'video')} compared, {counted(len(findings), 'difference')}")
    if findings:
        raise typer.Exit(1)


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
    if held.unreadable:
        typer.echo(f"{counted(len(held.unreadable), 'file')} could not be read; vtg index update tries again")
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
    counts = {
        "extracted": extracted,
        "already there": there,
        "removed": len(changes.removed),
        "failed": len(changes.failed),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
    in_all = counted(len(library.videos()), "video")
    out().print(f"{printable(str(library.folder))}: {told}; {in_all} in all", soft_wrap=True, markup=False)
    if changes.failed:
        raise typer.Exit(1)


def _document(held: LibraryInfo) -> dict[str, Any]:
    return {
        "folder": str(held.folder),
        "roots": [str(root) for root in held.roots],
        "videos": held.videos,
        "files": held.files,
        "duration_s": round(held.duration_s, 3),
        "unreadable": [str(path) for path in held.unreadable],
        "recipes": [
            {"spec": recipe.spec.to_json(), "videos": recipe.videos, "vectors": recipe.vectors}
            for recipe in held.recipes
        ],
        "size_bytes": held.size_bytes,
    }
