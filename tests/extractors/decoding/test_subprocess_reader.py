"""Decoding in a subprocess: the same clips, and no harm from decoders that crash, hang or die."""

from __future__ import annotations

import hashlib
import random
import re
import select
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import ClipReader, Decoder, DecodingOptions
from extractors.decoding.grid import Sampling
from extractors.decoding.subprocess_reader import DecodeProcess, DecoderCrash
from extractors.errors import VideoError
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features
from tests.extractors.index_encoder import IndexEncoder, centre_indices, make_video
from tests.extractors.reading import Reading
from tests.extractors.rendering import read_indices, render
from tests.hostile import crashes_decord, damaged_in_the_middle, mutate, undecodable_packet, without_end

STARTED = {
    "index": 0,
    "path": "",
    "info": {
        "path": "", "duration_s": 9.0, "fps": 10.0, "width": 160, "height": 128, "frame_count": 90, "codec": "h264",
        "rotation": 0, "decoder": "decord", "note": "",
    },
    "clip_counts": {"0": 5, "1": 5},
}  # fmt: skip
SAMPLINGS = [Sampling("center_frame", 2.0), Sampling("slowfast", 2.0)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "it's \u202ean عربى\nname 🎬.mp4", seconds=9.0)


def hostile(code: str) -> list[str]:
    """A worker that reads one request and then does as the code says."""
    return [sys.executable, "-c", "import sys, os, time\nos.read(0, 1 << 16)\n" + textwrap.dedent(code)]


def test_the_same_clips_as_in_this_process(video: Path) -> None:
    with DecodeProcess() as process, ClipReader(video, SAMPLINGS, DecodingOptions(chunk_s=4.0)) as here:
        for _ in range(2):  # one process serves one video after another
            with Reading(process, video, SAMPLINGS, chunk_s=4.0) as there:
                assert there.info == here.info
                assert there.clip_counts == here.clip_counts
                for ours, theirs in zip(here, there, strict=True):
                    assert ours.start_clip == theirs.start_clip
                    np.testing.assert_array_equal(ours.frames, theirs.frames)
                    for a, b in zip(ours.rows, theirs.rows, strict=True):
                        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mkv", "libx264"), (".ts", "libx264"), (".avi", "mpeg4"), (".webm", "libvpx")],
)
def test_damage_is_concealed_alike_every_time(tmp_path: Path, suffix: str, codec: str) -> None:
    """How FFmpeg's threads happen to run decides what they put in the place of what is damaged."""
    seed = render(tmp_path / f"whole{suffix}", frames=60, fps=10, width=160, height=128, codec=codec)
    whole = seed.read_bytes()
    rng = random.Random(1)
    damaged = tmp_path / f"damaged{suffix}"
    read = 0
    with DecodeProcess() as process:
        for _ in range(8):
            damaged.write_bytes(mutate(whole, rng))
            seen = [_pictures(process, damaged) for _ in range(5)]
            assert len(set(seen)) == 1
            assert not re.search(
                r"\d\d:\d\d:\d\d|\.cc:", seen[0][0]
            )  # no time of day, no source of the decoder
            read += bool(seen[0][1])
    assert read > 2


def _pictures(process: DecodeProcess, path: Path) -> tuple[str, bytes]:
    try:
        with Reading(process, path, [Sampling("center_frame", 0.5)]) as reader:
            frames = b"".join(chunk.frames.tobytes() for chunk in reader)
            return reader.info.note, hashlib.blake2b(frames).digest()
    except VideoError as error:
        return error.reason, b""


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_where_a_video_is_damaged_is_told(tmp_path: Path, decoder: Decoder) -> None:
    path, damaged = damaged_in_the_middle(tmp_path)
    with DecodeProcess() as process:
        for video, count in (path, 0), (damaged, 1):
            for _ in range(2):
                with Reading(process, video, [Sampling("center_frame", 1.0)], decoder=decoder) as reader:
                    assert reader.facts.damaged_s == ()
                    list(reader)
                assert len(reader.facts.damaged_s) == count
    ((start_s, end_s),) = reader.facts.damaged_s
    assert start_s <= 15 <= end_s
    assert end_s - start_s < 12


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize("frame", [20, 47])
def test_an_undecodable_packet_is_damage(tmp_path: Path, decoder: Decoder, frame: int) -> None:
    path = undecodable_packet(tmp_path, frame)
    with (
        DecodeProcess() as process,
        Reading(process, path, [Sampling("center_frame", 0.2)], decoder=decoder) as reader,
    ):
        list(reader)
    ((start_s, end_s),) = reader.facts.damaged_s
    assert start_s <= frame / 10 <= end_s


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])  # with key frames to seek to, and without
def test_damage_near_the_end_is_told(tmp_path: Path, suffix: str) -> None:
    path = render(tmp_path / f"whole{suffix}", frames=60, fps=10, width=160, height=128, gop=10)
    content = bytearray(path.read_bytes())
    place = len(content) * 8 // 10 // 188 * 188 + 20  # within a packet of a transport stream
    content[place : place + 150] = random.Random(0).randbytes(150)
    path.write_bytes(content)
    with (
        DecodeProcess() as process,
        Reading(process, path, [Sampling("center_frame", 0.5)], decoder="pyav") as reader,
    ):
        list(reader)
    assert len(reader.facts.damaged_s) == 1


