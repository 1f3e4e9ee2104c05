"""Where something is said or written in many videos: the words of each are asked, and moments ranked across videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from extractors.cues.cue import Source
from extractors.cues.sidecars import Listings
from extractors.errors import VideoError
from extractors.extraction.collect import collect_videos
from extractors.places import Place
from model.cues.grounder import CueGrounder
from model.cues.outlines import Question
from model.grounding.grounder import check_request
from model.search.asking import BestHits
from model.search.filters import Filters, absolute
from model.search.ranking import Request
from model.search.results import SearchResult


@dataclass(frozen=True)
class SaidAnswer:
    """Where things are said or written in some videos.

    Attributes:
        results: one per query, in order.
        failures: why videos could not be read.
        silent: the videos without such words: without subtitles and transcribed speech, or text on the screen.
        unread: those of them of which the screen was not read.
        notes: what was left out of the words, for people.
    """

    results: tuple[SearchResult, ...]
    failures: tuple[VideoError, ...] = ()
    silent: tuple[Path, ...] = ()
    unread: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def search_said(
    videos: Sequence[Path],
    queries: str | Sequence[str],
    source: Source = "subtitles",
    *,
    top_k: int = 10,
    per_video: int = 3,
    threshold: float = 0.0,
    only_clear: bool = False,
    filters: Filters = Filters(),
    grounder: CueGrounder | None = None,
    on_video: Callable[[int, int], None] = lambda done, total: None,
) -> SaidAnswer:
    """Find where each query is said or written in any of some videos, by the words and by their meaning.

        answer = search_said(find_videos(["talks/"]), "the budget")
        for hit in answer.results[0].hits:
            print(hit.video, hit.start_s, hit.quote.text)

    The answer is as if every video was asked with `CueGrounder.ground`, and a hit has the score that it has there. Most
    videos are not asked: their outlines say that others match better. Memory hardly grows with the number of videos.

    Args:
        videos: the files, such as those of `find_videos` or the paths of `Library.videos`.
        queries: a word, a phrase or a sentence, or any number of them.
        source: `subtitles`, with the speech that was transcribed before; or `screen`, for what is written on it, of
            the videos whose screens were read before.
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
    best = [BestHits(query, Request(top_k, per_video, threshold, only_clear)) for query in queries]
    questions: list[Question] = []
    asked, silent, unread = 0, [], []
    failures: dict[Place, VideoError] = {}
    notes: list[str] = []
    listings = Listings()
    for number, video in enumerate(videos):
        on_video(number, len(videos))
        try:
            if source == "screen" and not grounder.knows_screen(video):
                unread.append(video)
                continue
            outline = grounder.outline(video, listings, source)
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
            one.consider(video, outline, question)
    for one in best:
        failures |= one.ask(grounder, source)
    on_video(len(videos), len(videos))
    asked += len(unread)
    silent += unread
    results = tuple(one.result(source, asked, len(silent)) for one in best)
    return SaidAnswer(results, tuple(failures.values()), tuple(silent), tuple(unread), tuple(notes))


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


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # reading it would fail, too
