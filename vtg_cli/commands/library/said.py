"""What `vtg search` is asked about what is said: its option, and the answers from many videos."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError
from extractors.places import local_path
from vtg_cli.commands.cues.asking import Said
from vtg_cli.commands.outputs import note_not_kept
from vtg_cli.parsing.arguments import SearchArguments
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted, error_line, note

if TYPE_CHECKING:
    from model.search.filters import Filters
    from model.search.results import SearchResult

_MOST_NOTES = 3


@dataclass(frozen=True)
class SaidArguments:
    """What is looked for in the subtitles of many videos."""

    said: Said = None

    def videos(self, paths: Sequence[Path], filters: Filters, library: LibraryArguments) -> list[Path]:
        """The videos to ask: those of the paths, or of the library if there are none; none if nothing is asked.

        Raises:
            UsageError: if a text cannot be asked, a path holds no video, there is no such library, or none of its
                videos is on this machine.
        """
        if not self.said:
            return []
        from model.grounding.grounder import check_queries
        from model.search.said import find_videos

        check_queries(self.said)
        return find_videos(paths, filters) if paths else _videos_of(library, filters)

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
        from model.cues.grounder import CueGrounder
        from model.search.said import search_said
        from vtg_cli.terminal.progress import CountProgress

        with CountProgress("subtitles") as on_video:
            found = search_said(
                videos,
                self.said or [],
                top_k=looked_for.top_k,
                per_video=per_video,
                threshold=looked_for.threshold,
                only_clear=looked_for.only_clear,
                filters=filters,
                grounder=CueGrounder(choice.feature_cache(on_write_error=note_not_kept)),
                on_video=on_video,
            )
        for error in found.failures:
            if error.path not in reported:
                error_line(str(error))
        for sentence in found.notes[:_MOST_NOTES]:
            note(sentence)
        if more := found.notes[_MOST_NOTES:]:
            note(
                f"{counted(len(more), 'more note')} on subtitles; vtg transcript VIDEO prints those of a video"
            )
        if found.silent:
            searched = counted(found.results[0].videos, "video")
            note(
                f"no subtitles inside or beside {len(found.silent)} of {searched}; --said finds nothing there"
            )
        return list(found.results), {local_path(error.path) for error in found.failures}


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
            f"{opened.folder}: none of its videos is on this machine, and --said reads subtitles from the files; name "
            "a folder that holds them"
        )
    if gone := len(held) - len(videos):
        note(f"left out {counted(gone, 'video')} of the library whose files are not on this machine")
    return videos
