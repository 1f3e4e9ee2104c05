"""Where something is said in many videos: the subtitles of each are asked, and the moments ranked across the videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extractors.cues.sidecars import Listings
from extractors.errors import VideoError
from extractors.extraction.collect import collect_videos
from extractors.places import Place
from model.cues.grounder import NO_MATCH, CueGrounder
from model.cues.matching import CLEAR_FROM
from model.cues.outlines import Question
from model.grounding.grounder import check_request
from model.grounding.results import GroundingResult
from model.search.filters import Filters, absolute
from model.search.ranking import Request, answers_of, by_rank, hits_in
from model.search.results import Hit, SearchResult

_EVIDENCE = 1.0  # of every video, as all of them are asked


@dataclass(frozen=True)
class SaidAnswer:
    """Where things are said in some videos.

    Attributes:
        results: one per query, in order.
        failures: why videos could not be read.
        silent: the videos without subtitles.
        notes: what was left out of subtitles, for people.
    """

    results: tuple[SearchResult, ...]
    failures: tuple[VideoError, ...] = ()
    silent: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def search_said(
    videos: Sequence[Path],
    queries: str | Sequence[str],
    *,
    top_k: int = 10,
    per_video: int = 3,
    threshold: float = 0.0,
    only_clear: bool = False,
    filters: Filters = Filters(),
    grounder: CueGrounder | None = None,
    on_video: Callable[[int, int], None] = lambda done, total: None,
) -> SaidAnswer:
    """Find where each query is said in any of some videos, by the words of the subtitles and by their meaning.

        answer = search_said(find_videos(["talks/"]), "the budget")
        for hit in answer.results[0].hits:
            print(hit.video, hit.start_s, hit.quote.text)

    The answer is as if every video was asked with `CueGrounder.ground`, and a hit has the score that it has there. Most
    videos are not asked: their outlines say that others match better. Memory hardly grows with the number of videos.

    Args:
        videos: the files, such as those of `find_videos` or the paths of `Library.videos`.
        queries: a word, a phrase or a sentence, or any number of them.
        top_k: maximum hits per query.
        per_video: maximum hits of one video per query.
        threshold: hits that score less are left out.
        only_clear: whether to leave out hits that do not clearly match.
        filters: only their condition on the length of videos is used; files are chosen before.
        grounder: with a cache of its own; one with the user's cache if None.
        on_video: called with how many videos were asked, and how many there are.

    Returns:
        hits best first; of equal scores, in order of path and time. Videos that cannot be read are reported, and the
        others are asked.

    Raises:
        UsageError: if a query is empty, or a number is less than 1.
        WeightsMissing, WeightsInvalid, CacheError: as `CueGrounder`.
    """
    queries = [queries] if isinstance(queries, str) else list(queries)
    check_request(queries, min(top_k, per_video))
    grounder = CueGrounder() if grounder is None else grounder
    best = [_Best(Request(top_k, per_video, threshold, only_clear)) for _ in queries]
    questions: list[Question] = []
    asked, silent = 0, []
    failures: dict[Place, VideoError] = {}
    notes: list[str] = []
    listings = Listings()
    for number, video in enumerate(videos):
        on_video(number, len(videos))
        try:
            outline = grounder.outline(video, listings)
        except VideoError as error:
            failures[error.path] = error
            continue
        if not filters.allows_length(outline.duration_s):
            continue
        asked += 1
        notes += outline.notes
        if not outline.count:
            silent.append(video)
            continue
        questions = questions or grounder.questions(queries)
        for one, question in zip(best, questions, strict=True):
            one.outlined.append((-outline.best_score(question), video))
    for query, one in zip(queries, best, strict=True):
        failures |= _ask(grounder, query, one)
    on_video(len(videos), len(videos))
    results = (one.result(query, asked, len(silent)) for query, one in zip(queries, best, strict=True))
    return SaidAnswer(tuple(results), tuple(failures.values()), tuple(silent), tuple(notes))


def find_videos(paths: Sequence[str | Path], filters: Filters = Filters()) -> list[Path]:
    """The videos that paths name, as absolute paths.

    Args:
        paths: files, folders and patterns, as for `collect_videos`.
        filters: conditions on the files; that on the length of videos plays no part.

    Raises:
        UsageError: if a path does not exist or holds no video.
    """
    return [
        path for path in map(absolute, collect_videos(paths)) if filters.allows_file(path, _modified_ns(path))
    ]


def _ask(grounder: CueGrounder, query: str, best: _Best) -> dict[Place, VideoError]:
    """Ask videos, the most promising first, until no other one can have a better hit.

    Returns:
        why videos cannot be read, although their outlines could be.
    """
    failures = {}
    for score, video in sorted(best.outlined):
        if best.is_settled(-score, video):
            break
        try:
            transcript = grounder.read(video)
        except VideoError as error:
            failures[error.path] = error
            continue
        (answer,) = grounder.ground(transcript, query, top_k=best.request.per_video)
        best.add(answer)
    return failures


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it would fail, too


@dataclass
class _Best:
    """The best hits for a query so far, and the answers that they are from.

    Attributes:
        request: what is asked for.
        outlined: of each video with subtitles, minus the score that its best moment has at most, and its path.
        hits: best first.
        found: the answers of the videos with hits, each with its evidence.
        is_clear: whether a video clearly matches.
    """

    request: Request
    outlined: list[tuple[float, Path]] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    found: list[tuple[GroundingResult, float]] = field(default_factory=list)
    is_clear: bool = False

    def is_settled(self, score: float, video: Path) -> bool:
        """Whether neither a video nor any that is less promising can change the answer.

        Args:
            score: what its best moment has at most.
            video: its path; videos of equal scores come in the order of their paths.
        """
        if len(self.hits) < self.request.top_k:
            wanted = max(self.request.threshold, CLEAR_FROM if self.request.only_clear else NO_MATCH)
            return score < (wanted if self.is_clear else min(wanted, CLEAR_FROM))
        last = self.hits[-1]
        return (-last.score, last.video) < (-score, video)

    def add(self, answer: GroundingResult) -> None:
        """Take in the answer of a video."""
        self.is_clear = self.is_clear or answer.clear_match is True
        found = [*self.found, (answer, _EVIDENCE)]
        self.hits = sorted(hits_in(found, self.request), key=by_rank)[: self.request.top_k]
        kept = {str(hit.video) for hit in self.hits}
        self.found = [one for one in found if one[0].video in kept]

    def result(self, query: str, videos: int, silent: int) -> SearchResult:
        """The answer to the query.

        Args:
            query: which it is.
            videos: how many were asked.
            silent: how many of them have no subtitles.
        """
        return SearchResult(
            query=query,
            hits=tuple(self.hits),
            clear_match=self.is_clear if videos else None,
            videos=videos,
            looked_into=videos - silent,
            answers=tuple(answers_of(self.found, self.hits)),
            hints=tuple(dict.fromkeys(hint for answer, _ in self.found for hint in answer.hints)),
            is_quoted=True,
        )
