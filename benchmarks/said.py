"""What a question about subtitles costs in a library: many videos with made cues, all cached.

    python benchmarks/said.py --videos 1000 --cues 500
    python benchmarks/said.py --videos 1000 --cues 0     # what the look for words costs where there are none

The videos are small files that nothing decodes, because the cache has their features, random scenes of 8 s, and their
text tracks: sentences of random common words. The meanings of the cues are random vectors, as MiniLM would take over an
hour for half a million of them; they cost the search as much as real ones. It prints CPU seconds: of the first question
with `--said`, which makes the outlines, and of the better of several more of each; then of plain queries on a library
of the videos, with words and without. The start of a command comes on top of each.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cache.store import FeatureCache
from extractors.cues.subtitles import RECIPE
from extractors.encoders.lite.minilm import TEXT_SPEC
from extractors.features import FeatureSpec, TextFeatures
from extractors.videos.facts import VideoInfo
from model.cues.grounder import CueGrounder
from model.grounding.grounder import Grounder
from model.search.library import Library
from model.search.said import search_said

_WORDS = re.findall(
    r"\w+",
    "water house river morning teacher music garden window letter summer story paper market doctor number "
    "family minute country question kitchen animal machine picture island engine winter colour village bridge "
    "station forest council budget ticket brother winner harbour mountain silver pocket",
)
_SMALL = re.findall(r"\w+", "the a of to and in that it is was for on with as at by from this we you")
_CUE_S = 1.0
_CLIPS, _SCENE_CLIPS = 500, 8  # of one second
_TIMES = 3
_QUERIES = ("the budget", "the council bought a ticket", "where he talks about money")

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--cues", type=int, default=500, help="per video")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder) / "cache")
        grounder = Grounder.load(features="lite", cache=cache, offline=True)
        (spec,) = (encoder.spec for encoder in grounder.video_encoders)
        videos = [
            _make(Path(folder), cache, number, arguments.cues, spec) for number in range(arguments.videos)
        ]
        time.sleep(3)  # until the hashes of the videos are remembered, as they are of files that are not new
        if arguments.cues:
            begun_s = time.process_time()
            search_said(videos, "the harbour", grounder=CueGrounder(cache))
            print(f"first question: {time.process_time() - begun_s:.1f} s of CPU time")
            for query in _QUERIES:
                spent_s, answer = _best_of(partial(search_said, videos, query, grounder=CueGrounder(cache)))
                hits = answer.results[0].hits
                print(f"{query!r}: {spent_s:.2f} s of CPU time, {len(hits)} hits, best {hits[0].score:.2f}")
        with Library.open(Path(folder) / "index", load=lambda *_, **__: grounder) as library:
            library.add(videos)
            for query in _QUERIES:
                plain_s, (result,) = _best_of(partial(library.search, query))
                pictures_s, _ = _best_of(partial(library.search, query, cues=False))
                words = sum(hit.quote is not None for hit in result.hits)
                print(
                    f"plain {query!r}: {plain_s:.2f} s of CPU time, {words} of {len(result.hits)} hits by words; "
                    f"in pictures alone {pictures_s:.2f} s"
                )


def _best_of(work: Callable[[], T]) -> tuple[float, T]:
    """The least CPU seconds of several times, and what the last gave."""
    times_s = []
    for _ in range(_TIMES):
        begun_s = time.process_time()
        found = work()
        times_s.append(time.process_time() - begun_s)
    return min(times_s), found


def _make(folder: Path, cache: FeatureCache, number: int, count: int, spec: FeatureSpec) -> Path:
    """A file whose features are in the cache, with its text track and the meanings of its cues if it has some."""
    chance, noise = random.Random(number), np.random.default_rng(number)
    video = folder / f"{number:05}.mp4"
    video.write_bytes(number.to_bytes(64, "big"))
    scenes = noise.standard_normal((_CLIPS // _SCENE_CLIPS + 1, spec.dim)).astype(np.float32)
    info = VideoInfo(video, float(_CLIPS), 25.0, 640, 360, 25 * _CLIPS, "h264", 0, "pyav", "")
    cache.store_video(video, spec, np.repeat(scenes, _SCENE_CLIPS, axis=0)[:_CLIPS], info)
    if not count:
        return video
    lines = list(
        dict.fromkeys(
            " ".join(chance.choice(_WORDS if chance.random() < 0.5 else _SMALL) for _ in range(9))
            for _ in range(count)
        )
    )
    cues = [[at * _CUE_S, (at + 0.9) * _CUE_S, line, 1.0] for at, line in enumerate(lines)]
    stream = {"name": "track 1", "source": "subtitles", "language": "eng", "cues": cues, "notes": []}
    cache.documents("subtitles", RECIPE).store(
        cache.identify(video), {"duration_s": len(lines) * _CUE_S, "streams": [stream]}
    )
    rows = noise.standard_normal((len(lines), TEXT_SPEC.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cache.store_text("\n".join(lines), TEXT_SPEC, TextFeatures(tokens=rows, pooled=rows.mean(axis=0)))
    return video


if __name__ == "__main__":
    main()
