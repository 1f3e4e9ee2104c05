"""Evidence from a classifier: the probability that it gave to the classes that the query means.

An encoder that places frames in the space of class names puts a dog near "a horse" too, because animals lie
close together. But its rows are means of the names' rows weighted by the class probabilities, so the
probabilities can be recovered: they are the non-negative weights whose mean is nearest to the row. The
evidence is the total probability of the classes that the query means: those it names
(`model.grounding.zeroshot.class_words`), or else those whose names are most similar to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.grounding.zeroshot.background import unit_rows
from model.grounding.zeroshot.class_words import named_classes

Array = NDArray[np.floating[Any]]

_MEANT = 0.05  # a class may be this much less similar to the query than the most similar class
_RELATED = 0.5  # a class below this similarity is not what a query means, even if none is more similar
_SOFT = 0.02
_STEPS = 100  # of the descent: the weights are then off by a third in total; doubling the steps halves that
_BLOCK = 64  # clips at once, so that their weights stay in a CPU's cache
_KEPT = 64  # classes kept per clip
_LEAST = 0.01  # smaller shares are mostly the error of the descent


@dataclass(frozen=True)
class Classes:
    """The classes that an encoder distinguishes.

    Attributes:
        rows: (C, E) of length 1, in the space of clips and sentences.
        words: the classes for each word that users ask for, as `named_classes` reads them.
    """

    rows: NDArray[np.float64]
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def meant(self, query: Array, sentence: str = "") -> NDArray[np.float64]:
        """Return (C,) the degree to which the query means each class, in [0, 1].

        Args:
            query: (E,) row of the query.
            sentence: its words, if they are known.
        """
        named = named_classes(sentence, self.words)
        if named:
            return np.isin(np.arange(len(self.rows)), named).astype(np.float64)
        similarity = self.rows @ unit_rows(query)
        least = max(similarity.max() - _MEANT, _RELATED)
        meant: NDArray[np.float64] = 1 / (1 + np.exp((least - similarity) / _SOFT))
        return meant

    @cached_property
    def similarities(self) -> NDArray[np.float32]:
        """(C, C) similarities between the classes."""
        rows = self.rows.astype(np.float32)
        return rows @ rows.T


@dataclass(frozen=True)
class Shares:
    """The most likely classes of clips.

    Attributes:
        places: (N, K) indices of the classes.
        shares: (N, K) share of each class; they sum to at most 1 per clip.
    """

    places: NDArray[np.intp]
    shares: NDArray[np.float64]

    def log_share(self, meant: Array) -> NDArray[np.float64]:
        """Return (N,) the logarithm of the share of the meant classes (C,), with 0.01 added as a floor."""
        share: NDArray[np.float64] = np.log((self.shares * meant[self.places]).sum(axis=1) + _LEAST)
        return share


def recognised_classes(rows: Array, classes: Classes) -> Shares:
    """Decompose the rows of clips (N, E) of length 1 into means of classes.

    Method: non-negative least squares by coordinate descent, the coordinate that changes most first.
    """
    kept = min(_KEPT, len(classes.rows))
    places = np.empty((len(rows), kept), dtype=np.intp)
    shares = np.empty((len(rows), kept))
    columns = classes.rows.T.astype(np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        weights = _weights(rows[block].astype(np.float32) @ columns, classes.similarities)
        places[block] = np.argpartition(-weights, kept - 1, axis=1)[:, :kept]
        likeliest = np.take_along_axis(weights, places[block], axis=1)
        shares[block] = likeliest / (weights.sum(axis=1, keepdims=True) + 1e-8)
    return Shares(places, shares)


def _weights(missing: NDArray[np.float32], similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (B, C) weights from the similarities (B, C) of rows to classes, which are overwritten."""
    weights = np.zeros_like(missing)
    clips = np.arange(len(missing))
    for _ in range(_STEPS):
        change = np.maximum(missing, -weights)
        best = np.abs(change).argmax(axis=1)
        change = change[clips, best]
        weights[clips, best] += change
        missing -= change[:, None] * similarities[best]
    return weights
