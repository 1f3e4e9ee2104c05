"""Moments as subtitles in order of time, shared by SRT and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from vtg_cli.terminal.console import one_line

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult, Moment


class Cue(NamedTuple):
    """A line of text on screen for some time, in seconds."""

    start_s: float
    end_s: float
    text: str


def _quoted(moment: Moment) -> str:
    return f"\n“{one_line(moment.quote.text)}”" if moment.quote is not None else ""


def cues(results: Iterable[GroundingResult]) -> list[Cue]:
    """One cue per moment: the query, its score, and the quote it was found by, if any.

    Players skip cues without length, so none has less than 1 ms.
    """
    return sorted(
        Cue(
            moment.start_s,
            max(moment.end_s, moment.start_s + 0.001),
            f"{one_line(result.query)} ({moment.score:.2f}){_quoted(moment)}",
        )
        for result in results
        for moment in result.moments
    )
