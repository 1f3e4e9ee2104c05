from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extractors.errors import UsageError
from model.search import vectors
from model.search.vector_files import MANIFEST, VectorIndexError, VectorsDamaged
from model.search.vectors import VectorIndex

DIM = 24


def unit_rows(count, seed=0, dim=DIM):
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def exact(ids, rows, queries, top_k):
    """The same search in plain numpy."""
    scores = queries.astype(np.float32) @ rows.astype(np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(scores, order, axis=1), ids[order]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "vectors"


@pytest.fixture
def filled(folder):
    index = VectorIndex.open(folder, DIM)
    index.add(np.arange(500), unit_rows(500))
    index.save()
    return index


def test_search_equals_numpy(folder):
    rows, ids = unit_rows(40_000), np.random.default_rng(1).permutation(80_000)[:40_000]
    queries = unit_rows(7, seed=2).astype(np.float32)
    index = VectorIndex.open(folder, DIM)
    for start in range(0, 40_000, 9_000):
        index.add(ids[start : start + 9_000], rows[start : start + 9_000])
    expected = exact(ids, rows, queries, 20)
    for state in (index, index.save() or index, VectorIndex.open(folder, DIM)):
        scores, found = state.search(queries, 20)
        np.testing.assert_allclose(scores, expected[0], atol=1e-6)
        assert (found == expected[1]).mean() > 0.99  # ties may change places


def test_within_limits_the_search(filled):
    rows, chosen = unit_rows(500), np.array([3, 7, 7, 400, 99_999, -5])
    scores, ids = filled.search(rows[:2], 5, within=chosen)
    expected = exact(np.array([3, 7, 400]), rows[[3, 7, 400]], rows[:2], 3)
    np.testing.assert_allclose(scores[:, :3], expected[0], atol=1e-6)
    assert ids[:, :3].tolist() == expected[1].tolist()
    assert (ids[:, 3:] == -1).all()
    assert (scores[:, 3:] == -np.inf).all()


def test_nothing_within(filled):
    assert (filled.search(unit_rows(2), 3, within=np.array([], dtype=np.int64))[1] == -1).all()


def test_empty_index(folder):
    index = VectorIndex.open(folder, DIM)
    index.save()
    assert len(index) == 0
    assert index.ids.tolist() == []
    assert (index.search(unit_rows(2), 3)[1] == -1).all()
    assert index.search(unit_rows(2)[:0], 3)[1].shape == (0, 3)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sets(st.integers(0, 60), max_size=25)),
        st.tuples(st.just("remove"), st.sets(st.integers(0, 60), max_size=25)),
        st.sampled_from([("save", None), ("open", None)]),
    ),
    max_size=14,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_changes(tmp_path_factory, monkeypatch, steps):
    monkeypatch.setattr(vectors, "SEGMENT_ROWS", 16)
    folder = tmp_path_factory.mktemp("vectors")
    rows = unit_rows(61)
    index, now, saved = VectorIndex.open(folder, DIM), set(), set()
    for step, ids in steps:
        if step == "add":
            new = np.array(sorted(ids - now), dtype=np.int64)[::-1]
            index.add(new, rows[new])
            now |= ids
        elif step == "remove":
            index.remove(np.array(list(ids), dtype=np.int64))
            now -= ids
        elif step == "save":
            index.save()
            saved = set(now)
        else:
            index, now = VectorIndex.open(folder, DIM), set(saved)
        assert len(index) == len(now)
        assert index.ids.tolist() == sorted(now)
        scores, found = index.search(rows[:3], 61)
        expected = np.array(sorted(now), dtype=np.int64)
        np.testing.assert_allclose(
            scores[:, : len(now)], exact(expected, rows[expected], rows[:3], 61)[0], atol=1e-6
        )
        assert all(sorted(one[: len(now)].tolist()) == expected.tolist() for one in found)
        assert (found[:, len(now) :] == -1).all()
    VectorIndex.open(folder, DIM).verify()


def test_removal_gives_space_back(filled, folder):
    before = filled.size_bytes
    filled.remove(np.arange(0, 500, 2))
    filled.save()
    assert filled.size_bytes < 0.52 * before
    on_disk = sum(path.stat().st_size for path in folder.iterdir())
    assert on_disk == filled.size_bytes
    filled.remove(np.arange(500))
    filled.save()
    assert [path.name for path in folder.iterdir()] == [MANIFEST]


def test_small_additions_are_merged(folder):
    index = VectorIndex.open(folder, DIM)
    for start in range(0, 300, 3):
        index.add(np.arange(start, start + 3), unit_rows(3, seed=start))
        index.save()
    assert len(VectorIndex.open(folder, DIM)) == 300
    assert len(list(folder.glob("*.rows"))) < 10


