"""The background that clips are compared with: everyday phrases and the directions they span in text space.

The raw similarity of a clip to a query means little: some frames are close to every sentence, and much of a
query's vector is shared by all sentences or is noise of the text encoder. So the mean of the phrases is
subtracted from the query, and the difference is filtered: directions along which the phrases vary pass, and
the others are damped, as in ridge regression of a clip's similarity to the query on its similarity to the
phrases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Variance at which half of a direction passes, relative to the mean over all directions that phrases span.
_HALF_PASS = 0.5


@cache
def background_phrases() -> tuple[str, ...]:
    """Return the everyday phrases that every clip is compared with."""
    text = (files(__package__) / "background_phrases.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


@dataclass(frozen=True)
class Background:
    """Phrases as directions in the space of clips and sentences.

    Attributes:
        mean: (E,) mean of the phrases' unit rows.
        directions: (R, E) orthonormal rows that span the phrases' differences from the mean.
        gains: (R,) share of each direction that passes, in (0, 1).
        phrases: (M, E) the phrases as `direction` returns them.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    gains: NDArray[np.float64]
    phrases: NDArray[np.float64]

    def direction(self, query: Array) -> NDArray[np.float64]:
        """Return the direction in which rows that match a query lie.

        Args:
            query: (E,) or (M, E) in the space of the phrases.

        Returns:
            the same shape, scaled so that the filtered query has length 1.

        Raises:
            ValueError: if the query is from a space of another width.
        """
        if query.shape[-1] != len(self.mean):
            raise ValueError(
                f"rows of different spaces: query {query.shape[-1]}, background {len(self.mean)}"
            )
        return _filtered(unit_rows(query) - self.mean, self.directions, self.gains)


def make_background(rows: Array) -> Background:
    """Make the background from phrases.

    Args:
        rows: (M, E) rows of the phrases, M > 1.
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
    """Scale rows (..., E) to length 1; rows of zeros stay zero."""
    rows = rows.astype(np.float64)
    unit: NDArray[np.float64] = rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + 1e-8)
    return unit


def _filtered(rows: Array, directions: Array, gains: Array) -> NDArray[np.float64]:
    along = rows @ directions.T  # (..., R)
    length = np.sqrt((gains * along**2).sum(axis=-1, keepdims=True)) + 1e-8
    filtered: NDArray[np.float64] = (gains * along / length) @ directions
    return filtered
