"""Plain queries on a library: what pictures show and what is said or written, in one list."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from extractors.cues import screen_text, speech_text
from extractors.cues.subtitles import RECIPE
from model.cues.grounder import CueGrounder
from model.search.filters import Filters
from model.search.library import Library
from model.search.results import SearchResult, to_document
from model.search.said import search_said
from tests.extractors.cues.rendering import Line, srt
from tests.model.search.colours import colour_library, colour_videos

SCENES = {
    "red.mp4": [("black", 6), ("red", 4), ("black", 6)],
    "blue.mp4": [("black", 4), ("blue", 6)],
    "both.mp4": [("blue", 3), ("black", 5), ("red", 3)],
    "talk.mp4": [("black", 12)],
}


def say(folder: Path, name: str, *lines: Line) -> None:
    (folder / name).with_suffix(".srt").write_text(srt(lines), encoding="utf-8")


def put(library: Library, video: Path, source: str, recipe: str, *lines: Line) -> None:
    """Text that was read before: into the cache, as the readers of the screen and of speech keep it."""
    cache = library.grounder.cache
    cues = [[line.start_s, line.end_s, line.text, 0.9] for line in lines]
    stream = {"name": source, "source": source, "language": "", "cues": cues, "notes": []}
    document = {"duration_s": 60.0, "made_by": "", "streams": [stream] if cues else []}
    cache.documents(source, recipe).store(cache.identify(video), document)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Four videos; what is said in three of them, what is written in one."""
    place = tmp_path_factory.mktemp("words")
    folder = place / "videos"
    colour_videos(folder, SCENES)
    say(folder, "red.mp4", Line(7, 9, "This wall is red."), Line(1, 3, "We begin with the kitchen."))
    say(folder, "talk.mp4", Line(2, 4, "A red carpet."), Line(8, 10, "The budget is four million."))
    with colour_library(place / "index", place / "cache") as made:
        made.add([folder])
        put(made, folder / "both.mp4", "screen", screen_text._RECIPE, Line(4, 7, "RED ALERT"))
        put(made, folder / "blue.mp4", "speech", speech_text._RECIPE, Line(1, 2, "Nothing to see here."))
        assert made.read_words() == ()
        yield made


def found(result: SearchResult) -> list[tuple[str, str, bool, bool | None]]:
    return [(hit.video.name, hit.source, hit.is_seen, hit.clear_match) for hit in result.hits]


def test_pictures_and_words_are_one_list(library: Library) -> None:
    (result,) = library.search("red", top_k=20, per_video=5)
    (seen,) = library.search("red", top_k=20, per_video=5, cues=False)
    assert found(result)[:4] == [
        ("red.mp4", "subtitles", True, True),  # seen and said: first in one list, and in the other
        ("both.mp4", "pictures", False, True),
        ("both.mp4", "screen", False, True),
        ("talk.mp4", "subtitles", False, True),
    ]
    by_source = {(hit.video.name, hit.source): hit for hit in result.hits[:4]}
    wall, alert = by_source["red.mp4", "subtitles"], by_source["both.mp4", "screen"]
    (wall_seen,) = [hit for hit in seen.hits if hit.video.name == "red.mp4" and hit.clear_match]
    assert (wall.start_s, wall.end_s, wall.score) == (wall_seen.start_s, wall_seen.end_s, wall_seen.score)
    assert (wall.text, wall.evidence) == ("This wall is red.", wall_seen.evidence)
    assert (alert.start_s, alert.end_s, alert.score, alert.text) == (4, 7, 1.0, "RED ALERT")
    assert by_source["talk.mp4", "subtitles"].text == "A red carpet."
    # What does not clearly match comes last, and has no words.
    verdicts = [hit.clear_match for hit in result.hits]
    assert verdicts == sorted(verdicts, key=lambda verdict: verdict is not True)
    assert (result.clear_match, result.unready) == (True, 0)


def test_answers_hold_the_hits(library: Library) -> None:
    (result,) = library.search("red", top_k=20, per_video=5)
    for answer in result.answers:
        hits = [hit for hit in result.hits if str(hit.video) == answer.video]
        assert [(m.start_s, m.end_s, m.score, m.quote, m.is_seen) for m in answer.moments] == [
            (hit.start_s, hit.end_s, hit.score, hit.quote, hit.is_seen) for hit in hits
        ]
        assert [answer.verdict(moment) for moment in answer.moments] == [hit.clear_match for hit in hits]
    assert {answer.video for answer in result.answers} == {str(hit.video) for hit in result.hits}
    (document,) = to_document([result])["results"]
    by_words = [hit for hit in document["hits"] if "text" in hit]
    assert {hit["source"] for hit in by_words} == {"subtitles", "screen"}
    assert [hit["text"] for hit in by_words if hit.get("is_seen")] == ["This wall is red."]


