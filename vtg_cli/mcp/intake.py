"""The work of jobs: extract the features of a video, or add videos to a library."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.videos.events import Event
from vtg_cli.mcp.jobs import Report, Work
from vtg_cli.mcp.places import Addition
from vtg_cli.mcp.progress import downloading, extracting
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted

if TYPE_CHECKING:
    from model import Grounder


class Intake:
    """Makes the work of jobs, all of which is done on the thread of the jobs.

    Its networks are its own: queries are answered on another thread meanwhile.

    Args:
        choice: what answers.
    """

    def __init__(self, choice: ModelArguments) -> None:
        self._choice = choice
        self._report: Report | None = None

    def read(self, video: Path) -> Work:
        """Work that puts the features of a video into the cache; raises as `Grounder.load` and `Grounder.encode`."""

        def work(report: Report) -> str:
            self._report = report
            report(0.0, "loading")
            self._grounder.encode(video)
            return f"{video} can be searched now; repeat the request"

        return work

    def add(self, library: str | None, name: str, addition: Addition) -> Work:
        """Work that adds videos to a library; raises as `Library.add`.

        Args:
            library: as for `LibraryArguments`.
            name: of it, for people.
            addition: the videos.
        """
        from model import CueGrounder, Filters

        videos = addition.videos

        def work(report: Report) -> str:
            self._report = report
            report(0.0, "loading")
            with LibraryArguments(library).open(self._choice, on_download=downloading(report)) as opened:
                changes = opened.add(
                    videos, folders=addition.folders, on_event=extracting(len(videos), report)
                )
                if changes.taken:
                    report(1.0, "reading subtitles")
                    cues = CueGrounder.for_server(self._choice.feature_cache())
                    opened.read_words(Filters(among=changes.taken), cue_grounder=cues)
            if not changes.failed:
                return f"{counted(len(videos), 'video')} can be searched in {name}"
            reasons = "; ".join(f"{result.path}: {result.reason}" for result in changes.failed[:5])
            could = counted(len(videos) - len(changes.failed), "video")
            return f"{could} can be searched in {name}, {len(changes.failed)} cannot be read: {reasons}"

        return work

    @cached_property
    def _grounder(self) -> Grounder:
        return self._choice.load(on_event=self._on_event, on_download=self._on_download)

    def _on_event(self, event: Event) -> None:
        assert self._report is not None, "only a job makes things happen"
        extracting(1, self._report)(event)

    def _on_download(self, done: int, total: int | None) -> None:
        assert self._report is not None, "only a job makes things happen"
        downloading(self._report)(done, total)
