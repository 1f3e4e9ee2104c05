"""Plain text: a line a moment, to paste anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from model.moments import GroundingResult
from vtg_cli.timecode import subtitle_time
from vtg_cli.writers import one_line


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write each query and under it its moments, best first: start, end, score."""
    for number, result in enumerate(results):
        file.write(f"{chr(10) if number else ''}{one_line(result.query)}\n")
        for moment in result.moments:
            start, end = subtitle_time(moment.start_s), subtitle_time(moment.end_s)
            file.write(f"{start} - {end}  {moment.score:.2f}\n")
