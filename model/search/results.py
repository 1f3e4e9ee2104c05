"""What a library answers: hits from many videos, what it holds, and what became of its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from extractors.features import FeatureSpec
from extractors.places import Place
from extractors.videos.events import VideoFinished
from model.grounding.results import GroundingResult, Moment, Quote

SCHEMA = "vtg.search/1"


@dataclass(frozen=True)
class Hit:
    """A moment of one of the videos.

    Attributes:
        video: the file.
        start_s, end_s: seconds from the start of the video.
        score: of the moment, as grounding that one video gives it, in [0, 1].
        clear_match: whether it clearly matches; None if the model's scores cannot tell.
        evidence: how close the video's best segment comes to the query's best one in the library, in (0, 1]. Hits are
            ranked by it times the score.
        duration_s: length of the video in seconds.
        quote: the words it was found by; None if it was found by its pictures alone.
        is_seen: of a hit with a quote: whether it was found by its pictures, too. It has their times and score then.
    """

    video: Path
    start_s: float
    end_s: float
    score: float
    clear_match: bool | None
    evidence: float
    duration_s: float
    quote: Quote | None = None
    is_seen: bool = False

    @property
    def source(self) -> str:
        """What it was found by: `pictures`, or what its words were read from, such as `subtitles`."""
        return "pictures" if self.quote is None else self.quote.source

    @property
    def text(self) -> str:
        """The words it was found by, on one line; empty if it was found by its pictures alone."""
        return "" if self.quote is None else self.quote.text

    def to_json(self) -> dict[str, Any]:
        """The hit as plain JSON types; seconds to the millisecond, scores to four digits."""
        return {
            "video": str(self.video),
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "score": round(self.score, 4),
            "clear_match": self.clear_match,
            "evidence": round(self.evidence, 4),
            "duration_s": round(self.duration_s, 3),
            **({} if self.quote is None else asdict(self.quote)),
            **({"is_seen": True} if self.is_seen else {}),
        }


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query on a library.

    Attributes:
        query: the sentence.
        hits: best first, of all videos.
        clear_match: whether any video shows what the query asks for, whether or not it is among the hits; None if the
            model's scores cannot tell.
        videos: how many were searched.
        looked_into: how many of them were grounded, after the others were found less likely.
        answers: what grounding said about each video that has hits, in the order of their best; the moments are those
            among the hits.
        stale: files of likely videos that were left out: they have changed or gone since they were indexed, or their
            features are no longer in the cache. `Library.update` brings them back.
        blind_spot: what the query asks for that the features cannot see, such as "people" or "actions".
        hints: sentences on the wording of the query, for people.
        quoted: the words that alone were asked, `subtitles` or `screen`: all hits have quotes then. Empty if pictures
            were asked.
        unready: videos with words that were not asked, because they are not ready: `Library.read_words`.
    """

    query: str
    hits: tuple[Hit, ...]
    clear_match: bool | None
    videos: int
    looked_into: int
    answers: tuple[GroundingResult, ...] = ()
    stale: tuple[Path, ...] = ()
    blind_spot: str | None = None
    hints: tuple[str, ...] = ()
    quoted: str = ""
    unready: int = 0

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        return {
            "query": self.query,
            "clear_match": self.clear_match,
            "videos": self.videos,
            "hits": [hit.to_json() for hit in self.hits],
            "blind_spot": self.blind_spot,
            "hints": list(self.hints),
        }


def to_document(results: Iterable[SearchResult]) -> dict[str, Any]:
    """One JSON document for any number of results, with the version of its schema."""
    return {"schema": SCHEMA, "results": [result.to_json() for result in results]}


def hit_of(answer: GroundingResult, moment: Moment, evidence: float) -> Hit:
    """A moment of an answer as a hit."""
    return Hit(
        video=Path(answer.video),
        start_s=moment.start_s,
        end_s=moment.end_s,
        score=moment.score,
        clear_match=answer.verdict(moment),
        evidence=evidence,
        duration_s=answer.duration_s,
        quote=moment.quote,
        is_seen=moment.is_seen,
    )


@dataclass(frozen=True)
class LibraryVideo:
    """A video of a library.

    Attributes:
        path: the file; of copies, the first by name.
        copies: other files of the same content.
        duration_s: length in seconds.
        size_bytes: size of the file.
        modified_s: when it was last written to, in seconds of `time.time`.
    """

    path: Path
    copies: tuple[Path, ...]
    duration_s: float
    size_bytes: int
    modified_s: float


@dataclass(frozen=True)
class IndexedRecipe:
    """A kind of features that a library has vectors of.

    Attributes:
        spec: the features.
        videos: how many have them.
        vectors: of all of them.
    """

    spec: FeatureSpec
    videos: int
    vectors: int


@dataclass(frozen=True)
class LibraryInfo:
    """What a library holds.

    Attributes:
        folder: of the index files; an `Address` if it is in object storage.
        roots: folders and files that were added.
        videos: different ones.
        files: which hold them; more than videos if there are copies.
        duration_s: of all videos, in seconds.
        unreadable: files that could not be read when they were last looked at.
        recipes: what is indexed.
        size_bytes: of the index files.
    """

    folder: Place
    roots: tuple[Path, ...]
    videos: int
    files: int
    duration_s: float
    unreadable: tuple[Path, ...]
    recipes: tuple[IndexedRecipe, ...]
    size_bytes: int


@dataclass(frozen=True)
class Changes:
    """What an addition, an update or a removal did to a library.

    Attributes:
        results: one for each file that was looked at, in order.
        removed: files that are in the library no longer.
        taken: files that the library did not hold as they are now.
        unreachable: folders and files that were added, but are not there now, or are folders that are empty; what the
            library holds of them is kept.
    """

    results: tuple[VideoFinished, ...] = ()
    removed: tuple[Path, ...] = ()
    unreachable: tuple[Path, ...] = ()
    taken: tuple[Path, ...] = ()

    @property
    def failed(self) -> tuple[VideoFinished, ...]:
        """Files that could not be read."""
        return tuple(result for result in self.results if result.status == "failed")


@dataclass(frozen=True)
class Finding:
    """Something in which an index differs from one that is built now.

    Attributes:
        what: the difference, and the way out.
        path: the file that is concerned; None if it is not one.
    """

    what: str
    path: Path | None = None
