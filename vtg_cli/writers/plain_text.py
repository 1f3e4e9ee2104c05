"""Plain text: one line per moment, to paste anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, TextIO

from vtg_cli.terminal.console import one_line
from vtg_cli.terminal.timecode import subtitle_time
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult


def write(results: Sequence[GroundingResult], file: TextIO) -> None:
    """Write each query and under it its moments, best first: start, end, score. Several videos have headings."""
    blocks = []
    several = len({result.video for result in results}) > 1
    for video, own in groupby(results, key=lambda result: result.video):
        if several:
            blocks.append(f"{one_line(video)}\n")
        blocks += map(_block, own)
    file.write("\n".join(blocks))


def _block(result: GroundingResult) -> str:
    lines = [one_line(result.query)]
    for moment in result.moments:
        start, end = subtitle_time(moment.start_s), subtitle_time(moment.end_s)
        mark = "" if result.is_clear(moment) else "  no clear match"
        quote = "" if moment.quote is None else f"  “{one_line(moment.quote.text)}”"
        lines.append(f"{start} - {end}  {moment.score:.2f}{mark}{quote}")
    return "".join(f"{line}\n" for line in lines)


FORMAT = Format(
    name="text",
    write=write,
    label="Plain text",
    summary="one line per moment, to paste; several videos get headings",
    suffix=".txt",
    marks_unclear=True,
)
