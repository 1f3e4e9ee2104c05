"""Runs of clips that look alike."""

from __future__ import annotations

import numpy as np

from model.search.storage.segments import segment_vectors

EYE = np.eye(4, dtype=np.float32)


def test_runs_are_joined():
    rows = EYE[[0, 0, 0, 1, 1, 2]] * np.array([[1], [2], [3], [1], [1], [1]], np.float32)
    np.testing.assert_allclose(segment_vectors(rows, 1.0), EYE[[0, 1, 2]], atol=1e-6)


def test_long_runs_are_divided():
    assert len(segment_vectors(np.tile(EYE[:1], (10, 1)), 1.0)) == 3
    assert len(segment_vectors(np.tile(EYE[:1], (10, 1)), 2.0)) == 5
    assert len(segment_vectors(np.tile(EYE[:1], (10, 1)), 8.0)) == 10


def test_slow_changes_are_divided():
    angle = np.linspace(0, np.pi / 2, 8)
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    vectors = segment_vectors(rows, 0.5)
    assert 1 < len(vectors) < 8
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_rows_of_zeros_are_left_out():
    assert segment_vectors(np.zeros((3, 4), np.float32), 1.0).shape == (0, 4)
    assert len(segment_vectors(np.stack([EYE[0], np.zeros(4), EYE[0]]), 1.0)) == 1
