"""Hostile files for a folder of videos."""

from __future__ import annotations

import os
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.extractors.rendering import render

CUTS = (1, 7, 40, 333, 2048, 20_000)
MUTATED = 18
NAMES = ("plain", "it's", 'a "quote"', "new\nline", "مرحبا \u202e", "🎬 é", "-rf", "%s {0}", "a" * 200)
"""Names that files of people have, without a suffix."""


def write_hostile(folder: Path, seeds: Sequence[Path], *, seed: int = 0) -> list[Path]:
    """Fill a folder with files no features can come from, or only by luck.

    Args:
        folder: made if missing.
        seeds: small real videos that are cut, mutated and mislabelled.
        seed: of the mutations.

    Returns:
        The files, each of a name of its own; some may still be readable as videos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    made: list[Path] = []

    def add(name: str, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        made.append(path)

    for name, content in _plain(seeds[0].read_bytes()).items():
        add(name, content)
    for number, video in enumerate(seeds):
        whole = video.read_bytes()
        for cut in CUTS:
            add(f"cut-{number}-{cut}{video.suffix}", whole[:cut])
        for round_ in range(MUTATED // len(seeds)):
            add(f"mutated-{number}-{round_}{video.suffix}", mutate(whole, rng))
    made += _special(folder)
    return made


def mutate(content: bytes, rng: random.Random, *, head: int = 4096) -> bytes:
    """Change a few bytes, mostly near the beginning, where headers are; sometimes drop or repeat a stretch."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 3, 10, 40))):
        end = min(head, len(data)) if rng.random() < 0.7 else len(data)
        place = rng.randrange(end)
        data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    if rng.random() < 0.3:
        start, length = rng.randrange(len(data)), rng.randrange(1, 2000)
        if rng.random() < 0.5:
            del data[start : start + length]
        else:
            data[start:start] = data[start : start + length]
    return bytes(data)


def damaged_in_the_middle(folder: Path) -> tuple[Path, Path]:
    """Render a video of 30 s, `whole.mp4`, and one that is damaged around its 15th second, `damaged.mp4`."""
    whole = render(folder / "whole.mp4", frames=600, fps=20, width=160, height=128, gop=20)
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    damaged = folder / "damaged.mp4"
    damaged.write_bytes(content)
    return whole, damaged


def crashes_decord(folder: Path) -> Path:
    """Render a video of 10 s that makes decord end its process, and that PyAV reads."""
    path = render(folder / "crashes.avi", frames=100, fps=10, width=160, height=128, codec="rawvideo")
    content = bytearray(path.read_bytes())
    length = content.index(b"strh") + 8 + 32
    content[length : length + 4] = b"\xff\xff\xff\xff"  # frames of the stream
    path.write_bytes(content)
    return path


def without_end(folder: Path) -> Path:
    """Write a video whose second frame comes after 100 GB of nothing, which take no room on the disk."""
    path = render(folder / "without-end.mkv", frames=20, fps=10, width=160, height=128)
    content = path.read_bytes()
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.truncate(100 << 30)
    return path


def undecodable_packet(folder: Path, frame: int) -> Path:
    """Render a video of 5 s, 50 frames, one of which no decoder takes."""
    import av

    path = render(folder / "undecodable.mp4", frames=50, fps=10, width=160, height=128, gop=10)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        (position,) = (packet.pos for packet in packets if round(packet.pts * packet.time_base * 10) == frame)
    content = bytearray(path.read_bytes())
    content[position : position + 4] = b"\xff\xff\xff\xff"  # the length of its first unit
    path.write_bytes(content)
    return path


def _plain(video: bytes) -> dict[str, bytes]:
    rng = random.Random(1)
    box: Callable[[bytes, int], bytes] = lambda kind, size: struct.pack(">I", size) + kind  # noqa: E731
    return {
        "empty.mp4": b"",
        "text.mp4": b"These are notes.\n" * 50,
        "page.mp4": b"<!doctype html><title>Not found</title>",
        "zeros.mp4": bytes(100_000),
        "ones.mkv": b"\xff" * 100_000,
        "noise.mp4": rng.randbytes(100_000),
        "noise.webm": rng.randbytes(3_000),
        "only-ftyp.mp4": box(b"ftyp", 24) + b"isom" + bytes(12),
        "huge-box.mp4": box(b"ftyp", 24) + b"isom" + bytes(12) + box(b"moov", 0xFFFFFFF0) + bytes(64),
        "nested-boxes.mp4": b"".join(box(b"moov", 8 * (2000 - i)) for i in range(2000)),
        "ebml.mkv": b"\x1a\x45\xdf\xa3" + b"\xff" * 600,
        "riff.avi": b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"AVI LIST" + b"\xff" * 600,
        "archive.mp4": _zip(),
        "picture.mp4": b"\x89PNG\r\n\x1a\n" + rng.randbytes(2_000),
        "no-header.mp4": video[len(video) // 2 :],
        "reversed.mp4": video[::-1],
        "playlist.m3u8.mp4": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }


def _zip() -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("video.mp4", b"no")
    return buffer.getvalue()


def _special(folder: Path) -> list[Path]:
    if os.name != "posix":
        return []
    pipe, loop, dangling, device = (
        folder / name for name in ("pipe.mp4", "loop.mp4", "dangling.mp4", "device.mp4")
    )
    os.mkfifo(pipe)
    loop.symlink_to(loop.name)
    dangling.symlink_to("nowhere.mp4")
    device.symlink_to("/dev/zero")
    (folder / "folder.mp4").mkdir()
    (folder / "itself").symlink_to(folder, target_is_directory=True)
    return [pipe, loop, dangling, device]


def slow_to_index(video: bytes, frame_count: int) -> bytes:
    """An MP4 with an index of so many frames of a byte each: small for the time that reading it takes.

    Args:
        video: an MP4 with one stream.
    """
    place = 0

    def rebuilt(content: bytes) -> bytes:
        return b"".join(_box(kind, replaced(kind, inner)) for kind, inner in _boxes(content))

    def replaced(kind: bytes, inner: bytes) -> bytes:
        match kind:
            case b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl":
                return rebuilt(inner)
            case b"stsz":  # every frame has one byte
                return struct.pack(">III", 0, 1, frame_count)
            case b"stts":  # and lasts one tick
                return struct.pack(">IIII", 0, 1, frame_count, 1)
            case b"stsc":  # all in one chunk
                return struct.pack(">IIIII", 0, 1, 1, frame_count, 1)
            case b"stco":
                return struct.pack(">III", 0, 1, place)
            case b"ctts" | b"stss":
                return bytes(8)
        return inner

    whole = dict(_boxes(video))
    head = _box(b"ftyp", whole[b"ftyp"])
    place = len(head) + len(rebuilt(_box(b"moov", whole[b"moov"]))) + 8
    return head + rebuilt(_box(b"moov", whole[b"moov"])) + _box(b"mdat", bytes(frame_count))


def _boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    """The boxes of an MP4, or of a box: kinds and contents."""
    found, start = [], 0
    while start < len(content):
        size = int.from_bytes(content[start : start + 4], "big")
        found.append((content[start + 4 : start + 8], content[start + 8 : start + size]))
        start += size
    return found


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content
