"""Compare the vector index with LanceDB's: recall against exact search, CPU time, bytes on disk, requests to storage.

    python benchmarks/search_lancedb.py [--rows 200000] [--data ../shared/data]

Rows and queries are those of `benchmarks/search.py`. LanceDB has float32 rows and an IVF_PQ index with its own
defaults; `nprobes` lists are searched, and `refine` times as many rows as are asked for are read and compared exactly.
Requests are those of a query to a table of 50,000 rows on a local S3 server. Needs the packages lancedb and
moto[server], and 3 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.search import TOP, Exact, Recipe, Rows, real_vectors
from model.search.vectors.vector_index import VectorIndex

_QUERIES = 100
_STORED_ROWS = 50_000
_SETTINGS = ((20, 1), (20, 10), (400, 10), (400, 40))  # nprobes and refine


def main() -> None:
    """Build both, ask both, and count requests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of charades_clip and clip_text"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for line in _compare(Path(temporary), arguments.rows, arguments.data):
            print(line, flush=True)


def _compare(work: Path, count: int, data: Path) -> Iterator[str]:
    videos, texts = real_vectors(data)
    queries = texts[:_QUERIES]
    exact, index, blocks = Exact(queries), VectorIndex.open(work / "own", texts.shape[1]), []
    cpu_s, first = 0.0, 0
    for block in Recipe(videos).make(count, seed=1):
        exact.see(first, block)
        blocks.append(block)
        start_s = time.process_time()
        index.add(np.arange(first, first + len(block)), block)
        cpu_s += time.process_time() - start_s
        first += len(block)
    start_s = time.process_time()
    index.save()
    cpu_s += time.process_time() - start_s
    yield f"vtg: {cpu_s:.0f} s of CPU time to build, {_size(work / 'own') / count:.0f} bytes per row"
    yield f"vtg: {_asked(lambda query: index.search(query[None], TOP)[1][0], queries, exact.ids)}"

    rows = np.concatenate(blocks).astype(np.float32)
    start_s = time.process_time()
    table = _table(str(work / "lance"), rows)
    took_s = time.process_time() - start_s
    yield f"LanceDB: {took_s:.0f} s of CPU time to build, {_size(work / 'lance') / count:.0f} bytes per row"
    for nprobes, refine in _SETTINGS:
        found = _asked(lambda query: _nearest(table, query, nprobes, refine), queries, exact.ids)  # noqa: B023
        yield f"LanceDB, nprobes {nprobes}, refine {refine}: {found}"
    yield from _requests(rows[:_STORED_ROWS], queries[:4])


def _table(place: str, rows: Rows, **options: str) -> Any:
    """A table of rows with an index."""
    import lancedb
    import pyarrow
    from lancedb.index import IvfPq

    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), rows.shape[1])
    held = pyarrow.table({"id": pyarrow.array(np.arange(len(rows))), "vector": vectors})
    table = lancedb.connect(place, storage_options=options).create_table("vectors", held)
    table.create_index("vector", config=IvfPq(distance_type="dot"))
    return table


def _nearest(table: Any, query: Rows, nprobes: int, refine: int) -> NDArray[np.int64]:
    asked = table.search(query).distance_type("dot").nprobes(nprobes).refine_factor(refine).limit(TOP)
    ids: NDArray[np.int64] = asked.select(["id", "_distance"]).to_arrow()["id"].to_numpy()
    return ids


def _asked(search: Callable[[Rows], NDArray[np.int64]], queries: Rows, expected: NDArray[np.int64]) -> str:
    search(queries[0])
    recall, cpu_s = [], []
    for query, best in zip(queries, expected, strict=True):
        start_s = time.process_time()
        recall.append(len(np.intersect1d(search(query), best)) / TOP)
        cpu_s.append(time.process_time() - start_s)
    return (
        f"recall of the {TOP} best {np.mean(recall):.3f}, of the worst query {min(recall):.2f}; "
        f"{1e3 * np.median(cpu_s):.0f} ms of CPU time per query"
    )


def _requests(rows: Rows, queries: Rows) -> Iterator[str]:
    import lancedb

    from tests.buckets import serving_buckets, troubled

    with serving_buckets() as make:
        bucket = make("lancedb")
        os.environ.update(bucket.environment())
        options = {"allow_http": "true", "aws_region": "us-east-1"}
        _table(f"{bucket.url}/db", rows, aws_endpoint=bucket.endpoint, **options)
        with troubled(bucket.endpoint, lambda method, path: None) as proxy:
            there = {"aws_endpoint": proxy.endpoint, **options}
            table = lancedb.connect(f"{bucket.url}/db", storage_options=there).open_table("vectors")
            counts = []
            for query in queries:
                proxy.requests.clear()
                _nearest(table, query, 20, 10)
                counts.append(len(proxy.requests))
    yield f"LanceDB, {len(rows):,} rows in object storage: {counts} requests of the first queries"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
