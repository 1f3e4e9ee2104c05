"""The input and output of a model: encoded videos in, moments and saliency out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.features import TextFeatures
from extractors.places import Place
from extractors.videos.facts import VideoFacts

Answer = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]
"""Moments (K, 3) as start in seconds, end in seconds, score, best first; and saliency (N,)."""


@dataclass(frozen=True)
class EncodedVideo:
    """A video as a model reads it.

    Attributes:
        path: the file, or the object in object storage.
        duration_s: its length in seconds.
        features: (N, dim) float32 by feature name, one row per clip.
        facts: facts about the video that were found while decoding it.
    """

    path: Place
    duration_s: float
    features: Mapping[str, NDArray[np.float32]]
    facts: VideoFacts = VideoFacts()


class GroundingModel(Protocol):
    """A model that turns encoded videos and queries into moments."""

    @property
    def name(self) -> str:
        """Its name in results."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """The video features it reads, in order."""
        ...

    @property
    def clip_length_s(self) -> float:
        """Seconds per clip of those features."""
        ...

    @property
    def clear_from(self) -> float | None:
        """Score from which a moment clearly matches; None if scores only rank moments."""
        ...

    def blind_spot(self, query: str) -> str | None:
        """Return what the query asks for that the features cannot capture; None if this is not known."""
        ...

    def answer(
        self, videos: Sequence[EncodedVideo], queries: Sequence[TextFeatures], *, top_k: int
    ) -> list[Answer]:
        """Ground queries in videos, pair by pair; a single video or query is paired with all others.

        Returns:
            one answer per pair, in order.
        """
        ...
