"""Stage two of a search: the likeliest videos are grounded on their cached rows, one at a time."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from extractors.videos.facts import VideoFacts
from model.grounding.encoded import EncodedVideo
from model.grounding.grounder import Grounder
from model.grounding.results import GroundingResult
from model.search.candidates import Candidate
from model.search.results import Hit, SearchResult, hit_of
from model.search.rows import LibraryRows
from model.search.storage.catalogue import Content, File

_MAY_BE_CLEAR = 0.1
"""Evidence from which a video is looked into for a clear match, though it holds no hit."""

_ANSWER_BYTES, _CLIP_BYTES = 2000, 32  # of memory, for an answer and for each clip of its curve


@dataclass(frozen=True)
class Request:
    """Which hits are asked for.

    Attributes:
        top_k: how many for each query at most.
        per_video: how many of one video at most.
        threshold: least score.
        only_clear: leave out those that do not clearly match.
    """

    top_k: int = 10
    per_video: int = 3
    threshold: float = 0.0
    only_clear: bool = False


class Grounded:
    """What grounding found for the queries of searches, so that longer lists of their hits need not ground it again.

    For searches in one library with one grounder. It grows with every video that is looked into.

    Attributes:
        size_bytes: of all answers, roughly.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._answers: dict[tuple[str, int, str], GroundingResult] = {}

    def get(
        self, query: str, per_video: int, content: Content, files: Sequence[File]
    ) -> GroundingResult | None:
        """The answer for a content; None if there is none, or if it names a file that is not one of these."""
        answer = self._answers.get((query, per_video, content.content))
        if answer is None or all(answer.video != str(file.path) for file in files):
            return None
        return answer

    def put(self, answer: GroundingResult, per_video: int, content: Content) -> None:
        """Keep the answer for a content."""
        key = answer.query, per_video, content.content
        before = self._answers.get(key)
        self.size_bytes += _size_bytes(answer) - (0 if before is None else _size_bytes(before))
        self._answers[key] = answer


def _size_bytes(answer: GroundingResult) -> int:
    return _ANSWER_BYTES + _CLIP_BYTES * len(answer.saliency.scores)


@dataclass
class _Answers:
    """What was found for a query so far."""

    request: Request
    found: list[tuple[GroundingResult, float]] = field(default_factory=list)
    stale: list[Path] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)  # of the best hits, negated, so that they rise
    is_clear: bool = False

    def can_gain(self, evidence: float) -> bool:
        """Whether a video of this evidence may hold a hit that counts: its score is 1 at most."""
        top_k = self.request.top_k
        is_open = len(self.ranks) < top_k or evidence > -self.ranks[top_k - 1]
        return is_open or (not self.is_clear and evidence >= _MAY_BE_CLEAR)

    def add(self, result: GroundingResult, evidence: float) -> None:
        """Take in what grounding found in a video."""
        self.found.append((result, evidence))
        self.is_clear = self.is_clear or result.clear_match is not False
        for hit in hits_in([(result, evidence)], self.request):
            insort(self.ranks, -hit.evidence * hit.score)
        del self.ranks[self.request.top_k :]


