"""Recordings whose clock jumps: the recorded parts follow one another and keep their lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extractors.decoding.clip_reader import ClipReader, probe
from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.grid import Sampling
from extractors.decoding.thumbnails import read_thumbnails
from tests.extractors.rendering import read_index, read_indices, render
from vtg_cli.cutting.cutter import VideoCutter

FPS = 25
SECONDS = Sampling("center_frame", 1.0)


def part(path: Path, frames: int, start_s: float, *, fps: int = FPS) -> bytes:
    times_s = start_s + np.arange(frames) / fps
    return render(
        path, times_s=times_s.tolist(), fps=fps, gop=fps, width=160, height=128, options={"bf": "2"}
    ).read_bytes()


def shown(path: Path) -> list[int]:
    """The frame in the middle of each second."""
    with ClipReader(path, [SECONDS]) as reader:
        return [index for chunk in reader for index in read_indices(chunk.frames[chunk.rows[0][:, 0]])]


def middle(picture: np.ndarray) -> np.ndarray:
    """The square in the middle of a thumbnail."""
    beside = (picture.shape[1] - picture.shape[0]) // 2
    return picture[:, beside : beside + picture.shape[0]]


MIDDLES = [25 * second + 12 for second in range(10)]


@pytest.mark.parametrize(
    ("first_s", "second_s"),
    [(1000.0, 0.0), (1000.0, 990.0), (0.0, 2000.0), (0.0, 90_000.0), (0.0, 0.0), (5.0, 7.02)],
    ids=["back", "back-a-bit", "ahead", "ahead-a-day", "same", "overlap"],
)
def test_parts_follow_one_another(tmp_path, first_s, second_s):
    path = tmp_path / "v.ts"
    path.write_bytes(part(tmp_path / "a.ts", 150, first_s) + part(tmp_path / "b.ts", 75, second_s))
    info = probe(path)
    assert (info.frame_count, info.fps, info.decoder) == (225, FPS, "pyav")
    assert info.duration_s == pytest.approx(9.0)
    assert shown(path) == MIDDLES[:6] + MIDDLES[:3]
    first, last = read_thumbnails(path, [3.0, 7.0], height=240)
    assert (read_index(middle(first)), read_index(middle(last))) == (75, 25)
    VideoCutter(path).cut(tmp_path / "cut.mp4", [(7.0, 9.0)])
    assert shown(tmp_path / "cut.mp4") == MIDDLES[1:3]


def test_other_formats_are_joined_as_well(tmp_path):
    path = tmp_path / "v.flv"
    first, second = part(tmp_path / "a.flv", 150, 1000.0), part(tmp_path / "b.flv", 75, 0.0)
    path.write_bytes(first + second[13:])  # without its header
    assert probe(path).duration_s == pytest.approx(9.0, abs=0.1)
    assert shown(path) == MIDDLES[:6] + MIDDLES[:3]


def test_wrong_stated_rate(tmp_path):
    path = tmp_path / "v.ts"
    path.write_bytes(part(tmp_path / "a.ts", 100, 1000.0, fps=10) + part(tmp_path / "b.ts", 50, 0.0, fps=10))
    assert probe(path).duration_s == pytest.approx(15.0)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".flv"])
def test_a_still_of_half_a_minute_is_no_jump(tmp_path, suffix):
    times_s = np.concatenate([np.arange(100) / FPS, 34 + np.arange(100) / FPS])
    read = read_timeline(
        render(tmp_path / f"v{suffix}", times_s=times_s.tolist(), fps=FPS, gop=FPS, width=160, height=128)
    )
    assert read.trustworthy
    assert read.end_s == pytest.approx(38.0, abs=0.2)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv"])
def test_ten_minute_still(tmp_path, suffix):
    times_s = np.concatenate([np.arange(100) / FPS, 600 + np.arange(100) / FPS])
    read = read_timeline(
        render(tmp_path / f"v{suffix}", times_s=times_s.tolist(), fps=FPS, gop=FPS, width=160, height=128)
    )
    assert read.trustworthy
    assert read.end_s == pytest.approx(604.0, abs=4)


def test_a_clock_that_runs_over_is_one_clock(tmp_path):
    path = tmp_path / "v.ts"
    part(path, 250, 2**33 / 90_000 - 5)
    assert read_timeline(path).trustworthy
    assert shown(path) == MIDDLES
