"""Outputs are checked before any work; above all, none may be one of the videos."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from extractors.errors import UsageError
from vtg_cli.commands.outputs import Outputs
from vtg_cli.cutting.clips import Stems


def asked(option: str, name: str) -> Outputs:
    if option == "--output":
        return Outputs(output=[name])
    return Outputs(**{option.removeprefix("--"): Path(name)})


@pytest.mark.parametrize("name", ["link", "second", "{video}-second"])
@pytest.mark.parametrize(
    ("option", "suffix"),
    [("--output", ".csv"), ("--plot", ".png"), ("--html", ".html"), ("--supercut", ".mp4")],
)
def test_no_output_is_one_of_the_videos(option, suffix, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    videos = [tmp_path / "other.mp4", tmp_path / "v.mp4"]
    for video in videos:
        video.write_bytes(b"video")
    (tmp_path / f"link{suffix}").symlink_to("v.mp4")
    for second in ("second", "v-second"):
        os.link(videos[1], tmp_path / f"{second}{suffix}")
    with pytest.raises(UsageError, match="is the video itself"):
        asked(option, f"{name}{suffix}").check(videos[1:])
    if option in ("--output", "--supercut") or "{" in name:
        with pytest.raises(UsageError, match=rf"^{option} \S+{suffix}: is the video itself"):
            asked(option, f"{name}{suffix}").check(videos)
    asked(option, f"free-{{video}}{suffix}").check(videos)


def test_stems_are_short_and_differ():
    stems = Stems()
    long = "猫" * 100
    videos = [
        Path(name)
        for name in ("a/v.mp4", "b/v.mp4", "b/V.mp4", "c/v.mp4", f"{long}.mp4", f"{long}犬.mp4", "v.mkv")
    ]
    given = [stems.of(video) for video in videos]
    assert given[:2] == ["v", "v.mp4"]
    assert given[4] == "猫" * 50
    assert len({stem.casefold() for stem in given}) == len(videos)
    assert max(len(stem.encode()) for stem in given) <= 150
    assert [stems.of(video) for video in videos] == given
