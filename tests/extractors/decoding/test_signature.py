"""Files that are two things at once: no decoder may read one as a playlist and open what it names."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from extractors.decoding.clip_reader import ClipReader, DecodingOptions, probe
from extractors.decoding.container.signature import indexed_format, is_playlist
from extractors.decoding.container.timeline import read_timeline
from extractors.decoding.decord_reader import open_reader
from extractors.decoding.frames import Framing, Geometry
from extractors.decoding.grid import Sampling
from extractors.decoding.thumbnails import read_thumbnails
from extractors.errors import VideoError
from tests.extractors.rendering import read_indices, render
from vtg_cli.cutting.cutter import VideoCutter

HLS = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:4,\nother.ts\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile other.ts\n"
SAMPLING = Sampling("center_frame", 1.0)
EVERY_FRAME = Sampling("center_frame", 1 / 30)


def black_mp4() -> bytes:
    """A video of 4 s that is whole wherever in a file it lies."""
    path = Path("black.mp4")
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(100):
            frame = av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_features(path: Path) -> None:
    with ClipReader(path, [SAMPLING]) as reader:
        list(reader)


def read_features_with_decord(path: Path) -> None:
    with ClipReader(path, [SAMPLING], DecodingOptions("decord")) as reader:
        list(reader)


USES = [
    probe,
    read_features,
    read_features_with_decord,
    lambda path: read_thumbnails(path, [1.0]),
    lambda path: VideoCutter(path).cut("clip.mp4", [(0.0, 1.0)]),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("use", USES, ids=["probe", "features", "decord", "thumbnails", "cut"])
@pytest.mark.parametrize("other", ["video", "pipe"])
def test_playlist_with_video_is_refused(folder, use, other):
    if other == "video":
        render(folder / "other.ts", frames=100, fps=25)
    else:
        os.mkfifo(folder / "other.ts")  # opening it blocks for ever
    path = folder / "list.mp4"
    with path.open("wb") as file:
        file.write(HLS)
        file.seek(int.from_bytes(HLS[:4], "big"))  # to MP4 its first bytes are the length of a box to skip
        file.write(black_mp4())
    with pytest.raises(VideoError, match=r"list\.mp4: is a playlist, not a video"):
        use(path)


@pytest.mark.parametrize(
    "text", [HLS, CONCAT, b"\xef\xbb\xbf" + HLS, b"\n\n  " + HLS, b"[playlist]\nFile1=a.ts\n"]
)
def test_playlists_by_content(folder, text):
    path = folder / "list.mp4"
    path.write_bytes(text)
    with pytest.raises(VideoError, match="is a playlist"):
        probe(path)


def test_decord_only_gets_its_formats(folder):
    path = folder / "odd.mp4"
    path.write_bytes((16).to_bytes(4, "big") + b"what" + bytes(8) + black_mp4())
    with ClipReader(path, [EVERY_FRAME]) as reader:
        assert (reader.info.decoder, reader.info.frame_count) == ("pyav", 100)
        assert "does not begin like a file of its format" in reader.info.note
        assert max(chunk.frames.max() for chunk in reader) < 20
    timeline = read_timeline(path)
    geometry = Geometry.fit(160, 120, quarter_turns=0, framing=Framing(224))
    with pytest.raises(VideoError, match="does not begin"):
        open_reader(timeline, geometry)


@pytest.mark.parametrize(
    ("name", "format_name"), [("v.mp4", "mov"), ("v.mov", "mov"), ("v.mkv", "matroska"), ("v.avi", "avi")]
)
def test_usual_files_go_to_decord(folder, name, format_name):
    path = render(folder / name, frames=60, codec="mpeg4")
    assert indexed_format(path.read_bytes()[:64]) == format_name
    assert not is_playlist(path.read_bytes()[:64])
    with ClipReader(path, [EVERY_FRAME]) as reader:
        assert reader.info.decoder == "decord"
        (chunk,) = reader
    assert read_indices(chunk.frames) == list(range(60))
