"""The lines of successive pictures as cues: a line that stays is one cue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from extractors.cues.cue import MOST_CUES, Cue, CueStream, in_order
from extractors.cues.screen.recogniser import TextLine

STREAM = "screen"
"""The name of the stream of what is written on the screen."""

_LEAST_ALIKE = 0.8  # of the letters of two readings of one line


@dataclass
class _Open:
    """A line that was in the last picture.

    Attributes:
        line: its best reading.
        start: the clip that it was first in.
    """

    line: TextLine
    start: int


class LineTracker:
    """Joins the lines of pictures.

    Args:
        clip_length_s: seconds that a picture stands for.
    """

    def __init__(self, clip_length_s: float) -> None:
        self._clip_length_s = clip_length_s
        self._clip = 0
        self._open: list[_Open] = []
        self._cues: list[Cue] = []

    def same(self) -> None:
        """The next picture is like the last one."""
        self._clip += 1

    def next(self, lines: Sequence[TextLine]) -> None:
        """The next picture has these lines."""
        before, self._open = self._open, []
        for line in lines:
            known = next((one for one in before if _is_same(one.line, line)), None)
            if known is None:
                self._open.append(_Open(line, self._clip))
            else:
                before.remove(known)
                better = line if line.confidence > known.line.confidence else known.line
                self._open.append(_Open(better, known.start))
        self._close(before)
        self._clip += 1

    def finish(self, duration_s: float) -> CueStream:
        """All cues; the last clip ends with the video."""
        self._close(self._open)
        self._open = []
        notes = (f"only its first {MOST_CUES:,} lines are kept",) if len(self._cues) >= MOST_CUES else ()
        return CueStream(STREAM, "screen", cues=in_order(self._cues), notes=notes).within(duration_s)

    def _close(self, lines: Sequence[_Open]) -> None:
        end_s = self._clip * self._clip_length_s
        for one in lines[: MOST_CUES - len(self._cues)]:
            start_s = one.start * self._clip_length_s
            text, confidence = one.line.text, round(one.line.confidence, 4)
            self._cues.append(Cue(start_s, end_s, text, "screen", STREAM, confidence))


def _is_same(one: TextLine, other: TextLine) -> bool:
    """Whether two lines are readings of one, wherever it has moved to."""
    if one.text == other.text:
        return True
    matcher = SequenceMatcher(None, one.text.casefold(), other.text.casefold(), autojunk=False)
    return (
        matcher.real_quick_ratio() >= _LEAST_ALIKE
        and matcher.quick_ratio() >= _LEAST_ALIKE
        and matcher.ratio() >= _LEAST_ALIKE
        and not _is_other_number(one.text, other.text)
    )


def _is_other_number(one: str, other: str) -> bool:
    """Whether two texts differ in digits: slide 3 is not slide 4."""
    return [c for c in one if c.isdigit()] != [c for c in other if c.isdigit()]
