"""Files that claim, or are, too much for memory or time: refused early, with the reason, in little memory."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from extractors.decoding.clip_reader import probe
from extractors.decoding.container import timeline
from extractors.decoding.container.mp4_samples import claimed_samples
from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.thumbnails import read_thumbnails
from extractors.errors import VideoError
from tests.extractors.rendering import render
from tests.shared_data import ROOT

LIMIT = 10**9


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", len(content) + 8) + kind + content


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def rebuilt(data: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """A tree of boxes with every leaf passed through a function; what gives nothing is left out."""
    parts = []
    for kind, content in boxes(data):
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            parts.append(box(kind, rebuilt(content, change)))
        else:
            parts.append(change(kind, content))
    return b"".join(parts)


def write_claim(path: Path, count: int, *, ticks_a_frame: int = 512, packed: bool = False) -> Path:
    """An MP4 of a few hundred bytes on disk that claims any number of frames of a byte each."""
    template = render(path.with_name("template.mp4"), frames=5, fps=25)
    movie = next(content for kind, content in boxes(template.read_bytes()) if kind == b"moov")
    tables = {
        b"stsz": struct.pack(">III", 0, 1, count),
        b"stts": struct.pack(">IIII", 0, 1, count, ticks_a_frame),
        b"stsc": struct.pack(">IIIII", 0, 1, 1, count, 1),
        b"stco": struct.pack(">III", 0, 1, 4096),
    }

    def change(kind: bytes, content: bytes) -> bytes:
        return b"" if kind in (b"stss", b"ctts", b"edts") else box(kind, tables.get(kind, content))

    movie = rebuilt(movie, change)
    if packed:
        whole = box(b"moov", movie)
        movie = box(
            b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", struct.pack(">I", len(whole)), zlib.compress(whole))
        )
    head = box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", movie)
    head += box(b"free", bytes(4096 - len(head) - 24)) + struct.pack(">I4sQ", 1, b"mdat", count + 16)
    path.write_bytes(head)
    os.truncate(path, len(head) + count)
    return path


def _claimed(path: Path) -> int:
    with path.open("rb") as file:
        return claimed_samples(file, LIMIT)


def write_fragment_claim(path: Path, count: int) -> Path:
    """A fragmented MP4 of two seconds with one more fragment, which claims any number of frames."""
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame(160, 120, "yuv420p")))
        container.mux(stream.encode(None))
    header = box(b"tfhd", struct.pack(">IIIII", 0x020038, 1, 512, 1, 0))
    fragment = box(b"traf", header, box(b"tfdt", bytes(8)), box(b"trun", struct.pack(">II", 0, count)))
    data = b"".join(box(kind, content) for kind, content in boxes(path.read_bytes()) if kind != b"mfra")
    path.write_bytes(
        data + box(b"moof", box(b"mfhd", struct.pack(">II", 0, 9)), fragment) + box(b"mdat", bytes(9))
    )
    return path


REFUSE = """
import re, sys
from extractors.errors import VideoError
from extractors.decoding.clip_reader import probe

try:
    probe(sys.argv[1])
except VideoError as error:
    print(error)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("write", [write_claim, write_fragment_claim])
def test_claimed_frames_take_no_memory(tmp_path, write):
    path = write(tmp_path / "claim.mp4", 80_000_000)
    assert path.stat().st_blocks * 512 < 200_000
    command = [sys.executable, "-c", REFUSE, str(path)]
    message, peak_kb = subprocess.check_output(command, text=True, timeout=60).splitlines()
    assert re.search(r"claim\.mp4: claims to hold more than 20,000,000 samples", message)
    assert int(peak_kb) < 200_000


def test_too_many_frames_are_refused(tmp_path):
    path = write_claim(tmp_path / "claim.mp4", 6_500_000)
    start_s = time.process_time()
    with pytest.raises(VideoError, match="more than 6,000,000 frames; cut it into parts"):
        read_timeline(path)
    assert time.process_time() - start_s < 5


def test_frames_are_counted_without_a_table(tmp_path, monkeypatch):
    path = render(tmp_path / "v.ts", frames=100)
    monkeypatch.setattr(timeline, "_MOST_FRAMES", 99)
    with pytest.raises(VideoError, match="frames; cut it into parts"):
        read_timeline(path)
    monkeypatch.setattr(timeline, "_MOST_FRAMES", 100)
    assert len(read_timeline(path).timestamps_s) == 100


@pytest.mark.slow
def test_ten_hours_at_sixty_fps(tmp_path):
    # The frames of the template are 25 a second: 12,800 ticks.
    path = write_claim(tmp_path / "long.mp4", 10 * 3600 * 60, ticks_a_frame=213)
    read = read_timeline(path)
    assert len(read.timestamps_s) == 2_160_000
    assert read.end_s == pytest.approx(36_000, rel=0.01)


def test_a_claim_that_is_packed_is_found(tmp_path):
    path = write_claim(tmp_path / "claim.mov", 70_000_000, packed=True)
    assert _claimed(path) == 70_000_000


def test_what_files_hold_is_what_they_claim(tmp_path):
    plain = render(tmp_path / "v.mp4", frames=77, audio_from_s=0.0)
    with av.open(str(plain)) as container:
        held = sum(stream.frames for stream in container.streams)
    assert _claimed(plain) == held > 77
    assert _claimed(write_fragment_claim(tmp_path / "f.mp4", 7)) == 57
    for path in (render(tmp_path / "v.mkv", frames=9), render(tmp_path / "v.ts", frames=9)):
        assert _claimed(path) == 0


def test_samples_of_plain_sound_do_not_count(tmp_path):
    path = tmp_path / "pcm.mov"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for index in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
            frame.rate, frame.pts = 48_000, 4800 * index
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert _claimed(path) == 0


@pytest.mark.parametrize(
    "use", [probe, lambda path: read_thumbnails(path, [0.0])], ids=["probe", "thumbnails"]
)
def test_a_gap_without_end_is_given_up(tmp_path, monkeypatch, use):
    path = render(tmp_path / "sparse.mkv", frames=50)
    os.truncate(path, 10**12)
    monkeypatch.setattr(timeline, "_PATIENCE_S", 0.5)
    start_s = time.monotonic()
    with pytest.raises(
        VideoError, match=r"after frame 50 no other was found within 0\.5 s; it is .* mostly empty"
    ):
        use(path)
    assert time.monotonic() - start_s < 20


@pytest.mark.parametrize("path", sorted(ROOT.glob("videos/**/*.m[op][v4]")), ids=lambda path: path.name)
def test_real_files_claim_what_they_hold(path):
    with av.open(str(path)) as container:
        held = sum(packet.size > 0 for packet in container.demux())
    assert _claimed(path) == held
