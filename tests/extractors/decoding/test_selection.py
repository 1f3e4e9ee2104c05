"""Selective decoding: the wanted frames are those of full decoding, bit for bit, and fewer frames are decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.decoding.container.timeline import Timeline, read_timeline
from extractors.decoding.frames import Framing, Geometry
from extractors.decoding.grid import Sampling, frame_indices, sample_times
from extractors.decoding.pyav_reader import read_frames
from extractors.decoding.selection import Need, needs
from tests.extractors.rendering import read_indices, render

FRAMES = 200
GEOMETRY = Geometry.fit(160, 120, quarter_turns=0, framing=Framing())
X264 = {"preset": "medium", "x264-params": "scenecut=0"}
QUIET = "log-level=none"
SAMPLINGS = [Sampling("center_frame", 2.0), Sampling("center_frame", 0.5), Sampling("slowfast", 2.0)]

VIDEOS: dict[str, tuple[str, str, dict[str, str], str]] = {
    "h264": ("v.mp4", "libx264", X264, "yuv420p"),
    "h264-pyramid": (
        "v.mkv",
        "libx264",
        {"x264-params": "scenecut=0:bframes=8:b-adapt=0:b-pyramid=normal:ref=8:direct=temporal"},
        "yuv420p",
    ),
    "h264-strict": ("v.mp4", "libx264", {"x264-params": "b-pyramid=strict:bframes=5:b-adapt=0"}, "yuv420p"),
    "h264-open": ("v.mp4", "libx264", {"x264-params": "open-gop=1:scenecut=0:b-adapt=0"}, "yuv420p"),
    "h264-refresh": ("v.mp4", "libx264", {"x264-params": "intra-refresh=1"}, "yuv420p"),
    "h264-interlaced": ("v.mp4", "libx264", {"x264-params": "tff=1:scenecut=0"}, "yuv420p"),
    "h264-ts": ("v.ts", "libx264", X264, "yuv420p"),
    "h264-intra": ("v.mp4", "libx264", {"x264-params": "keyint=1"}, "yuv420p"),
    "h264-10-bit": ("v.mp4", "libx264", X264, "yuv420p10le"),
    "hevc": ("v.mp4", "libx265", {"x265-params": QUIET}, "yuv420p"),
    "hevc-closed": ("v.mp4", "libx265", {"x265-params": f"{QUIET}:open-gop=0:scenecut=0"}, "yuv420p"),
    "hevc-layers": ("v.mp4", "libx265", {"x265-params": f"{QUIET}:temporal-layers=3:bframes=7"}, "yuv420p"),
    "vp9": ("v.webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}, "yuv420p"),
    "vp9-altref": ("v.webm", "libvpx-vp9", {"cpu-used": "5", "auto-alt-ref": "1"}, "yuv420p"),
    "vp8": ("v.webm", "libvpx", {"cpu-used": "8", "auto-alt-ref": "1"}, "yuv420p"),
    "av1": ("v.mp4", "libsvtav1", {"preset": "12"}, "yuv420p"),
    "mpeg4": ("v.mp4", "mpeg4", {"bf": "2"}, "yuv420p"),
    "mpeg2": ("v.mkv", "mpeg2video", {"bf": "2"}, "yuv420p"),
    "mpeg2-ts": ("v.ts", "mpeg2video", {"bf": "2"}, "yuv420p"),
    "msmpeg4": ("v.avi", "msmpeg4", {}, "yuv420p"),
    "mjpeg": ("v.avi", "mjpeg", {}, "yuvj420p"),
    "prores": ("v.mov", "prores_ks", {}, "yuv422p10le"),
}
# Groups that need nothing from before: what follows their last wanted frame is not decoded.
CLOSED = {"h264", "h264-ts", "h264-intra", "hevc-closed", "vp9", "vp8", "mjpeg", "prores", "msmpeg4"}
UNREADABLE = {"h264-interlaced", "av1"}  # woven of two instants; drawn too coarsely
UNREFERENCED = {name for name in VIDEOS if name.startswith(("h264", "hevc", "mpeg"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("selection")


def video(folder: Path, name: str) -> Path:
    suffix, codec, options, pixels = VIDEOS[name]
    path = folder / f"{name}-{suffix}"
    if not path.exists():
        try:
            render(
                path,
                frames=FRAMES,
                fps=30,
                width=160,
                height=120,
                codec=codec,
                gop=45,
                options=options,
                pixel_format=pixels,
            )
        except (av.error.FFmpegError, av.codec.codec.UnknownCodecError):
            pytest.skip(f"this PyAV has no encoder {codec}")
    return path


def wanted_frames(timeline: Timeline, sampling: Sampling) -> NDArray[np.int64]:
    times_s = sample_times(sampling, end_s=timeline.end_s, fps=timeline.fps)
    return np.unique(frame_indices(times_s, timeline.timestamps_s))


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_full_decoding(folder, name):
    timeline = read_timeline(video(folder, name))
    for sampling in SAMPLINGS:
        wanted = wanted_frames(timeline, sampling)
        selected = np.stack(list(read_frames(wanted, timeline, GEOMETRY, num_threads=1)))
        every = np.stack(list(read_frames(wanted, timeline, GEOMETRY, num_threads=1, selective=False)))
        np.testing.assert_array_equal(selected, every)
        if name not in UNREADABLE:
            assert read_indices(selected) == wanted.tolist()
        threaded = np.stack(list(read_frames(wanted, timeline, GEOMETRY)))
        np.testing.assert_array_equal(threaded, every)


@pytest.mark.parametrize("name", sorted(CLOSED | UNREFERENCED))
def test_fewer_frames_are_decoded(folder, name):
    timeline = read_timeline(video(folder, name))
    wanted = wanted_frames(timeline, SAMPLINGS[0])
    found = needs(wanted, timeline)
    assert (found[wanted] == Need.FRAME).all()
    if name in CLOSED:
        assert (found == Need.NONE).sum() > 20
    if name in UNREFERENCED - {"h264-intra", "hevc-layers"}:
        assert (found == Need.REFERENCE).sum() > 60


def test_frames_of_lower_layers_are_decoded(folder):
    timeline = read_timeline(video(folder, "hevc-layers"))
    assert set(timeline.layers.tolist()) == {0, 1, 2}
    found = needs(wanted_frames(timeline, SAMPLINGS[0]), timeline)
    assert (found[timeline.layers < 2] != Need.REFERENCE).all()
    assert (found[timeline.layers == 2] == Need.REFERENCE).any()


def test_a_group_without_wanted_frames_is_passed_over(folder):
    timeline = read_timeline(video(folder, "h264"))
    found = needs(np.array([100]), timeline)  # in the group of 90 to 134
    assert (found[:90] == Need.NONE).all()
    assert (found[135:] == Need.NONE).all()
    assert found[90] == Need.REFERENCE


# Damage is known from what FFmpeg writes to standard error, which only a process of its own may read.
READ_BOTH_WAYS = """
import hashlib, json, sys
from pathlib import Path

