"""Build an index of vectors, and measure it: recall against exact search, seconds per query, memory, bytes on disk.

    python benchmarks/search.py [--rows 1000000] [--data ../shared/data] [--folder FOLDER] [--json]

The queries are real CLIP text vectors of names of objects. The rows are made from real CLIP rows of videos, of which
there are far fewer. Each made video starts as a real one, drawn at random:

- a row is a mixture, in a random proportion, of a real row and one at most two rows from it;
- all rows of the video are moved together, by noise with a quarter of the covariance of the means of the real videos;
- each row is moved by noise with half the covariance of the steps from one real row to the next, in the 128
  directions in which these are longest;
- rows get length 1 and half precision.

Rows that follow each other are then as similar as real ones (cosine .92 and .93), as are the closest rows of different
videos (.91 and .91), and so are the best rows for a text (.275 and .279).

Queries are asked one at a time in a process that has just opened the index and has asked others before. `first` is the
very first query, which also reads the codes. `new` are then those that were not asked before, `again` the same ones
once more: by then, the system has the rows that they need in memory. CPU time is that of all threads. On a busy
machine compare that; `load` is how many processes wanted a core, over the last minute, when the queries began and
when they ended.
`OMP_NUM_THREADS` sets the number of threads. With `--folder` the index stays there and is used again.

Ten million rows need 12 GB on the disk and less than 1 GB of memory to build.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.search.vectors.vector_index import VectorIndex

TOP = 100
_BLOCK_ROWS = 1 << 16
_NOISE_DIRECTIONS = 128
_ADDED = 10_000
_TEXTS = ("lvis", "objects365", "coco", "openimages_unnamed")

Rows = NDArray[np.float32]


def main() -> None:
    """Build, measure in a process of its own, then change the index."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of charades_clip and clip_text"
    )
    parser.add_argument("--folder", type=Path, help="where the index is made and stays; else it is removed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measure(arguments.folder)))
        return
    if not (arguments.data / "clip_text").is_dir():
        sys.exit(f"{arguments.data}: has no folder clip_text; name the folder of the data with --data")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        report: dict[str, Any] = {"rows": arguments.rows, "threads": os.environ.get("OMP_NUM_THREADS", "all")}
        if (folder / "build.json").exists():
            report |= json.loads((folder / "build.json").read_text())
        else:
            report |= _build(folder, arguments.rows, arguments.queries, arguments.data)
            (folder / "build.json").write_text(json.dumps(report))
        command = [sys.executable, __file__, "--measure", "--folder", str(folder)]
        report |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        report |= _change(folder)
    print(json.dumps(report) if arguments.json else "\n".join(_lines(report)))


class Recipe:
    """Makes rows from those of real videos; the recipe is described above.

    Args:
        videos: (N, dim) rows of each real video.
    """

    def __init__(self, videos: Sequence[Rows]) -> None:
        self._videos = videos
        means = np.array([rows.mean(axis=0) for rows in videos])
        steps = np.concatenate([np.diff(rows, axis=0) for rows in videos])
        self._of_videos = _factor(np.cov(means.T) / 4)
        self._of_rows = _factor(steps.T @ steps / len(steps) / 2 / 2)[:_NOISE_DIRECTIONS]

    def make(self, count: int, seed: int) -> Iterator[NDArray[np.float16]]:
        """(B, dim) rows, block after block, of `count` in all."""
        random = np.random.default_rng(seed)
        while count > 0:
            chosen: list[Rows] = []
            while sum(map(len, chosen)) < min(_BLOCK_ROWS, count):
                chosen.append(self._videos[int(random.integers(len(self._videos)))])
            block = np.concatenate([self._mixed(rows, random) for rows in chosen])
            moved = random.standard_normal((len(chosen), len(self._of_videos)), dtype=np.float32)
            block += np.repeat(moved @ self._of_videos, [len(rows) for rows in chosen], axis=0)
            block += (
                random.standard_normal((len(block), len(self._of_rows)), dtype=np.float32) @ self._of_rows
            )
            block = block[:count]
            yield (block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16)
            count -= len(block)

    @staticmethod
    def _mixed(rows: Rows, random: np.random.Generator) -> Rows:
        near = np.arange(len(rows)) + random.integers(-2, 3, len(rows))
        share = random.random((len(rows), 1), dtype=np.float32)
        mixed: Rows = share * rows + (1 - share) * rows[near.clip(0, len(rows) - 1)]
        return mixed


class Exact:
    """The best rows for each query among all that were seen, by plain products.

    Args:
        queries: (Q, dim).
    """

    def __init__(self, queries: Rows) -> None:
        self._queries = queries
        self._scores = np.empty((len(queries), 0), dtype=np.float32)
        self.ids = np.empty((len(queries), 0), dtype=np.int64)

    def see(self, first: int, rows: NDArray[np.float16]) -> None:
        """Look at rows, of which the first has the id `first`."""
        scores = np.hstack([self._scores, self._queries @ rows.astype(np.float32).T])
        ids = np.hstack(
            [self.ids, np.broadcast_to(np.arange(first, first + len(rows)), (len(scores), len(rows)))]
        )
        best = np.argpartition(-scores, min(TOP, scores.shape[1]) - 1, axis=1)[:, :TOP]
        self._scores = np.take_along_axis(scores, best, axis=1)
        self.ids = np.take_along_axis(ids, best, axis=1)


def real_vectors(data: Path) -> tuple[list[Rows], Rows]:
    """The rows (N, dim) of each real video, and the text vectors (T, dim) in a random order.

    Args:
        data: folder of charades_clip and clip_text.
    """
    videos = [
        np.load(file)["features"].astype(np.float32)
        for file in sorted((data / "charades_clip" / "clip_features").glob("*.npz"))
    ]
    texts = np.concatenate([np.load(data / "clip_text" / f"{name}.npz")["text"] for name in _TEXTS])
    return videos, _unit(texts.astype(np.float32))[np.random.default_rng(0).permutation(len(texts))]


def _build(folder: Path, rows: int, queries: int, data: Path) -> dict[str, Any]:
    videos, texts = real_vectors(data)
    asked = texts[: 2 * queries]
    exact = Exact(asked[:queries])
    index = VectorIndex.open(folder / "index", texts.shape[1])
    clock = _Clock()
    first = 0
    for block in Recipe(videos).make(rows, seed=1):
        exact.see(first, block)
        with clock:
            index.add(np.arange(first, first + len(block)), block)
        first += len(block)
        print(f"\r{first:,} of {rows:,} rows", end="", file=sys.stderr, flush=True)
    print("; saving", file=sys.stderr)
    saving = _Clock()
    with clock, saving:
        index.save()
    np.savez(folder / "queries.npz", queries=asked[:queries], warm=asked[queries:], ids=exact.ids)
    return {
        "build_s": clock.wall_s,
        "build_cpu_s": clock.cpu_s,
        "built_rows_per_cpu_s": rows / clock.cpu_s,
        "coded_rows_per_cpu_s": rows / saving.cpu_s,
        "build_peak_mb": _peak_mb(),
        "bytes_per_row": index.size_bytes / rows,
    }


def _measure(folder: Path) -> dict[str, Any]:
    saved = np.load(folder / "queries.npz")
    queries, warm, truth = saved["queries"], saved["warm"], saved["ids"]
    opening, first = _Clock(), _Clock()
    with opening:
        index = VectorIndex.open(folder / "index", queries.shape[1])
    with first:
        index.search(warm[:1], TOP)
    for query in warm[1:]:
        index.search(query[None], TOP)
    times: dict[str, float] = {}
    found: list[NDArray[np.int64]] = []
    load_before = _load()
    for turn in ("new", "again"):
        clocks, found = [], []
        for query in queries:
            with _Clock() as clock:
                found.append(index.search(query[None], TOP)[1][0])
            clocks.append(clock)
        for share in (50, 95):
            times[f"{turn}_p{share}_ms"] = 1e3 * float(np.percentile([one.wall_s for one in clocks], share))
            times[f"{turn}_p{share}_cpu_ms"] = 1e3 * float(
                np.percentile([one.cpu_s for one in clocks], share)
            )
    recalls = [len(np.intersect1d(*pair)) / truth.shape[1] for pair in zip(found, truth, strict=True)]
    return {
        "recall_at_100": float(np.mean(recalls)),
        "worst_recall_at_100": min(recalls),
        "open_ms": 1e3 * opening.wall_s,
        "first_ms": 1e3 * first.wall_s,
        "first_cpu_ms": 1e3 * first.cpu_s,
        **times,
        "load": f"{load_before}, {_load()}",
        "peak_mb": _peak_mb(),
    }


def _change(folder: Path) -> dict[str, Any]:
    """Add rows to the index and remove them again."""
    dim = np.load(folder / "queries.npz")["queries"].shape[1]
    rows = _unit(np.random.default_rng(2).standard_normal((_ADDED, dim), dtype=np.float32))
    index = VectorIndex.open(folder / "index", dim)
    before = index.size_bytes
    ids = np.arange(_ADDED) + index.ids[-1] + 1
    added, removed = _Clock(), _Clock()
    with added:
        index.add(ids, rows)
        index.save()
    with removed:
        index.remove(ids)
        index.save()
    return {
        "added_10000_s": added.wall_s,
        "added_10000_cpu_s": added.cpu_s,
        "removed_10000_s": removed.wall_s,
        "removed_10000_cpu_s": removed.cpu_s,
        "bytes_left_by_removal": index.size_bytes - before,
    }


class _Clock:
    """Adds up the time within its `with` blocks."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> _Clock:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter() - self._start[0]
        self.cpu_s += time.process_time() - self._start[1]


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _peak_mb() -> float | None:
    """The most memory this process has had resident, mapped files included; None where the system does not count it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _factor(covariance: NDArray[Any]) -> Rows:
    """(D, D): noise of unit variance times this has a covariance; the largest directions come first."""
    values, vectors = np.linalg.eigh(covariance)
    factor: Rows = (np.sqrt(values.clip(0))[:, None] * vectors.T)[::-1].astype(np.float32)
    return factor


def _unit(rows: Rows) -> Rows:
    unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _lines(report: dict[str, Any]) -> Iterator[str]:
    for name, value in report.items():
        yield f"{name:24}" + (f"{value:.3f}" if isinstance(value, float) else str(value))


if __name__ == "__main__":
    main()
