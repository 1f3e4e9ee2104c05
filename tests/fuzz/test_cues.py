"""Malformed subtitles: clean cues or one clear error, in little time and memory."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extractors.cues.cue import LONGEST_TEXT, Cue
from extractors.cues.subtitle_file import read_subtitle_file
from extractors.cues.tracks import read_tracks
from extractors.errors import VideoError
from tests.extractors.cues.rendering import LINES, WRITERS, render_video
from tests.fuzz.cases import SEEDS, bounded, fuzz, nothing_runs
from tests.hostile import mutate

__all__ = ["bounded"]
pytestmark = pytest.mark.usefixtures("bounded")

KINDS = st.sampled_from(sorted(WRITERS))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
PIECES = st.sampled_from(
    [
        "1\n", "\n", "\r", "\r\n\r\n", "WEBVTT\n", "NOTE ", "STYLE\n", "[Events]\n", "[V4+ Styles]\n", "Style: ,,,\n",
        "Format: Text, End\n", "Dialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,", "Dialogue: ,,,,,,,,,", "Comment: ",
        "00:00:01,000 --> 00:00:02,000\n", "00:01.000 --> 00:02.000 line:0\n", "0:00:01.000,0:00:02.000\n", "-->",
        "-00:00:01,000 --> 99:99:99,999\n", "00:00:02,000 --> 00:00:01,000\n", "{\\p1}", "{\\p0}", "{", "}", "\\N",
        "\\h", "<script>", "</", "<a href=", "<00:00:01.000>", "&lt;", "&#0;", "&#x10ffff;", "\x1b[2J", "\x1b]0;",
        "\x07", "\0", "\u202e", "\u2028", "\ufeff", "\ud800", "text", "é", "预算",
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cues")


def check(cues: Sequence[Cue]) -> None:
    """Whatever was in a file, this is what the rest of vtg relies on."""
    for cue in cues:
        assert 0 <= cue.start_s < cue.end_s < 10_000 * 3600
        assert 0 < len(cue.text) <= LONGEST_TEXT
        assert all(cue.text.split("\n"))
        assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in cue.text if letter != "\n")
        cue.text.encode()
    assert [cue.start_s for cue in cues] == sorted(cue.start_s for cue in cues)


def read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with nothing_runs():
        try:
            check(read_subtitle_file(path).cues)
        except VideoError as error:
            assert str(error).startswith(f"{path}: ")


@fuzz
@given(kind=KINDS, encoding=ENCODINGS, seed=SEEDS)
def test_damaged_files(folder: Path, kind: str, encoding: str, seed: int) -> None:
    content = WRITERS[kind](LINES).encode(encoding)
    read(folder / f"talk.{kind}", mutate(content, random.Random(seed), head=len(content)))


@fuzz
@given(kind=KINDS, pieces=st.lists(PIECES, max_size=30), encoding=ENCODINGS)
@example(
    kind="vtt",
    pieces=["WEBVTT\n", "\n", "00:01.000 --> 00:02.000 line:0\n", "&#x1b;[2J", "&#xd800;"],
    encoding="utf-8",
)
@example(
    kind="ass",
    pieces=["Dialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,", "{\\p99999999999999999}x"],
    encoding="utf-8",
)
def test_invented_files(folder: Path, kind: str, pieces: list[str], encoding: str) -> None:
    read(folder / f"talk.{kind}", "".join(pieces).encode(encoding, "replace"))


@fuzz
@given(kind=KINDS, content=st.binary(max_size=300))
def test_any_bytes(folder: Path, kind: str, content: bytes) -> None:
    read(folder / f"talk.{kind}", content)


@pytest.fixture(scope="module")
def videos(folder: Path) -> dict[str, bytes]:
    """Videos with text tracks, by ending."""
    tracks = {
        "mkv": [("srt", LINES, "en"), ("ass", LINES, "fr"), ("vtt", LINES, "de")],
        "mp4": [("mov_text", LINES, "en")],
    }
    return {
        ending: render_video(folder / f"whole.{ending}", duration_s=8, tracks=of_file).read_bytes()
        for ending, of_file in tracks.items()
    }


@fuzz
@given(ending=st.sampled_from(["mkv", "mp4"]), seed=SEEDS)
def test_damaged_videos(folder: Path, videos: dict[str, bytes], ending: str, seed: int) -> None:
    path = folder / f"talk.{ending}"
    path.write_bytes(mutate(videos[ending], random.Random(seed), head=4096))
    with nothing_runs():
        try:
            _, streams = read_tracks(path)
        except VideoError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            for stream in streams:
                check(stream.cues)
