"""What a question about subtitles costs in a library: many videos with made cues, all cached.

    python benchmarks/said.py --videos 1000 --cues 500

The videos are small files that nothing decodes, because the cache has their text tracks: sentences of random common
words. The meanings of the cues are random vectors, as MiniLM would take over an hour for half a million of them; they
cost the search as much as real ones. CPU seconds are told: of the first question, which makes the outlines, and of the
better of two more of each.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cache.store import FeatureCache
from extractors.cues.subtitles import RECIPE
from extractors.encoders.lite.minilm import TEXT_SPEC
from extractors.features import TextFeatures
from model.cues.grounder import CueGrounder
from model.search.said import search_said

_WORDS = re.findall(
    r"\w+",
    "water house river morning teacher music garden window letter summer story paper market doctor number "
    "family minute country question kitchen animal machine picture island engine winter colour village bridge "
    "station forest council budget ticket brother winner harbour mountain silver pocket",
)
_SMALL = re.findall(r"\w+", "the a of to and in that it is was for on with as at by from this we you")
_CUE_S = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--cues", type=int, default=500, help="per video")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder) / "cache")
        videos = [_make(Path(folder), cache, number, arguments.cues) for number in range(arguments.videos)]
        time.sleep(3)  # until the hashes of the videos are remembered, as they are of files that are not new
        begun_s = time.process_time()
        search_said(videos, "the harbour", grounder=CueGrounder(cache))
        print(f"first question: {time.process_time() - begun_s:.1f} s of CPU time")
        for query in ("the budget", "the council bought a ticket", "where he talks about money"):
            times_s = []
            for _ in range(2):
                begun_s = time.process_time()
                answer = search_said(videos, query, grounder=CueGrounder(cache))
                times_s.append(time.process_time() - begun_s)
            hits = answer.results[0].hits
            print(f"{query!r}: {min(times_s):.1f} s of CPU time, {len(hits)} hits, best {hits[0].score:.2f}")


def _make(folder: Path, cache: FeatureCache, number: int, count: int) -> Path:
    """A file whose text track is in the cache, and the meanings of its cues."""
    chance, noise = random.Random(number), np.random.default_rng(number)
    video = folder / f"{number:05}.mp4"
    video.write_bytes(number.to_bytes(64, "big"))
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
