"""Moments from the similarity of text and frames alone, for when no trained weights are at hand.

A clip's similarity to the query means little by itself: some pictures are close to every sentence. So each clip's
similarity is measured in standard deviations above its similarity to a set of everyday background phrases, and a
logistic curve turns that into a saliency in [0, 1]. A query that nothing in the video matches stays low everywhere.

Moments are the connected stretches above each of many levels of that curve, ranked by how much they stand out
from what surrounds them (inside-outside contrast, as in Shou et al., AutoLoc, ECCV 2018), after suppression of
overlapping ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.base import TextFeatures
from model.encoded import Answer, EncodedVideo
from model.intervals import shared_part, suppress

NAME = "zero-shot"

# Fitted by eye on pairs of real pictures and sentences: of pairs that do not belong together 97 % lie below 2.7
# deviations, of pairs that do, most lie above 3.5.
_MIDPOINT_DEVIATIONS = 3.0
_SLOPE_DEVIATIONS = 0.6

_SMOOTHING = np.array([0.25, 0.5, 0.25])
_LEVELS = 24
_SUPPRESSION_OVERLAP = 0.5
_CLEAR_MATCH = 0.3

Array = NDArray[np.floating[Any]]


@cache
def background_phrases() -> tuple[str, ...]:
    """The everyday phrases every clip is compared with."""
    text = (files("model") / "background_phrases.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def saliency_curve(video: Array, query: Array, background: Array) -> NDArray[np.float64]:
    """Score every clip of a video against a query.

    Args:
        video: (N, E) a row a clip.
        query: (E,) in the same space.
        background: (M, E) the background phrases in the same space, M > 1.

    Returns:
        (N,) saliency in [0, 1].

    Raises:
        ValueError: if the lengths of the rows disagree.
    """
    if not video.shape[1] == query.shape[0] == background.shape[1]:
        raise ValueError(
            f"rows of different spaces: video {video.shape[1]}, query {query.shape[0]}, "
            f"background {background.shape[1]}"
        )
    return _curve(_judge(video, background), query)


def find_moments(
    saliency: Array, *, clip_length_s: float, duration_s: float, top_k: int = 10
) -> NDArray[np.float64]:
    """Find the stretches of a saliency curve that stand out, at every scale.

    Args:
        saliency: (N,) in [0, 1].
        clip_length_s: seconds a clip.
        duration_s: length of the video in seconds; moments end there at the latest.
        top_k: how many to return at most.

    Returns:
        (K, 3) start in seconds, end in seconds, score in [0, 1]; best first, K <= top_k.
    """
    windows = _stretches_above_levels(saliency)  # (P, 2) in clips
    if len(windows) == 0:
        return np.zeros((0, 3))
    scores = _contrast_scores(saliency, windows)
    kept = suppress(windows.astype(np.float64), scores, threshold=_SUPPRESSION_OVERLAP, overlap=shared_part)[
        :top_k
    ]
    bounds_s = np.minimum(windows[kept] * clip_length_s, duration_s)  # (K, 2)
    return np.concatenate([bounds_s, scores[kept, None]], axis=1)


class ZeroShot:
    """The zero-shot model over one feature whose rows lie in its text encoder's space.

    Args:
        feature: name of that feature.
        clip_length_s: seconds a clip.
        embed_phrases: gives the (M, E) pooled rows of M phrases.
    """

    def __init__(
        self,
        feature: str,
        clip_length_s: float,
        embed_phrases: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> None:
        self.name = NAME
        self.features = (feature,)
        self.clip_length_s = clip_length_s
        self._embed_phrases = embed_phrases
        self._last: tuple[weakref.ref[EncodedVideo], _Judged] | None = None

    def answer(
        self, videos: Sequence[EncodedVideo], queries: Sequence[TextFeatures], *, top_k: int
    ) -> list[Answer]:
        """Ground queries in videos, pair by pair; one video or one query stands for all."""
        count = max(len(videos), len(queries))
        answers: list[Answer] = []
        for index in range(count):
            video = videos[index % len(videos)]
            query = queries[index % len(queries)]
            saliency = _curve(self._judged(video), query.pooled)
            moments = find_moments(
                saliency, clip_length_s=self.clip_length_s, duration_s=video.duration_s, top_k=top_k
            )
            answers.append((moments, saliency))
        return answers

    def _judged(self, video: EncodedVideo) -> _Judged:
        """A video against the background, kept for the next query."""
        if self._last is not None and self._last[0]() is video:
            return self._last[1]
        judged = _judge(video.features[self.features[0]], self._background)
        self._last = (weakref.ref(video), judged)
        return judged

    @cached_property
    def _background(self) -> NDArray[np.float32]:
        return self._embed_phrases(background_phrases())


def is_clear_match(best_score: float) -> bool:
    """Whether the best moment's score says that the video shows what the query asks for at all."""
    return best_score >= _CLEAR_MATCH


