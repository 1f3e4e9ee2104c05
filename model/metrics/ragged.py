"""Rows of unequal length in one array, and their padded form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """Rows laid end to end.

    Attributes:
        values: (N, ...) the entries of all rows.
        lengths: (R,) entries of each row, adding up to N.
    """

    values: NDArray[Any]
    lengths: NDArray[np.intp]

    @property
    def row(self) -> NDArray[np.intp]:
        """(N,) the row of each entry."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def position(self) -> NDArray[np.intp]:
        """(N,) the place of each entry in its row, from 0."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.values)) - np.repeat(starts, self.lengths)

    def padded(self, fill: float, *, length: int | None = None) -> NDArray[Any]:
        """Stack the rows.

        Args:
            fill: stands where a row has no entry.
            length: entries a row; longer rows are cut. None: those of the longest row.

        Returns:
            (R, length, ...).
        """
        if length is None:
            length = int(self.lengths.max(initial=0))
        stacked = np.full((len(self.lengths), length, *self.values.shape[1:]), fill, self.values.dtype)
        row, position = self.row, self.position
        inside = position < length
        stacked[row[inside], position[inside]] = self.values[inside]
        return stacked

    def where(self, kept: NDArray[np.bool_]) -> Ragged:
        """Drop entries; kept: (N,). No row goes, some may end up empty."""
        return Ragged(self.values[kept], np.bincount(self.row[kept], minlength=len(self.lengths)))

    def take(self, rows: NDArray[np.intp]) -> Ragged:
        """Choose rows, in the order given."""
        lengths = self.lengths[rows]
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        chosen = Ragged(np.repeat(starts, lengths), lengths)  # where the row of each entry starts
        return Ragged(self.values[chosen.values + chosen.position], lengths)
