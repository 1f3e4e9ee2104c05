"""Reading videos: the right frames, from any file, in bounded memory, or one clear error.

The independent reference is FFmpeg's own filter graph (`fps`, `scale`, `crop`), the one that made the published
features.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from extractors.decoding.clip_reader import ClipReader, DecodingOptions, probe
from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.decord_reader import unsuitable
from extractors.decoding.grid import Sampling
from extractors.errors import VideoError
from tests.extractors.rendering import read_indices, render
from tests.shared_data import ROOT, shared

CENTER = Sampling("center_frame", 2.0)
SLOWFAST = Sampling("slowfast", 2.0)
DECODERS = ["decord", "pyav"]


def read(path: Path, *samplings: Sampling, **options) -> tuple[list[np.ndarray], ClipReader]:
    """All clips of each sampling, (N, F, size, size, 3), checked to come whole and in order."""
    reader = ClipReader(path, samplings, DecodingOptions(**options))
    clips: list[list[np.ndarray]] = [[] for _ in samplings]
    for chunk in reader:
        for own, start, rows in zip(clips, chunk.start_clip, chunk.rows, strict=True):
            assert start == sum(len(part) for part in own)
            own.append(chunk.frames[rows])
    whole = [np.concatenate(own) for own in clips]
    assert tuple(len(own) for own in whole) == reader.clip_counts
    return whole, reader


def filtered(path: Path, fps: str, *, size: int = 224) -> np.ndarray:
    """What FFmpeg's filters give: (N, size, size, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        graph = av.filter.Graph()
        width, height = stream.width, stream.height
        scale = f"{width * size // height}:{size}" if width > height else f"{size}:{height * size // width}"
        wide, high = (int(side) for side in scale.split(":"))
        chain = [
            graph.add_buffer(template=stream),
            graph.add("fps", fps),
            graph.add("scale", f"{scale}:flags=bicubic"),
            graph.add("crop", f"{size}:{size}:{(wide - size) // 2}:{(high - size) // 2}"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        ]
        for left, right in pairwise(chain):
            left.link_to(right)
        graph.configure()
        pictures = []

        def drain() -> None:
            while True:
                try:
                    pictures.append(graph.pull().to_ndarray(format="rgb24"))
                except (av.error.BlockingIOError, av.error.EOFError):
                    return

        for frame in container.decode(stream):
            graph.push(frame)
            drain()
        graph.push(None)
        drain()
    return np.stack(pictures)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("fps", "frames", "gop"),
    [
        (15, 160, 40),
        (Fraction(24000, 1001), 200, 12),
        (25, 250, 250),
        (Fraction(30000, 1001), 310, 30),
        (60, 400, 60),
    ],
    ids=str,
)
def test_frames_are_those_of_ffmpegs_filters(tmp_path, decoder, fps, frames, gop):
    path = render(tmp_path / "v.mp4", frames=frames, fps=fps, gop=gop)
    (clips,), reader = read(path, CENTER, decoder=decoder)
    assert reader.info.decoder == decoder
    expected = filtered(path, "fps=0.5")
    assert read_indices(clips[:, 0]) == read_indices(expected)


@pytest.mark.parametrize("decoder", DECODERS)
def test_slowfast_frames_at_thirty_fps(tmp_path, decoder):
    path = render(tmp_path / "v.mp4", frames=150, fps=25)
    (clips,), _ = read(path, SLOWFAST, decoder=decoder)
    stream = read_indices(filtered(path, "fps=30"))
    stream += [stream[-1]] * 60
    offsets = np.clip(np.linspace(0, 64 * 25 / 30 - 1, 32), 0, 59).astype(int)
    for number, clip in enumerate(clips):
        assert read_indices(clip) == [stream[60 * number + offset] for offset in offsets]


def test_pixels_are_those_of_ffmpegs_filters(tmp_path):
    path = render(tmp_path / "v.mp4", frames=120, fps=30, width=426, height=240)
    expected = filtered(path, "fps=0.5").astype(int)
    for decoder, tolerance in (("pyav", 1.5), ("decord", 4.0)):
        (clips,), _ = read(path, CENTER, decoder=decoder)
        assert np.abs(clips[:, 0].astype(int) - expected).mean() < tolerance


