"""Grounding results: moments, a saliency curve, and both together for one query on one video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.places import Place
from extractors.videos.facts import Segment, VideoFacts

SCHEMA = "vtg.grounding/1"

CUES = "cues"
"""Name of the model, in results, that answers from the words in a video."""


@dataclass(frozen=True)
class Quote:
    """The words by which a moment was found.

    Attributes:
        source: kind of source, such as `subtitles`.
        stream: the stream: the name of a subtitle file, or `track 2` of the video file.
        text: the words, on one line. They come from the video or from a file next to it and are never markup.
    """

    source: str
    stream: str
    text: str


@dataclass(frozen=True)
class Moment:
    """A span of a video that matches a query.

    Attributes:
        start_s: seconds from the start of the video.
        end_s: seconds from the start of the video.
        score: confidence in [0, 1].
        quote: the words by which it was found; None if it was found by its pictures alone.
        is_seen: for a moment with a quote: whether it was also found by its pictures.
    """

    start_s: float
    end_s: float
    score: float
    quote: Quote | None = None
    is_seen: bool = False

    @property
    def length_s(self) -> float:
        """Seconds from start to end."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Saliency:
    """How well each clip of a video matches a query.

    Attributes:
        clip_length_s: seconds per clip; clip k covers [k, k + 1) times this.
        scores: one number per clip; zero-shot scores lie in [0, 1], trained models give unbounded logits.
    """

    clip_length_s: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class GroundingResult:
    """The answer to one query on one video.

    Attributes:
        video: the file as it was given.
        query: the sentence.
        model: name of the model that answered.
        features: the features that the model read, in order.
        duration_s: length of the video in seconds.
        moments: ranked, best first.
        saliency: the curve over the whole video.
        facts: facts about the video that were found while decoding it.
        clear_from: score from which a moment clearly matches; None if the model's scores only rank moments and
            do not indicate whether the video shows what the query asks for.
        match_score: score of the best moment before any threshold is applied; None if there is no moment.
        hints: advice on the wording of the query, in sentences for the user.
        blind_spot: what the query asks for that the features cannot capture, such as "people" or "actions".
        sources: sources of words that were searched besides the pictures, such as `subtitles`. Moments with
            quotes then clearly match.
        has_clear_words: whether words from these sources clearly match.
    """

    video: str
    query: str
    model: str
    features: tuple[str, ...]
    duration_s: float
    moments: tuple[Moment, ...]
    saliency: Saliency
    facts: VideoFacts = VideoFacts()
    clear_from: float | None = None
    match_score: float | None = None
    blind_spot: str | None = None
    hints: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    has_clear_words: bool = False

    @property
    def is_quoted(self) -> bool:
        """Whether the moments were found by words in the video alone, so that all have quotes."""
        return self.model == CUES

    @property
    def has_quotes(self) -> bool:
        """Whether any moment has a quote, or would have one if there were moments."""
        return self.is_quoted or any(moment.quote is not None for moment in self.moments)

    @property
    def damaged_s(self) -> tuple[Segment, ...]:
        """Start and end in seconds of damaged parts of the video; moments found there are uncertain."""
        return self.facts.damaged_s

    @property
    def clear_match(self) -> bool | None:
        """Whether the video contains what the query asks for; None if the scores only rank moments."""
        if self.has_clear_words:
            return True
        if self.clear_from is None:
            return None
        return self.match_score is not None and self.match_score >= self.clear_from

    def is_clear(self, moment: Moment) -> bool:
        """Check whether a moment clearly matches; all do if the model's scores only rank moments."""
        return self.verdict(moment) is not False

    def verdict(self, moment: Moment) -> bool | None:
        """Return whether a moment clearly matches; None if the model's scores only rank moments."""
        if self.sources and moment.quote is not None:
            return True
        return None if self.clear_from is None else moment.score >= self.clear_from

    def clear(self) -> GroundingResult:
        """Return the same result with only the moments that clearly match."""
        return replace(self, moments=tuple(filter(self.is_clear, self.moments)))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON types; seconds are rounded to milliseconds, scores to four digits."""
        return {
            "video": self.video,
            "query": self.query,
            "model": self.model,
            "features": list(self.features),
            "duration_s": round(self.duration_s, 3),
            "clear_match": self.clear_match,
            "match_score": None if self.match_score is None else round(self.match_score, 4),
            "moments": [
                {
                    "start_s": round(m.start_s, 3),
                    "end_s": round(m.end_s, 3),
                    "score": round(m.score, 4),
                    "clear_match": self.verdict(m),
                    **({} if m.quote is None else asdict(m.quote)),
                    **({"is_seen": m.is_seen} if self.sources and m.quote is not None else {}),
                }
                for m in self.moments
            ],
            "saliency": {
                "clip_length_s": self.saliency.clip_length_s,
                "scores": [round(score, 4) for score in self.saliency.scores],
            },
            **self.facts.to_json(digits=3),
            "blind_spot": self.blind_spot,
            "hints": list(self.hints),
            **({"sources": list(self.sources)} if self.sources else {}),
        }


def to_document(results: Iterable[GroundingResult]) -> dict[str, Any]:
    """Return one JSON document for any number of results, with its schema version."""
    return {"schema": SCHEMA, "results": [result.to_json() for result in results]}


def make_result(
    *,
    video: str | Place,
    query: str,
    model: str,
    features: tuple[str, ...],
    duration_s: float,
    moments: NDArray[np.floating[Any]],
    saliency: NDArray[np.floating[Any]],
    clip_length_s: float,
    facts: VideoFacts = VideoFacts(),
    threshold: float = 0.0,
    clear_from: float | None = None,
    blind_spot: str | None = None,
    hints: tuple[str, ...] = (),
) -> GroundingResult:
    """Build a result from a model's arrays.

    Args:
        moments: (K, 3) start in seconds, end in seconds, score; best first.
        saliency: (N,), one score per clip.
        threshold: moments with a lower score are left out.
    """
    return GroundingResult(
        video=str(video),
        query=query,
        model=model,
        features=features,
        duration_s=duration_s,
        moments=tuple(
            Moment(float(start), float(end), float(score))
            for start, end, score in moments
            if score >= threshold
        ),
        saliency=Saliency(clip_length_s, tuple(float(score) for score in saliency)),
        facts=facts,
        clear_from=clear_from,
        match_score=float(moments[0, 2]) if len(moments) else None,
        blind_spot=blind_spot,
        hints=hints,
    )
