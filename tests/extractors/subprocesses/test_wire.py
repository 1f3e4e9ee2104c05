"""Dataclasses through pipes, checked against their annotations."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import TypeAliasType

from extractors.subprocesses import wire

_Scalar = TypeVar("_Scalar", bound=np.generic)
# What `NDArray` is since NumPy 2.5, which needs Python 3.12.
Rows = TypeAliasType("Rows", np.ndarray[Any, np.dtype[_Scalar]], type_params=(_Scalar,))


@dataclass(frozen=True)
class Pair:
    """Two arrays, annotated in both ways."""

    pixels: NDArray[np.uint8]
    counts: Rows[np.int64]


def _through_a_pipe(pair: Pair) -> Pair:
    pipe = io.BytesIO()
    wire.send(pipe, pair)
    pipe.seek(0)
    received = wire.receive(pipe, [Pair], is_trusted=False)
    assert isinstance(received, Pair)
    return received


def test_arrays_of_annotated_types_arrive() -> None:
    sent = Pair(np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(4, dtype=np.int64))
    received = _through_a_pipe(sent)
    np.testing.assert_array_equal(received.pixels, sent.pixels)
    np.testing.assert_array_equal(received.counts, sent.counts)


def test_an_array_of_another_type_is_refused() -> None:
    rows = np.arange(4, dtype=np.int64)
    for pair in (Pair(rows, rows), Pair(rows.astype(np.uint8), rows.astype(np.uint8))):  # type: ignore[arg-type]
        with pytest.raises(wire.Nonsense):
            _through_a_pipe(pair)
