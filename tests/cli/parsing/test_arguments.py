"""Arguments of `vtg ground`: which are videos, which are sentences, and which are mistakes."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from extractors.errors import UsageError, VtgError
from tests.cli.running import vtg
from vtg_cli.parsing.arguments import read_queries, require_queries, require_videos, videos_and_queries

SENTENCES = ["is it a cat? [yes]", "1:30 a goal", "cat/dog", "a\0b"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.MKV", "film", "notes.txt", "clips/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "videos", "queries"),
    [
        (["a.mp4", "a dog"], ["a.mp4"], ["a dog"]),
        (["a.mp4", "b.MKV", "a dog", "a cat"], ["a.mp4", "b.MKV"], ["a dog", "a cat"]),
        (["a dog", "a.mp4", "a cat", "b.MKV"], ["a.mp4", "b.MKV"], ["a dog", "a cat"]),
        (["a.mp4", "./a.mp4", "clips/../a.mp4", "a dog"], ["a.mp4"], ["a dog"]),
        (["film", "a dog"], ["film"], ["a dog"]),
        (["clips/*.mp4", "a dog"], ["clips/c.mp4"], ["a dog"]),
        (["gone.mp4", "a dog"], ["gone.mp4"], ["a dog"]),  # there, and cannot be read
        (["a.mp4", *SENTENCES], ["a.mp4"], SENTENCES),
        (["a.mp4", "word " * 1000], ["a.mp4"], ["word " * 1000]),
        (["a.mp4", ""], ["a.mp4"], [""]),
        ([], [], []),
    ],
)  # fmt: skip
def test_files_are_videos_and_the_rest_queries(arguments, videos, queries):
    assert videos_and_queries(arguments) == (list(map(Path, videos)), queries)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.mp4", "a dog"], "missing.mp4: does not exist"),
        (["a.mp4", "missing.mp4"], "missing.mp4: does not exist"),
        (["a.mp4", "notes.txt"], "--queries notes.txt"),
        (["a.mp4", "film", "a dog"], "film: is a file"),
        (["a.mp4", "-"], "--queries -"),
        (["clips", "a dog"], "vtg ground clips/*.mp4"),
        (["clips/", "a dog"], "--watch clips"),
        (["a.mp4", "clips"], "vtg extract clips"),
        (["*.avi", "a dog"], "*.avi: matches no video"),
        (["https://example.com/a.mp4", "a dog"], "https://example.com/a.mp4: vtg reads files"),
        (["a.mp4", "rtsp://camera/1"], "rtsp://camera/1: vtg reads files"),
        (["a.mp4", "s3://bucket/", "a dog"], "s3://bucket/: is a folder"),
    ],
)
def test_mistakes_are_not_asked(arguments, word):
    with pytest.raises(UsageError) as caught:
        videos_and_queries(arguments)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("queries", "word"), [([], "what to look for"), (["a", " \n"], "empty"), (["a\udcff"], "UTF-8")]
)
def test_queries_that_cannot_be_asked(queries, word):
    with pytest.raises(UsageError, match=word):
        require_queries(queries)


@pytest.mark.parametrize(
    ("arguments", "word"), [(["dog", "cat"], "dog: no such video"), ([], "name a video")]
)
def test_a_video_is_needed(arguments, word):
    with pytest.raises(UsageError, match=word):
        require_videos([], arguments)
    require_videos([Path("a.mp4")], arguments)


def test_sentences_are_read_from_a_file(folder):
    (folder / "q.txt").write_bytes("\ufeffa dog\r\n\n  猫  \na.mp4\u2028x".encode())
    assert read_queries("q.txt") == ["a dog", "猫", "a.mp4\u2028x"]


def test_sentences_are_read_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a dog\na cat")))
    assert read_queries("-") == ["a dog", "a cat"]


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (None, UsageError, "does not exist"),
        (b"\n \r\n", UsageError, "no sentence"),
        (b"\xff\xfe", VtgError, "UTF-8"),
        (b"a" * 10_000_001, VtgError, "larger than 10 MB"),
    ],
)
def test_files_that_hold_no_sentences(content, kind, word, folder):
    if content is not None:
        (folder / "q.txt").write_bytes(content)
    with pytest.raises(VtgError, match=word) as caught:
        read_queries("q.txt")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["man", "opens", "fridge"], 'these are 3 queries of one word; as one query: "man opens fridge"'),
        (["dog"], ""),
        (["a dog", "cat"], ""),
        (["猫", "犬"], ""),
    ],
)
def test_a_sentence_without_quotes_is_noticed(words, note, tmp_path):
    done = vtg("ground", "a.mp4", *words, home=tmp_path)
    assert done.returncode == 1  # a.mp4 is empty
    assert ("of one word" in done.stderr) == bool(note)
    assert note in done.stderr
