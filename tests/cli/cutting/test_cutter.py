"""Cutting videos: the right frames, their times, and sound that stays with them.

The test video says what time it is: its picture flashes and its sound beeps at the same known instants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from extractors.decoding.clip_reader import probe
from extractors.errors import UsageError, VideoError
from tests.extractors.rendering import render
from vtg_cli.cutting.cutter import VideoCutter
from vtg_cli.cutting.join import join

EVENTS_S = (1.0, 2.5)
EVENT_LENGTH_S = 0.2
RATE = 48000
SYNC_S = 0.04
FRAME_RATES = [Fraction(24000, 1001), 25, Fraction(30000, 1001), 30, 60]
VFR = np.concatenate([np.arange(0, 1, 1 / 30), np.arange(1, 2, 1 / 10), np.arange(2, 4, 1 / 24)]).tolist()


def signal_video(
    path: Path,
    *,
    fps: Fraction | int = 30,
    times_s: Sequence[float] | None = None,
    length_s: float = 4.0,
    size: tuple[int, int] = (160, 120),
    rotation: int = 0,
    rate: int = RATE,
    layout: str = "stereo",
    audio_codec: str = "aac",
    tracks: int = 1,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    gop: int = 30,
) -> Path:
    """A video that flashes and beeps at EVENTS_S."""
    base = 1 / Fraction(fps) if times_s is None else Fraction(1, 30000)
    ticks = range(round(length_s * fps)) if times_s is None else [round(time_s * 30000) for time_s in times_s]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options={"g": str(gop), **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        sounds = [container.add_stream(audio_codec, rate=rate, layout=layout) for _ in range(tracks)]
        beeps = _beeps(length_s, rate, channels=1 if layout == "mono" else 2)
        done = 0
        for number, tick in enumerate(ticks):
            container.mux(stream.encode(_picture(number, tick * base, size, base, tick)))
            while done < min(beeps.shape[1], float(tick * base + 0.2) * rate):
                block = np.ascontiguousarray(beeps[:, done : done + 1024])
                for sound in sounds:
                    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                    frame.sample_rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
                    container.mux(sound.encode(frame))
                done += 1024
        for track in (stream, *sounds):
            container.mux(track.encode(None))
    return path


def _picture(number, time_s, size, base, tick) -> av.VideoFrame:
    width, height = size
    image = np.full((height, width, 3), 40, np.uint8)
    if any(0 <= time_s + Fraction(1, 10**6) - Fraction(event_s) < EVENT_LENGTH_S for event_s in EVENTS_S):
        image[:] = 220
    image[: height // 2, number * 2 % width :][:, :8] = (200, 60, 120)
    image[height // 2 :, : width // 4, 1] = 160
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = tick, base
    return frame


def _beeps(length_s: float, rate: int, channels: int) -> np.ndarray:
    time_s = np.arange(int(length_s * rate)) / rate
    on = sum(((time_s >= event_s) & (time_s < event_s + EVENT_LENGTH_S)) for event_s in EVENTS_S)
    return np.repeat((0.7 * np.sin(2 * np.pi * 1000 * time_s) * on).astype(np.float32)[None], channels, 0)


@dataclass
class Seen:
    """What a reader finds in a file; times in seconds."""

    frames: np.ndarray  # (M, height, width, 3) RGB as stored
    times_s: np.ndarray  # (M,)
    rotation: int
    length_s: float
    flashes_s: list[float]
    beeps_s: list[float]
    audio_tracks: int
    audio_start_s: float | None
    codecs: list[str]


def look(path: Path) -> Seen:
    with av.open(str(path)) as container:
        start_s = (container.start_time or 0) / 1_000_000
        tracks = len(container.streams.audio)
        codecs = [stream.codec_context.name for stream in container.streams if stream.codec_context]
        shown = list(container.decode(video=0))
        length_s = container.duration / 1_000_000
    frames = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    times_s = np.array([frame.time for frame in shown]) - start_s
    samples, audio_start_s = _sound(path)
    height, width = frames.shape[1:3]
    # The middle: there may be black beside it.
    middle = frames[:, height // 3 : -height // 3, width // 3 : -width // 3]
    bright = middle.mean(axis=(1, 2, 3)) > 150
    flashes = [times_s[i] for i in range(len(bright)) if bright[i] and (i == 0 or not bright[i - 1])]
    beeps_s: list[float] = []
    if samples is not None:
        loud = np.flatnonzero(np.abs(samples) > 0.1)
        starts = loud[np.diff(loud, prepend=-(10**9)) > 0.1 * RATE]
        beeps_s = [audio_start_s + start / RATE - start_s for start in starts]
    return Seen(frames, times_s, shown[0].rotation, length_s, flashes, beeps_s, tracks, audio_start_s, codecs)


def _sound(path: Path) -> tuple[np.ndarray | None, float]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None, 0.0
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        parts, start_s = [], None
        for frame in container.decode(audio=0):
            start_s = frame.time if start_s is None else start_s
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts), start_s


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.square(one.astype(float) - other).mean(), 1e-9))


def on_show(seen: Seen, time_s: float) -> int:
    return int(np.searchsorted(seen.times_s, time_s + 1e-4, side="right")) - 1


def check_exact(source: Seen, clip: Seen, span: tuple[float, float], frame_s: float) -> None:
    """The clip holds the span: its frames, its length, its flashes and beeps."""
    first = on_show(source, span[0])
    assert psnr(clip.frames[0], source.frames[first]) > 30
    assert psnr(clip.frames[-1], source.frames[first + len(clip.frames) - 1]) > 30
    assert clip.times_s[0] == pytest.approx(0, abs=1e-3)
    assert clip.length_s == pytest.approx(span[1] - span[0], abs=frame_s + 1e-3)
    held_s = source.times_s[first : first + len(clip.frames)] - source.times_s[first]
    np.testing.assert_allclose(clip.times_s, held_s, atol=1.1e-3)
    expected = [event_s - source.times_s[first] for event_s in EVENTS_S if span[0] <= event_s < span[1]]
    assert clip.beeps_s == pytest.approx(expected, abs=0.003)
    assert clip.flashes_s == pytest.approx(expected, abs=frame_s)
    assert clip.flashes_s == pytest.approx(clip.beeps_s, abs=SYNC_S)


@pytest.mark.parametrize("fps", FRAME_RATES, ids=str)
def test_a_clip_holds_its_span(tmp_path, fps):
    path = signal_video(tmp_path / "v.mp4", fps=fps)
    span = (0.8, 2.9)
    (held,) = VideoCutter(path).cut(tmp_path / "clip.mp4", [span])
    clip = look(tmp_path / "clip.mp4")
    check_exact(look(path), clip, span, 1 / float(fps))
    assert held == pytest.approx(span, abs=1 / float(fps))
    assert held[1] - held[0] == pytest.approx(clip.length_s, abs=2e-3)
    assert clip.codecs == ["h264", "aac"]


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    path = signal_video(tmp_path / "v.mp4", times_s=VFR)
    for span in ((0.5, 3.0), (1.2, 1.9), (2.25, 4.0)):
        VideoCutter(path).cut(tmp_path / "clip.mp4", [span])
        check_exact(look(path), look(tmp_path / "clip.mp4"), span, 1 / 10)


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("copy", [False, True], ids=["cut", "copy"])
def test_turned_videos_stay_turned(tmp_path, degrees, copy):
    path = signal_video(tmp_path / "v.mp4", rotation=degrees, length_s=2)
    cutter, target = VideoCutter(path), tmp_path / "clip.mp4"
    cutter.copy(target, (0.5, 1.5)) if copy else cutter.cut(target, [(0.5, 1.5)])
    assert look(target).rotation == look(path).rotation
    assert probe(target).rotation == degrees
    assert (probe(target).width, probe(target).height) == (probe(path).width, probe(path).height)


OPEN = "open-gop=1:scenecut=0:b-adapt=0"


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mkv", {"audio_codec": "libmp3lame", "rate": 44100, "layout": "mono"}),
        (".mkv", {"options": {"bf": "3", "x264-params": OPEN}}),
        (".mp4", {"options": {"x264-params": "intra-refresh=1:bframes=0"}}),
        (".webm", {"codec": "libvpx-vp9", "audio_codec": "libopus", "options": {"cpu-used": "8"}}),
        (".mp4", {"rate": 22050, "layout": "mono"}),
        (".mov", {"audio_codec": "pcm_s16le", "gop": 200}),
    ],
    ids=["mkv-mp3", "open-gop", "refresh", "webm", "22050", "mov-pcm"],
)
def test_other_files_are_cut_as_exactly(tmp_path, suffix, options):
    path = signal_video(tmp_path / f"v{suffix}", **options)
    cutter, source = VideoCutter(path), look(path)
    for span in ((0.8, 2.9), (2.3, 3.5)):
        cutter.cut(tmp_path / "clip.mp4", [span])
        check_exact(source, look(tmp_path / "clip.mp4"), span, 1 / 30)


def test_a_start_after_zero_is_counted_from(tmp_path):
    path = signal_video(tmp_path / "v.ts", options={"bf": "2"})
    source = look(path)
    for span in ((0.8, 2.9), (2.3, 3.5)):
        VideoCutter(path).cut(tmp_path / "clip.mp4", [span])
        clip = look(tmp_path / "clip.mp4")
        assert psnr(clip.frames[0], source.frames[on_show(source, span[0])]) > 30
        offset_s = source.times_s[on_show(source, span[0])]
        expected = [beep_s - offset_s for beep_s in source.beeps_s if beep_s > offset_s]
        assert clip.beeps_s == pytest.approx(expected, abs=0.003)
        assert clip.flashes_s == pytest.approx(clip.beeps_s, abs=SYNC_S)


def test_spans_are_joined_in_the_order_given(tmp_path):
    path = signal_video(tmp_path / "v.mp4", fps=Fraction(30000, 1001))
    held = VideoCutter(path).cut(tmp_path / "all.mp4", [(2.3, 3.0), (0.1, 0.5), (0.8, 1.6)])
    clip, source = look(tmp_path / "all.mp4"), look(path)
    assert clip.length_s == pytest.approx(sum(end_s - start_s for start_s, end_s in held), abs=2e-3)
    at_s, first = 0.0, 0
    for start_s, end_s in held:
        assert psnr(clip.frames[first], source.frames[on_show(source, start_s)]) > 30
        assert clip.times_s[first] == pytest.approx(at_s, abs=2e-3)
        at_s += end_s - start_s
        first = on_show(clip, at_s + 2e-3)
    lengths = [end_s - start_s for start_s, end_s in held]
    expected = [2.5 - held[0][0], lengths[0] + lengths[1] + 1.0 - held[2][0]]
    assert clip.beeps_s == pytest.approx(expected, abs=0.003)
    assert clip.flashes_s == pytest.approx(clip.beeps_s, abs=SYNC_S)


def test_adjacent_spans_share_no_frame(tmp_path):
    path = render(tmp_path / "v.mp4", frames=90, fps=Fraction(30000, 1001), width=160, height=120)
    cutter = VideoCutter(path)
    held = [cutter.cut(tmp_path / "c.mp4", [span])[0] for span in ((0, 1.0), (1.0, 2.0), (2.0, 9.0))]
    assert [held[0][1], held[1][1]] == [held[1][0], held[2][0]]
    assert held[0][0] == 0
    assert held[2][1] == pytest.approx(90 * 1001 / 30000)


def test_every_sound_track_comes_along(tmp_path):
    path = signal_video(tmp_path / "v.mkv", tracks=2, length_s=2)
    cutter = VideoCutter(path)
    cutter.cut(tmp_path / "clip.mp4", [(0.5, 1.5)])
    cutter.copy(tmp_path / "copy.mkv", (0.5, 1.5))
    assert look(tmp_path / "clip.mp4").audio_tracks == look(tmp_path / "copy.mkv").audio_tracks == 2


def test_missing_sound_becomes_silence(tmp_path):
    path = render(tmp_path / "v.mp4", frames=120, width=160, height=120, audio_from_s=1.5)
    VideoCutter(path).cut(tmp_path / "clip.mp4", [(0.5, 3.5)])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        sound = container.streams.audio[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(3.0, abs=0.01)


def test_a_silent_video_gives_a_silent_clip(tmp_path):
    path = render(tmp_path / "v.mp4", frames=60, width=160, height=120)
    VideoCutter(path).cut(tmp_path / "clip.mp4", [(0.5, 1.5)])
    assert look(tmp_path / "clip.mp4").audio_tracks == 0
    assert len(look(tmp_path / "clip.mp4").frames) == 30


DEEP = {"codec": "libx265", "pixel_format": "yuv420p10le", "options": {"x265-params": "log-level=none"}}


@pytest.mark.parametrize(
    "options",
    [
        {"size": (161, 121), "pixel_format": "yuv444p"},
        DEEP,
        {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    ],
    ids=["odd-444", "10-bit", "full-range"],
)
def test_other_pixels_look_the_same(tmp_path, options):
    path = signal_video(tmp_path / "v.mkv", length_s=1, **options)
    VideoCutter(path).cut(tmp_path / "clip.mp4", [(0.2, 0.8)])
    source, clip = look(path), look(tmp_path / "clip.mp4")
    height, width = clip.frames.shape[1:3]
    assert psnr(clip.frames[0], source.frames[6][:height, :width]) > 28


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_colours_of_ten_bits_stay(tmp_path, suffix):
    path = signal_video(tmp_path / "v.mkv", **DEEP)
    cutter, target, span = VideoCutter(path), tmp_path / f"clip{suffix}", (0.8, 2.9)
    cutter.cut(target, [span])
    check_exact(look(path), look(target), span, 1 / 30)
    assert cutter.loss == ""
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("hevc", "yuv420p10le")
        assert suffix == ".mkv" or stream.codec_context.codec_tag == "hvc1"


def test_it_is_said_when_colours_lose_bits(tmp_path, monkeypatch):
    path = signal_video(tmp_path / "v.mkv", length_s=1, **DEEP)
    monkeypatch.setattr("vtg_cli.cutting.streams._DEEP_CODEC", "none")  # a PyAV built without it
    cutter = VideoCutter(path)
    cutter.cut(tmp_path / "clip.mp4", [(0.2, 0.8)])
    assert "8, as this PyAV has no HEVC encoder" in cutter.loss
    assert look(tmp_path / "clip.mp4").codecs == ["h264", "aac"]


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv420p"), ("libx265", "yuv420p10le")])
def test_pixel_shape_and_colour_tags_stay(tmp_path, codec, pixels):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, pixels
        context = stream.codec_context
        context.sample_aspect_ratio = Fraction(4, 3)
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = 1, 9, 16, 9
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame(160, 120, pixels)))
        container.mux(stream.encode(None))
    VideoCutter(path).cut(tmp_path / "clip.mp4", [(0.2, 0.8)])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        context = stream.codec_context
        tags = (context.color_range, context.color_primaries, context.color_trc, context.colorspace)
        assert tags == (1, 9, 16, 9)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {}),
        (".mp4", {"options": {"bf": "0"}, "gop": 10}),
        (".mkv", {"gop": 25}),
        (".ts", {"gop": 25}),
        (".mkv", {"options": {"bf": "3", "x264-params": OPEN}}),
        (".webm", {"codec": "libvpx-vp9", "audio_codec": "libopus", "options": {"cpu-used": "8"}}),
    ],
    ids=["mp4", "short-gop", "mkv", "ts", "open-gop", "webm"],
)
def test_a_copy_starts_at_the_key_frame_before(tmp_path, suffix, options):
    path = signal_video(tmp_path / f"v{suffix}", **options)
    cutter, source = VideoCutter(path), look(path)
    for number, span in enumerate(((0.1, 1.3), (2.3, 3.5))):
        target = tmp_path / f"copy{number}{suffix}"
        held = cutter.copy(target, span)
        clip = look(target)
        assert held[0] <= span[0] + 1e-3
        assert span[1] - 1 / 30 - 1e-3 <= held[1] <= span[1] + 0.2
        assert clip.length_s == pytest.approx(held[1] - held[0], abs=0.06)
        first = on_show(source, held[0])
        assert psnr(clip.frames[0], source.frames[first]) > 50  # the very same
        expected = [flash_s - held[0] for flash_s in source.flashes_s if held[0] <= flash_s < held[1]]
        assert clip.flashes_s == pytest.approx(expected, abs=0.002)
        assert clip.beeps_s == pytest.approx(clip.flashes_s, abs=SYNC_S)


@pytest.mark.parametrize("fps", [*FRAME_RATES, None], ids=str)
def test_copy_holds_its_span(tmp_path, fps):
    timing = {"times_s": VFR} if fps is None else {"fps": fps}
    path = signal_video(tmp_path / "v.mp4", gop=12, **timing)
    source, frame_s = look(path), 1 / 10 if fps is None else 1 / float(fps)
    with av.open(str(path)) as container:
        keys_s = [
            float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.is_keyframe
        ]
    for number, span in enumerate(((0.7, 1.6), (2.2, 3.4))):
        held = VideoCutter(path).copy(tmp_path / f"copy{number}.mp4", span)
        clip = look(tmp_path / f"copy{number}.mp4")
        # It starts at the last key frame at or before its span, and has what comes up to its end.
        assert held[0] == pytest.approx(max(key_s for key_s in keys_s if key_s <= span[0] + 1e-3), abs=1e-3)
        assert span[1] - frame_s - 1e-3 <= held[1] <= span[1] + 4 * frame_s
        assert clip.length_s == pytest.approx(held[1] - held[0], abs=frame_s + 0.025)  # a block of sound
        first = on_show(source, held[0])
        assert psnr(clip.frames[0], source.frames[first]) > 50
        expected = [flash_s - held[0] for flash_s in source.flashes_s if held[0] <= flash_s < held[1]]
        assert clip.flashes_s == pytest.approx(expected, abs=0.002)
        assert clip.beeps_s == pytest.approx(clip.flashes_s, abs=SYNC_S)


# Several videos.


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_videos_of_all_sizes_and_rates_are_joined(tmp_path, suffix):
    options = [
        {"fps": Fraction(30000, 1001), "size": (160, 120)},
        {"fps": Fraction(24000, 1001), "size": (320, 180), "layout": "mono", "rate": 22050},
        {"fps": 60, "size": (160, 120), "rotation": 90, "audio_codec": "libmp3lame", "rate": 44100},
        {"times_s": VFR, "size": (120, 160)},
        {"fps": 25, "size": (322, 182), **DEEP},
    ]
    paths = [signal_video(tmp_path / f"v{k}.mkv", **one) for k, one in enumerate(options)]
    silent = render(tmp_path / "silent.mp4", frames=50, fps=25, width=160, height=120)
    parts = [(path, (0.7, 1.9)) for path in paths]
    parts.insert(2, (silent, (0.5, 1.5)))
    parts.append((paths[0], (2.2, 3.1)))
    joined = join(tmp_path / f"all{suffix}", parts)
    clip = look(tmp_path / f"all{suffix}")
    assert clip.frames.shape[1:3] == (182, 322)  # the largest
    assert clip.rotation == 0
    assert clip.audio_tracks == 1
    assert clip.codecs == ["hevc", "aac"]
    # Matroska counts the last block of sound in full.
    assert clip.length_s == pytest.approx(joined.length_s, abs=3e-3 if suffix == ".mp4" else 0.025)
    assert joined.note == ""
    expected, at_s = [], 0.0
    for (path, span), held in zip(parts, joined.spans, strict=True):
        assert held == pytest.approx(span, abs=1 / 10)
        if path != silent:
            expected += [at_s + event_s - held[0] for event_s in EVENTS_S if held[0] <= event_s < held[1]]
        at_s += held[1] - held[0]
    assert len(expected) == 6
    assert clip.beeps_s == pytest.approx(expected, abs=0.003)
    assert clip.flashes_s == pytest.approx(expected, abs=1 / 10)
    assert clip.flashes_s == pytest.approx(clip.beeps_s, abs=SYNC_S)
    # Portraits stand upright, and whole, between black.
    upright = clip.frames[on_show(clip, 1.2 * 2 + 1.0 + 0.1)]
    assert upright[:, :80].mean() < 5
    assert upright[:, -80:].mean() < 5
    assert upright[:, 140:180].mean() > 30


def test_frames_that_are_joined_look_the_same(tmp_path):
    large = signal_video(tmp_path / "large.mp4", size=(320, 240))
    small = signal_video(tmp_path / "small.mp4", size=(160, 120), fps=25)
    joined = join(tmp_path / "all.mp4", [(large, (0.5, 1.2)), (small, (1.5, 2.0))])
    clip, first_s = look(tmp_path / "all.mp4"), joined.spans[0][1] - joined.spans[0][0]
    assert psnr(clip.frames[0], look(large).frames[on_show(look(large), 0.5)]) > 30
    second = clip.frames[on_show(clip, first_s + 2e-3)]
    # Made twice as large, so every second pixel of it is about one of the source's.
    assert psnr(second[::2, ::2], look(small).frames[on_show(look(small), 1.5)]) > 25


def test_join_keeps_what_a_cut_keeps(tmp_path):
    path = signal_video(tmp_path / "v.mkv", tracks=2, length_s=2, rotation=90)
    joined = join(tmp_path / "all.mp4", [(path, (0.2, 0.6)), (path, (1.0, 1.5))])
    clip = look(tmp_path / "all.mp4")
    assert (clip.audio_tracks, clip.rotation) == (2, look(path).rotation)
    assert clip.length_s == pytest.approx(joined.length_s, abs=2e-3)


def test_mixed_colours_get_a_note(tmp_path):
    plain, bright = signal_video(tmp_path / "a.mp4", length_s=1), tmp_path / "b.mp4"
    with av.open(str(bright), "w") as container:
        stream = container.add_stream("libx265", rate=30, options=DEEP["options"])
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p10le"
        stream.codec_context.color_trc = 18  # HLG
        for _ in range(30):
            container.mux(stream.encode(av.VideoFrame(160, 120, "yuv420p10le")))
        container.mux(stream.encode(None))
    assert "HDR" in join(tmp_path / "all.mp4", [(plain, (0.2, 0.6)), (bright, (0.2, 0.6))]).note


def test_what_cannot_be_joined_is_refused(tmp_path):
    path = signal_video(tmp_path / "v.mp4", length_s=1)
    (tmp_path / "notes.mp4").write_text("these are notes")
    with pytest.raises(UsageError, match="no span to join"):
        join(tmp_path / "all.mp4", [])
    with pytest.raises(UsageError, match="is the source video"):
        join(path, [(path, (0, 1)), (signal_video(tmp_path / "w.mp4", length_s=1), (0, 1))])
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        join(tmp_path / "all.mp4", [(path, (0, 1)), (tmp_path / "notes.mp4", (0, 1))])
    assert not (tmp_path / "all.mp4").exists()


def test_frames_without_times_are_counted(tmp_path):
    path = render(tmp_path / "v.h264", frames=60, fps=25, width=160, height=120, options={"bf": "0"})
    cutter = VideoCutter(path)
    cutter.cut(tmp_path / "clip.mp4", [(1.0, 2.0)])
    assert len(look(tmp_path / "clip.mp4").frames) == 25
    with av.open(str(path)) as container:
        source = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert psnr(look(tmp_path / "clip.mp4").frames[0], source[25]) > 30


def test_a_failed_cut_leaves_nothing_behind(tmp_path):
    path = signal_video(tmp_path / "v.mp4", length_s=2)
    target = tmp_path / "out" / "clip.webm"
    with pytest.raises(VideoError, match="cannot be copied"):
        VideoCutter(path).copy(target, (0.5, 1.5))  # WebM holds neither H.264 nor AAC
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "spans", "word"),
    [
        ("clip.txt", [(0, 1)], "must end in"),
        ("clip.mp4", [], "no span to cut"),
        ("clip.mp4", [(1, 1)], "not a span"),
        ("clip.mp4", [(5, 6)], "not a span"),
        ("clip.mp4", [(float("nan"), 1)], "not a span"),
        ("v.mp4", [(0, 1)], "is the source video"),
    ],
)
def test_what_cannot_be_cut_is_refused(tmp_path, name, spans, word):
    path = render(tmp_path / "v.mp4", frames=30, width=160, height=120)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=word):
        VideoCutter(path).cut(tmp_path / name, spans)
    assert path.read_bytes() == before


def test_without_key_frames_a_copy_is_refused(tmp_path):
    options = {"x265-params": "log-level=none"}
    marked, path = (
        render(tmp_path / "marked.mkv", frames=30, codec="libx265", options=options),
        tmp_path / "v.mkv",
    )
    with av.open(str(marked)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.is_keyframe, packet.stream = False, stream
                target.mux(packet)
    cutter = VideoCutter(path)
    with pytest.raises(VideoError, match=r"v\.mkv: has no key frame .*; cut without copying"):
        cutter.copy(tmp_path / "copy.mkv", (0.2, 0.8))
    assert not (tmp_path / "copy.mkv").exists()
    cutter.cut(tmp_path / "cut.mp4", [(0.2, 0.8)])
    assert probe(tmp_path / "cut.mp4").frame_count == 18


def test_cut_of_a_damaged_video(tmp_path):
    path = signal_video(tmp_path / "v.mkv")
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    (held,) = VideoCutter(path).cut(tmp_path / "clip.mp4", [(0.5, 3.9)])
    clip = look(tmp_path / "clip.mp4")
    assert held[1] < 3.9
    assert clip.beeps_s[0] == pytest.approx(0.5, abs=0.003)
