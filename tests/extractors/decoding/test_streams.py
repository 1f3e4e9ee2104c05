"""Files with several video streams: every part of the program uses the same one, the one that players show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from extractors.decoding.clip_reader import ClipReader, probe
from extractors.decoding.grid import Sampling
from extractors.decoding.thumbnails import read_thumbnails
from vtg_cli.cutting.cutter import VideoCutter

FPS = 25
RED, BLUE = (200, 0, 0), (0, 0, 200)


@dataclass(frozen=True)
class Camera:
    """A stream of one colour; noise in green makes it take more bits."""

    colour: tuple[int, int, int]
    size: tuple[int, int] = (160, 120)
    noise: int = 0
    marks: Disposition | None = None


def render_cameras(path: Path, cameras: Sequence[Camera], *, seconds: int = 3) -> Path:
    """Render all cameras into one file, a video stream each, in order."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        streams = []
        for camera in cameras:
            stream = container.add_stream("libx264", rate=FPS)
            (stream.width, stream.height), stream.pix_fmt = camera.size, "yuv420p"
            stream.codec_context.gop_size = FPS
            if camera.marks is not None:
                stream.disposition = camera.marks
            streams.append(stream)
        for index in range(seconds * FPS):
            for camera, stream in zip(cameras, streams, strict=True):
                width, height = camera.size
                picture = np.full((height, width, 3), camera.colour, np.uint8)
                picture[..., 1] = rng.integers(0, camera.noise + 1, (height, width))
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def colour(pictures: np.ndarray) -> str:
    red, _, blue = pictures.reshape(-1, 3).mean(axis=0)
    return "red" if red > blue + 100 else "blue" if blue > red + 100 else "neither"


def features_colour(path: Path) -> str:
    with ClipReader(path, [Sampling("center_frame", 1.0)]) as reader:
        return colour(np.concatenate([chunk.frames for chunk in reader]))


def clip_colour(path: Path) -> str:
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
        return colour(np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]))


CAMERAS = {
    "small-big": ((Camera(RED), Camera(BLUE, (640, 480))), "red"),
    "big-small": ((Camera(RED, (640, 480)), Camera(BLUE)), "red"),
    "few-bits-first": ((Camera(RED), Camera(BLUE, noise=60)), "red"),
    "second-default": ((Camera(RED, marks=Disposition(0)), Camera(BLUE, marks=Disposition.default)), "blue"),
    "first-for-impaired": (
        (Camera(RED, marks=Disposition.visual_impaired), Camera(BLUE, (240, 180), marks=Disposition(0))),
        "blue",
    ),
}
CONTAINERS = (".mp4", ".mov", ".mkv")


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("name", CAMERAS)
def test_everything_shows_the_same_camera(tmp_path, name, suffix):
    cameras, expected = CAMERAS[name]
    if (suffix, name) == (".mov", "first-for-impaired"):
        pytest.skip("QuickTime files have no such mark")
    path = render_cameras(tmp_path / f"cameras{suffix}", cameras)
    info = probe(path)
    assert (info.width, info.height) == cameras[0 if expected == "red" else 1].size
    assert info.decoder == "pyav"
    assert "several video streams" in info.note
    assert features_colour(path) == expected
    assert colour(np.stack(read_thumbnails(path, [0.5, 2.5]))) == expected
    cutter = VideoCutter(path)
    cutter.cut(tmp_path / "cut.mp4", [(1.0, 2.0)])
    cutter.copy(tmp_path / f"copy{suffix}", (1.0, 2.0))
    assert clip_colour(tmp_path / "cut.mp4") == expected
    assert clip_colour(tmp_path / f"copy{suffix}") == expected


def test_cover_art_is_no_camera(tmp_path):
    path = tmp_path / "covered.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        film = container.add_stream("libx264", rate=FPS)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((480, 640, 3), BLUE, np.uint8), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        for index in range(4 * FPS):
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), RED, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
    info = probe(path)
    assert (info.width, info.frame_count) == (160, 4 * FPS)
    assert "several" not in info.note
    assert features_colour(path) == "red"
