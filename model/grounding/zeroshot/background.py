"""The background that every clip is compared with: everyday phrases, and the directions of text space they span.

A clip's raw similarity to a query means little: some frames are close to every sentence, and much of a query's vector
is common to all sentences, or noise of the text encoder. So the mean of the phrases is subtracted from the query, and
the difference is filtered. Directions along which the phrases vary pass, the others are damped, as in ridge regression
of a clip's similarity to the query on its similarity to the phrases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Of the mean variance of the phrases in a direction that they span: how much a direction needs for half of it to pass.
_HALF_PASS = 0.5


@cache
def background_phrases() -> tuple[str, ...]:
    """The everyday phrases every clip is compared with."""
    text = (files(__package__) / "background_phrases.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


@dataclass(frozen=True)
class Background:
    """Phrases as directions in the space of clips and sentences.

    Attributes:
        mean: (E,) of the phrases' unit rows.
        directions: (R, E) orthonormal rows that span the phrases' differences from it.
        gains: (R,) how much of each direction passes, in (0, 1).
        phrases: (M, E) the phrases as `direction` gives them.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    gains: NDArray[np.float64]
    phrases: NDArray[np.float64]

    def direction(self, query: Array) -> NDArray[np.float64]:
        """The direction in which rows that match a query lie.

        Args:
            query: (E,) or (M, E) in the space of the phrases.

        Returns:
            of the same shape, scaled so that what the filter leaves of the query has length 1.

        Raises:
            ValueError: if the query is of another space.
        """
        if query.shape[-1] != len(self.mean):
            raise ValueError(
                f"rows of different spaces: query {query.shape[-1]}, background {len(self.mean)}"
            )
        return _filtered(unit_rows(query) - self.mean, self.directions, self.gains)


def make_background(rows: Array) -> Background:
    """Prepare phrases.

    Args:
        rows: (M, E), M > 1.
    """
    unit = unit_rows(rows)
    mean = unit.mean(axis=0)
    _, strengths, directions = np.linalg.svd(unit - mean, full_matrices=False)
    # The differences of M phrases from their mean span M - 1 directions.
    rank = max(int((strengths > 1e-6 * strengths.max(initial=0)).sum()), 1)
    variance, directions = strengths[:rank] ** 2 + 1e-12, directions[:rank]
    gains = variance / (variance + _HALF_PASS * variance.mean())
    return Background(mean, directions, gains, _filtered(unit - mean, directions, gains))


def unit_rows(rows: Array) -> NDArray[np.float64]:
    """Rows (..., E) scaled to length 1; rows of zeros stay."""
    rows = rows.astype(np.float64)
    unit: NDArray[np.float64] = rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + 1e-8)
    return unit


def _filtered(rows: Array, directions: Array, gains: Array) -> NDArray[np.float64]:
    along = rows @ directions.T  # (..., R)
    length = np.sqrt((gains * along**2).sum(axis=-1, keepdims=True)) + 1e-8
    filtered: NDArray[np.float64] = (gains * along / length) @ directions
    return filtered
