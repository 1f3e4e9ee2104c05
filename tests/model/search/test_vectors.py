from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extractors.errors import UsageError
from model.search.vectors import codes, vector_index, writing
from model.search.vectors.files import MANIFEST, VectorIndexError, VectorsDamaged, open_state
from model.search.vectors.vector_index import VectorIndex

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


def limit(monkeypatch, **limits):
    """Set limits of rows in the modules that have them."""
    for name, value in limits.items():
        modules = [module for module in (codes, vector_index, writing) if hasattr(module, name)]
        assert modules
        for module in modules:
            monkeypatch.setattr(module, name, value)


@pytest.fixture
def small_limits(monkeypatch):
    """Codes, segments and files of new rows at a few rows, and no list that is left out."""
    limit(monkeypatch, SEGMENT_ROWS=40, EXACT_ROWS=30, _SCANNED_ROWS=15, _CODED_ROWS=4, _NEW_SEGMENTS=3)
    limit(monkeypatch, _SHARE_OF_LISTS=1)


SOME = st.builds(
    lambda start, stop, step: frozenset(range(start, stop, step)),
    *[st.integers(1, 120)] * 2,
    st.sampled_from([1, 1, 2, 5]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "remove"]), SOME),
        st.sampled_from([("save", None), ("open", None)]),
    ),
    max_size=14,
)