def test_damage_is_kept_with_the_features(tmp_path: Path, cache_root: Path) -> None:
    path, damaged = damaged_in_the_middle(tmp_path)
    cache = FeatureCache(cache_root)
    told = []
    for status in ("extracted", "cached"):
        report = extract_features(
            [path, damaged], [IndexEncoder()], cache, options=ExtractionOptions(stall_s=60.0)
        )
        assert [result.status for result in report.results] == [status] * 2
        told.append([result.facts.damaged_s for result in report.results])
    assert told[0] == told[1]
    assert [len(segments) for segments in told[0]] == [0, 1]


def test_damage_of_all_features_is_told_as_one(tmp_path: Path, cache_root: Path) -> None:
    """Features are made one after the other, and each looks at other frames."""
    _, damaged = damaged_in_the_middle(tmp_path)
    cache = FeatureCache(cache_root)
    centre, motion = IndexEncoder(), IndexEncoder("motion", kind="slowfast")
    extract_features([damaged], [centre], cache, options=ExtractionOptions(stall_s=60.0))
    report = extract_features([damaged], [centre, motion], cache, options=ExtractionOptions(stall_s=60.0))
    ((start_s, end_s),) = report.results[0].facts.damaged_s
    assert start_s <= 15 <= end_s
    entries = [cache.load_video(damaged, encoder.spec) for encoder in (centre, motion)]
    assert all(entry is not None and len(entry.facts.damaged_s) == 1 for entry in entries)


def test_damaged_video_is_read_again(tmp_path: Path) -> None:
    path, damaged = damaged_in_the_middle(tmp_path)
    with DecodeProcess() as process:
        whole, frames = _frames(process, path), _frames(process, damaged)
    same = (whole == frames).all(axis=(1, 2, 3))
    assert not same.all()
    assert same[:12].all()
    assert same[-12:].all()


def _frames(process: DecodeProcess, path: Path) -> NDArray[np.uint8]:
    with Reading(process, path, [Sampling("center_frame", 1.0)], decoder="pyav", chunk_s=4.0) as reader:
        return np.concatenate([chunk.frames[chunk.rows[0][:, 0]] for chunk in reader])


def test_errors_match_in_process_decoding(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("these are notes")
    with pytest.raises(VideoError) as here:
        ClipReader(path, SAMPLINGS)
    with DecodeProcess() as process, pytest.raises(VideoError) as there:
        Reading(process, path, SAMPLINGS)
    assert str(there.value) == str(here.value)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os._exit(7)", "exit code 7"),
        ("sys.stdout.write('not a message at all'); sys.stdout.flush(); time.sleep(60)", "crashed"),
        ("os.write(1, (30).to_bytes(4, 'little') + b'{')", "crashed"),
    ],
    ids=["segfault", "abort", "exit", "noise", "cut off"],
)
def test_a_crash_is_the_video_s_fault_alone(video: Path, code: str, reason: str) -> None:
    with DecodeProcess(command=hostile(code)) as process, pytest.raises(VideoError, match=reason):
        Reading(process, video, SAMPLINGS)


def test_claimed_arrays_take_no_memory(video: Path) -> None:
    code = """
    import json
    header = json.dumps({"type": "VideoStarted", "arrays": [["|u1", 1 << 20, 1 << 20]]}).encode()
    os.write(1, len(header).to_bytes(4, "little") + header)
    time.sleep(60)
    """
    with DecodeProcess(command=hostile(code)) as process, pytest.raises(VideoError, match="crashed"):
        Reading(process, video, SAMPLINGS)


