"""Rows of unequal length, against nested lists."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.model.metrics.brute_force import ragged

lists = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=6)


def nested(rows):
    return [row[:length].tolist() for row, length in zip(rows.padded(-1), rows.lengths, strict=True)]


@given(lists)
def test_padding_keeps_every_entry(rows):
    whole = ragged(rows)
    assert nested(whole) == rows
    assert whole.padded(-1).shape == (len(rows), max(map(len, rows)))
    assert whole.padded(-1, length=2).tolist() == [[*row, -1, -1][:2] for row in rows]


@given(lists)
def test_entries_know_their_row_and_place(rows):
    whole = ragged(rows)
    expected = [(i, j) for i, row in enumerate(rows) for j in range(len(row))]
    assert list(zip(whole.row.tolist(), whole.position.tolist(), strict=True)) == expected


@given(lists, st.data())
def test_rows_and_entries_are_chosen_as_from_lists(rows, data):
    whole = ragged(rows)
    picks = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    assert nested(whole.take(np.array(picks, dtype=np.intp))) == [rows[pick] for pick in picks]
    assert nested(whole.where(whole.values > 4)) == [[entry for entry in row if entry > 4] for row in rows]
