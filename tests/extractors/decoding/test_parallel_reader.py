"""Parts of a video decoded side by side: the frames, and what is known of damage, are those of a single decoder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.parallel_reader import Crew, read_parts
from extractors.decoding.pyav_reader import FrameMissing, read_frames
from extractors.decoding.selection import can_start_at_key_frames
from tests.extractors.decoding.test_selection import CLOSED, GEOMETRY, SAMPLINGS, video, wanted_frames
from tests.hostile import damaged_in_the_middle

SEEKABLE = [*sorted(CLOSED - {"h264-ts"}), "mpeg2", "mpeg4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parallel")


def parts_of(wanted, timeline):
    """One part for each group of pictures, as small as parts can be."""
    return [part for part in np.split(wanted, np.searchsorted(wanted, timeline.key_frames)) if len(part)]


@pytest.mark.parametrize("name", SEEKABLE)
def test_frames_are_those_of_one_decoder(folder, name):
    timeline = read_timeline(video(folder, name))
    if not can_start_at_key_frames(timeline):
        assert name.startswith("mpeg")  # with B-frames before the key frame
        return
    for sampling in SAMPLINGS:
        wanted = wanted_frames(timeline, sampling)
        parts = parts_of(wanted, timeline)
        assert len(parts) > 1
        with closing(read_parts(parts, timeline, GEOMETRY, Crew(3, 1))) as read:
            found = list(read)
        alone = list(read_frames(wanted, timeline, GEOMETRY, num_threads=1, selective=False))
        np.testing.assert_array_equal(np.stack(found), np.stack(alone))


def test_the_crew_fits_the_machine_and_the_video(folder):
    timeline = read_timeline(video(folder, "h264"))
    parts = parts_of(wanted_frames(timeline, SAMPLINGS[1]), timeline)
    assert Crew.for_parts(parts, timeline, cores=1) is None
    assert Crew.for_parts(parts, timeline, cores=2) == Crew(2, 1)
    assert Crew.for_parts(parts, timeline, cores=64) == Crew(len(parts), 64 // len(parts))
    assert Crew.for_parts(parts[:1], timeline, cores=8) is None
    # Decoders of large frames need much memory.
    assert Crew.for_parts(parts, replace(timeline, width=3840, height=2160), cores=8) == Crew(2, 4)
    assert Crew.for_parts(parts, replace(timeline, width=7680, height=4320), cores=8) is None
    # Frames of a long part would all wait in memory.
    assert Crew.for_parts([np.arange(2000), np.arange(2000, 4000)], timeline, cores=8) is None


@pytest.mark.parametrize("name", ["h264-open", "h264-refresh", "h264-ts", "hevc"])
def test_groups_that_depend_on_each_other_are_read_by_one_decoder(folder, name):
    timeline = read_timeline(video(folder, name))
    parts = parts_of(wanted_frames(timeline, SAMPLINGS[1]), timeline)
    assert Crew.for_parts(parts, timeline, cores=8) is None


def test_closing_early_ends_the_decoders(folder):
    timeline = read_timeline(video(folder, "h264"))
    parts = parts_of(wanted_frames(timeline, SAMPLINGS[2]), timeline)
    with closing(read_parts(parts, timeline, GEOMETRY, Crew(2, 1))) as read:
        next(read)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("vtg-part")]


def test_a_frame_that_does_not_come_out_is_missing(folder):
    timeline = read_timeline(video(folder, "h264"))
    # Times of frames that the file does not have: every decoder meets one while another part waits for it.
    later = np.arange(1, 81) / 30 + timeline.timestamps_s[-1]
    order = np.arange(len(timeline.timestamps_s) + len(later))
    promised = replace(
        timeline,
        timestamps_s=np.append(timeline.timestamps_s, later),
        key_frames=np.append(timeline.key_frames, [220, 240, 260, 270]),
        decode_order=order,
        layers=np.zeros(len(order), np.uint8),
    )
    parts = [np.array([frame]) for frame in (225, 245, 265, 275)]
    for _ in range(5):
        with closing(read_parts(parts, promised, GEOMETRY, Crew(2, 1))) as read, pytest.raises(FrameMissing):
            list(read)


# Damage is known from what FFmpeg writes to standard error, which only a process of its own may read.
READ_DAMAGED = """
import hashlib, json, sys
from pathlib import Path

from extractors.decoding import damaged_frames, ffmpeg_log, parallel_reader
from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.grid import Sampling
from tests.extractors.decoding.test_selection import GEOMETRY, wanted_frames

ffmpeg_log.keep()
side_by_side = []
read_parts = damaged_frames.read_parts


def counted(*arguments):
    for picture in read_parts(*arguments):
        side_by_side.append(picture)
        yield picture


damaged_frames.read_parts = counted
for path in sys.argv[1:]:
    timeline = read_timeline(Path(path))
    for cores in (1, 2, 3):
        parallel_reader.usable_cores = lambda: cores
        damaged, side_by_side[:] = [], []
        source = damaged_frames.Source(timeline, GEOMETRY, lambda *span: damaged.append(span))
        pictures = damaged_frames.read_with_pyav(source, wanted_frames(timeline, Sampling("center_frame", 1.0)))
        print(json.dumps([[hashlib.sha256(p).hexdigest() for p in pictures], damaged, bool(side_by_side)]))
"""


def test_damage_is_read_and_reported_as_by_one_decoder(tmp_path):
    command = [sys.executable, "-c", READ_DAMAGED, *map(str, damaged_in_the_middle(tmp_path))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    runs = [json.loads(line) for line in lines.splitlines()]
    whole, damaged = runs[:3], runs[3:]
    for alone, *together in (whole, damaged):
        assert not alone[2]
        for crew in together:
            assert crew[:2] == alone[:2]
            assert crew[2]
    assert not whole[0][1]
    assert damaged[0][1]