@pytest.mark.parametrize(
    "messages",
    [
        [("", {})],
        [("VideoFinished", {"index": 0, "path": "", "status": "extracted"})],
        [("VideoStarted", {})],
        [("VideoStarted", STARTED | {"info": {"path": "x"}})],
        [("VideoStarted", STARTED | {"clip_counts": {"0": "many", "1": 5}})],
        [("VideoStarted", STARTED | {"clip_counts": {"0": 5}})],
        [("VideoStarted", STARTED), ("VideoDecoded", {"index": 0})],
        [("VideoStarted", STARTED), ("VideoDecoded", {"index": 0, "facts": {"damaged_s": [[1]]}})],
        [("VideoStarted", STARTED), ("ClipsDecoded", {"index": 0, "chunk": {"start_clip": [0, 0]}})],
        [
            ("VideoStarted", STARTED),
            ("ClipsDecoded", {"index": 0, "chunk": {"start_clip": [0, 0], "frames": 0, "rows": []}}),
        ],
    ],
)
def test_invalid_answer_is_a_video_error(video: Path, messages: list[Any]) -> None:
    code = f"""
    import json
    for kind, fields in {messages!r}:
        text = json.dumps({{"type": kind, "fields": fields, "arrays": [["|u1", 0]]}}).encode()
        os.write(1, len(text).to_bytes(4, "little") + text)
    """
    with DecodeProcess(command=hostile(code)) as process, pytest.raises(VideoError, match="invalid data"):  # noqa: SIM117
        with Reading(process, video, SAMPLINGS) as reader:
            list(reader)


def test_slow_open_is_not_a_stall(video: Path) -> None:
    """For as long as there is progress."""
    code = f"""
    import json
    for kind, fields in [("Alive", {{}})] * 6 + [("VideoStarted", {STARTED!r})]:
        text = json.dumps({{"type": kind, "fields": fields, "arrays": []}}).encode()
        os.write(1, len(text).to_bytes(4, "little") + text)
        time.sleep(0.5)
    """
    with (
        DecodeProcess(stall_s=2.0, command=hostile(code)) as process,
        Reading(process, video, SAMPLINGS) as reader,
    ):
        assert reader.clip_counts == (5, 5)


