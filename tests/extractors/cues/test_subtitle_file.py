"""Subtitle files: formats, encodings, names, and what strangers put into them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from extractors.cues.cleaning import clean_ass, clean_text
from extractors.cues.cue import LONGEST_TEXT, MOST_CUES, Cue
from extractors.cues.encodings import decode_text
from extractors.cues.sidecars import find_sidecars, read_sidecars
from extractors.cues.subtitle_file import read_subtitle_file
from extractors.errors import VideoError
from tests.extractors.cues.rendering import LINES, WRITERS, Line, srt

ENCODINGS = {
    "utf-8": "utf-8",
    "utf-8 with a mark": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-16 big": "utf-16-be",
    "utf-16 little": "utf-16-le",
    "windows": "cp1252",
}


def read(path: Path, content: str | bytes) -> tuple[Cue, ...]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_subtitle_file(path).cues


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", sorted(WRITERS))
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_formats_and_encodings(tmp_path: Path, kind: str, encoding: str, end: str) -> None:
    text = WRITERS[kind](LINES).replace("\n", end)
    cues = read(tmp_path / f"talk.{kind}", text.encode(ENCODINGS[encoding]))
    assert [Line(cue.start_s, cue.end_s, cue.text) for cue in cues] == list(LINES)


def test_latin_1_is_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "talk.srt"
    path.write_bytes(srt([Line(1, 2, "Où est le café ?")]).encode("latin-1"))
    stream = read_subtitle_file(path)
    assert stream.cues[0].text == "Où est le café ?"
    assert "convert it to UTF-8" in stream.notes[0]


def test_a_few_damaged_bytes_leave_utf_8() -> None:
    text, encoding = decode_text("Где бюджет на будущий год?".encode() + b"\xff")
    assert (text, encoding) == ("Где бюджет на будущий год?\ufffd", "utf-8")


def test_numbers_are_text_inside_a_cue(tmp_path: Path) -> None:
    lines = [Line(1, 2, "42"), Line(3, 4, "The answer is\n42"), Line(5, 6, "and\n43")]
    assert [cue.text for cue in read(tmp_path / "talk.srt", srt(lines))] == [line.text for line in lines]


IMPOSSIBLE = (
    "-00:00:01,000 --> 00:00:02,000",
    "00:00:03,000 --> 00:00:02,000",
    "00:00:03,000 --> 00:00:03,000",
    "100:00:00,000 --> 100:00:01,000",
    "00:00:01,000 --> -00:00:02,000",
    "99999999999999999999:00:00,000 --> 00:00:01,000",
    "00:00:01 --> 00:00:02",
)


@pytest.mark.parametrize("times", IMPOSSIBLE)
def test_impossible_times(tmp_path: Path, times: str) -> None:
    path = tmp_path / "talk.srt"
    path.write_text(f"{srt(LINES)}4\n{times}\nnever\n\n")
    stream = read_subtitle_file(path)
    assert [cue.text for cue in stream.cues] == [line.text for line in LINES]
    assert stream.notes == ("1 of its cues have impossible times and are left out",)


def test_impossible_times_of_ass(tmp_path: Path) -> None:
    path = tmp_path / "talk.ass"
    bad = ["Dialogue: 0,,,,,,", "Dialogue: 0,-0:00:01.00,0:00:02.00,D,,0,0,0,,x", "Dialogue: x", "Dialogue:"]
    path.write_text(WRITERS["ass"](LINES) + "\n".join(bad))
    stream = read_subtitle_file(path)
    assert len(stream.cues) == len(LINES)
    assert stream.notes == ("4 of its cues have impossible times and are left out",)


MARKUP = {
    "<script>alert(1)</script>": "alert(1)",
    '<a href="http://example.org/x" onclick=go()>here</a>': "here",
    "<i>so</i> <font color=red>red": "so red",
    "{\\an8}up": "up",
    "{laughs} ha": "{laughs} ha",
    "1 < 2 and 3 > 2": "1 < 2 and 3 > 2",
    "\x1b[31mred\x1b[0m": "red",
    "\x1b]0;title\x07after": "after",
    "\x1b]8;;http://example.org\x1b\\link": "link",
    "be\x07ll\x00\x7f\x9b": "bell",
    "left\u202eright\u2066": "leftright",
    "mother \u200d child": "mother \u200d child",
    "a\u00a0b\tc": "a b c",
    "two\\Nlines\n\n\nthree": "two\nlines\nthree",
}


@pytest.mark.parametrize("raw", sorted(MARKUP))
def test_markup_is_no_text(raw: str) -> None:
    assert clean_text(raw) == MARKUP[raw]


def test_markup_of_ass() -> None:
    assert clean_ass(r"{\p1}m 0 0 l 1 1{\p0}shown{\fnArial\p4}m 5 5") == "shown"
    assert clean_ass(r"{a comment}{\img(http://example.org/x.png)}a\hb\nc\Nd") == "a b\nc\nd"
    assert clean_ass(r"{\i1}a{\i0} \{b\} <b>c</b>", hides_braces=False) == "a {b} c"


def test_entities_of_webvtt_stay_text(tmp_path: Path) -> None:
    cues = read(tmp_path / "a.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n&lt;b&gt; &amp; <b>c</b>&nbsp;d\n")
    assert cues[0].text == "<b> & c d"


def test_long_text_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "talk.srt"
    path.write_text(srt([Line(1, 2, "word " * 2500), Line(3, 4, "line\n" * 60)]))
    stream = read_subtitle_file(path)
    assert len(stream.cues[0].text) <= LONGEST_TEXT
    assert stream.cues[1].text.count("line") == 50
    assert stream.notes == ("2 of its cues are cut to 2,000 characters or 50 lines",)


HOSTILE = {
    "tags": "1\n00:00:01,000 --> 00:00:02,000\n" + "<a" * 1_000_000,
    "tags over lines": "1\n00:00:01,000 --> 00:00:02,000\n" + "<a\n" * 300_000,
    "empty lines": "1\n00:00:01,000 --> 00:00:02,000\na\n" + "\n" * 500_000 + "x",
    "spaces": "1\n00:00:01,000 --> 00:00:02,000\n" + " " * 4_000_000 + "x",
    "digits": "1" * 4_000_000 + "\n00:00:01,000 --> 00:00:02,000\na\n",
    "arrows": "-->" * 1_000_000,
    "escapes": "1\n00:00:01,000 --> 00:00:02,000\n" + "\x1b]" * 1_000_000,
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_time_in_proportion_to_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "talk.srt"
    path.write_text(HOSTILE[name])
    begin_s = time.process_time()
    with suppress(VideoError):  # that there is nothing in it
        assert len(read_subtitle_file(path).cues) == 1
    # What takes time in proportion to the square of these would take hours.
    assert time.process_time() - begin_s < 20


def test_braces_of_ass_take_no_time(tmp_path: Path) -> None:
    line = "Dialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,"
    path = tmp_path / "talk.ass"
    path.write_text("\n".join([line + "{\\p1}" * 2000, line + "{" * 10_000, line + "{\\b1}x" * 1500] * 100))
    begin_s = time.process_time()
    assert {cue.text for cue in read_subtitle_file(path).cues} == {"{" * LONGEST_TEXT, "x" * 1500}
    assert time.process_time() - begin_s < 20


def test_files_larger_than_subtitles_are(tmp_path: Path) -> None:
    path = tmp_path / "talk.srt"
    with path.open("wb") as file:
        file.truncate(100_000_000)  # one line
    with pytest.raises(VideoError, match=r"talk\.srt: is larger than 32 MB"):
        read_subtitle_file(path)


def test_more_cues_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_CUES == 200_000
    monkeypatch.setattr("extractors.cues.subtitle_file.MOST_CUES", 2)
    for kind in WRITERS:
        path = tmp_path / f"talk.{kind}"
        path.write_text(WRITERS[kind]([Line(second, second + 1, "word") for second in range(1, 9)]))
        stream = read_subtitle_file(path)
        assert len(stream.cues) <= 2
        assert stream.notes == ("only its first 2 cues are read",)


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"\xff\xfe", b"hello", bytes(range(256)) * 16])
def test_what_holds_no_subtitles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "talk.srt"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"talk\.srt: holds no subtitles"):
        read_subtitle_file(path)


def test_names_of_files_beside_a_video(tmp_path: Path) -> None:
    names = ["talk.srt", "talk.en.SRT", "Talk.pt-BR.vtt", "talk.en.forced.ass", "talk.es-419.srt"]
    others = [
        "talk.part2.srt",
        "talk.day.srt",
        "talk.day.mp4",
        "talk2.srt",
        "talk",
        "talk.txt",
        "other.srt",
        "talk." + "x" * 40 + ".srt",
    ]
    for name in (*names, *others):
        (tmp_path / name).touch()
    assert [(path.name, language) for path, language in find_sidecars(tmp_path / "talk.mp4")] == [
        ("talk.srt", ""),
        ("talk.en.SRT", "en"),
        ("talk.en.forced.ass", "en.forced"),
        ("talk.es-419.srt", "es-419"),
        ("Talk.pt-BR.vtt", "pt-BR"),
    ]
    assert find_sidecars(tmp_path / "missing" / "talk.mp4") == []


def test_links_beside_a_video(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.srt").write_text(srt(LINES))
    (tmp_path / "talk.srt").symlink_to(tmp_path / "elsewhere" / "a.srt")
    assert len(find_sidecars(tmp_path / "talk.mp4")) == 1
    assert find_sidecars(tmp_path / "talk.mp4", follow_links=False) == []


def test_one_bad_file_beside_a_video(tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text("nothing")
    os.mkfifo(tmp_path / "talk.de.srt")
    (tmp_path / "talk.en.srt").write_text(srt(LINES))
    streams, failures = read_sidecars(tmp_path / "talk.mp4")
    assert [stream.language for stream in streams] == ["en"]
    assert [failure.partition(": ")[0] for failure in failures] == [
        str(tmp_path / "talk.srt"),
        str(tmp_path / "talk.de.srt"),
    ]
