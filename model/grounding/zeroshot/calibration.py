"""Calibration: turns levels of evidence into the probability that a moment matches the query."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.files.toml import packaged_table

Array = NDArray[np.floating[Any]]

CLEAR = 0.72
"""Probability from which a query counts as found; about 5 % of the absent ones in the fit data reach it."""


@dataclass(frozen=True)
class Calibration:
    """A logistic curve, fitted for one kind of features.

    Attributes:
        best: log-odds per standard deviation of the level of the best clips.
        usual: log-odds per standard deviation of the mean level around the moment.
        share: log-odds per unit of the logarithm of the share of the classes that the query means.
        offset: log-odds where all inputs are 0.
    """

    best: float
    usual: float
    share: float
    offset: float

    def log_odds(self, best: Array, usual: Array, log_share: Array) -> NDArray[np.float64]:
        """Return log-odds in the shape of the levels."""
        odds: NDArray[np.float64] = (
            self.best * best + self.usual * usual + self.share * log_share + self.offset
        )
        return odds

    def clear_level(self, usual: Array, log_share: Array) -> NDArray[np.float64]:
        """Return the level of the best clips for the probability `CLEAR`, in the shape of the inputs."""
        clear = math.log(CLEAR / (1 - CLEAR))
        level: NDArray[np.float64] = (
            clear - self.usual * usual - self.share * log_share - self.offset
        ) / self.best
        return level


@cache
def calibration(feature: str) -> Calibration:
    """Return the calibration of a feature; the default one for features that have none."""
    tables = packaged_table(__package__, "calibration.toml")
    return Calibration(**tables.get(feature, tables[tables["default"]]))


def logistic(log_odds: Array) -> NDArray[np.float64]:
    """Return probabilities for log-odds of any shape."""
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(log_odds, -50, 50)))
    return probability
