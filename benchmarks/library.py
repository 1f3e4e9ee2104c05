"""How well a library is searched: which videos come first, and whether their moments are those of grounding them alone.

    python benchmarks/library.py --data charades_clip --text clip_text [--json]
    python benchmarks/library.py --videos FOLDER

`--data` and `--text` are as for `benchmarks/zeroshot.py`. The videos of both splits are put into a library by their
CLIP rows, and the 40 objects that most videos name are searched in it. A video is right if a sentence about it names
the object. `--videos FOLDER` puts real videos into a library with the `lite` features, and asks what
`library_queries.tsv` lists: is the first video the right one?
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.zeroshot import Array, Data
from extractors.cache.store import FeatureCache
from extractors.decoding.grid import Sampling
from extractors.features import FeatureSpec, TextFeatures
from extractors.videos.facts import VideoInfo
from model.grounding.grounder import Grounder
from model.grounding.zeroshot.background import unit_rows
from model.grounding.zeroshot.method import ZeroShot
from model.metrics.moment_retrieval import temporal_iou
from model.search.library import Library

_HERE = Path(__file__).resolve().parent
_OBJECTS = 40
_FIRST = 10
_SPLITS = ("train", "val")
_SPEC = FeatureSpec("clip", 512, 1.0, ("clip:512",), weights_id="published")


class PublishedRows:
    """Stands for the encoder that made the rows, all of which are in the cache."""

    spec = _SPEC
    sampling = Sampling("center_frame", 1.0)
    batch_size = 1
    shares_batches = False

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fail: nothing is missing."""
        raise AssertionError("every row is in the cache")


class ObjectNames:
    """The text encoder, as far as its vectors are known: those of the names of objects."""

    spec = FeatureSpec("clip", 512, 0.0, weights_id="published")

    def __init__(self, vector_of: Callable[[str], Array]) -> None:
        self._vector_of = vector_of

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """One result per name."""
        vectors = [self._vector_of(query).astype(np.float32) for query in queries]
        return [TextFeatures(vector[None], vector) for vector in vectors]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--text", type=Path, metavar="FOLDER")
    parser.add_argument("--videos", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (arguments.data is None) != (arguments.text is None) or not (arguments.data or arguments.videos):
        parser.error("give --data and --text, or --videos, or all of them")
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        if arguments.data:
            report["objects"] = measure_objects(
                arguments.data, Data(arguments.data, arguments.text), Path(work)
            )
        if arguments.videos:
            report["videos"] = measure_videos(arguments.videos, Path(work))
    print(json.dumps(report, indent=1))


def measure_objects(folder: Path, data: Data, work: Path) -> dict[str, Any]:
    """The most named objects in a library of all videos, against scans of every row."""
    asked = [one for split in _SPLITS for one in data.asked(split)]
    named: dict[str, set[str]] = defaultdict(set)
    truth: dict[tuple[str, str], list[Array]] = defaultdict(list)
    for one in asked:
        for name in one.objects:
            named[name].add(one.video)
            truth[one.video, name].append(one.truth_s)
    objects = sorted(named, key=lambda name: (-len(named[name]), name))[:_OBJECTS]
    videos = sorted(path.stem for path in (folder / "clip_features").glob("*.npz"))
    cache = FeatureCache(work / "cache")
    files = [_stored(work / "videos" / f"{video}.mp4", data.rows(video), cache) for video in videos]
    model = ZeroShot("clip", 1.0, lambda _: data.background)
    grounder = Grounder(model, [PublishedRows()], ObjectNames(data.vector), cache)
    with Library.open(work / "index", load=lambda model, *, features, fps: grounder) as library:
        start_s = time.perf_counter()
        library.add(files)
        added_s = time.perf_counter() - start_s
        library.search(objects[0])
        start_s = time.perf_counter()
        results = [library.search(name, top_k=_FIRST, per_video=1)[0] for name in objects]
        asked_s = (time.perf_counter() - start_s) / len(objects)
        info = library.info()
        alone, overlaps = [], []
        for name, result in zip(objects, results, strict=True):
            for hit in result.hits:
                moment = grounder.ground(hit.video, name, top_k=1)[0].moments[0]
                alone.append(
                    (moment.start_s, moment.end_s, moment.score) == (hit.start_s, hit.end_s, hit.score)
                )
                if windows := truth.get((hit.video.stem, name)):
                    span = np.array([hit.start_s, hit.end_s])
                    overlaps.append(float(max(temporal_iou(span, one).max() for one in windows)))
    found = [[hit.video.stem for hit in result.hits] for result in results]
    queries = np.stack([data.vector(name) for name in objects])
    scans = {
        "scan_of_rows": _scan(data, videos, queries),
        "scan_of_rows_by_direction": _scan(data, videos, model.background.direction(queries)),
    }
    chance = float(np.mean([len(named[name]) / len(videos) for name in objects]))
    return {
        "videos": len(videos),
        "rows": sum(len(data.rows(video)) for video in videos),
        "vectors": info.recipes[0].vectors,
        "index_bytes": info.size_bytes,
        "objects": len(objects),
        "chance": chance,
        **{name: _precision(scan, objects, named) for name, scan in scans.items()},
        "search": _precision(found, objects, named),
        "moments_as_ground_gives": float(np.mean(alone)),
        "moments_mIoU": float(np.mean(overlaps)),
        "add_s": added_s,
        "query_s": asked_s,
    }


def measure_videos(folder: Path, work: Path) -> dict[str, Any]:
    """Real videos and the `lite` features."""
    lines = (_HERE / "library_queries.tsv").read_text(encoding="utf-8").splitlines()
    table = [line.split("\t") for line in lines if not line.startswith("#")]
    load = partial(Grounder.load, offline=True)
    with Library.open(work / "videos-index", model="zero-shot", features="lite", load=load) as library:
        library.add([folder])
        results = library.search([query for query, _ in table], per_video=1)
    wrong = [
        f"{query}: {result.hits[0].video.name}"
        for (query, videos), result in zip(table, results, strict=True)
        if result.hits[0].video.name not in videos.split("|")
    ]
    return {
        "videos": results[0].videos,
        "queries": len(table),
        "right_first": 1 - len(wrong) / len(table),
        "wrong": wrong,
    }


def _stored(path: Path, rows: NDArray[np.float32], cache: FeatureCache) -> Path:
    """A file that stands for a video whose rows are in the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.stem, encoding="utf-8")
    info = VideoInfo(path, float(len(rows)), 30.0, 320, 240, 30 * len(rows), "h264", 0, "decord", "")
    cache.store_video(path, _SPEC, rows, info)
    return path


def _precision(
    found: Sequence[Sequence[str]], objects: Sequence[str], named: Mapping[str, set[str]]
) -> float:
    """Share of the first videos for each object that name it."""
    pairs = zip(objects, found, strict=True)
    return float(np.mean([np.mean([one in named[name] for one in videos]) for name, videos in pairs]))


def _scan(data: Data, videos: Sequence[str], queries: Array) -> list[list[str]]:
    """The videos whose best row is closest to each query (Q, E)."""
    best = np.stack([(unit_rows(data.rows(video)) @ queries.T).max(axis=0) for video in videos])  # (V, Q)
    return [[videos[at] for at in order[:_FIRST]] for order in np.argsort(-best, axis=0, kind="stable").T]


if __name__ == "__main__":
    main()