def test_reading_and_decoding_are_progress(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", frames=20, fps=10, width=64, height=64)
    code = """
    import sys
    from pathlib import Path
    from extractors.decoding import pulse
    from extractors.decoding.clip_reader import ClipReader, DecodingOptions
    from extractors.decoding.grid import Sampling
    pulse._EVERY_S = 0.0
    beats = []
    pulse.on_beat(lambda: beats.append(None))
    with ClipReader(sys.argv[1], [Sampling("center_frame", 1.0)], DecodingOptions("pyav")) as reader:
        print(len(beats))
        list(reader)
    print(len(beats))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), path], capture_output=True, text=True, check=True
    )
    opened, read = map(int, done.stdout.split())
    assert opened >= 20
    assert read > opened + 5


def test_a_file_without_end_is_given_up(tmp_path: Path) -> None:
    path = without_end(tmp_path)
    start = time.monotonic()
    with DecodeProcess(stall_s=2.0) as process, pytest.raises(VideoError, match="no progress for 2 s"):
        Reading(process, path, SAMPLINGS)
    assert time.monotonic() - start < 30


def limited(code: str, *arguments: str | Path) -> int:
    """The exit code of what runs under the limits of a subprocess that decodes."""
    start = (
        "import os, sys\nfrom extractors.subprocesses import worker\nworker.begin(dies_with_thread=False)\n"
    )
    command = [sys.executable, "-c", start + textwrap.dedent(code), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        return process.wait(60)


def test_memory_is_limited() -> None:
    code = """
    import numpy
    numpy.empty(1 << 30, numpy.uint8)
    try:
        numpy.empty(7 << 30, numpy.uint8)
    except MemoryError:
        sys.exit(7)
    """
    assert limited(code) == 7


def test_what_is_written_is_limited(tmp_path: Path) -> None:
    code = """
    with open(sys.argv[1], "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            sys.exit(7)
    """
    assert limited(code, tmp_path / "log") == 7
    assert (tmp_path / "log").stat().st_size == 64 << 20


@pytest.mark.skipif(not hasattr(select, "poll"), reason="needs POSIX")
def test_a_subprocess_ends_with_its_parent(tmp_path: Path) -> None:
    """Even while it is in a decoder, and its parent is killed."""
    code = """
import subprocess, sys
if sys.argv[2] == "parent":
    again = [sys.executable, "-c", sys.argv[1], sys.argv[1], "child", sys.argv[3]]
    busy = subprocess.Popen(again, stdin=subprocess.PIPE)
    print(busy.pid, flush=True)
    busy.wait()
else:
    from extractors.subprocesses import worker
    worker.begin(dies_with_thread=False)
    from extractors.decoding.clip_reader import probe
    probe(sys.argv[3])
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code, code, "parent", without_end(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    busy = psutil.Process(int(parent.stdout.readline()))
    while sum(busy.cpu_times()[:2]) < 1.0:  # past its imports
        assert busy.is_running()
        time.sleep(0.05)
    parent.kill()
    parent.communicate()
    psutil.wait_procs([busy], timeout=10)
    assert not busy.is_running()


def test_a_hang_ends(video: Path) -> None:
    start = time.monotonic()
    process = DecodeProcess(stall_s=1.0, command=hostile("time.sleep(600)"))
    with process, pytest.raises(VideoError, match="no progress for 1 s"):
        Reading(process, video, SAMPLINGS)
    assert time.monotonic() - start < 30


def test_pyav_after_a_decord_crash(tmp_path: Path, cache_root: Path) -> None:
    path = crashes_decord(tmp_path)
    with DecodeProcess() as process:
        with pytest.raises(DecoderCrash, match="SIGABRT"):
            Reading(process, path, SAMPLINGS, decoder="decord")
        with (
            Reading(process, path, SAMPLINGS) as reader,
            ClipReader(path, SAMPLINGS, DecodingOptions("pyav")) as here,
        ):
            assert reader.info == replace(here.info, note="read with PyAV: decord crashed on it (SIGABRT)")
            for ours, theirs in zip(here, reader, strict=True):
                np.testing.assert_array_equal(ours.frames, theirs.frames)
            assert reader.facts.damaged_s == ()
    report = extract_features(
        [path], [IndexEncoder()], FeatureCache(cache_root)
    )  # isolated unless told otherwise
    assert report.extracted == 1


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_crash_in_the_middle(video: Path, chunks: int) -> None:
    """Whichever chunk it comes after, and whatever of them is on its way."""
    worker = f"""
    import sys; sys.path[:] = {sys.path!r}
    from extractors.decoding import decode, subprocess_main
    from extractors.decoding.clip_reader import ClipReader
    class Crashing(ClipReader):
        def __iter__(self):
            for number, chunk in enumerate(super().__iter__()):
                if self.info.decoder == "decord" and number == {chunks}:
                    import os; os.abort()
                yield chunk
    decode.ClipReader = Crashing
    subprocess_main.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(worker)]
    with (
        DecodeProcess(command=command) as process,
        Reading(process, video, SAMPLINGS, chunk_s=2.0) as there,
        ClipReader(video, SAMPLINGS, DecodingOptions(chunk_s=2.0)) as here,
    ):
        assert there.info.decoder == "decord"
        for ours, theirs in zip(here, there, strict=True):
            assert ours.start_clip == theirs.start_clip
            for ours_rows, theirs_rows in zip(ours.rows, theirs.rows, strict=True):
                np.testing.assert_array_equal(ours_rows, theirs_rows)
            assert read_indices(ours.frames) == read_indices(theirs.frames)


def test_the_rest_is_done_after_a_crash(tmp_path: Path, cache_root: Path) -> None:
    """A worker that dies over one of three videos: the others have their features."""
    videos = [make_video(tmp_path / f"{name}.mp4", seconds=4.0, variant=i) for i, name in enumerate("abc")]
    worker = f"""
    import sys; sys.path[:] = {sys.path!r}
    from extractors.decoding import subprocess_main
    serve = subprocess_main.serve
    def checked(request, channel):
        if request.path.name == "b.mp4":
            import os; os.abort()
        serve(request, channel)
    subprocess_main.serve = checked
    subprocess_main.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(worker)]
    cache = FeatureCache(cache_root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extractors.decoding.subprocess_reader._worker_command", lambda: command)
        report = extract_features(videos, [IndexEncoder()], cache, options=ExtractionOptions(stall_s=60.0))
    assert [result.status for result in report.results] == ["extracted", "failed", "extracted"]
    assert "SIGABRT" in report.results[1].reason
    entry = cache.load_video(videos[2], IndexEncoder().spec)
    assert entry is not None
    np.testing.assert_array_equal(entry.features, centre_indices(2))


def test_no_child_outlives_the_run(tmp_path: Path, cache_root: Path) -> None:
    videos = [make_video(tmp_path / "a.mp4", seconds=4.0)]

    class Interrupted(IndexEncoder):
        def encode(self, clips: np.ndarray) -> np.ndarray:
            raise KeyboardInterrupt

    others = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyboardInterrupt):
        extract_features(
            videos, [Interrupted()], FeatureCache(cache_root), options=ExtractionOptions(stall_s=60.0)
        )
    assert not set(psutil.Process().children(recursive=True)) - others


@pytest.fixture
def cache_root(tmp_path: Path) -> Path:
    return tmp_path / "cache"
