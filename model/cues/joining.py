"""Join answers from pictures with answers from words that are said or written, by reciprocal rank fusion.

Scores of pictures and of words are on different scales, so only ranks are compared. A moment gets
1 / (60 + rank) from each ranking that contains it. Source: Cormack, Clarke and Buettcher, Reciprocal Rank
Fusion, SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from model.grounding.results import GroundingResult, Moment

_K = 60
_PICTURES = 0  # number of the ranking of pictures; the rankings of words follow
_LEAST_SHARED = 0.5  # IoU from which two moments are the same


@dataclass(frozen=True)
class Ranked:
    """A moment of a ranking.

    Attributes:
        video: the video that contains it; moments of two videos are never the same.
        moment: the moment in its listed form.
        is_clear: whether it clearly matches; None if the model's scores only rank moments.
    """

    video: str
    moment: Moment
    is_clear: bool | None


def fuse(seen: Iterable[Ranked], quoted: Sequence[Iterable[Ranked]]) -> list[Ranked]:
    """Join the ranking of pictures with those of words.

    Of the moments with quotes, only those that clearly match are used. If such a moment is the same as a
    moment of the pictures, only one is listed. If the moment of the pictures clearly matches, too, it is
    listed with its times and score and with the quote. If it does not, it is replaced by the moment of the
    words. If the model's scores only rank moments, it is listed with the quote and with the times and the
    score of the words.

    Args:
        seen: moments of pictures, best first.
        quoted: moments of words, best first, one ranking per kind of words, such as said and written.

    Returns:
        the moments of all rankings. Those that do not clearly match come last; of moments with equal rank,
        those that clearly match come first, then those without quotes.
    """
    found = [_Found(one, {_PICTURES: rank}) for rank, one in enumerate(seen, start=1)]
    in_video: dict[str, list[_Found]] = {}
    for one in found:
        in_video.setdefault(one.best.video, []).append(one)
    for number, ranking in enumerate(quoted, start=1):
        for rank, quote in enumerate((one for one in ranking if one.is_clear), start=1):
            there = in_video.setdefault(quote.video, [])
            same = next((one for one in there if one.is_same(quote.moment, number)), None)
            if same is None:
                found.append(_Found(quote, {number: rank}))
                there.append(found[-1])
            else:
                same.take_in(quote, number, rank)
    found.sort(
        key=lambda one: (
            one.best.is_clear is False,
            -one.weight,
            not one.best.is_clear,
            one.best.moment.quote is not None,
        )
    )
    return [one.best for one in found]


def join(
    seen: GroundingResult, quoted: Sequence[GroundingResult], *, top_k: int, threshold: float = 0.0
) -> GroundingResult:
    """Join the answers from pictures and from words to one query on one video, as `fuse` does.

    Args:
        seen: the answer from pictures, with all its moments: no threshold was applied to them.
        quoted: the answers from words, such as words said and words written.
        top_k: maximum number of moments.
        threshold: moments with a lower score are left out.

    Returns:
        the answer from pictures with its curve, but with the moments of all answers.
    """
    fused = fuse(_ranked(seen), [_ranked(answer) for answer in quoted])
    moments = [one.moment for one in fused]
    hints = (hint for answer in quoted for hint in answer.hints)
    return replace(
        seen,
        moments=tuple(moment for moment in moments[:top_k] if moment.score >= threshold),
        match_score=moments[0].score if moments else None,
        sources=tuple(dict.fromkeys(source for answer in quoted for source in answer.features)),
        has_clear_words=any(answer.clear_match for answer in quoted),
        hints=tuple(dict.fromkeys([*seen.hints, *hints])),
    )


def _ranked(answer: GroundingResult) -> list[Ranked]:
    return [Ranked("", moment, answer.verdict(moment)) for moment in answer.moments]


@dataclass
class _Found:
    """A moment, and its ranks, from 1, by the number of each ranking that contains it."""

    best: Ranked
    ranks: dict[int, int]

    @property
    def weight(self) -> float:
        """The sum of the reciprocal ranks."""
        return sum(1 / (_K + rank) for rank in self.ranks.values())

    def is_same(self, other: Moment, ranking: int) -> bool:
        """Check whether a moment of a ranking of the same video is this one, found in another ranking."""
        if set(self.ranks) == {ranking}:
            return False
        mine = self.best.moment
        shared_s = min(mine.end_s, other.end_s) - max(mine.start_s, other.start_s)
        whole_s = max(mine.end_s, other.end_s) - min(mine.start_s, other.start_s)
        is_inside = mine.start_s <= other.start_s and other.end_s <= mine.end_s
        return is_inside or shared_s >= _LEAST_SHARED * whole_s

    def take_in(self, other: Ranked, ranking: int, rank: int) -> None:
        """Merge a moment with a quote into this one."""
        mine = self.best
        if mine.is_clear is False:
            self.best, self.ranks = other, {ranking: rank}
            return
        self.ranks.setdefault(ranking, rank)
        if mine.moment.quote is None:
            times = mine.moment if mine.is_clear else other.moment
            seen = replace(times, quote=other.moment.quote, is_seen=True)
            self.best = replace(other, moment=seen, is_clear=True)