@given(steps=STEPS, coded=st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_changes(tmp_path_factory, small_limits, steps, coded):
    folder = tmp_path_factory.mktemp("vectors")
    rows = unit_rows(121)
    index, now, saved = VectorIndex.open(folder, DIM), set(), set()
    begin = [("add", frozenset(range(20, 80))), ("save", None)] if coded else []
    for step, ids in begin + steps:
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
        scores, found = index.search(rows[:3], 121)
        expected = np.array(sorted(now), dtype=np.int64)
        for within in (None, expected[::2]):
            some = expected if within is None else within
            best = index.search(rows[:3], 2, within)[0][:, : len(some)]
            np.testing.assert_allclose(best, exact(some, rows[some], rows[:3], 2)[0], atol=1e-6)
        np.testing.assert_allclose(
            scores[:, : len(now)], exact(expected, rows[expected], rows[:3], 121)[0], atol=1e-6
        )
        assert all(sorted(one[: len(now)].tolist()) == expected.tolist() for one in found)
        assert (found[:, len(now) :] == -1).all()
    VectorIndex.open(folder, DIM).verify()


def clustered(count, seed, dim=64):
    """Unit rows around some hundreds of centres, and queries from elsewhere."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(300, dim))
    rows = centres[random.integers(0, 300, count)] + 0.5 * random.normal(size=(count, dim)) + 0.5
    queries = centres[:50] + 2 * random.normal(size=(50, dim))
    return tuple(
        (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float16) for part in (rows, queries)
    )


@pytest.fixture
def coded(folder, monkeypatch):
    """An index with codes, in several segments; its rows and queries."""
    limit(monkeypatch, SEGMENT_ROWS=8000, EXACT_ROWS=4000, _SCANNED_ROWS=2000, _CODED_ROWS=1000)
    limit(monkeypatch, _CANDIDATES=600, _ROUGH_CANDIDATES=2000)
    rows, queries = clustered(20_000, seed=0)
    index = VectorIndex.open(folder, rows.shape[1])
    for start in range(0, 20_000, 1500):
        index.add(np.arange(20_000)[start : start + 1500], rows[start : start + 1500])
    index.save()
    assert len(list(folder.glob("*.codes"))) > 2
    return index, rows, queries


def recall(index, ids, rows, queries, within=None):
    scores, found = index.search(queries, 20, within)
    expected = exact(ids, rows[ids], queries, 20)[1]
    for query, of_query, found_ids in zip(queries, scores, found, strict=True):
        np.testing.assert_allclose(
            of_query, rows[found_ids].astype(np.float32) @ query.astype(np.float32), atol=1e-6
        )
    return np.mean([len(np.intersect1d(*pair)) / 20 for pair in zip(found, expected, strict=True)])


def test_recall_with_codes(coded):
    index, rows, queries = coded
    assert recall(index, np.arange(20_000), rows, queries) > 0.95


def test_codes_limit_what_is_compared(coded, monkeypatch):
    index, rows, queries = coded
    limit(monkeypatch, _CANDIDATES=20, _CANDIDATES_PER_HIT=1)
    assert 0.1 < recall(index, np.arange(20_000), rows, queries) < 0.9


def test_fine_codes_order_candidates(coded, monkeypatch):
    index, rows, queries = coded
    limit(monkeypatch, _CANDIDATES=25, _CANDIDATES_PER_HIT=1)
    limit(monkeypatch, _ROUGH_CANDIDATES=25, _ROWS_PER_ROUGH_CANDIDATE=20_000)
    by_short_codes = recall(index, np.arange(20_000), rows, queries)
    limit(monkeypatch, _ROUGH_CANDIDATES=2000)
    assert recall(index, np.arange(20_000), rows, queries) > by_short_codes + 0.1


def test_codes_follow_their_rows(coded, folder):
    index, _, _ = coded
    index.remove(np.arange(1, 9000, 2))
    index.add(np.arange(20_000, 23_000)[::-1], clustered(3000, seed=1)[0])
    index.save()
    state = open_state(folder, index.dim)
    codec = codes.Codec.from_bytes(state.codec.read())
    compared = 0
    for segment in state.segments:
        if segment.codes is not None:
            kept, made = (
                codec.coded(segment.codes.read(), len(segment)),
                codec.encode(segment.rows),
            )
            assert (kept.lists == made.lists).mean() > 0.999  # rows between two lists may round either way
            assert (kept.short == made.short).mean() > 0.999
            assert (kept.fine == made.fine).mean() > 0.999
            compared += len(segment)
    assert compared > 15_000


def test_codes_of_the_first_format_are_made_again(coded, folder):
    index, rows, queries = coded
    for path in (*folder.glob("*.codes"), *folder.glob("*.codec")):
        path.write_bytes(b"of another kind")
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"format": 2', '"format": 1'))
    reader = VectorIndex.open(folder, index.dim)
    assert recall(reader, np.arange(20_000), rows, queries) == 1
    assert not reader._flat  # which would hold all rows in memory
    reader.verify()
    reader.save()
    assert all(path.stat().st_size > 100 for path in (*folder.glob("*.codes"), *folder.glob("*.codec")))
    assert '"format": 2' in (folder / MANIFEST).read_text()
    made = VectorIndex.open(folder, index.dim)
    made.verify()
    assert recall(made, np.arange(20_000), rows, queries) > 0.95
    assert made.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("spread", [1, 1000])
def test_recall_within(folder, coded, spread):
    _, rows, queries = coded
    index = VectorIndex.open(folder.with_name("spread"), rows.shape[1])
    index.add(np.arange(20_000) * spread, rows)
    index.save()
    chosen = np.arange(1, 20_000, 3)
    _, found = index.search(queries, 20, within=chosen * spread)
    expected = exact(chosen * spread, rows[chosen], queries, 20)[1]
    assert (found % spread == 0).all()
    assert np.isin(found, chosen * spread).all()
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, expected, strict=True)]) > 19


def test_nothing_within_codes(coded):
    index, _, queries = coded
    scores, found = index.search(queries, 3, within=np.arange(20_000, 25_000))
    assert (found == -1).all()
    assert (scores == -np.inf).all()


_FULL_BLOCKS = """
import sys
import numpy as np
from pathlib import Path
from model.search.vectors import codes, vector_index, writing
codes._MOST_LISTS, codes._SHARE_OF_LISTS = 1, 1
writing.SEGMENT_ROWS = vector_index.SEGMENT_ROWS = 1024
writing.EXACT_ROWS = vector_index._SCANNED_ROWS = writing._CODED_ROWS = 1000
rows = np.random.default_rng(0).normal(size=(8192, 64)).astype(np.float16)
index = vector_index.VectorIndex.open(Path(sys.argv[1]), 64)
for start in range(0, 8192, 1024):
    index.add(np.arange(start, start + 1024), rows[start : start + 1024])
index.save()
_, found = index.search(rows[::64], 1)
assert (found[:, 0] == np.arange(0, 8192, 64)).mean() > 0.95
print("done")
"""


def test_lists_that_end_with_a_block(tmp_path):
    # Memory that is written past its end shows up sooner or later; a new process has no part in that.
    for name in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", _FULL_BLOCKS, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "done\n", done.stderr


def test_large_files_are_written_once(coded, folder):
    index, rows, _ = coded
    large = {path for path in folder.glob("*.rows") if path.stat().st_size > 2 * 4000 * rows.shape[1]}
    assert len(large) > 1
    more, _ = clustered(9000, seed=3)
    for start in range(0, 9000, 3000):
        index.add(np.arange(20_000 + start, 23_000 + start), more[start : start + 3000])
    spilled = set(folder.glob("*.rows")) - large
    index.save()
    assert large <= set(folder.glob("*.rows"))
    assert any(path.exists() and path.stat().st_size == 2 * 6000 * rows.shape[1] for path in spilled)


def test_changes_keep_codes(coded, folder):
    index, rows, queries = coded
    codec = list(folder.glob("*.codec"))
    kept = np.concatenate([np.arange(0, 9000, 2), np.arange(9000, 20_000)])
    index.remove(np.arange(1, 9000, 2))
    assert recall(index, kept, rows, queries) > 0.95
    index.save()
    assert recall(index, kept, rows, queries) > 0.95
    more, _ = clustered(3000, seed=1)
    index.add(np.arange(20_000, 23_000), more)
    both = np.concatenate([rows, more])
    kept = np.concatenate([kept, np.arange(20_000, 23_000)])
    assert recall(index, kept, both, queries) > 0.95
    index.save()
    assert recall(VectorIndex.open(folder, rows.shape[1]), kept, both, queries) > 0.95
    assert list(folder.glob("*.codec")) == codec


def test_removal_shrinks_codes(coded, folder):
    index, _, _ = coded
    before = sum(path.stat().st_size for path in folder.glob("*.codes"))
    index.remove(np.flatnonzero(np.arange(20_000) % 4))
    index.save()
    assert sum(path.stat().st_size for path in folder.glob("*.codes")) < 0.5 * before


def test_growth_trains_again(coded, folder):
    index, _, _ = coded
    codec = list(folder.glob("*.codec"))
    more, queries = clustered(90_000, seed=2)
    index.remove(index.ids)
    index.add(np.arange(90_000), more)
    index.save()
    assert len(list(folder.glob("*.codec"))) == 1
    assert list(folder.glob("*.codec")) != codec
    assert recall(index, np.arange(90_000), more, queries) > 0.9


def test_codes_are_built_alike(coded, folder, tmp_path):
    _, rows, _ = coded
    other = VectorIndex.open(tmp_path / "again", rows.shape[1])
    for start in range(0, 20_000, 1500):
        other.add(np.arange(20_000)[start : start + 1500], rows[start : start + 1500])
    other.save()
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


@pytest.mark.parametrize("kind", ["codes", "codec"])
def test_damaged_codes_are_named(coded, folder, kind):
    _, rows, queries = coded
    path = next(iter(folder.glob(f"*.{kind}")))
    _flip(path)
    reader = VectorIndex.open(folder, rows.shape[1])
    with pytest.raises(VectorsDamaged, match=path.name):
        reader.search(queries, 3)
    with pytest.raises(VectorsDamaged, match=path.name):
        reader.verify()


def test_reader_with_codes_survives_a_writer(coded, folder):
    index, rows, queries = coded
    reader = VectorIndex.open(folder, rows.shape[1])
    index.remove(np.arange(10_000))
    index.save()
    assert recall(reader, np.arange(20_000), rows, queries) > 0.95


def test_threads_search_at_once(coded):
    index, _, queries = coded
    expected = index.search(queries, 20)[1]
    fresh = VectorIndex.open(index._folder, queries.shape[1])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda query: fresh.search(query[None], 20)[1][0], queries))
    assert (np.array(found) == expected).mean() > 0.99  # ties may change places


_HOST = """
import os, sys
import numpy as np
order, folder = sys.argv[1], sys.argv[2]
for name in order.split(","):
    __import__(name)
import torch, faiss
torch.set_num_threads(2)
faiss.omp_set_num_threads(3)
before = dict(os.environ), torch.get_num_threads(), faiss.omp_get_max_threads()
from pathlib import Path
from model.search.vectors import vector_index, writing
writing.EXACT_ROWS = vector_index._SCANNED_ROWS = 1000
rows = np.random.default_rng(0).normal(size=(2000, 32)).astype(np.float16)
index = vector_index.VectorIndex.open(Path(folder), 32)
index.add(np.arange(2000), rows)
index.save()
assert index.search(rows[:3], 1)[1].shape == (3, 1)
assert torch.ones(400, 400).mm(torch.ones(400, 400))[0, 0] == 400
assert before == (dict(os.environ), torch.get_num_threads(), faiss.omp_get_max_threads())
print("done")
"""


@pytest.mark.parametrize("order", ["torch,faiss", "faiss,torch"])
def test_host_is_left_as_it_was(tmp_path, order):
    done = subprocess.run(
        [sys.executable, "-c", _HOST, order, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert done.stdout == "done\n"


def test_reading_needs_no_faiss(filled, folder):
    program = (
        "import sys; from pathlib import Path; from model.search.vectors.vector_index import VectorIndex; "
        f"assert len(VectorIndex.open(Path({str(folder)!r}), {DIM}).ids) == 500; assert 'faiss' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_rows_are_read_back(filled):
    filled.add(np.array([700, 600]), unit_rows(502)[[501, 500]])
    assert (filled.rows(np.array([3, 7, 600, 700])) == unit_rows(502)[[3, 7, 500, 501]]).all()
    filled.remove(np.array([7]))
    with pytest.raises(KeyError, match="7"):
        filled.rows(np.array([3, 7]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux counts")
def test_scattered_rows_leave_memory(folder):
    index = VectorIndex.open(folder, 512)
    index.add(np.arange(40_000), unit_rows(40_000, dim=512))
    index.save()
    (segment,) = open_state(folder, 512).segments
    at = np.arange(0, 40_000, 40)
    most, release = [], segment._file.release

    def count():
        mappings = Path("/proc/self/smaps").read_text().split("VmFlags")
        of_rows = [one for one in mappings if f"{segment.facts.name}.rows" in one]  # also of the writer
        most.append(sum(int(one.split("\nRss:")[1].split()[0]) for one in of_rows))
        release()

    segment._file.release = count
    assert (segment.picked(at) == segment.rows[at]).all()
    assert 0 < max(most) < 20_000  # KB, of the 40,000 of the file


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
        (np.array([1000, -1]), np.zeros((2, DIM))),
        (np.array([1000]), np.full((1, DIM), np.nan)),
        (np.array([1000]), np.full((1, DIM), 1e6)),
    ],
)
def test_wrong_additions_change_nothing(filled, ids, rows):
    with pytest.raises(ValueError, match=r"ids|vectors|id 3|id -1"):
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
from model.search.vectors import vector_index, writing
writing.EXACT_ROWS, writing._CODED_ROWS = int(sys.argv[2]), 100
index = vector_index.VectorIndex.open(Path(sys.argv[1]), 24)
rows = np.random.default_rng(0).normal(size=(2000, 24)).astype(np.float16)
print("ready", flush=True)
while True:
    index.remove(index.ids)
    index.save()
    index.add(np.arange(2000), rows)
    index.save()
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("exact_rows", [1000, 10_000])
def test_kill_during_save(folder, exact_rows):
    for reads in range(0, 60, 6):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), str(exact_rows)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout.readline() == "ready\n"
            for _ in range(reads):
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
