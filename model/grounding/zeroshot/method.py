"""Zero-shot grounding: moments from the similarity of text and frames alone, without trained weights.

The deviation of each clip towards the query (`model.grounding.zeroshot.evidence`) is compared with the level
that everyday phrases reach in the same video (`model.grounding.zeroshot.background`), and a fitted logistic
curve turns the difference into a probability (`model.grounding.zeroshot.calibration`). For a query that
nothing in the video matches, it stays low everywhere. Moments are the spans of the curve that stand out
(`model.grounding.zeroshot.spans`).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.encoders.registry import find_feature
from extractors.features import TextFeatures
from extractors.plugins import imported
from model.grounding.encoded import Answer, EncodedVideo
from model.grounding.zeroshot.background import Background, background_phrases, make_background, unit_rows
from model.grounding.zeroshot.blind_spots import BlindSpot, blind_spot
from model.grounding.zeroshot.calibration import CLEAR, Calibration, calibration, logistic
from model.grounding.zeroshot.class_shares import Classes, Shares, recognised_classes
from model.grounding.zeroshot.evidence import (
    AROUND_S,
    BEST_S,
    Judged,
    best_level,
    best_levels,
    judge,
    mean_around,
)
from model.grounding.zeroshot.spans import Span, find_spans

NAME = "zero-shot"

Array = NDArray[np.floating[Any]]


class ZeroShot:
    """The zero-shot model over one feature whose rows lie in its text encoder's space.

    Args:
        feature: name of that feature.
        clip_length_s: seconds per clip.
        embed_phrases: returns the (M, E) pooled rows of M phrases.
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
        self.clear_from = CLEAR
        self._calibration = calibration(feature)
        self._embed_phrases = embed_phrases
        self._last: tuple[weakref.ref[EncodedVideo], tuple[Judged, Shares | None]] | None = None

    def blind_spot(self, query: str) -> BlindSpot | None:
        """Return what the query asks for that an object classifier misses; None for other features."""
        return blind_spot(query) if self._classes is not None else None

    def answer(
        self, videos: Sequence[EncodedVideo], queries: Sequence[TextFeatures], *, top_k: int
    ) -> list[Answer]:
        """Ground queries in videos, pair by pair; a single video or query is paired with all others."""
        count = max(len(videos), len(queries))
        answers: list[Answer] = []
        for index in range(count):
            video = videos[index % len(videos)]
            query = queries[index % len(queries)]
            found = self.look(video, query, top_k=top_k)
            scores = logistic(self._calibration.log_odds(found.best, found.usual, found.log_share))
            moments = _rows(found.spans, scores, self.clip_length_s, video.duration_s)
            answers.append((moments, logistic(found.odds)))
        return answers

    def look(self, video: EncodedVideo, query: TextFeatures, *, top_k: int) -> Findings:
        """Find where the video deviates towards a query."""
        return self.look_for(video, self.targets([query]), 0, top_k=top_k)

    def targets(self, queries: Sequence[TextFeatures]) -> Targets:
        """Turn queries into directions and classes that can be looked for in many videos."""
        directions = self.background.direction(np.stack([query.pooled for query in queries]))
        meant = None
        if self._classes is not None:
            meant = np.stack([self._classes.meant(query.pooled, query.sentence) for query in queries])
        return Targets(directions, meant)

    def look_for(self, video: EncodedVideo, targets: Targets, place: int, *, top_k: int) -> Findings:
        """Find where the video deviates towards the target at an index."""
        judged, shares = self._judged(video)
        log_share = np.zeros(len(judged.rows))
        if targets.meant is not None and shares is not None:
            log_share = shares.log_share(targets.meant[place])
        return look(
            judged,
            targets.directions[place],
            log_share,
            self._calibration,
            clip_length_s=self.clip_length_s,
            top_k=top_k,
        )

    def shown(self, video: EncodedVideo, targets: Targets) -> NDArray[np.float64]:
        """Return (Q,) log-odds that the video shows each target, from its best clips and its mean."""
        judged, shares = self._judged(video)
        deviations = judged.rows @ targets.directions.T.astype(np.float32) / judged.spread  # (N, Q)
        log_shares = np.zeros((1, len(targets.directions)))
        if targets.meant is not None and shares is not None:
            log_shares = np.stack([shares.log_share(meant) for meant in targets.meant], axis=1)  # (N, Q)
        return self._calibration.log_odds(
            judged.standing(best_levels(deviations, judged.best_clips)),
            judged.usual_standing(deviations.mean(axis=0)),
            best_levels(log_shares, judged.best_clips),
        )

    def _judged(self, video: EncodedVideo) -> tuple[Judged, Shares | None]:
        """Measure a video against the background and the classes; the result is kept for the next query."""
        if self._last is not None and self._last[0]() is video:
            return self._last[1]
        judged = judge(video.features[self.features[0]], self.background, self.clip_length_s)
        shares = None if self._classes is None else recognised_classes(judged.rows, self._classes)
        self._last = (weakref.ref(video), (judged, shares))
        return judged, shares

    @cached_property
    def _classes(self) -> Classes | None:
        """The classes that the encoder of frames distinguishes; None if it is not a classifier."""
        feature = find_feature(self.features[0])
        if feature is None or feature.class_embeddings is None:
            return None
        words = {} if feature.class_words is None else imported(feature.class_words)()
        return Classes(unit_rows(imported(feature.class_embeddings)()), words)

    @cached_property
    def background(self) -> Background:
        """The background that every clip is compared with."""
        return make_background(self._embed_phrases(background_phrases()))


