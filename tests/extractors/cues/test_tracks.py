"""Text tracks in video files."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractors.cache.store import FeatureCache
from extractors.cues import kept
from extractors.cues.subprocess_reader import read_apart
from extractors.cues.subtitles import read_subtitles
from extractors.errors import VideoError
from tests.extractors.cues.rendering import LINES, Line, render_video, srt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracks")


@pytest.fixture(scope="module")
def talk(folder: Path) -> Path:
    french = [line._replace(text=f"FR {line.text}") for line in LINES]
    tracks = [("srt", LINES, "eng"), ("vtt", LINES, "und"), ("ass", french, "fre")]
    return render_video(folder / "talk.mkv", tracks=tracks)


def test_all_formats_to_the_millisecond(talk: Path, folder: Path) -> None:
    duration_s, streams = read_apart(talk)
    assert duration_s == pytest.approx(8)
    assert [(stream.name, stream.language) for stream in streams] == [
        ("track 1", "eng"),
        ("track 2", ""),
        ("track 3", "fre"),
    ]
    for stream, prefix in zip(streams, ("", "", "FR "), strict=True):
        assert [Line(cue.start_s, cue.end_s, cue.text) for cue in stream.cues] == [
            line._replace(text=prefix + line.text) for line in LINES
        ]
        assert {cue.stream for cue in stream.cues} == {stream.name}
    phone = render_video(folder / "phone.mp4", tracks=[("mov_text", LINES, "eng")])
    (stream,) = read_apart(phone)[1]
    assert [Line(cue.start_s, cue.end_s, cue.text) for cue in stream.cues] == list(LINES)


def test_tracks_are_read_once(talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path / "cache")
    first = read_subtitles(talk, cache)
    assert [stream.name for stream in first.streams] == ["track 1", "track 2", "track 3"]

    def never(video: Path, source: str, **options: object) -> None:
        raise AssertionError(video)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "read_apart", never)
        assert read_subtitles(talk, cache) == first
        copy = tmp_path / "copy.mkv"
        copy.write_bytes(talk.read_bytes())
        assert read_subtitles(copy, cache).streams == first.streams
        (usage,) = cache.info().specs
        assert (usage.files, usage.outdated) == (1, 0)
        with copy.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\0")
        with pytest.raises(AssertionError):
            read_subtitles(copy, cache)
        assert cache.clear().files == 1
        with pytest.raises(AssertionError):
            read_subtitles(talk, cache)


def test_damaged_document(talk: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    first = read_subtitles(talk, cache)
    (document,) = tmp_path.glob("subtitles-*/documents/*.json")
    for change in (b"", b"[" * 50_000, document.read_bytes().replace(b"morning", b"evening")):
        document.write_bytes(change)
        assert read_subtitles(talk, cache) == first


def test_files_beside_come_first_and_are_read_each_time(talk: Path, tmp_path: Path) -> None:
    video = tmp_path / "talk.mkv"
    video.write_bytes(talk.read_bytes())
    cache = FeatureCache(tmp_path / "cache")
    beside = tmp_path / "talk.en.srt"
    beside.write_text(srt([Line(1, 2, "one"), Line(7, 9, "to the end"), Line(8, 9, "too late")]))
    transcript = read_subtitles(video, cache)
    assert [stream.name for stream in transcript.streams] == ["talk.en.srt", "track 1", "track 2", "track 3"]
    assert [cue.end_s for cue in transcript.streams[0].cues] == pytest.approx([2, 8])
    assert transcript.notes == (f"{beside}: 1 of its cues begin after the end of the video and are left out",)
    beside.write_text(srt([Line(1, 2, "two")]))
    assert read_subtitles(video, cache).streams[0].cues[0].text == "two"


def test_no_tracks(folder: Path) -> None:
    video = render_video(folder / "silent.mp4", duration_s=1)
    assert read_apart(video) == (pytest.approx(1), [])


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"#EXTM3U\nhttp://example.org/a.ts")
    with pytest.raises(VideoError, match="playlist"):
        read_apart(path)
    with pytest.raises(VideoError, match="cannot be read"):
        read_apart(tmp_path / "missing.mp4")


def test_crash_and_hang(talk: Path) -> None:
    with pytest.raises(VideoError, match="crashed"):
        read_apart(talk, command=["false"])
    with pytest.raises(VideoError, match="no progress"):
        read_apart(talk, stall_s=0.2, command=["sleep", "60"])
