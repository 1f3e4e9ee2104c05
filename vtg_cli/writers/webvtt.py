"""WebVTT subtitles for players in web pages: the query on screen during its moments.

Source: W3C, "WebVTT: The Web Video Text Tracks Format".
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, TextIO

from vtg_cli.terminal.timecode import subtitle_time
from vtg_cli.writers.cues import Cue, cues
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write one cue per moment, in order of time."""
    write_cues(cues(results), file)


def write_cues(shown: Iterable[Cue], file: TextIO) -> None:
    """Write the heading and the cues. The texts have no empty lines."""
    file.write("WEBVTT\n")
    for cue in shown:
        text = escape(cue.text, quote=False)
        file.write(f"\n{subtitle_time(cue.start_s)} --> {subtitle_time(cue.end_s)}\n{text}\n")


FORMAT = Format(
    name="vtt",
    write=write,
    label="WebVTT subtitles",
    summary="the query as a subtitle during its moments",
    suffix=".vtt",
    media_type="text/vtt",
    holds_one_video=True,
)