@dataclass(frozen=True)
class Targets:
    """Queries in the form that the model looks for.

    Attributes:
        directions: (Q, E) from the background.
        meant: (Q, C) the degree to which a query means each class; None if the encoder has no classes.
    """

    directions: NDArray[np.float64]
    meant: NDArray[np.float64] | None


@dataclass(frozen=True)
class Findings:
    """The spans in which a video deviates towards a query, with levels as returned by `Judged`.

    Attributes:
        spans: K spans, best first.
        best: (K,) level of the best clips of each span.
        usual: (K,) mean level around each span.
        log_share: (K,) log share of the classes that the query means, 0 if the encoder has no classes.
        odds: (N,) log-odds of each clip, smoothed.
    """

    spans: tuple[Span, ...]
    best: NDArray[np.float64]
    usual: NDArray[np.float64]
    log_share: NDArray[np.float64]
    odds: NDArray[np.float64]


def look(
    video: Judged,
    direction: Array,
    log_share: Array,
    calibration: Calibration,
    *,
    clip_length_s: float,
    top_k: int,
) -> Findings:
    """Look for a query in a video.

    Args:
        video: N clips.
        direction: (E,) of the query, from the background that the video was measured against.
        log_share: (N,) log share, in each clip, of the classes that the query means.
        calibration: of the feature; a clip whose own evidence is clear always belongs to a moment.
        clip_length_s: seconds per clip.
        top_k: maximum number of spans.
    """
    raw = video.deviations(direction)
    curve, shares = video.smooth(raw), video.smooth(log_share)
    usual = video.usual_standing(mean_around(raw, math.ceil(AROUND_S / clip_length_s)))
    odds = calibration.log_odds(video.standing(curve), usual, shares)
    clear = video.deviation(calibration.clear_level(usual, shares))
    found = find_spans(curve, odds, clip_length_s=clip_length_s, top_k=top_k, clear=clear)
    clips = [slice(part.start, part.end) for part in found]
    best = video.standing(np.array([best_level(raw[part], video.best_clips) for part in clips]))
    around = np.array([usual[part].mean() for part in clips])
    meant = np.array([best_level(log_share[part], video.best_clips) for part in clips])
    order = np.argsort(-calibration.log_odds(best, around, meant), kind="stable")
    return Findings(tuple(found[place] for place in order), best[order], around[order], meant[order], odds)


def find_moments(
    saliency: Array, *, clip_length_s: float, duration_s: float, top_k: int = 10
) -> NDArray[np.float64]:
    """Find the spans that stand out in a saliency curve when only the curve is known.

    Args:
        saliency: (N,) in [0, 1].
        clip_length_s: seconds per clip.
        duration_s: length of the video in seconds; no moment ends later.
        top_k: maximum number of moments.

    Returns:
        (K, 3) start in seconds, end in seconds, score in [0, 1]; best first, K <= top_k. A score is the mean of a
        span's best seconds.
    """
    inside = np.clip(saliency, 1e-6, 1 - 1e-6)
    log_odds = np.log(inside / (1 - inside))
    found = find_spans(log_odds, log_odds, clip_length_s=clip_length_s, top_k=top_k, clear=0.0)
    clips = max(round(BEST_S / clip_length_s), 1)
    scores = np.array([best_level(saliency[part.start : part.end], clips) for part in found])
    rows = _rows(found, scores, clip_length_s, duration_s)
    return rows[np.argsort(-scores, kind="stable")]


def _rows(
    spans: Sequence[Span], scores: Array, clip_length_s: float, duration_s: float
) -> NDArray[np.float64]:
    """Return (K, 3) start and end in seconds, score."""
    clips = np.array([(part.start, part.end) for part in spans], dtype=np.float64).reshape(-1, 2)
    bounds_s = np.minimum(clips * clip_length_s, duration_s)
    rows: NDArray[np.float64] = np.concatenate([bounds_s, np.asarray(scores)[:, None]], axis=1)
    return rows
