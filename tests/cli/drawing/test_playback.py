"""Notes about videos that browsers do not play."""

from __future__ import annotations

import pytest

from extractors.errors import UsageError
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.rendering import render
from vtg_cli.drawing.html_report import check_report
from vtg_cli.drawing.playback import doubt


@pytest.mark.parametrize(
    ("name", "codec", "word"),
    [
        ("a.mp4", "libx264", ""),
        ("a.MOV", "libx264", ""),
        ("a.webm", "libvpx-vp9", ""),
        ("a.mp4", "libx265", "not all browsers play video of the codec hevc"),
        ("a.mp4", "mpeg4", "browsers do not play video of the codec mpeg4"),
        ("a.mkv", "libx264", "not all browsers play .mkv"),
        ("a.avi", "mpeg4", "browsers do not play .avi"),
    ],
)
def test_container_and_codec_tell(name, codec, word, tmp_path):
    video = render(tmp_path / name, frames=5, fps=5, width=64, height=48, codec=codec)
    assert doubt(video) == word


def test_what_cannot_be_read_is_not_doubted(tmp_path):
    (tmp_path / "a.mp4").write_text("notes")
    assert doubt(tmp_path / "a.mp4") == ""


@pytest.mark.parametrize("name", ["v.avi", "v.wmv", "v.ts", "v"])
def test_embed_refuses_unplayable_videos(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match="make an MP4 of"):
        check_report(tmp_path / "r.html", tmp_path / name, embed=True)
    check_report(tmp_path / "r.html", tmp_path / name, embed=False)


def test_the_command_says_so(tmp_path):
    video = render(tmp_path / "v.avi", frames=30, fps=10, width=64, height=48, codec="mpeg4")
    refused = vtg("ground", video, "a cat", "--html", tmp_path / "r.html", "--embed", home=tmp_path)
    assert refused.returncode == 2
    assert "make an MP4" in refused.stderr
    done = vtg("ground", video, "a cat", "--html", tmp_path / "r.html", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "browsers do not play .avi" in done.stderr
    done = vtg("ground", EXAMPLES / "example.mp4", "a cat", "--html", tmp_path / "r.html", home=tmp_path)
    assert "browsers do" not in done.stderr
