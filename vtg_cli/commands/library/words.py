"""What `vtg search` is asked about what is said and written: its options, and the answers from many videos."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extractors.errors import UsageError, VideoError
from extractors.places import local_path
from vtg_cli.commands.cues.wanted import WantedWords
from vtg_cli.commands.outputs import note_not_kept
from vtg_cli.parsing.arguments import SearchArguments
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, error_line, note

if TYPE_CHECKING:
    from extractors.cues.cue import Source
    from model.search.filters import Filters
    from model.search.library import Library
    from model.search.results import SearchResult
    from model.search.said import SaidAnswer

_MOST_NOTES = 3


@dataclass(frozen=True)
class WordArguments(WantedWords):
    """What is looked for in the words of many videos."""

    written: Annotated[
        list[str] | None,
        typer.Option(
            "--written",
            metavar="WORDS",
            help="Find where this is written on the screen, in videos whose screens were read before (or are now, with "
            "--cues); may be repeated.",
        ),
    ] = None
    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="With --said or --cues: transcribe the speech in all videos first, unless that was done before. Needs "
            "pip install 'vtg\\[speech]' and vtg weights pull whisper-small.",
        ),
    ] = False
    cues: Annotated[
        bool | None,
        typer.Option(
            "--cues/--no-cues",
            help="Read the text on the screen of all videos first, and look for queries there, too; or look for "
            "queries in pictures only.",
            show_default="subtitles, and what was read or transcribed before",
        ),
    ] = None

    def videos(self, paths: Sequence[Path], filters: Filters, library: LibraryArguments) -> list[Path]:
        """The videos to ask: those of the paths, or of the library if there are none; none if nothing is asked.

        Raises:
            UsageError: if a text is empty, an option plays no part, a path holds no video, there is no such library, or
                none of its videos is on this machine.
            WeightsMissing, WeightsInvalid: if the weights that are to transcribe speech are not here.
        """
        self.check_words()
        if not self.is_asked:
            return []
        from model.search.said import find_videos

        return find_videos(paths, filters) if paths else _videos_of(library, filters)

    def prepare(self, library: Library, taken: Sequence[Path], filters: Filters) -> None:
        """Make words ready for plain queries: of videos that have just been taken in, or with --cues of all.

        Raises:
            VtgError: as `Library.read_words`.
        """
        from vtg_cli.terminal.progress import CountProgress

        if self.cues is False or not (self.cues or taken):
            return
        with CountProgress("words") as on_video:
            failures = library.read_words(
                filters if self.cues else replace(filters, among=tuple(taken)),
                screen=bool(self.cues),
                speech=self.weights(),
                on_video=on_video,
            )
        note_unreadable(failures)

    def answer(
        self,
        videos: Sequence[Path],
        looked_for: SearchArguments,
        per_video: int,
        filters: Filters,
        choice: ModelArguments,
        *,
        reported: Collection[Path] = (),
    ) -> tuple[list[SearchResult], set[Path]]:
        """Ask videos, without features and models of what is seen; notes say what was not read.

        Args:
            reported: videos of which people know already that they cannot be read.

        Returns:
            the results, and the videos that cannot be read.

        Raises:
            VtgError: as `search_said`.
        """
        if not self.is_asked:
            return [], set()
        from model.cues.grounder import CueGrounder
        from model.search.said import search_said
        from model.search.words import prepare_words
        from vtg_cli.terminal.progress import CountProgress

        grounder = CueGrounder(choice.feature_cache(on_write_error=note_not_kept))
        speech = self.weights()
        if self.cues or speech:
            with CountProgress("words") as on_video:  # what fails here is reported below
                prepare_words(videos, grounder, screen=bool(self.cues), speech=speech, on_video=on_video)
        results: list[SearchResult] = []
        failed = set(reported)
        for source, queries in self.asked():
            with CountProgress("words") as on_video:
                found = search_said(
                    videos,
                    queries,
                    source,
                    top_k=looked_for.top_k,
                    per_video=per_video,
                    threshold=looked_for.threshold,
                    only_clear=looked_for.only_clear,
                    filters=filters,
                    grounder=grounder,
                    on_video=on_video,
                )
            for error in found.failures:
                if error.path not in failed:
                    error_line(str(error))
            failed |= {local_path(error.path) for error in found.failures}
            _note_missing(found, source)
            results += found.results
        return results, failed - set(reported)


def note_unready(results: Sequence[SearchResult]) -> None:
    """Say of how many videos a plain query did not ask the words."""
    if unready := max((result.unready for result in results), default=0):
        note(
            f"the words of {counted(unready, 'video')} are new and were not searched; vtg index update makes them ready"
        )


def note_unreadable(failures: Sequence[VideoError]) -> None:
    """Name videos whose pictures can be searched, but not their words."""
    for error in failures[:_MOST_NOTES]:
        note(f"its words are not searched: {error}")
    if more := failures[_MOST_NOTES:]:
        note(f"the words of {counted(len(more), 'other video')} cannot be read")


def _note_missing(found: SaidAnswer, source: Source) -> None:
    for sentence in found.notes[:_MOST_NOTES]:
        note(sentence)
    if more := found.notes[_MOST_NOTES:]:
        note(f"{counted(len(more), 'more note')} on subtitles; vtg transcript VIDEO prints those of a video")
    total = found.results[0].videos
    searched = counted(total, "video")
    if source == "screen":
        if found.unread:
            note(
                f"the text on the screen of {len(found.unread)} of {searched} was not read, so --written finds nothing "
                "there; vtg transcript VIDEO --screen reads it, and --cues that of all"
            )
        elif found.silent:
            note(f"no text on the screen of {len(found.silent)} of {searched}; --written finds nothing there")
    elif len(found.silent) == total > 0:
        note(
            f"no subtitles inside or beside any of {searched}, and no speech that was transcribed, so --said finds "
            "nothing; transcribe it first: vtg transcript VIDEO --speech, or --said WORDS --speech for all"
        )
    elif found.silent:
        note(
            f"no subtitles inside or beside {len(found.silent)} of {searched}, nor transcribed speech; --said finds "
            "nothing there"
        )


def _videos_of(library: LibraryArguments, filters: Filters) -> list[Path]:
    """The videos of a library that are on this machine; a note counts the others."""
    with library.open() as opened:
        if not opened.exists:
            raise UsageError(
                f"{opened.folder}: there is no library here; name videos or folders to search, or make a library: "
                "vtg index add FOLDER"
            )
        held = opened.videos(filters)
    copies = ((video.path, *video.copies) for video in held)
    here = [next((path for path in paths if path.is_file()), None) for paths in copies]
    videos = [path for path in here if path is not None]
    if held and not videos:
        raise UsageError(
            f"{opened.folder}: none of its videos is on this machine, and words are read from the files; name a folder "
            "that holds them"
        )
    if gone := len(held) - len(videos):
        note(f"left out {counted(gone, 'video')} of the library whose files are not on this machine")
    return videos
