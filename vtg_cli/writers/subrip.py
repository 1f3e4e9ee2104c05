"""SRT subtitles: the query on screen during its moments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from vtg_cli.terminal.timecode import subtitle_time
from vtg_cli.writers.cues import Cue, cues
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write one numbered subtitle per moment, in order of time."""
    write_cues(cues(results), file)


def write_cues(shown: Iterable[Cue], file: TextIO) -> None:
    """Write numbered subtitles. The texts have no empty lines."""
    for number, cue in enumerate(shown, start=1):
        start, end = (subtitle_time(seconds, separator=",") for seconds in (cue.start_s, cue.end_s))
        # A line that looks like times would begin another subtitle.
        text = cue.text.replace("-->", "->")
        file.write(f"{number}\n{start} --> {end}\n{text}\n\n")


FORMAT = Format(
    name="srt",
    write=write,
    label="SubRip subtitles",
    summary="the query as a subtitle during its moments",
    suffix=".srt",
    media_type="application/x-subrip",
    holds_one_video=True,
)
