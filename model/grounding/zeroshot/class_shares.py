"""Whether a classifier saw what the query asks for.

An encoder that places frames among the names of classes puts a dog near "a horse" too, because animals lie close
together. Yet its rows are means of the names' rows, weighted by the classes' probabilities, so those can be found
again: they are the weights, none negative, whose mean lies nearest to the row. The evidence is the share of the
probability that goes to classes that the query means: those it names (`model.grounding.zeroshot.class_words`), or
else those whose names are most similar to it.
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

_MEANT = 0.05  # how much less similar to the query than the most similar class a class may be
_RELATED = 0.5  # similarity below which a class is not what a query means, though none is more similar
_SOFT = 0.02
_STEPS = 100  # of the descent: weights are then off by a third in all, and twice as many halve that
_BLOCK = 64  # clips at once: their weights stay in a CPU's cache
_KEPT = 64  # classes kept of a clip
_LEAST = 0.01  # smaller shares are mostly what the descent is off by


@dataclass(frozen=True)
class Classes:
    """What an encoder can tell apart.

    Attributes:
        rows: (C, E) of length 1, in the space of clips and sentences.
        words: the classes of each word that people ask for, as `named_classes` reads them.
    """

    rows: NDArray[np.float64]
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def meant(self, query: Array, sentence: str = "") -> NDArray[np.float64]:
        """(C,) how far each class is what a query asks for, in [0, 1].

        Args:
            query: (E,) its row.
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
        """(C, C) of the classes to each other."""
        rows = self.rows.astype(np.float32)
        return rows @ rows.T


@dataclass(frozen=True)
class Shares:
    """The likeliest classes of clips.

    Attributes:
        places: (N, K) their indices.
        shares: (N, K) of each, at most 1 in all.
    """

    places: NDArray[np.intp]
    shares: NDArray[np.float64]

    def log_share(self, meant: Array) -> NDArray[np.float64]:
        """(N,) logarithm of the share of the classes that are meant (C,), at least that of 1 in 100."""
        share: NDArray[np.float64] = np.log((self.shares * meant[self.places]).sum(axis=1) + _LEAST)
        return share


def recognised_classes(rows: Array, classes: Classes) -> Shares:
    """Find the classes whose mean the rows of clips (N, E) of length 1 are.

    Source: non-negative least squares by coordinate descent, the coordinate that changes most first.
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
    """(B, C) weights, from the similarities (B, C) of rows to classes, which are used up."""
    weights = np.zeros_like(missing)
    clips = np.arange(len(missing))
    for _ in range(_STEPS):
        change = np.maximum(missing, -weights)
        best = np.abs(change).argmax(axis=1)
        change = change[clips, best]
        weights[clips, best] += change
        missing -= change[:, None] * similarities[best]
    return weights
