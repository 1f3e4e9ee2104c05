"""What is said in a video, asked by words and by meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from extractors.cues.cue import Cue, CueStream, Transcript
from extractors.errors import UsageError
from model.cues.grounder import CueGrounder
from model.cues.matching import CLEAR_FROM, best_passages, curve
from model.cues.passages import Passages
from model.cues.words import WordIndex, holds_phrase
from model.grounding.results import GroundingResult
from tests.extractors.cues.rendering import Line, render_video, srt
from tests.model.cues.lecture import BY_MEANING, BY_WORDS, DURATION_S, LECTURE


def stream(lines: list[Line] | tuple[Line, ...], name: str = "talk.srt") -> CueStream:
    return CueStream(name, cues=tuple(Cue(*line, stream=name) for line in lines))


def transcript(*streams: CueStream, duration_s: float = DURATION_S) -> Transcript:
    return Transcript("talk.mp4", duration_s, streams)


@pytest.fixture(scope="module")
def grounder(tmp_path_factory: pytest.TempPathFactory) -> CueGrounder:
    return CueGrounder(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def ask(grounder: CueGrounder) -> Iterator[object]:
    lecture = transcript(stream(LECTURE))
    return lambda queries: grounder.ground(lecture, list(queries))


def right_first(results: list[GroundingResult], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The queries whose best moment holds one of the subtitles expected."""
    good = []
    for result in results:
        best = result.moments[0]
        spans = [LECTURE[at] for at in expected[result.query]]
        if any(best.start_s <= line.start_s and line.end_s <= best.end_s for line in spans):
            good.append(result.query)
    return good


def test_words_are_found_first(ask) -> None:
    results = ask(BY_WORDS)
    good = right_first(results, {query: (at,) for query, at in BY_WORDS.items()})
    assert good == list(BY_WORDS)
    assert all(result.clear_match for result in results)


def test_meaning_is_found_first(ask) -> None:
    assert len(right_first(ask(BY_MEANING), BY_MEANING)) >= 0.9 * len(BY_MEANING)


ABSENT = (
    "a giraffe", "quantum physics", "the stock market crash", "pizza with mushrooms", "football match",
    "election results", "my grandmother", "nuclear submarine", "surfing in Hawaii", "violin concerto",
)  # fmt: skip


def test_what_is_not_said_is_no_clear_match(ask) -> None:
    assert [result.query for result in ask(ABSENT) if result.clear_match] == []


def test_moments_are_cues_with_quotes(ask) -> None:
    (result,) = ask(["the budget"])
    best, line = result.moments[0], LECTURE[BY_WORDS["the budget"]]
    assert (best.start_s, best.end_s, best.score) == (line.start_s, line.end_s, 1.0)
    assert best.quote is not None
    assert (best.quote.source, best.quote.stream, best.quote.text) == ("subtitles", "talk.srt", line.text)
    assert [moment.score for moment in result.moments] == sorted(
        (moment.score for moment in result.moments), reverse=True
    )
    written = result.to_json()["moments"][0]
    assert (written["source"], written["stream"], written["text"]) == ("subtitles", "talk.srt", line.text)
    assert len(result.saliency.scores) == DURATION_S
    assert result.saliency.scores[24:28] == (1.0,) * 4
    assert max(result.saliency.scores[:24]) < CLEAR_FROM
    json.dumps(result.to_json(), allow_nan=False)


def test_a_phrase_over_two_subtitles(grounder: CueGrounder) -> None:
    lines = [Line(1, 2, "The bud"), Line(2, 3, "get we have is\nthe new"), Line(3, 4, "library of Ghent.")]
    lines.append(Line(9, 10, "Ghent has a library, and it is new."))
    (result,) = grounder.ground(transcript(stream(lines), duration_s=12), "new library of Ghent")
    best = result.moments[0]
    assert (best.start_s, best.end_s, best.score) == (2, 4, 1.0)
    # Where one subtitle is enough, it is the moment.
    (result,) = grounder.ground(transcript(stream(lines), duration_s=12), "the new")
    assert (result.moments[0].start_s, result.moments[0].end_s) == (2, 3)
    # What follows after a pause is another sentence.
    (result,) = grounder.ground(transcript(stream([lines[0], lines[3]]), duration_s=12), "bud Ghent")
    assert result.moments[0].score < 1


def test_streams_are_not_mixed(grounder: CueGrounder) -> None:
    english = stream([Line(1, 2, "the green"), Line(3, 4, "elephant")], "talk.en.srt")
    german = stream([Line(1, 2, "der grüne"), Line(3, 4, "Elefant")], "talk.de.srt")
    (result,) = grounder.ground(transcript(english, german, duration_s=9), "Grüne Elefant", top_k=1)
    (best,) = result.moments
    assert best.quote is not None
    assert (best.quote.stream, best.quote.text, best.score) == ("talk.de.srt", "der grüne Elefant", 1.0)
    copies = transcript(stream(LECTURE, "a.srt"), stream(LECTURE, "b.srt"))
    (result,) = grounder.ground(copies, "wooden ship", top_k=3)
    starts = [moment.start_s for moment in result.moments]
    assert len(set(starts)) == len(starts)


