"""Chapters in the form that YouTube reads in a video's description.

YouTube takes a list of times and titles: the first chapter at 0:00, at least three chapters in order of time, none
shorter than ten seconds. Moments seldom fit, so the best ones that do are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from vtg_cli.terminal.console import note, one_line
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult

_SHORTEST_S = 10
_FEWEST = 3
_OPENING = "Intro"


def write(results: Sequence[GroundingResult], file: TextIO) -> None:
    """Write one line per chapter; a moment that starts less than ten seconds from a better one is left out."""
    duration_s = int(max((result.duration_s for result in results), default=0))
    ranked = sorted(
        (-moment.score, int(moment.start_s), one_line(result.query))
        for result in results
        for moment in result.moments
    )
    chapters = {} if any(start_s == 0 for _, start_s, _ in ranked) else {0: _OPENING}
    for _, start_s, title in ranked:
        fits = start_s == 0 or _SHORTEST_S <= start_s <= duration_s - _SHORTEST_S
        if fits and all(abs(start_s - other_s) >= _SHORTEST_S for other_s in chapters):
            chapters[start_s] = title
    if len(chapters) < _FEWEST:
        note(f"YouTube shows chapters only if there are {_FEWEST} or more; here are {len(chapters)}")
    for start_s, title in sorted(chapters.items()):
        file.write(f"{_clock(start_s, duration_s)} {title}\n")


def _clock(seconds: int, duration_s: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    if duration_s < 3600:
        return f"{minutes}:{seconds:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


FORMAT = Format(
    name="chapters",
    write=write,
    label="YouTube chapters",
    summary="YouTube chapters",
    holds_one_video=True,
)
