"""Answers of the server: moments, from the cache and from libraries."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from extractors.cues.cue import Transcript
from extractors.errors import UsageError, VideoError
from extractors.extraction.pipeline import ignore
from vtg_cli.mcp.jobs import Report, Work
from vtg_cli.mcp.places import Places
from vtg_cli.mcp.progress import downloading
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.terminal.console import counted

if TYPE_CHECKING:
    from model import CueGrounder, Grounder
    from model.grounding.results import GroundingResult
    from model.search.results import Hit

MOST_KEPT = 200
"""Answers that can still be exported."""

_Words = Literal["subtitles", "screen"]
_MISSING = {
    "subtitles": "The video has no subtitles, neither inside nor beside it, and its speech was not transcribed. The "
    "user can transcribe it: vtg transcript VIDEO --speech",
    "screen": "No text on the screen of the video was read. The user can have it read: vtg transcript VIDEO --screen",
}


@dataclass(frozen=True)
class Found:
    """An answer.

    Attributes:
        id: by which it can be exported.
        hits: best first.
        clear_match: whether a video shows what the query asks for; None if the model's scores cannot tell.
        notes: what people should know about it, one sentence per note.
    """

    id: str
    hits: tuple[Hit, ...]
    clear_match: bool | None
    notes: tuple[str, ...]


class Searcher:
    """Finds moments in videos whose features are there, once `loading` is done. For one thread.

    Args:
        places: the videos there are.
        choice: what answers.
    """

    def __init__(self, places: Places, choice: ModelArguments) -> None:
        self._places = places
        self._choice = choice
        self._kept: dict[str, tuple[GroundingResult, ...]] = {}
        self._grounder: Grounder
        self._loaded: set[str | None] = set()

    def loading(self, library: str | None) -> Work | None:
        """Work that loads what answers, on any thread; weights that are missing are downloaded, which may take long.

        Args:
            library: where is to be searched; None for single videos.

        Returns:
            the work, which raises as `Grounder.load`; None if it has been done.

        Raises:
            UsageError: if agents may not use the library.
        """
        place = None if library is None else self._places.place_of(library)
        if library in self._loaded:
            return None

        def work(report: Report) -> str:
            report(0.0, "loading")
            if library is None:
                self._grounder = self._choice.load(on_event=ignore, on_download=downloading(report))
            else:
                # A library belongs to one thread; that of the answers finds the weights downloaded.
                with LibraryArguments(place).open(self._choice, on_download=downloading(report)) as opened:
                    report(0.0, f"loaded {opened.grounder.model.name}")
            self._loaded.add(library)
            return "loaded; repeat the request"

        return work

    def is_read(self, video: Path) -> bool:
        """Whether the features of a video are in the cache; raises VideoError if it cannot be read."""
        grounder = self._grounder
        address = grounder.cache.identify(video).address
        return all(grounder.cache.holds(address, encoder.spec) for encoder in grounder.video_encoders)

    def ground(self, video: Path, query: str, top: int) -> GroundingResult:
        """The answer for one video, as `vtg ground` gives it; raises as `Grounder.ground`."""
        return self._grounder.ground(video, query, top_k=top)[0]

    def find_in_video(self, video: Path, query: str, top: int) -> Found:
        """The moments of one video, in its pictures and in its words at hand; raises as `Grounder.ground`."""
        from model.search.results import hit_of
        from vtg_cli.terminal.verdict import verdict

        answer = self.ground(video, query, top)
        words: Sequence[Transcript] = ()
        unread: list[str] = []
        try:
            grounder = self._cue_grounder()
            words = grounder.at_hand(video)
            (answer,) = grounder.join([answer], words, top_k=top)
        except VideoError as error:
            unread = [f"only pictures were searched: {error}"]
        said = [sentence for transcript in words for sentence in transcript.notes]
        notes = [
            verdict(answer),
            *answer.hints,
            *answer.facts.warnings(),
            *self._grounder.notes,
            *said,
            *unread,
        ]
        hits = tuple(hit_of(answer, moment, 1.0) for moment in answer.moments)
        return self._keep(hits, answer.clear_match, notes, [answer])

    def find_in_library(self, name: str, query: str, top: int) -> Found:
        """The moments of a library, as `vtg search` finds them; raises as `Library.search`."""
        from vtg_cli.terminal.verdict import search_verdict

        library = self._places.library(name)
        result = library.search(query, top_k=top, cues=self._cue_grounder())[0]
        notes = [search_verdict(result), *result.hints, *library.grounder.notes]
        if result.stale:
            notes.append(
                f"{counted(len(result.stale), 'likely video')} left out, whose files have changed or gone; the user "
                "can bring the library up to date with vtg index update"
            )
        if result.unready:
            notes.append(
                f"the words of {counted(result.unready, 'video')} are new and were not searched; the user can make "
                "them ready with vtg index update"
            )
        return self._keep(result.hits, result.clear_match, notes, result.answers)

    def quoted(
        self, video: Path, words: str, top: int, source: _Words
    ) -> tuple[GroundingResult, tuple[str, ...]]:
        """Where words are said in a video or written on its screen, and notes; on any thread.

        Args:
            video: the file.
            words: what is looked for.
            top: moments at most.
            source: what is searched: `subtitles`, with speech that was transcribed before, or the `screen`, if it was
                read before.

        Raises:
            VideoError, VtgError: as `CueGrounder`.
        """
        from model.grounding.grounder import check_queries
        from vtg_cli.terminal.verdict import verdict

        check_queries([words])
        grounder = self._cue_grounder()
        if source == "screen":
            transcript = next(
                (one for one in grounder.at_hand(video) if one.source == source),
                Transcript(str(video), 0.0, (), source=source),
            )
        else:
            transcript = grounder.read(video)
        (answer,) = grounder.ground(transcript, words, top_k=top)
        missing = None if transcript.streams else _MISSING[source]
        return answer, tuple(filter(None, [missing, verdict(answer), *answer.hints, *transcript.notes]))

    def _cue_grounder(self) -> CueGrounder:
        from model import CueGrounder

        return CueGrounder.for_server(self._choice.feature_cache())

    def keep(self, answer: GroundingResult) -> str:
        """Keep an answer for export; returns its id."""
        return self._keep((), answer.clear_match, (), [answer]).id

    def answers_of(self, ids: Sequence[str]) -> list[GroundingResult]:
        """What was found before; raises UsageError if an id is unknown, or no longer kept."""
        found: list[GroundingResult] = []
        for one in ids:
            if one not in self._kept:
                raise UsageError(
                    f"{one!r}: is not an id that find_moments returned, or too old: the last {MOST_KEPT} are kept "
                    "until the server stops. Call find_moments again"
                )
            found += self._kept[one]
        return found

    def _keep(
        self,
        hits: tuple[Hit, ...],
        clear_match: bool | None,
        notes: Sequence[str | None],
        answers: Sequence[GroundingResult],
    ) -> Found:
        found = Found(secrets.token_hex(8), hits, clear_match, tuple(filter(None, notes)))
        self._kept[found.id] = tuple(answers)
        for old in list(self._kept)[:-MOST_KEPT]:
            del self._kept[old]
        return found