def test_both_samplings_come_from_one_pass(tmp_path):
    path = render(tmp_path / "v.mp4", frames=330, fps=30)
    (center, slowfast), reader = read(path, CENTER, SLOWFAST, chunk_s=4)
    assert (len(center), len(slowfast)) == (6, 6)
    (alone,), _ = read(path, CENTER)
    np.testing.assert_array_equal(center, alone)
    frames = sum(len(chunk.frames) for chunk in reader)
    assert frames <= 6 * 33


@pytest.mark.parametrize("chunk_s", [0.7, 2.0, 5.0, 1000.0])
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_size_of_chunks_changes_nothing(tmp_path, chunk_s, decoder):
    path = render(tmp_path / "v.mp4", frames=250, fps=25, gop=60)
    samplings = (CENTER, SLOWFAST, Sampling("center_frame", 0.5))
    expected, _ = read(path, *samplings, decoder=decoder)
    got, _ = read(path, *samplings, decoder=decoder, chunk_s=chunk_s)
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(one, other)


def test_variable_frame_rates_are_read_by_timestamp(tmp_path):
    times = np.concatenate([np.arange(0, 4, 1 / 30), np.arange(4, 12, 1 / 5), np.arange(12, 16, 1 / 24)])
    times = np.rint(times * 30000) / 30000
    path = render(tmp_path / "v.mp4", times_s=times.tolist())
    for decoder in DECODERS:
        (clips,), reader = read(path, CENTER, decoder=decoder)
        shown = [int(np.searchsorted(times, 2 * k + 1, side="left")) - 1 for k in range(len(clips))]
        assert np.abs(np.array(read_indices(clips[:, 0])) - shown).max() == 0
        assert reader.info.duration_s == pytest.approx(16, abs=0.2)


def test_late_start(tmp_path):
    path = render(tmp_path / "v.mkv", times_s=(1.5 + np.arange(180) / 30).tolist(), audio_from_s=0.0)
    (clips,), _ = read(path, CENTER)
    # 1.0 s lies before the first frame, which stands in for it.
    assert read_indices(clips[:, 0]) == [0, 44, 104, 164]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_videos_are_seen_upright(tmp_path, degrees):
    straight = render(tmp_path / "straight.mp4", frames=60, width=320, height=240)
    turned = render(tmp_path / "turned.mp4", frames=60, width=320, height=240, rotation=degrees)
    (expected,), _ = read(straight, CENTER)
    (clips,), reader = read(turned, CENTER)
    assert reader.info.rotation == degrees
    assert (reader.info.width < reader.info.height) == (degrees != 180)
    upright = np.rot90(expected[0, 0], degrees // 90)
    assert np.abs(clips[0, 0].astype(int) - upright).mean() < 4


def test_av1_uses_pyav(tmp_path):
    try:
        path = render(tmp_path / "v.mkv", frames=60, codec="libsvtav1", options={"preset": "12"})
    except av.error.FFmpegError:
        pytest.skip("this PyAV has no AV1 encoder")
    (clips,), reader = read(path, CENTER)
    assert reader.info.decoder == "pyav"
    assert "AV1" in reader.info.note
    assert read_indices(clips[:, 0]) == [29]


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [(".avi", "mpeg4", "yuv420p"), (".webm", "libvpx-vp9", "yuv420p"), (".mp4", "libx265", "yuv420p10le")],
)
def test_other_codecs(tmp_path, suffix, codec, pixel_format):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = render(
        tmp_path / f"v{suffix}", frames=150, codec=codec, pixel_format=pixel_format, options=options
    )
    (clips,), _ = read(path, CENTER)
    assert read_indices(clips[:, 0]) == [29, 89, 149]


