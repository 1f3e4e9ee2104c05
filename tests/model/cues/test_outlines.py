"""Outlines of transcripts, and the answers for many videos that they spare most of the work."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from extractors.cues.cue import Cue, CueStream, Transcript
from extractors.cues.sidecars import Listings
from model.cues.grounder import CueGrounder
from model.cues.outlines import Outline, Question
from model.cues.passages import Passages
from model.search.said import search_said
from tests.extractors.cues.rendering import Line, render_video, srt
from tests.model.cues.lecture import BY_MEANING, BY_WORDS, DURATION_S, LECTURE

QUERIES = (*BY_WORDS, *BY_MEANING, "a giraffe", "the", "预算", "foo_bar", "...", "ship wooden", "ships")


@pytest.fixture(scope="module")
def grounder(tmp_path_factory: pytest.TempPathFactory) -> CueGrounder:
    return CueGrounder(tmp_path_factory.mktemp("cache"))


def outline_of(grounder: CueGrounder, transcript: Transcript) -> Outline:
    passages = Passages.of(transcript.streams)
    made = Outline.of(transcript.duration_s, transcript.notes, passages, grounder._meanings(passages.lines))
    return Outline.from_bytes(memoryview(made.to_bytes()))


def test_an_outline_tells_the_best_score(grounder: CueGrounder) -> None:
    streams = [
        CueStream("a.srt", cues=tuple(Cue(*line, stream="a.srt") for line in LECTURE)),
        CueStream(
            "b.srt", cues=(Cue(1, 2, "明年的预算", stream="b.srt"), Cue(2, 3, "Grüße", stream="b.srt"))
        ),
    ]
    transcript = Transcript("talk.mp4", DURATION_S, tuple(streams), ("a note",))
    outline = outline_of(grounder, transcript)
    assert (outline.duration_s, outline.notes, outline.count) == (DURATION_S, ("a note",), len(LECTURE) + 2)
    for query, question in zip(QUERIES, grounder.questions(QUERIES), strict=True):
        (result,) = grounder.ground(transcript, query, top_k=1)
        best = result.moments[0].score if result.moments else 0.0
        told = outline.best_score(question)
        if query == "foo_bar":  # one word for people, two for the index
            assert told == 1.0
        else:
            assert told == best or (best == 0.0 and told < 0.02), query


def test_cosines_are_those_of_single_precision() -> None:
    """To the bit, small numbers and all."""
    chance = np.random.default_rng(1)
    rows = chance.standard_normal((200, 384)).astype(np.float16) * np.float16(0.05)
    rows[0], rows[1, ::2], rows[2] = 0, np.float16(6e-8), np.float16(-0.0)
    pooled = chance.standard_normal(384).astype(np.float32) / 20
    nothing = np.zeros(0, np.int32)
    outline = Outline(1.0, (), nothing, nothing, b"\n", nothing, nothing, " ", rows)
    np.testing.assert_array_equal(outline._cosines(pooled), rows.astype(np.float32) @ pooled)


def test_a_phrase_over_three_cues_is_only_a_promise(grounder: CueGrounder) -> None:
    cues = tuple(Cue(at, at + 1, text, stream="a") for at, text in enumerate(["one", "two", "three"]))
    transcript = Transcript("talk.mp4", 9, (CueStream("a", cues=cues),))
    (question,) = grounder.questions(["one two three"])
    assert outline_of(grounder, transcript).best_score(question) == 1.0
    assert grounder.ground(transcript, "one two three")[0].moments[0].score < 1.0


def test_damaged_outlines_are_made_again(grounder: CueGrounder, tmp_path: Path) -> None:
    video = render_video(tmp_path / "talk.mp4", duration_s=4)
    (tmp_path / "talk.srt").write_text(srt([Line(1, 3, "The budget is four million.")]))
    cache = tmp_path / "cache"
    first = CueGrounder(cache).outline(video)
    (blob,) = cache.rglob("*.bin")
    whole = blob.read_bytes()
    for data in (b"", whole[:50], whole[:-1], whole[:9] + b"x" + whole[10:]):
        blob.write_bytes(data)
        again = CueGrounder(cache).outline(video)
        assert again.to_bytes() == first.to_bytes()
        assert blob.read_bytes() == whole


def test_a_changed_file_shows_at_once(tmp_path: Path) -> None:
    video = render_video(tmp_path / "talk.mp4", duration_s=4)
    sidecar = tmp_path / "talk.srt"
    cues = CueGrounder(tmp_path / "cache")

    def spoken() -> str:
        return cues.outline(video, Listings()).spoken

    sidecar.write_text(srt([Line(1, 3, "The budget.")]))
    assert spoken() == " the budget "
    before = sidecar.stat()
    sidecar.write_text(srt([Line(1, 3, "The cudget.")]))
    import os

    os.utime(sidecar, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert spoken() == " the cudget "
    sidecar.unlink()
    assert spoken() == " "


def test_names_beside_many_videos_are_listed_once(tmp_path: Path) -> None:
    for name in ("Talk.srt", "talk.en.srt", "talking.srt", "talk.day.mp4", "talk.day.srt", "other.srt"):
        (tmp_path / name).write_text(name)
    listings = Listings()
    names = [entry.name for entry in listings.beginning_with("talk", tmp_path)]
    assert sorted(names) == ["Talk.srt", "talk.day.mp4", "talk.day.srt", "talk.en.srt", "talking.srt"]
    from extractors.cues.sidecars import find_sidecars

    for video in (tmp_path / "talk.mp4", tmp_path / "talk.day.mp4", tmp_path / "none.mp4"):
        assert find_sidecars(video, listings=listings) == find_sidecars(video)
    assert listings.beginning_with("a", tmp_path / "nowhere") == []


WORDS = ("budget", "budgets", "council", "ticket", "river", "letter", "we", "the", "a", "of")


def made(folder: Path, cache: CueGrounder, number: int) -> Path:
    """A video whose text track is in the cache: few words, so that many videos score alike."""
    from extractors.cues.subtitles import RECIPE

    chance = random.Random(number)
    video = folder / f"{number:02}.mp4"
    video.write_bytes(number.to_bytes(64, "big"))
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 4))) for _ in range(chance.randint(0, 6))]
    cues = [[at * 3.0, at * 3.0 + chance.choice([0.5, 2.5]), line, 1.0] for at, line in enumerate(lines)]
    stream = {"name": "track 1", "source": "subtitles", "language": "", "cues": cues, "notes": []}
    streams = [stream] if cues else []
    store = cache._cache
    store.documents("subtitles", RECIPE).store(
        store.identify(video), {"duration_s": 30.0, "streams": streams}
    )
    return video


def test_the_answer_is_that_of_all_videos(grounder: CueGrounder, tmp_path: Path) -> None:
    """The plain way, every video asked, gives the same hits in the same order."""
    from model.search.results import hit_of

    videos = [made(tmp_path, grounder, number) for number in range(40)]
    queries = ["the budget", "a ticket of the council", "river", "money for the town", "we", "budget letter"]
    for top_k, per_video, threshold, only_clear in [
        (10, 3, 0.0, False), (3, 1, 0.0, False), (1, 1, 0.99, False), (500, 2, 0.0, True), (5, 2, 0.4, True),
    ]:  # fmt: skip
        answer = search_said(
            videos,
            queries,
            top_k=top_k,
            per_video=per_video,
            threshold=threshold,
            only_clear=only_clear,
            grounder=grounder,
        )
        for number, query in enumerate(queries):
            results = [grounder.ground(video, query, top_k=per_video)[0] for video in videos]
            hits = [
                hit_of(result, moment, 1.0)
                for result in results
                for moment in result.moments
                if moment.score >= threshold and (result.is_clear(moment) or not only_clear)
            ]
            hits.sort(key=lambda hit: (-hit.score, hit.video, hit.start_s))
            assert list(answer.results[number].hits) == hits[:top_k]
            assert answer.results[number].clear_match == any(result.clear_match for result in results)


def test_few_videos_are_asked(grounder: CueGrounder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [made(tmp_path, grounder, number) for number in range(40)]
    search_said(videos, "the budget", top_k=3, grounder=grounder)
    asked: list[str] = []
    ground = CueGrounder.ground
    monkeypatch.setattr(
        CueGrounder, "ground", lambda self, video, *rest, **more: (
            asked.append(video.video), ground(self, video, *rest, **more)
        )[1],
    )  # fmt: skip
    search_said(videos, "the budget", top_k=3, grounder=grounder)
    assert 1 <= len(asked) <= 6


def test_too_many_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("model.cues.grounder._MOST_MEANINGS", 2)
    cues = CueGrounder(tmp_path / "cache")
    video = render_video(tmp_path / "talk.mp4", duration_s=8)
    (tmp_path / "talk.srt").write_text(srt([Line(at, at + 1, f"line {'abc'[at]} budget") for at in range(3)]))
    outline = cues.outline(video)
    assert outline.meanings is None
    question = Question.of("line budget", np.zeros(384, np.float32))
    assert outline.best_score(question) == pytest.approx(0.85)
    answer = search_said([video], "line budget", grounder=cues)
    assert answer.results[0].hits[0].score == pytest.approx(0.85)
    assert "by their words only" in answer.results[0].hints[0]


def test_speech_that_is_transcribed_later_shows(tmp_path: Path) -> None:
    from extractors.cues import speech_text

    video = render_video(tmp_path / "talk.mp4", duration_s=8)
    (tmp_path / "talk.srt").write_text(srt([Line(1, 3, "A ticket.")]))
    cues = CueGrounder(tmp_path / "cache")
    assert cues.outline(video).spoken == " a ticket "
    store = cues._cache
    for text in ("The budget.", "The river."):
        spoken = [[4.0, 5.0, text, 0.9]]
        stream = {"name": "speech", "source": "speech", "language": "en", "cues": spoken, "notes": []}
        store.documents("speech", speech_text._RECIPE).store(
            store.identify(video), {"duration_s": 8.0, "made_by": "x", "streams": [stream]}
        )
        assert cues.outline(video).spoken == f" a ticket {text.lower()[:-1]} "
        (hit,) = search_said([video], text, grounder=cues, top_k=1).results[0].hits
        assert hit.quote is not None
        assert (hit.quote.source, hit.score) == ("speech", 1.0)
    (tmp_path / "talk.srt").unlink()
    (words,) = cues.at_hand(video)
    assert [stream.source for stream in words.streams] == ["speech"]
