"""Score how well passages match a query, in [0, 1], by its words and by its meaning.

A passage that contains the query word for word scores 1. Otherwise two kinds of evidence are combined as if
they were independent: the share of the query's words that the passage has, and the cosine of their sentence
embeddings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.cues.passages import Passages
from model.cues.words import WordIndex, holds_phrase, is_unspaced

CLEAR_FROM = 0.3
"""Score from which a passage clearly matches; see docs/cues.md."""

_WORDS_WEIGHT = 0.85  # score from words of a passage that has all words of a query, but not in its order
_WITHOUT_MEANING = 0.1  # cosines up to this are common between unrelated sentences
_MOST_SHARED = 0.5  # two answers may share at most this part of the shorter one


def passage_scores(
    query: str, passages: Passages, index: WordIndex, cosines: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Score passages.

    Args:
        query: what is looked for.
        passages: P passages of N cues.
        index: the words of the N cues.
        cosines: (N,), between the embeddings of the query and of each cue.

    Returns:
        (P,) scores.
    """
    found, weights = index.matches(query)
    share = word_share(found, weights, passages.first, passages.last)
    scores = scores_without_phrase(share, passages.first, passages.last, cosines)
    # A passage that lacks one of the words cannot contain the phrase. Without spaces, the words are unknown.
    may_hold = np.full(len(scores), True) if is_unspaced(query) else share > 1 - 1e-9
    for passage in np.flatnonzero(may_hold).tolist():
        if holds_phrase(query, passages.text(passage)):
            scores[passage] = 1.0
    return scores


def scores_without_phrase(
    share: NDArray[np.float64],
    first: NDArray[np.integer],
    last: NDArray[np.integer],
    cosines: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Score passages by their words and their meaning, ignoring whether one contains the query word for word.

    Args:
        share: (P,), from `word_share`.
        first, last: (P,), the first and last cue of each passage.
        cosines: (N,), between the embeddings of the query and of each cue.

    Returns:
        (P,) scores.
    """
    meaning = np.clip((cosines - _WITHOUT_MEANING) / (1 - _WITHOUT_MEANING), 0, 1)
    meaning = np.maximum(meaning[first], meaning[last])
    scores: NDArray[np.float64] = 1 - (1 - _WORDS_WEIGHT * share**2) * (1 - meaning)
    return scores


def word_share(
    found: NDArray[np.bool_],
    weights: NDArray[np.float64],
    first: NDArray[np.integer],
    last: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Return the share of the words of a query that each passage has.

    Args:
        found: (W, N), whether cue n has word w.
        weights: (W,) weights of the words.
        first, last: (P,), the first and last cue of each passage.

    Returns:
        (P,) in [0, 1].
    """
    share: NDArray[np.float64] = weights @ (found[:, first] | found[:, last])
    return share


def best_passages(
    scores: NDArray[np.float64], passages: Passages, *, most: int, least: float = 0.0
) -> list[int]:
    """Choose the passages that are the answer, best first.

    Of passages that overlap in time, only the best is chosen; of equally good ones, the shortest.

    Args:
        scores: (P,).
        passages: P passages.
        most: maximum number of passages.
        least: passages with a lower score are not a match.
    """
    lengths_s = passages.end_s - passages.start_s
    ranked = np.lexsort((passages.start_s, lengths_s, -scores.round(6)))
    kept: list[int] = []
    for passage in ranked[scores[ranked] >= least].tolist():
        common_s = np.minimum(passages.end_s[passage], passages.end_s[kept]) - np.maximum(
            passages.start_s[passage], passages.start_s[kept]
        )
        if (common_s <= _MOST_SHARED * np.minimum(lengths_s[passage], lengths_s[kept])).all():
            kept.append(passage)
        if len(kept) == most:
            break
    return kept


def curve(
    scores: NDArray[np.float64], passages: Passages, *, duration_s: float, clip_length_s: float
) -> NDArray[np.float64]:
    """Return (clips,) the best score of the cues in each clip of a video; 0 for clips without cues.

    Args:
        scores: (P,); only those of single cues are used.
        passages: P passages of N cues, with single cues first.
        duration_s: length of the video in seconds.
        clip_length_s: seconds per clip.
    """
    clips = np.zeros(max(int(np.ceil(duration_s / clip_length_s - 1e-9)), 1))
    count = len(passages.cues)
    first = np.clip((passages.start_s[:count] / clip_length_s + 1e-9).astype(np.int64), 0, len(clips) - 1)
    last = np.ceil(passages.end_s[:count] / clip_length_s - 1e-9).astype(np.int64)
    lengths = np.clip(last - first, 1, len(clips) - first)
    longest_first = np.argsort(-lengths, kind="stable")
    first, lengths, scores = first[longest_first], lengths[longest_first], scores[longest_first]
    # Handles the first clip of all cues, then the second clip of those that have two, and so on.
    for offset in range(int(lengths.max(initial=0))):
        longer = int(np.searchsorted(-lengths, -offset))
        np.maximum.at(clips, first[:longer] + offset, scores[:longer])
    return clips