from extractors.decoding import ffmpeg_log
from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.damaged_frames import Source, read_with_pyav
from extractors.decoding.grid import Sampling
from tests.extractors.decoding.test_selection import GEOMETRY, wanted_frames

ffmpeg_log.keep()
for path in sys.argv[1:]:
    timeline = read_timeline(Path(path))
    for selective in (True, False):
        damaged = []
        source = Source(timeline, GEOMETRY, lambda *span: damaged.append(span), selective=selective)
        pictures = read_with_pyav(source, wanted_frames(timeline, Sampling("center_frame", 2.0)))
        print(json.dumps([[hashlib.sha256(picture).hexdigest() for picture in pictures], damaged]))
"""


@pytest.mark.parametrize("name", ["h264", "hevc", "mpeg4", "vp9"])
def test_damage_is_read_as_by_full_decoding(folder, tmp_path, name):
    hurt = [0, 29, 60, 89, 179]  # of which 29 and 89 are wanted
    paths = [tmp_path / f"{shown}{video(folder, name).suffix}" for shown in hurt]
    for path, shown in zip(paths, hurt, strict=True):
        overwrite(video(folder, name), path, shown)
    command = [sys.executable, "-c", READ_BOTH_WAYS, *map(str, paths)]
    lines = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()
    reported = 0
    for selected, every in zip(*[map(json.loads, lines)] * 2, strict=True):
        assert selected[0] == every[0]
        # Damage in a frame that nobody needs is not seen, and changes nothing.
        assert all(span in every[1] for span in selected[1])
        reported += bool(selected[1])
    if name in ("h264", "mpeg4"):  # the others conceal it without a word
        assert reported >= 1


def overwrite(source: Path, target: Path, shown: int) -> None:
    """Copy a video with the middle of a frame's packet overwritten."""
    timeline = read_timeline(source)
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = sorted(
            (packet.pts, packet.pos, packet.size) for packet in container.demux(stream) if packet.size
        )
    assert len(packets) == len(timeline.timestamps_s)
    _, at, size = packets[shown]
    data = bytearray(source.read_bytes())
    data[at + size // 3 : at + size - size // 4] = b"\xa5" * (size - size // 4 - size // 3)
    target.write_bytes(data)