def rank(
    grounder: Grounder,
    queries: Sequence[str],
    candidates: Sequence[Sequence[Candidate]],
    contents: Mapping[int, Content],
    files: Mapping[int, Sequence[File]],
    request: Request,
    *,
    videos: int,
    grounded: Grounded,
    rows: LibraryRows,
) -> list[SearchResult]:
    """Ground queries in their candidates, the likeliest videos first, until no other can hold a hit.

    Args:
        candidates: of each query.
        contents: by id.
        files: those that may be named, of each content.
        request: which hits are asked for.
        videos: how many the candidates were chosen from.
        grounded: answers that are there already; those that are made are added.
        rows: of the videos.

    Returns:
        one result per query, in order.

    Raises:
        WeightsInvalid, CacheError: as `Grounder.ground`.
        StorageError: if rows are in object storage and cannot be read.
    """
    asked: dict[int, list[tuple[int, float]]] = {}
    for number, chosen in enumerate(candidates):
        for candidate in chosen:
            asked.setdefault(candidate.content_id, []).append((number, candidate.evidence))
    answers = [_Answers(request) for _ in queries]
    for content_id, all_who in sorted(
        asked.items(), key=lambda one: -max(evidence for _, evidence in one[1])
    ):
        who = [(number, evidence) for number, evidence in all_who if answers[number].can_gain(evidence)]
        if not who:
            continue
        content, its_files = contents[content_id], files[content_id]
        asked_here = [queries[number] for number, _ in who]
        _ground(grounder, asked_here, content, its_files, request, grounded, rows)
        for number, evidence in who:
            result = grounded.get(queries[number], request.per_video, content, its_files)
            if result is None:
                answers[number].stale.append(its_files[0].path)
            else:
                answers[number].add(result, evidence)
    return [
        _result(query, of_query, request, videos) for query, of_query in zip(queries, answers, strict=True)
    ]


def _ground(
    grounder: Grounder,
    queries: Sequence[str],
    content: Content,
    files: Sequence[File],
    request: Request,
    grounded: Grounded,
    rows: LibraryRows,
) -> None:
    """Ground queries in a content where that has not been done; where nothing can be read, nothing is added."""
    new = [query for query in queries if grounded.get(query, request.per_video, content, files) is None]
    video = _encoded(grounder, content, files, rows) if new else None
    if video is None:
        return
    for answer in grounder.ground(video, new, top_k=request.per_video):
        grounded.put(answer, request.per_video, content)


def _encoded(
    grounder: Grounder, content: Content, files: Sequence[File], rows: LibraryRows
) -> EncodedVideo | None:
    """The rows of a content, at a file that still holds it; None without such a file or without rows."""
    path = rows.path_of(files)
    if path is None:
        return None
    loaded = {}
    for encoder in grounder.video_encoders:
        entry = rows.load(content, encoder.spec, path)
        if entry is None:
            return None
        loaded[encoder.spec.name] = entry
    return EncodedVideo(
        path,
        content.duration_s,
        {name: entry.features for name, entry in loaded.items()},
        VideoFacts.join(entry.facts for entry in loaded.values()),
    )


def _result(query: str, answers: _Answers, request: Request, videos: int) -> SearchResult:
    hits = sorted(hits_in(answers.found, request), key=by_rank)[: request.top_k]
    clear = [result.clear_match for result, _ in answers.found]
    first = answers.found[0][0] if answers.found else None
    return SearchResult(
        query=query,
        hits=tuple(hits),
        clear_match=None if None in clear else any(clear),
        videos=videos,
        looked_into=len(answers.found),
        answers=tuple(answers_of(answers.found, hits)),
        stale=tuple(answers.stale),
        blind_spot=None if first is None else first.blind_spot,
        hints=() if first is None else first.hints,
    )


def hits_in(found: Iterable[tuple[GroundingResult, float]], request: Request) -> Iterator[Hit]:
    """The moments of answers that are asked for; each answer with the evidence for its video."""
    for result, evidence in found:
        for moment in result.moments:
            is_wanted = result.is_clear(moment) or not request.only_clear
            if is_wanted and moment.score >= request.threshold:
                yield hit_of(result, moment, evidence)


def by_rank(hit: Hit) -> tuple[float, Path, float]:
    """The key that sorts hits, best first."""
    return -hit.evidence * hit.score, hit.video, hit.start_s


def answers_of(
    found: Iterable[tuple[GroundingResult, float]], hits: Iterable[Hit]
) -> Iterator[GroundingResult]:
    """The answers for the videos of hits, in the order of these, with their moments alone."""
    results = {result.video: result for result, _ in found}
    wanted: dict[str, set[tuple[float, float]]] = {}
    for hit in hits:
        wanted.setdefault(str(hit.video), set()).add((hit.start_s, hit.end_s))
    for video, spans in wanted.items():
        moments = (m for m in results[video].moments if (m.start_s, m.end_s) in spans)
        yield replace(results[video], moments=tuple(moments))
