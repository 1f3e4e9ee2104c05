"""Thumbnails show the frame on screen, upright, for any file."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.decoding.thumbnails import read_thumbnails
from extractors.errors import VideoError
from tests.extractors.rendering import read_index, render

INSTANTS_S = (3.99, 0.0, 0.35, 2.0, 2.01, 1.5)
FPS = 25  # what is assumed of files that hold no times
SHOWN = [99, 0, 8, 50, 50, 37]


def indices(path, instants_s=INSTANTS_S) -> list[int]:
    pictures = read_thumbnails(path, instants_s, height=240)
    assert {picture.shape for picture in pictures} == {(240, 320, 3)}
    return [read_index(picture[:, 40:280]) for picture in pictures]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("long-groups.mp4", {"gop": 500}),
        ("open-groups.mkv", {"options": {"x264-params": "open-gop=1:bframes=3:keyint=20"}}),
        ("no-index.ts", {}),
        ("no-times.h264", {"options": {"bf": "0"}}),
    ],
)
def test_each_instant_gets_the_frame_on_show(name, options, tmp_path):
    assert indices(render(tmp_path / name, frames=100, fps=FPS, **options)) == SHOWN


def test_instants_outside_the_video(tmp_path):
    assert indices(render(tmp_path / "v.mp4", frames=30), (-1.0, 99.0)) == [0, 29]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_upright_pictures_of_given_height(rotation, tmp_path):
    path = render(tmp_path / "v.mp4", frames=2, rotation=rotation)
    (picture,) = read_thumbnails(path, [0.0], height=60)
    assert picture.shape == ((60, 45, 3) if rotation % 180 else (60, 80, 3))
    across = picture[..., 1].astype(int)  # green rises from the top of the stored picture to its bottom
    stored = np.rot90(across, -rotation // 90)
    assert stored[:5].mean() < stored[-5:].mean() - 100


def test_truncated_video_gives_its_last_picture(tmp_path):
    whole = render(tmp_path / "v.ts", frames=120)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    first, last = indices(whole, (0.0, 99.0))
    assert first == 0
    assert 20 < last < 100


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "notes.mp4").write_text("notes")
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        read_thumbnails(tmp_path / "notes.mp4", [0.0])