@dataclass(frozen=True)
class _Judged:
    """A video against the background phrases.

    Attributes:
        rows: (N, E) a row a clip, of length 1.
        usual: (N,) mean similarity of each clip to the phrases.
        deviation: (N,) standard deviation of that.
    """

    rows: NDArray[np.float64]
    usual: NDArray[np.float64]
    deviation: NDArray[np.float64]


def _judge(video: Array, background: Array) -> _Judged:
    rows = _unit_rows(video)
    similarity = rows @ _unit_rows(background).T  # (N, M)
    return _Judged(rows, similarity.mean(axis=1), similarity.std(axis=1))


def _curve(video: _Judged, query: Array) -> NDArray[np.float64]:
    """Saliency (N,) of a query (E,)."""
    similarity = video.rows @ _unit_rows(query[None])[0]  # (N,)
    return _logistic(_smooth((similarity - video.usual) / (video.deviation + 1e-6)))


def _unit_rows(rows: Array) -> NDArray[np.float64]:
    rows = rows.astype(np.float64)
    unit: NDArray[np.float64] = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-8)
    return unit


def _smooth(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(np.pad(curve, 1, mode="edge"), _SMOOTHING, mode="valid")


def _logistic(deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp((_MIDPOINT_DEVIATIONS - deviations) / _SLOPE_DEVIATIONS))


def _stretches_above_levels(saliency: Array) -> NDArray[np.int64]:
    # Levels are spaced evenly in log-odds, where the curve is a straight measure of similarity, so that weak
    # peaks get as many levels as strong ones.
    odds = np.log(np.clip(saliency, 1e-9, 1 - 1e-9)) - np.log(np.clip(1 - saliency, 1e-9, 1 - 1e-9))
    levels = np.linspace(odds.min(), odds.max(), _LEVELS + 1)[:-1]
    above = odds[None, :] >= levels[:, None]  # (levels, N)
    steps = np.diff(np.pad(above, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # (levels, N + 1)
    starts, ends = np.nonzero(steps == 1)[1], np.nonzero(steps == -1)[1]
    return np.unique(np.stack([starts, ends], axis=1), axis=0)


def _contrast_scores(saliency: Array, windows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Geometric mean of a window's mean saliency and its contrast with half its length on each side."""
    total = np.concatenate([[0.0], np.cumsum(saliency)])
    start, end = windows[:, 0], windows[:, 1]
    margin = np.maximum((end - start + 1) // 2, 1)
    outer_start, outer_end = np.maximum(start - margin, 0), np.minimum(end + margin, len(saliency))
    inside = (total[end] - total[start]) / (end - start)
    outside_clips = (outer_end - outer_start) - (end - start)
    outside = (total[outer_end] - total[outer_start]) - (total[end] - total[start])
    outside = np.divide(outside, outside_clips, out=np.zeros_like(outside), where=outside_clips > 0)
    scores: NDArray[np.float64] = np.sqrt(np.clip(inside, 0, 1) * np.clip(inside - outside, 0, 1))
    return scores
