"""Words with times as cues: a sentence each, or a part that can be read at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extractors.cues.cleaning import plain_text
from extractors.cues.cue import LONGEST_TEXT, Cue

STREAM = "speech"
"""The name of the stream of what is said in the sound."""

_LONGEST_PAUSE_S = 1.0  # within a cue
_LONGEST_S, _LONGEST = 8.0, 120  # seconds and characters
_LEAST_S = 0.1
_ENDS = tuple(".!?…。！？।")
_BREAKS = tuple(",;:、，；：")


@dataclass(frozen=True)
class Word:
    """A word that is said.

    Attributes:
        start_s, end_s: seconds from the start of the video.
        text: with the space before it, in languages that have spaces.
        confidence: in [0, 1].
    """

    start_s: float
    end_s: float
    text: str
    confidence: float


def cues_of(words: Sequence[Word], duration_s: float) -> list[Cue]:
    """The cues of successive words; what is outside of the video is left out.

    Args:
        words: in order.
        duration_s: length of the video in seconds.
    """
    cues = []
    for group in _groups(words):
        start_s = round(max(group[0].start_s, 0.0), 3)
        end_s = round(min(max(group[-1].end_s, start_s + _LEAST_S), duration_s), 3)
        text = " ".join(plain_text("".join(word.text for word in group)).split())[:LONGEST_TEXT]
        if text and start_s < end_s:
            confidence = sum(word.confidence for word in group) / len(group)
            cues.append(Cue(start_s, end_s, text, "speech", STREAM, round(min(max(confidence, 0), 1), 4)))
    return cues


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    group: list[Word] = []
    for word in words:
        if group and word.start_s - group[-1].end_s > _LONGEST_PAUSE_S:
            yield group
            group = []
        group.append(word)
        if _said(word).endswith(_ENDS):
            yield group
            group = []
        elif _is_long(group):
            at = _best_break(group)
            yield group[:at]
            group = group[at:]
    if group:
        yield group


def _said(word: Word) -> str:
    return word.text.strip().rstrip("\"'”’»)]")


def _is_long(group: Sequence[Word]) -> bool:
    return (
        group[-1].end_s - group[0].start_s >= _LONGEST_S or sum(len(word.text) for word in group) >= _LONGEST
    )


def _best_break(group: Sequence[Word]) -> int:
    """How many words of a long group come before its last comma; all if there is none, or only near its start."""
    commas = (at for at in range(len(group), len(group) // 3, -1) if _said(group[at - 1]).endswith(_BREAKS))
    return next(commas, len(group))
