"""Stage one of a search: the videos whose segments are closest to a query, by their vectors alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from extractors.encoders.registry import find_feature
from extractors.errors import UsageError
from extractors.extraction.queries import encode_queries, pooled_phrases
from extractors.features import FeatureSpec
from model.grounding.grounder import Grounder
from model.grounding.zeroshot.background import Background, background_phrases, make_background
from model.grounding.zeroshot.method import ZeroShot
from model.search.storage.catalogue import Entries
from model.search.vectors.vector_index import VectorIndex

_SEGMENTS_A_VIDEO = 8  # asked for at first; a video whose every segment is close takes more
_SCALE = 0.1  # of similarities: a segment that is this much less similar is a third of the evidence


@dataclass(frozen=True)
class Candidate:
    """A video that may answer a query.

    Attributes:
        content_id: in the catalogue.
        evidence: how close its best segment comes to the query's best one of all, in (0, 1].
    """

    content_id: int
    evidence: float


class QueryDirections:
    """Where in the space of the segments the vectors lie that match a query: as zero-shot grounding looks at it.

    Args:
        grounder: one of whose features can be compared with text.

    Attributes:
        spec: of that feature.

    Raises:
        UsageError: if there is none.
    """

    def __init__(self, grounder: Grounder) -> None:
        self._grounder = grounder
        found = aligned_spec(grounder)
        if found is None:
            names = ", ".join(encoder.spec.name for encoder in grounder.video_encoders)
            raise UsageError(
                f"{grounder.model.name} reads {names} features, which cannot be compared with text, so a library "
                "cannot be searched with it; add clip or lite features: vtg index add --features clip"
            )
        self.spec = found

    def of(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """(Q, E), a direction for each query."""
        texts = encode_queries(queries, self._grounder.text_encoder, self._grounder.cache)
        return self._background.direction(np.stack([text.pooled for text in texts])).astype(np.float32)

    @cached_property
    def _background(self) -> Background:
        model = self._grounder.model
        if isinstance(model, ZeroShot):
            return model.background
        return make_background(
            pooled_phrases(background_phrases(), self._grounder.text_encoder, self._grounder.cache)
        )


def aligned_spec(grounder: Grounder) -> FeatureSpec | None:
    """The spec of the feature whose rows can be compared with the queries of a grounder; None if there is none."""
    for spec in (encoder.spec for encoder in grounder.video_encoders):
        feature = find_feature(spec.name)
        if feature is not None and feature.aligned_with_text and spec.name == grounder.text_encoder.spec.name:
            return spec
    return None


def find_candidates(
    vectors: VectorIndex,
    entries: Entries,
    directions: NDArray[np.float32],
    *,
    most: int,
    wanted: NDArray[np.bool_] | None = None,
) -> list[list[Candidate]]:
    """Find the likeliest videos for each query.

    Args:
        vectors: of the segments.
        entries: whose they are.
        directions: (Q, E).
        most: how many videos at most for each query.
        wanted: (C,) which contents of the entries are searched; all if None.

    Returns:
        for each query, best first.
    """
    within = None if wanted is None else entries.ids(wanted)
    counts = entries.counts if wanted is None else entries.counts[wanted]
    there = int(counts.sum())
    most = min(most, int((counts > 0).sum()))
    asked = min(_SEGMENTS_A_VIDEO * most, there)
    found: list[dict[int, float]] = [{} for _ in directions]
    while asked:
        scores, ids = vectors.search(directions, asked, within)
        contents = entries.contents_of(ids)
        found = [_best_of_each(*pair) for pair in zip(contents, scores, strict=True)]
        if asked >= there or all(len(videos) >= most for videos in found):
            break
        asked = min(4 * asked, there)
    return [_candidates(videos, most) for videos in found]


def _best_of_each(contents: NDArray[np.int64], scores: NDArray[np.float32]) -> dict[int, float]:
    """The best score of each content, in falling order, as the scores are."""
    known = contents >= 0
    kept, first = np.unique(contents[known], return_index=True)
    order = np.argsort(first)
    return dict(zip(kept[order].tolist(), scores[known][first[order]].tolist(), strict=True))


def _candidates(videos: dict[int, float], most: int) -> list[Candidate]:
    best = max(videos.values(), default=0.0)
    return [
        Candidate(content_id, math.exp((score - best) / _SCALE))
        for content_id, score in list(videos.items())[:most]
    ]
