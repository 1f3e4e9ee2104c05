"""Words as cues."""

from __future__ import annotations

from extractors.cues.speech.sentences import Word, cues_of


def said(text: str, *, start_s: float = 0.0, each_s: float = 0.5, confidence: float = 0.9) -> list[Word]:
    """Words that follow each other, each as long."""
    return [
        Word(start_s + number * each_s, start_s + (number + 1) * each_s, f" {word}", confidence)
        for number, word in enumerate(text.split())
    ]


def test_a_sentence_is_a_cue() -> None:
    words = said('Good morning. He said "no!" Any questions')
    cues = cues_of(words, 60)
    assert [(cue.start_s, cue.end_s, cue.text) for cue in cues] == [
        (0, 1, "Good morning."),
        (1, 2.5, 'He said "no!"'),
        (2.5, 3.5, "Any questions"),
    ]
    assert {(cue.source, cue.stream, cue.confidence) for cue in cues} == {("speech", "speech", 0.9)}


def test_a_pause_ends_a_cue() -> None:
    words = [*said("one two"), *said("three", start_s=1.9), *said("four", start_s=3.5)]
    assert [cue.text for cue in cues_of(words, 60)] == ["one two three", "four"]


def test_a_long_sentence_is_cut_at_a_comma() -> None:
    text = "well this goes on and on, as it does with people who never stop to breathe until all have left"
    first, *rest = cues_of(said(text), 60)
    assert first.text == "well this goes on and on,"
    assert " ".join(cue.text for cue in (first, *rest)) == text
    assert all(cue.end_s - cue.start_s <= 8 for cue in (first, *rest))
    # Without spaces and commas, as in Chinese.
    words = [Word(number * 0.01, number * 0.01 + 0.01, "好", 1.0) for number in range(300)]
    assert [len(cue.text) for cue in cues_of(words, 60)] == [120, 120, 60]


def test_impossible_times_and_hostile_texts() -> None:
    words = [
        Word(-0.4, 0.2, " Before", 2.0),
        Word(0.2, 0.2, " now.", 2.0),
        Word(5.0, 5.0, " \x1b[31mred\x1b[0m\u202e.", 0.5),
        Word(7.0, 7.5, " \x00\x07", 0.5),
        Word(9.5, 12.0, " Late.", 0.5),
        Word(12.0, 13.0, " Later.", 0.5),
    ]
    cues = cues_of(words, 10.0)
    assert [(cue.start_s, cue.end_s, cue.text, cue.confidence) for cue in cues] == [
        (0.0, 0.2, "Before now.", 1.0),
        (5.0, 5.1, "red.", 0.5),
        (9.5, 10.0, "Late.", 0.5),
    ]
    assert cues_of([], 10.0) == []
