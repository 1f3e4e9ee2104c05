"""Whether another class of the encoder explains a clip better than the query does.

An encoder that places frames among the names of classes puts a dog near "a horse" too, because animals lie close
together. The nearest class names still show which class it recognised: if a clip shows the query, a good share of its
nearest classes are among those that the query means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.grounding.zeroshot.background import unit_rows

Array = NDArray[np.floating[Any]]

_TEMPERATURE = 0.05  # of similarities; a class that is .05 further away has a third of the share
_MEANT = 0.05  # how much less similar to the query than the most similar class a class may be
_RELATED = 0.5  # similarity below which a class is not what a query means, though none is more similar
_SOFT = 0.02
_BLOCK = 4096  # clips at once: the weights of all classes take a GB for 100,000 clips
_NEAREST = 32  # classes kept of a clip
_LEAST = 1e-4


@dataclass(frozen=True)
class Classes:
    """What an encoder can tell apart.

    Attributes:
        rows: (C, E) of length 1, in the space of clips and sentences.
    """

    rows: NDArray[np.float64]

    def meant(self, query: Array) -> NDArray[np.float64]:
        """(C,) how far each class is what a query (E,) asks for, in [0, 1]."""
        similarity = self.rows @ unit_rows(query)
        least = max(similarity.max() - _MEANT, _RELATED)
        meant: NDArray[np.float64] = 1 / (1 + np.exp((least - similarity) / _SOFT))
        return meant


@dataclass(frozen=True)
class Shares:
    """The nearest classes of clips.

    Attributes:
        places: (N, K) their indices.
        shares: (N, K) of each, at most 1 in all.
    """

    places: NDArray[np.intp]
    shares: NDArray[np.float64]

    def log_share(self, meant: Array) -> NDArray[np.float64]:
        """(N,) logarithm of the share of the classes that are meant (C,), at least that of 1 in 10,000."""
        share: NDArray[np.float64] = np.log((self.shares * meant[self.places]).sum(axis=1) + _LEAST)
        return share


def nearest_classes(rows: Array, classes: Classes) -> Shares:
    """Find the nearest classes of clips (N, E) of length 1."""
    kept = min(_NEAREST, len(classes.rows))
    places = np.empty((len(rows), kept), dtype=np.intp)
    shares = np.empty((len(rows), kept))
    columns = classes.rows.T.astype(rows.dtype)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        similarity = rows[block] @ columns  # (B, C)
        weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / _TEMPERATURE)
        places[block] = np.argpartition(-weights, kept - 1, axis=1)[:, :kept]
        nearest = np.take_along_axis(weights, places[block], axis=1)
        shares[block] = nearest / weights.sum(axis=1, keepdims=True)
    return Shares(places, shares)
