"""Mutated videos through the command itself: each is answered or reported by name, and the command never crashes.

`VTG_FUZZ_CASES=10000 python -m pytest -s tests/fuzz/test_ground.py` tries that many and prints the outcomes;
`VTG_FUZZ_SEED=1` tries others.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, vtg
from tests.extractors.index_encoder import make_video
from tests.extractors.rendering import render
from tests.fuzz.cases import CASES
from tests.hostile import mutate

SEED = os.environ.get("VTG_FUZZ_SEED", "0")
BATCH = 100  # videos of one command
SEEDS = [
    ("libx264", ".mp4"), ("libx264", ".mkv"), ("libx264", ".avi"), ("libx264", ".ts"), ("libx264", ".mov"),
    ("libx264", ".flv"), ("mpeg4", ".avi"), ("mpeg4", ".mp4"), ("rawvideo", ".avi"), ("rawvideo", ".mov"),
    ("png", ".avi"), ("png", ".mov"), ("ffv1", ".mkv"), ("ffv1", ".avi"), ("mpeg2video", ".ts"), ("mpeg2video", ".mkv"),
    ("libx265", ".mp4"), ("libvpx-vp9", ".webm"), ("libsvtav1", ".mkv"), ("libvpx", ".webm"),
]  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small ones of many codecs and containers, and one with sound."""
    folder = tmp_path_factory.mktemp("seeds")
    made = [
        render(
            folder / f"{codec}{suffix}",
            frames=12,
            fps=10,
            width=32,
            height=32,
            codec=codec,
            pixel_format="rgb24" if codec == "png" else "yuv420p",
        )
        for codec, suffix in SEEDS
    ]
    (folder / "example.mp4").write_bytes((EXAMPLES / "example.mp4").read_bytes()[:60_000])
    return [*made, make_video(folder / "index.mp4", seconds=2.0), folder / "example.mp4"]


@pytest.mark.timeout(600 + CASES)
def test_the_command_survives_mutated_videos(videos: list[Path], tmp_path: Path) -> None:
    start_s = time.monotonic()
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    number = 0
    while number < CASES:
        folder = tmp_path / f"from-{number}"
        folder.mkdir()
        paths = []
        for _ in range(min(BATCH, CASES - number)):
            video = rng.choice(videos)
            path = folder / f"{number}-{video.stem}{video.suffix}"
            path.write_bytes(mutated(video.read_bytes(), rng))
            paths.append(path)
            number += 1
        outcomes += outcomes_of(paths, tmp_path)
        for path in paths:
            path.unlink()
    assert outcomes.total() == CASES
    print(f"\n{CASES} mutated videos in {time.monotonic() - start_s:.0f} s")
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Changed where headers are: at the beginning, or at the end, where MP4 has its tables."""
    if rng.random() < 0.3:
        return mutate(content[::-1], rng, head=2000)[::-1]
    return mutate(content, rng, head=2000)


def outcomes_of(paths: list[Path], home: Path) -> Counter[str]:
    """Run `vtg ground` on videos; returns how many of them had which outcome."""
    answers = home / "answers.jsonl"
    done = vtg("ground", *paths, "a dog", "-k", "1", "--features", "lite", "-o", answers, home=home)
    rows = [json.loads(line) for line in answers.read_text().splitlines()] if answers.exists() else []
    answers.unlink(missing_ok=True)
    reasons = {
        path: line.removeprefix(f"vtg: {path}: ")
        for line in done.stderr.splitlines()
        for path in map(str, paths)
        if line.startswith(f"vtg: {path}: ")
    }
    answered = {row["video"]: bool(row["damaged_s"]) for row in rows}
    assert done.returncode == int(bool(reasons)), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert sorted([*answered, *reasons]) == sorted(map(str, paths))
    outcomes = Counter(
        "answered, damage reported" if damaged else "answered" for damaged in answered.values()
    )
    for path, reason in reasons.items():
        assert "no progress" not in reason, path
        assert "cannot be decoded (" not in reason, (
            path,
            reason,
        )  # an error of ours: the decoders' have names
        outcomes[f"failed: {reason.partition('(')[0].strip()}"] += 1
    return outcomes
