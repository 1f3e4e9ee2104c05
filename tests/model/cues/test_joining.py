"""Answers from pictures joined with what is said and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from extractors.cues.cue import Cue, CueStream, Transcript
from model.cues.grounder import CueGrounder
from model.cues.joining import join
from model.grounding.results import CUES, GroundingResult, Moment, Quote, Saliency, make_result

Spans = list[tuple[float, float, float]]
CLEAR = 0.7
QUOTE = Quote("subtitles", "talk.srt", "The budget, please.")


def from_pictures(*moments: tuple[float, float, float], clear_from: float | None = CLEAR) -> GroundingResult:
    return make_result(
        video="talk.mp4",
        query="the budget",
        model="zero-shot",
        features=("lite",),
        duration_s=100,
        moments=np.array(moments).reshape(-1, 3),
        saliency=np.zeros(50),
        clip_length_s=2,
        clear_from=clear_from,
    )


def from_words(*moments: tuple[float, float, float], source: str = "subtitles") -> GroundingResult:
    found = tuple(Moment(*one, Quote(source, "a", "The budget, please.")) for one in moments)
    best = found[0].score if found else None
    curve = Saliency(1, (0.0,) * 100)
    return GroundingResult(
        "talk.mp4", "the budget", CUES, (source,), 100, found, curve, clear_from=0.3, match_score=best
    )


def spans(result: GroundingResult) -> Spans:
    return [(moment.start_s, moment.end_s, moment.score) for moment in result.moments]


def test_ranks_are_joined_and_scores_stay() -> None:
    seen = from_pictures((10, 20, 0.9), (30, 40, 0.5), (50, 60, 0.4))
    said = from_words((70, 73, 1.0), (80, 83, 0.6), (90, 93, 0.29))
    joined = join(seen, [said], top_k=5)
    # What is seen unclearly comes last, whatever its rank; what is said unclearly takes no part.
    assert spans(joined) == [(10, 20, 0.9), (70, 73, 1.0), (80, 83, 0.6), (30, 40, 0.5), (50, 60, 0.4)]
    assert [joined.is_clear(moment) for moment in joined.moments] == [True, True, True, False, False]
    assert (joined.match_score, joined.clear_match, joined.sources) == (0.9, True, ("subtitles",))
    assert joined.saliency == seen.saliency
    assert spans(join(seen, [said], top_k=2)) == [(10, 20, 0.9), (70, 73, 1.0)]
    assert spans(join(seen, [said], top_k=5, threshold=0.8)) == [(10, 20, 0.9), (70, 73, 1.0)]


def test_the_same_moment_is_listed_once_and_higher() -> None:
    seen = from_pictures((10, 20, 0.9), (30, 40, 0.8), (50, 60, 0.4))
    said = from_words((33, 35, 1.0), (36, 38, 0.9), (52, 61, 0.5))
    joined = join(seen, [said], top_k=5)
    # Clear pictures keep their times and score, and count; unclear ones make room for the words.
    assert spans(joined) == [(30, 40, 0.8), (10, 20, 0.9), (52, 61, 0.5)]
    assert [moment.is_seen for moment in joined.moments] == [True, False, False]
    assert [moment.quote is not None for moment in joined.moments] == [True, False, True]
    # A cue inside of unclear pictures does not hide the next one.
    unclear = join(from_pictures((0, 50, 0.1)), [from_words((3, 5, 1.0), (8, 9, 0.9))], top_k=5)
    assert spans(unclear) == [(3, 5, 1.0), (8, 9, 0.9)]
    # Half of the union is the least: [0, 10] and [5, 12] share five of twelve seconds.
    apart = join(from_pictures((0, 10, 0.9)), [from_words((5, 12, 1.0))], top_k=5)
    assert spans(apart) == [(0, 10, 0.9), (5, 12, 1.0)]
    assert spans(join(from_pictures((0, 10, 0.9)), [from_words((4, 12, 1.0))], top_k=5)) == [(0, 10, 0.9)]


def test_subtitles_and_screen_count_both() -> None:
    said = from_words((10, 12, 0.5), (40, 44, 0.4))
    written = from_words((70, 90, 1.0), (41, 44, 0.6), source="screen")
    joined = join(from_pictures((0, 5, 0.1)), [said, written], top_k=5)
    # Third of neither list, but in both.
    assert spans(joined)[0] == (40, 44, 0.4)
    assert spans(joined)[1:] == [(10, 12, 0.5), (70, 90, 1.0), (0, 5, 0.1)]
    assert joined.sources == ("subtitles", "screen")


def test_guesses_come_after_clear_words() -> None:
    joined = join(from_pictures((10, 20, 0.1)), [from_words((70, 73, 1.0), (80, 83, 0.4))], top_k=5)
    assert spans(joined) == [(70, 73, 1.0), (80, 83, 0.4), (10, 20, 0.1)]


def test_models_that_cannot_tell() -> None:
    seen = from_pictures((10, 20, 0.9), clear_from=None)
    joined = join(seen, [from_words((15, 19, 0.5), (1, 2, 0.4))], top_k=5)
    assert spans(joined) == [(15, 19, 0.5), (1, 2, 0.4)]
    assert joined.moments[0].is_seen
    joined = join(seen, [from_words((40, 42, 0.4))], top_k=5)
    assert spans(joined) == [(40, 42, 0.4), (10, 20, 0.9)]
    assert [moment["clear_match"] for moment in joined.to_json()["moments"]] == [True, None]
    assert joined.clear_match is True
    unsaid = join(seen, [from_words((40, 42, 0.2))], top_k=5)
    assert (spans(unsaid), unsaid.clear_match) == ([(10, 20, 0.9)], None)


def test_nothing_clearly_said_changes_no_moment() -> None:
    seen = from_pictures((10, 20, 0.9), (30, 40, 0.5))
    joined = join(seen, [from_words((33, 35, 0.2))], top_k=5)
    assert joined.moments == seen.moments
    assert {**joined.to_json(), "sources": None} == {**seen.to_json(), "sources": None}


def test_the_document_says_what_was_found_where() -> None:
    seen = from_pictures((10, 20, 0.9), (30, 40, 0.5))
    first, second, third = join(seen, [from_words((12, 14, 1.0), (60, 62, 1.0))], top_k=5).to_json()[
        "moments"
    ]
    assert (first["source"], first["text"], first["is_seen"]) == ("subtitles", "The budget, please.", True)
    assert (second["source"], second["is_seen"], second["clear_match"]) == ("subtitles", False, True)
    assert third == {"start_s": 30, "end_s": 40, "score": 0.5, "clear_match": False}


def test_a_grounder_joins_transcripts(tmp_path: Path) -> None:
    cues = CueGrounder(tmp_path)
    stream = CueStream("talk.srt", cues=(Cue(40, 44, "The budget, please.", stream="talk.srt"),))
    seen = from_pictures((10, 20, 0.9), (30, 40, 0.5))
    (joined,) = cues.join([seen], [Transcript("talk.mp4", 100, (stream,))], threshold=0.6)
    assert spans(joined) == [(10, 20, 0.9), (40, 44, 1.0)]
    assert joined.moments[1].quote == QUOTE
    assert cues.join([seen], [], threshold=0.6)[0].moments == seen.moments[:1]


@pytest.mark.parametrize("name", ["talk.mp4", "talk.mkv"])
def test_what_is_at_hand(tmp_path: Path, name: str) -> None:
    from tests.extractors.cues.rendering import LINES, render_video, srt

    cues = CueGrounder(tmp_path / "cache")
    video = render_video(tmp_path / name, duration_s=2)
    assert cues.at_hand(video) == ()
    assert not list(tmp_path.rglob("documents"))
    (tmp_path / "talk.srt").write_text(srt(LINES), encoding="utf-8")
    (words,) = cues.at_hand(video)
    assert (words.source, [stream.name for stream in words.streams]) == ("subtitles", ["talk.srt"])
    (tmp_path / "talk.srt").unlink()
    assert cues.at_hand(video) == ()