PHRASES = {
    ("the budget", "The BUDGET, please"): True,
    ("cat", "category"): False,
    ("cafe", "Le Café."): True,
    ("strasse", "Straße"): True,
    ("don't", "I don’t know"): True,
    ("a-b", "a b"): True,
    ("预算", "明年的预算是四百万"): True,
    ("予算", "来年の予算です"): True,
    ("бюджет", "Наш бюджет — 4 млн"): True,
    ("...", "anything"): False,
    ("two words", "two other words"): False,
}


@pytest.mark.parametrize(("phrase", "text"), PHRASES)
def test_phrases(phrase: str, text: str) -> None:
    assert holds_phrase(phrase, text) == PHRASES[phrase, text]


@pytest.mark.parametrize(
    "query", ["预算", "NEAR(a b)", '"', "a OR b", "text:x", "*", "''", "-1", "(", "ß", "\0"]
)
def test_queries_are_words_and_no_syntax(grounder: CueGrounder, query: str) -> None:
    lines = [Line(1, 2, "明年的预算是四百万"), Line(3, 4, "Hello there.")]
    (result,) = grounder.ground(transcript(stream(lines), duration_s=9), query)
    found = [moment.start_s for moment in result.moments if moment.score == 1]
    assert found == ([1] if query == "预算" else [])


def test_rare_words_weigh_more() -> None:
    found, weights = WordIndex(["the red car", "the red house", "the red budgets"]).matches("the red budget")
    assert found.tolist() == [[True, True, True], [False, False, True]]
    assert weights[1] > 4 * weights[0]
    assert weights.sum() == pytest.approx(1)
    common, _ = WordIndex(["to be or not to be"]).matches("to be")
    assert common.all()


def test_curve_and_overlaps() -> None:
    passages = Passages.of([stream([Line(0.5, 1.0, "a"), Line(3.9, 9, "b"), Line(4, 5, "c")])])
    scores = np.array([0.2, 0.5, 0.9, 0.1])
    assert curve(scores, passages, duration_s=6, clip_length_s=1).tolist() == [0.2, 0, 0, 0.5, 0.9, 0.5]
    assert best_passages(scores, passages, most=5, least=0.15) == [2, 0]
    assert curve(np.zeros(0), Passages.of([]), duration_s=0.5, clip_length_s=1).tolist() == [0]


def test_no_cues(grounder: CueGrounder) -> None:
    (result,) = grounder.ground(transcript(), "the budget")
    assert (result.moments, result.match_score, result.clear_match) == ((), None, False)
    assert len(result.saliency.scores) == DURATION_S


def test_too_many_texts_are_searched_by_words(grounder: CueGrounder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.cues.grounder._MOST_MEANINGS", 2)
    lines = [Line(at, at + 1, text) for at, text in enumerate(["one cat", "one cat", "two dogs"])]
    (few,) = grounder.ground(transcript(stream(lines), duration_s=9), "kitten")
    assert (len(few.moments), few.hints) == (3, ())
    lines.append(Line(4, 5, "three birds"))
    (many,) = grounder.ground(transcript(stream(lines), duration_s=9), "kitten")
    assert many.moments == ()
    assert "by their words only" in many.hints[0]
    (many,) = grounder.ground(transcript(stream(lines), duration_s=9), "bird")
    assert [moment.start_s for moment in many.moments] == [4]


def test_threshold_and_usage(grounder: CueGrounder) -> None:
    lecture = transcript(stream(LECTURE))
    (result,) = grounder.ground(lecture, "wooden ship", threshold=0.99)
    assert len(result.moments) == 1
    assert len(grounder.ground(lecture, "wooden ship", top_k=2)[0].moments) == 2
    for queries, top_k in (("", 1), ([], 1), ("a", 0)):
        with pytest.raises(UsageError):
            grounder.ground(lecture, queries, top_k=top_k)


def test_a_file_is_read_first(grounder: CueGrounder, tmp_path: Path) -> None:
    video = render_video(tmp_path / "talk.mp4", duration_s=4)
    (tmp_path / "talk.srt").write_text(srt([Line(1, 3, "The budget is four million.")]))
    (result,) = grounder.ground(video, "budget")
    assert (result.video, result.moments[0].start_s) == (str(video), 1)


def test_progress_is_told_once(tmp_path: Path) -> None:
    grounder = CueGrounder(tmp_path)
    lecture = transcript(stream(LECTURE))
    told: list[tuple[int, int]] = []
    (first,) = grounder.ground(lecture, "the budget", on_cues=lambda done, count: told.append((done, count)))
    assert told == [(16, 40), (32, 40), (40, 40)]
    (second,) = grounder.ground(lecture, "the budget", on_cues=lambda done, count: told.append((done, count)))
    assert len(told) == 3
    assert first == second