def test_what_is_only_said(library: Library) -> None:
    (result,) = library.search("the budget", top_k=3)
    assert found(result)[0] == ("talk.mp4", "subtitles", False, True)
    assert (result.hits[0].start_s, result.hits[0].end_s) == (8, 10)
    (clear,) = library.search("the budget", only_clear=True)
    assert found(clear) == [("talk.mp4", "subtitles", False, True)]
    assert library.search("the budget", only_clear=True, cues=False)[0].hits == ()


def test_choice_of_hits(library: Library) -> None:
    (all_,) = library.search("red", top_k=20, per_video=5)
    for top_k in (1, 2, 4):
        assert len(library.search("red", top_k=top_k, per_video=5)[0].hits) == top_k
    (one,) = library.search("red", top_k=20, per_video=1)
    assert len({hit.video for hit in one.hits}) == len(one.hits)
    (high,) = library.search("red", top_k=20, per_video=5, threshold=0.9)
    assert set(found(high)) == {
        (hit.video.name, hit.source, hit.is_seen, hit.clear_match) for hit in all_.hits if hit.score >= 0.9
    }
    (some,) = library.search("red", top_k=20, filters=Filters(name="talk*"))
    assert {hit.video.name for hit in some.hits} == {"talk.mp4"}


def test_without_words_the_answer_is_that_of_pictures(library: Library, tmp_path: Path) -> None:
    for query in ("red", "blue", "the budget", "green"):
        options = {"top_k": 20, "filters": Filters(name="blue*")}  # in which nothing is said of these
        assert library.search(query, **options) == library.search(query, cues=False, **options)
    (result,) = library.search("green giraffe", top_k=20)
    assert replace(result, hints=()) == replace(
        library.search("green giraffe", top_k=20, cues=False)[0], hints=()
    )


def test_words_that_are_not_ready(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = library.search("red")[0].hits[0].video.parent
    before = (folder / "talk.srt").read_bytes()
    say(folder, "talk.mp4", Line(2, 4, "A yacht."))
    try:
        monkeypatch.setattr("model.search.words._FEW", 0)
        (result,) = library.search("a yacht")
        assert (result.unready, {hit.source for hit in result.hits}) == (1, {"pictures"})
        monkeypatch.undo()
        (result,) = library.search("a yacht")
        assert (result.unready, result.hits[0].text) == (0, "A yacht.")
        monkeypatch.setattr("model.search.words._FEW", 0)
        assert library.search("a yacht")[0].hits == result.hits
    finally:
        (folder / "talk.srt").write_bytes(before)


def test_a_video_that_has_gone(library: Library) -> None:
    video = library.search("the budget")[0].hits[0].video
    video.rename(away := video.with_suffix(".away"))
    try:
        assert video not in {hit.video for hit in library.search("the budget")[0].hits}
    finally:
        away.rename(video)


def test_copies_are_one_video(library: Library, tmp_path: Path) -> None:
    """Pictures name the first one, and the subtitles lie beside the second."""
    folder = library.search("red")[0].hits[0].video.parent
    copy = Path(shutil.copy(folder / "red.mp4", tmp_path / "red.mp4"))
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "red.srt").write_bytes((folder / "red.srt").read_bytes())
    shutil.copy(copy, tmp_path / "z" / "red.mp4")
    with colour_library(tmp_path / "index", tmp_path / "cache") as copies:
        copies.add([tmp_path])
        copies.read_words()
        (result,) = copies.search("red", top_k=20, per_video=5)
        first = result.hits[0]
        assert (first.video, first.source, first.is_seen) == (copy, "subtitles", True)
        assert len([hit for hit in result.hits if hit.clear_match]) == 1
        assert [answer.clear_match for answer in result.answers] == [True]
        (words,) = copies.search("we begin with the kitchen", per_video=1)
        assert [(hit.video, hit.text) for hit in words.hits] == [
            (tmp_path / "z" / "red.mp4", "We begin with the kitchen.")
        ]


def test_no_better_words_are_left_out(library: Library, tmp_path: Path) -> None:
    """The hits by words are those that ask every video: the best of what is said in all of them."""
    chance = random.Random(5)
    folder = tmp_path / "many"
    words = ("budget", "council", "ticket", "river", "we", "the")
    with colour_library(tmp_path / "index", tmp_path / "cache") as many:
        videos = colour_videos(folder, {f"{number:02}.mp4": [("black", 2)] for number in range(12)})
        for video in videos:
            lines = [" ".join(chance.choices(words, k=3)) for _ in range(4)]
            put(
                many,
                video,
                "subtitles",
                RECIPE,
                *(Line(3 * at, 3 * at + 2, line) for at, line in enumerate(lines)),
            )
        many.add([folder])
        many.read_words()
        cues = CueGrounder(many.grounder.cache)
        for query in ("the budget", "a ticket of the council", "river"):
            (result,) = many.search(query, top_k=50, per_video=2)
            (said,) = search_said(
                videos, query, top_k=50, per_video=2, only_clear=True, grounder=cues
            ).results
            quoted = [(hit.video, hit.start_s, hit.score) for hit in result.hits if hit.quote]
            assert quoted == [(hit.video, hit.start_s, hit.score) for hit in said.hits]