@pytest.mark.parametrize(
    ("ids", "rows"),
    [
        (np.array([1000]), np.zeros((1, DIM + 1))),
        (np.array([1000, 1001]), np.zeros((1, DIM))),
        (np.array([1000, 1000]), np.zeros((2, DIM))),
        (np.array([1000, 3]), np.zeros((2, DIM))),
        (np.array([1000]), np.full((1, DIM), np.nan)),
        (np.array([1000]), np.full((1, DIM), 1e6)),
    ],
)
def test_wrong_additions_change_nothing(filled, ids, rows):
    with pytest.raises(ValueError, match=r"ids|vectors|id 3"):
        filled.add(ids, rows)
    assert filled.ids.tolist() == list(range(500))


@pytest.mark.parametrize("query", [np.zeros(DIM), np.zeros((1, DIM - 1)), np.full((1, DIM), np.inf)])
def test_wrong_queries(filled, query):
    with pytest.raises(ValueError, match="queries"):
        filled.search(query, 3)


def test_id_can_return(filled):
    filled.remove(np.array([5]))
    filled.add(np.array([5]), unit_rows(1, seed=9))
    assert filled.search(unit_rows(1, seed=9), 1)[1].tolist() == [[5]]
    filled.save()
    assert filled.search(unit_rows(1, seed=9), 1)[1].tolist() == [[5]]
    assert len(filled) == 500


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["ids", "rows"])
@pytest.mark.parametrize("damage", [_cut, Path.unlink])
def test_damaged_files_are_named(filled, folder, kind, damage):
    (path,) = folder.glob(f"*.{kind}")
    damage(path)
    with pytest.raises(VectorsDamaged, match=path.name):
        VectorIndex.open(folder, DIM)


def test_changed_ids_are_found(filled, folder):
    (path,) = folder.glob("*.ids")
    _flip(path)
    with pytest.raises(VectorsDamaged, match=path.name):
        VectorIndex.open(folder, DIM)


def test_verify_finds_changed_rows(filled, folder):
    (path,) = folder.glob("*.rows")
    filled.verify()
    _flip(path)
    with pytest.raises(VectorsDamaged, match=path.name):
        VectorIndex.open(folder, DIM).verify()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 1}', '{"format": 99, "dim": 24, "generation": 1, "segments": []}']
)
def test_damaged_manifest_is_named(filled, folder, text):
    (folder / MANIFEST).write_text(text)
    with pytest.raises(VectorsDamaged, match=MANIFEST):
        VectorIndex.open(folder, DIM)


def test_manifest_cannot_name_files_elsewhere(filled, folder):
    data = json.loads((folder / MANIFEST).read_text())
    data["segments"][0]["name"] = "../vectors/00000001-0"
    (folder / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(VectorsDamaged, match=MANIFEST):
        VectorIndex.open(folder, DIM)


def test_other_dim(filled, folder):
    with pytest.raises(VectorsDamaged, match="24 values, not 25"):
        VectorIndex.open(folder, DIM + 1)
    with pytest.raises(UsageError, match="at least one"):
        VectorIndex.open(folder, 0)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VectorIndexError, match="file"):
        VectorIndex.open(tmp_path / "file", DIM)


def test_reader_survives_a_writer(filled, folder):
    reader = VectorIndex.open(folder, DIM)
    filled.remove(np.arange(0, 500, 2))
    filled.save()
    filled.remove(np.arange(500))
    filled.save()
    _, ids = reader.search(unit_rows(500)[:4], 1)
    assert ids[:, 0].tolist() == [0, 1, 2, 3]
    assert len(VectorIndex.open(folder, DIM)) == 0


def test_writer_that_is_out_of_date_is_refused(filled, folder):
    late = VectorIndex.open(folder, DIM)
    filled.remove(np.array([1]))
    filled.save()
    late.add(np.array([900]), unit_rows(1))
    with pytest.raises(VectorIndexError, match="another process"):
        late.save()
    assert len(VectorIndex.open(folder, DIM)) == 499


_WRITER = """
import sys, numpy as np
from pathlib import Path
from model.search.vectors import VectorIndex
index = VectorIndex.open(Path(sys.argv[1]), 24)
rows = np.random.default_rng(0).normal(size=(2000, 24)).astype(np.float16)
print("ready", flush=True)
while True:
    index.remove(index.ids)
    index.save()
    index.add(np.arange(2000), rows)
    index.save()
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_kill_during_save(folder):
    for delay_ms in range(0, 60, 6):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout.readline() == "ready\n"
            for _ in range(delay_ms):
                index = VectorIndex.open(folder, DIM)  # while it is replaced
                assert len(index) in (0, 2000)
            writer.send_signal(signal.SIGKILL)
        index = VectorIndex.open(folder, DIM)
        assert len(index) in (0, 2000)
        index.verify()
    index.remove(index.ids)
    index.add(np.arange(10), unit_rows(10))
    index.save()
    assert sum(path.stat().st_size for path in folder.iterdir()) == index.size_bytes
