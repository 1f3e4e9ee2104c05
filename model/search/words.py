"""What pictures show and what is said or written, in one list of hits: for plain queries on a library.

Both are joined by `model.cues.joining.fuse`. Words count if they are ready: their outlines were made before, as
`Library.read_words` does it. Reading the words of thousands of videos takes long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from extractors.cues.cue import Source
from extractors.cues.sidecars import Listings, find_sidecars
from extractors.cues.speech.weights import SpeechModel
from extractors.errors import VideoError
from extractors.files.identity import KnownContent
from model.cues.grounder import CueGrounder
from model.cues.joining import Ranked, fuse
from model.cues.outlines import Outline, Question
from model.grounding.results import GroundingResult, Moment
from model.search.asking import BestHits
from model.search.ranking import Request
from model.search.results import Hit, SearchResult
from model.search.storage.catalogue import Content, File

_SOURCES: tuple[Source, ...] = ("subtitles", "screen")
_FEW = 3  # videos whose words a search makes ready itself


@dataclass(frozen=True)
class WordVideo:
    """A video of a library, of which some words are known.

    Attributes:
        path: the file.
        source: of which words.
        key: of their outline, as of `CueGrounder.outline_key`.
        copies: all files of the video.
    """

    path: Path
    source: Source
    key: str
    copies: tuple[Path, ...]


def videos_with_words(
    contents: Mapping[int, Content], files: Mapping[int, Sequence[File]], grounder: CueGrounder
) -> Iterator[WordVideo]:
    """The videos on this machine of which words are known; no video is opened.

    Args:
        contents: by id.
        files: those that may be hits, of each content.
        grounder: knows them.

    Raises:
        CacheError: if the cache cannot be read.
    """
    listings = Listings()

    def has_none_beside(file: File) -> bool:
        return not find_sidecars(file.path, listings=listings)

    for content_id, its_files in files.items():
        content = contents[content_id]
        identity = KnownContent(content.address, content.content)
        copies = tuple(file.path for file in its_files)
        in_order = its_files if len(copies) == 1 else sorted(its_files, key=has_none_beside)
        for source in _SOURCES:
            for file in in_order:
                key = grounder.outline_key(file.path, identity, source, listings)
                if key and file.is_unchanged():
                    yield WordVideo(file.path, source, key, copies)
                    break


def join_words(
    seen: Sequence[SearchResult], videos: Sequence[WordVideo], request: Request, grounder: CueGrounder
) -> list[SearchResult]:
    """Join the answers from pictures with what is said or written in the same videos.

    Args:
        seen: from pictures, one for each query.
        videos: with words.
        request: which hits are asked for.
        grounder: asks the words.

    Returns:
        one result per result, in order. Of words, only clear matches are hits. If the words of some videos are not
        ready, `unready` counts them; of a few videos, they are made ready.

    Raises:
        WeightsMissing, WeightsInvalid, CacheError: as `CueGrounder`.
    """
    queries = [result.query for result in seen]
    asked = replace(request, threshold=0.0, only_clear=True)
    best = {source: [BestHits(query, asked) for query in queries] for source in _SOURCES}
    questions: list[Question] = []
    unready = 0
    for video, outline in _outlines(videos, grounder):
        if outline is None:
            unready += 1
            continue
        if outline.count:
            questions = questions or grounder.questions(queries)
            for one, question in zip(best[video.source], questions, strict=True):
                one.consider(video.path, outline, question)
    for source, of_source in best.items():
        for one in of_source:
            one.ask(grounder, source)  # a video that cannot be read was left out of the pictures, too
    # Pictures and words may name different copies.
    first = {str(path): str(video.copies[0]) for video in videos for path in video.copies}
    results = (
        _joined(
            result,
            [of_source[number].result(source, 1, 0) for source, of_source in best.items()],
            request,
            lambda path: first.get(str(path), str(path)),
        )
        for number, result in enumerate(seen)
    )
    return [replace(result, unready=unready) for result in results]


def prepare_words(
    videos: Sequence[Path],
    grounder: CueGrounder,
    *,
    screen: bool = False,
    speech: SpeechModel | bool = False,
    on_video: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[VideoError, ...]:
    """Make words of videos ready; arguments, result and errors as of `Library.read_words`."""
    failures = []
    listings = Listings()
    for number, path in enumerate(videos):
        on_video(number, len(videos))
        try:
            grounder.prepare(path, listings, screen=screen, speech=speech)
        except VideoError as error:
            failures.append(error)
    on_video(len(videos), len(videos))
    return tuple(failures)


def _outlines(
    videos: Sequence[WordVideo], grounder: CueGrounder
) -> Iterator[tuple[WordVideo, Outline | None]]:
    """The outlines of videos; None for those that are not ready."""
    missing = []
    for video in videos:
        outline = grounder.kept_outline(video.key)
        if outline is None:
            missing.append(video)
        else:
            yield video, outline
    for video in missing:
        made = None
        if len(missing) <= _FEW:
            with suppress(VideoError):
                made = grounder.outline(video.path, source=video.source)
        yield video, made


def _joined(
    seen: SearchResult,
    quoted: Sequence[SearchResult],
    request: Request,
    name_of: Callable[[str | Path], str],
) -> SearchResult:
    """One answer of those from pictures and from words; `name_of` gives the name that all copies of a file share."""
    quoted = [result for result in quoted if result.hits]
    if not quoted:
        return seen
    known = {(name_of(hit.video), *_span(hit)): hit for result in (*quoted, seen) for hit in result.hits}
    hits: list[Hit] = []
    in_video: Counter[str] = Counter()
    for one in fuse(_ranked(seen, name_of), [_ranked(result, name_of) for result in quoted]):
        if one.moment.score < request.threshold or in_video[one.video] == request.per_video:
            continue
        in_video[one.video] += 1
        hits.append(
            replace(
                known[(one.video, *_span(one.moment))],
                clear_match=one.is_clear,
                score=one.moment.score,
                quote=one.moment.quote,
                is_seen=one.moment.is_seen,
            )
        )
    hits = hits[: request.top_k]
    hints = (hint for result in quoted for hint in result.hints)
    words: dict[str, list[GroundingResult]] = {}
    for answer in (answer for result in quoted for answer in result.answers):
        words.setdefault(name_of(answer.video), []).append(answer)
    return replace(
        seen,
        hits=tuple(hits),
        clear_match=True,
        answers=tuple(_answers(hits, seen.answers, lambda video: words.get(name_of(video), []))),
        hints=tuple(dict.fromkeys([*seen.hints, *hints])),
    )


def _answers(
    hits: Iterable[Hit],
    seen: Sequence[GroundingResult],
    words_of: Callable[[str], Sequence[GroundingResult]],
) -> Iterator[GroundingResult]:
    """What grounding said about each video of the hits: that of its pictures if they hold a hit, else of its words."""
    moments: dict[str, list[Moment]] = {}
    for hit in hits:
        moment = Moment(hit.start_s, hit.end_s, hit.score, hit.quote, hit.is_seen)
        moments.setdefault(str(hit.video), []).append(moment)
    pictures = {answer.video: answer for answer in seen}
    for video, its_moments in moments.items():
        words = words_of(video)
        sources = tuple(dict.fromkeys(source for answer in words for source in answer.features))
        if video in pictures:
            answer = replace(pictures[video], sources=sources, has_clear_words=bool(words))
        else:
            answer = replace(words[0], features=sources)
        yield replace(answer, moments=tuple(its_moments))


def _ranked(result: SearchResult, name_of: Callable[[str | Path], str]) -> Iterator[Ranked]:
    for hit in result.hits:
        moment = Moment(hit.start_s, hit.end_s, hit.score, hit.quote)
        yield Ranked(name_of(hit.video), moment, hit.clear_match)


def _span(one: Hit | Moment) -> tuple[float, float]:
    return one.start_s, one.end_s
