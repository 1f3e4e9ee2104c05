"""What encoders can do besides `encode`: load early, and accept a batch while the previous one is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class FutureRows(Protocol):
    """Rows of a batch that may not be ready yet."""

    @property
    def is_ready(self) -> bool:
        """Whether `rows` would return at once."""
        ...

    def rows(self) -> NDArray[np.float32]:
        """(B, dim) rows, once they are there; can be asked for again."""
        ...


@dataclass(frozen=True)
class ReadyRows:
    """Rows that are there, as `FutureRows`."""

    array: NDArray[np.float32]
    is_ready: bool = True

    def rows(self) -> NDArray[np.float32]:
        """(B, dim) rows."""
        return self.array


@runtime_checkable
class LoadableEncoder(Protocol):
    """A `VideoEncoder` that otherwise loads its network at the first clip."""

    def load(self) -> None:
        """Load the network, if that has not been done; raises what `encode` would."""
        ...


@runtime_checkable
class OverlappingEncoder(Protocol):
    """A `VideoEncoder` that accepts its next batch while it computes the previous one."""

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
        """Start encoding a batch, given as arrays of clips to be joined, of at most `batch_size` clips."""
        ...