X264 = {"bf": "3", "preset": "veryfast"}


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {**X264, "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}),
        (".mkv", {**X264, "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}),
        (".mp4", {"preset": "veryfast", "x264-params": "intra-refresh=1:bframes=0"}),
        (".ts", X264),
    ],
    ids=["open-mp4", "open-mkv", "refresh", "ts"],
)
def test_unseekable_key_frames(tmp_path, suffix, options):
    path = render(tmp_path / f"v{suffix}", frames=150, fps=30, gop=30, options=options)
    # Seven frames apart, so that key frames are stepped over and a decoder has to seek.
    (clips,), reader = read(path, Sampling("center_frame", 7 / 30))
    assert reader.info.decoder == "pyav"
    assert read_indices(clips[:, 0]) == [7 * k + 3 for k in range(len(clips))]


def test_frames_before_a_key_frame_are_counted(tmp_path):
    path = render(tmp_path / "v.mp4", frames=90, fps=30, codec="mpeg4", options={"bf": "2"})
    (clips,), _ = read(path, Sampling("center_frame", 7 / 30))
    assert read_indices(clips[:, 0]) == [7 * k + 3 for k in range(len(clips))]


def test_start_between_microseconds(tmp_path):
    # At 60 fps every second frame appears at the very instant the 30 fps grid looks at: it does not count.
    path = render(tmp_path / "v.ts", times_s=(2501 / 30000 + np.arange(240) / 60).tolist(), fps=60)
    (clips,), _ = read(path, SLOWFAST)
    offsets = np.clip(np.linspace(0, 63, 32), 0, 59).astype(int)
    assert read_indices(clips[0]) == (2 * offsets).tolist()


@pytest.mark.parametrize("name", ["list.m3u8", "picture.png"])
def test_playlists_and_pictures_are_refused_at_once(tmp_path, name):
    path = tmp_path / name
    if name.endswith("png"):
        with av.open(str(path), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width = stream.height = 64
            stream.pix_fmt = "rgb24"
            container.mux(stream.encode(av.VideoFrame(64, 64, "rgb24")))
            container.mux(stream.encode(None))
    else:
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nhttp://localhost/a.ts\n")
    code = "import sys; from extractors.decoding.clip_reader import probe; probe(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert "VideoError" in done.stderr


@pytest.mark.parametrize(
    ("width", "height"), [(640, 270), (240, 426), (96, 96), (1000, 64), (4000, 128), (128, 4000)]
)
def test_any_shape_is_cut_from_the_middle(tmp_path, width, height):
    path = render(tmp_path / "v.mp4", frames=30, width=width, height=height)
    (clips,), _ = read(path, CENTER)
    assert clips.shape == (1, 1, 224, 224, 3)
    if min(width, height) > 90:
        assert read_indices(clips[:, 0]) == [29]


def test_long_narrow_frames(tmp_path):
    path = render(tmp_path / "v.mp4", frames=60, width=3200, height=128)
    (clips,), _ = read(path, CENTER)
    whole = filtered(path, "fps=0.5").astype(int)
    assert np.abs(clips[:, 0].astype(int) - whole).mean() < 4


PEAK_OF_READING = """
import re, sys
from extractors.decoding.grid import Sampling
from extractors.decoding.thumbnails import read_thumbnails
from extractors.decoding.clip_reader import ClipReader

with ClipReader(sys.argv[1], [Sampling("slowfast", 2.0)]) as reader:
    count = sum(len(chunk.rows[0]) for chunk in reader)
read_thumbnails(sys.argv[1], [0.0, 1.0])
print(count, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(("width", "height"), [(16384, 2), (2, 16384), (16384, 16), (16, 16384)])
def test_lines_take_little_memory(tmp_path, width, height):
    path = tmp_path / "line.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode(None))
    command = [sys.executable, "-c", PEAK_OF_READING, str(path)]
    count, peak_kb = map(int, subprocess.check_output(command, text=True, timeout=120).split())
    assert count == 1
    assert peak_kb < 300_000


def test_large_pictures_in_small_groups(tmp_path, monkeypatch):
    path = render(tmp_path / "v.mp4", frames=60)
    (expected,), reader = read(path, SLOWFAST, decoder="decord")
    monkeypatch.setattr("extractors.decoding.decord_reader._BATCH_BYTES", 1_000_000)  # three pictures
    (clips,), _ = read(path, SLOWFAST, decoder="decord")
    assert reader.info.decoder == "decord"
    np.testing.assert_array_equal(clips, expected)


def test_a_cut_off_file_gives_what_it_has(tmp_path):
    whole = render(tmp_path / "whole.mkv", frames=300, fps=30)
    data = whole.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    (clips,), reader = read(path, CENTER)
    assert 2 < reader.info.duration_s < 9
    assert read_indices(clips[:2, 0]) == [29, 89]


def test_damage_in_the_middle(tmp_path):
    whole = render(tmp_path / "whole.mkv", frames=300, fps=30, gop=30)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = os.urandom(200)
    path = tmp_path / "damaged.mkv"
    path.write_bytes(data)
    (clips,), _ = read(path, CENTER)
    assert read_indices(clips[:1, 0]) == [29]
    assert read_indices(clips[-1:, 0]) == [269]


def write_text(path: Path) -> None:
    path.write_text("these are notes\n" * 50)


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def write_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_playlist(path: Path) -> None:
    render(path.with_name("target.mp4"), frames=10)
    path.write_text(f"ffconcat version 1.0\nfile '{path.with_name('target.mp4')}'\n")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: None, "cannot be read"),
        (Path.mkdir, "folder"),
        (os.mkfifo, "not a file but a folder, a pipe or a device"),
        (write_text, "not a video"),
        (write_nothing, "empty"),
        (write_noise, "not a video"),
        (write_sound, "no video stream"),
        (write_playlist, "not a video|no video stream"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
    ids=["missing", "folder", "fifo", "text", "empty", "noise", "sound", "playlist", "loop"],
)
def test_non_videos_are_refused(tmp_path, write, reason):
    path = tmp_path / "a:b\n.mp4"
    write(path)
    with pytest.raises(VideoError, match=reason) as caught:
        probe(path)
    assert caught.value.path == path


def test_names_that_look_like_addresses_are_files(tmp_path):
    path = render(tmp_path / "http:video.mp4", frames=30)
    assert probe(path).frame_count == 30


def test_probe_measures_rather_than_believes(tmp_path):
    info = probe(render(tmp_path / "v.mp4", frames=75, fps=25, width=426, height=240))
    assert (info.width, info.height, info.frame_count, info.codec) == (426, 240, 75, "h264")
    assert info.duration_s == pytest.approx(3.0)
    assert info.fps == pytest.approx(25)


REAL = sorted(path.relative_to(ROOT) for path in ROOT.glob("videos/**/*.*") if path.suffix != ".md")


@pytest.mark.parametrize("relative", REAL, ids=lambda path: path.name)
def test_both_decoders_agree_on_real_files(relative):
    path = shared(str(relative))
    (center, slowfast), reader = read(path, CENTER, SLOWFAST)
    assert len(center) == reader.clip_counts[0]
    assert len(slowfast) == reader.clip_counts[1]
    if reader.info.decoder == "decord" and min(reader.info.width, reader.info.height) > 100:
        (other,), _ = read(path, CENTER, decoder="pyav")
        difference = np.abs(center.astype(int) - other).mean(axis=(1, 2, 3, 4))
        assert difference.max() < 8, difference


@pytest.fixture(scope="module")
def short_and_long(tmp_path_factory) -> list[Path]:
    """Two videos, of which the second is six times as long."""
    folder, quick = tmp_path_factory.mktemp("lengths"), {"preset": "ultrafast"}
    return [
        render(folder / f"{seconds}.mp4", frames=10 * seconds, fps=10, gop=40, options=quick)
        for seconds in (40, 240)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_memory_does_not_grow_with_length(short_and_long, decoder):
    code = (
        "import sys, resource; from extractors.decoding.clip_reader import ClipReader, DecodingOptions;"
        "from extractors.decoding.grid import Sampling\n"
        "reader = ClipReader(sys.argv[1], [Sampling('slowfast', 2.0)], DecodingOptions(sys.argv[2], 10))\n"
        "for chunk in reader: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for path in short_and_long:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), decoder], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    # The allocator makes it up to 1.25 on a busy machine; with frames that are kept, it is 2.6.
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_long_videos_use_pyav(tmp_path: Path) -> None:
    timeline = read_timeline(render(tmp_path / "video.mp4", frames=20, fps=10))
    hours = replace(
        timeline, timestamps_s=np.arange(100_001) / 25, key_frames=np.arange(0, 100_001, 250), fps=25.0
    )
    assert unsuitable(timeline, 0) == ""
    assert "memory" in unsuitable(hours, 0)
