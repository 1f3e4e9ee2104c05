"""Hundreds of videos in one process: memory, file handles and child processes stay where they were.

`VTG_SOAK_VIDEOS` sets how many.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import psutil
import pytest

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import load_video_encoder
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features
from extractors.videos.events import Event, VideoFinished
from tests.extractors.index_encoder import make_video
from tests.hostile import mutate

VIDEOS = int(os.environ.get("VTG_SOAK_VIDEOS", "150"))
GROWTH_MB = (
    60  # allocators keep some of what they were given; a leak of one chunk a video would be 100 times that
)


@pytest.mark.slow
def test_nothing_grows(tmp_path: Path) -> None:
    seed = make_video(tmp_path / "seed.mp4", seconds=6.0)
    content, rng = seed.read_bytes(), random.Random(0)
    folder = tmp_path / "videos"
    folder.mkdir()
    videos = []
    for number in range(VIDEOS):
        path = folder / f"{number}.mp4"
        # Bytes behind the last box make another video of it; every tenth is damaged.
        path.write_bytes(mutate(content, rng) if number % 10 == 9 else content + number.to_bytes(4, "big"))
        videos.append(path)

    process = psutil.Process()
    before = set(process.children(recursive=True))  # of other tests, such as multiprocessing's own
    seen: list[tuple[int, int]] = []

    def watch(event: Event) -> None:
        if isinstance(event, VideoFinished):
            children = set(process.children(recursive=True)) - before
            memory = sum(p.memory_info().rss for p in (process, *children))
            seen.append((memory, process.num_fds() if os.name == "posix" else 0))

    encoder = load_video_encoder("lite", EncoderOptions(clip_length_s=1.0, device="cpu"))
    report = extract_features(
        videos,
        [encoder],
        FeatureCache(tmp_path / "cache"),
        on_event=watch,
        options=ExtractionOptions(stall_s=60.0),
    )
    assert report.extracted >= VIDEOS * 0.9

    third = len(seen) // 3
    early, late = (max(memory for memory, _ in part) for part in (seen[third : 2 * third], seen[2 * third :]))
    handles = [max(count for _, count in part) for part in (seen[:third], seen[third:])]
    print(
        f"{VIDEOS} videos, {report.extracted} extracted: {early / 1e6:.0f} MB in the second third, {late / 1e6:.0f} MB "
        f"in the last; {handles[0]} file handles in the first, {handles[1]} afterwards"
    )
    assert late - early < GROWTH_MB * 1e6, f"{early / 1e6:.0f} MB, then {late / 1e6:.0f} MB"
    assert handles[1] <= handles[0] + 3
    assert set(process.children(recursive=True)) <= before
