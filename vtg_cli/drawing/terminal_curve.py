"""A result in the terminal: a table of ranked moments and a saliency curve over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.grounding.results import GroundingResult, Moment, Saliency
from vtg_cli.drawing.curve import MOST_ROWS, peak, rows, score_range, time_ticks
from vtg_cli.terminal.console import printable
from vtg_cli.terminal.timecode import timecode
from vtg_cli.terminal.verdict import verdict

_CURVE_ROWS = 4
_MIN_WIDTH, _MAX_WIDTH = 20, 120
_NUMBERS_WIDTH, _BAR_WIDTH = 45, 20  # columns of the table's numbers, about, and of its longest bar


@dataclass(frozen=True)
class Glyphs:
    """The characters that curves and tables are drawn with.

    Attributes:
        levels: nine, from an empty cell to a full one.
        axis, tick: the line under the curve, and where a time is written under it.
        moment: a moment.
        quotes: what stands before and after a query.
        separator: what stands between two facts.
    """

    levels: str
    axis: str
    tick: str
    moment: str
    quotes: str
    separator: str


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", "─", "┬", "━", "“”", "·")
ASCII = Glyphs("  ..::|##", "-", "+", "=", '""', "-")


def glyphs_for(encoding: str) -> Glyphs:
    """Blocks if an encoding carries them all, else ASCII."""
    try:
        "".join(astuple(BLOCKS)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def render_result(result: GroundingResult, *, width: int, glyphs: Glyphs = BLOCKS) -> RenderableType:
    """One result: the query, its moments, its curve.

    Args:
        width: columns of the terminal.
        glyphs: what to draw with.
    """
    query = f"{glyphs.quotes[0]}{printable(result.query)}{glyphs.quotes[1]}"
    parts: list[RenderableType] = [Text(query, style="bold")]
    sentence = verdict(result)
    if sentence:
        parts.append(Text(sentence, style="yellow"))
    parts += [Text(f"hint: {hint}", style="yellow") for hint in result.hints]
    if result.moments:
        parts.append(moments_table(result, width=width, glyphs=glyphs))
    elif not sentence:
        parts.append(Text("no moment scores as high as the threshold"))
    parts.append(saliency_curve(result, width=width, glyphs=glyphs))
    return Group(*parts, "")


def moments_table(result: GroundingResult, *, width: int, glyphs: Glyphs = BLOCKS) -> Table:
    """Ranked moments with time codes, lengths, scores, and bars if they fit; thin bars for what is no clear match.

    Moments with a quote have it in place of a bar, after the stream that it is from.
    """
    if result.has_quotes:
        return _quotes_table(result, glyphs)
    longest = int(np.clip(width - _NUMBERS_WIDTH, 0, _BAR_WIDTH))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("#", "start", "end", "length", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for rank, moment in enumerate(result.moments, start=1):
        style = _style(result, rank)
        bar = glyphs.levels[-1] if style else glyphs.moment
        table.add_row(
            str(rank),
            timecode(moment.start_s),
            timecode(moment.end_s),
            f"{moment.length_s:.1f} s",
            f"{moment.score:.2f}",
            Text(bar * max(round(moment.score * longest), 0), style=style.removeprefix("bold ")),
            style="bold" if rank == 1 else "",
        )
    return table


def _quotes_table(result: GroundingResult, glyphs: Glyphs) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("#", "start", "end", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("in", "words"):
        table.add_column(heading, overflow="fold")
    before, after = glyphs.quotes[0], glyphs.quotes[1]
    for rank, moment in enumerate(result.moments, start=1):
        quote = moment.quote
        table.add_row(
            str(rank),
            timecode(moment.start_s),
            timecode(moment.end_s),
            f"{moment.score:.2f}",
            Text(_where(moment)),
            Text(f"{before}{printable(quote.text)}{after}" if quote else "", style=_style(result, rank)),
        )
    return table


def _where(moment: Moment) -> str:
    """What a moment was found in."""
    if moment.quote is None:
        return "pictures"
    return f"pictures, {printable(moment.quote.stream)}" if moment.is_seen else printable(moment.quote.stream)


def saliency_curve(result: GroundingResult, *, width: int, glyphs: Glyphs = BLOCKS) -> RenderableType:
    """The saliency curve in block characters over a time axis, with the moments marked by rank under it.

    Scores in [0, 1] are drawn on that scale; unbounded ones between their minimum and maximum. The highest score of
    each moment stands above its place, of the best first as far as there is room.
    """
    moments, duration_s = result.moments, result.duration_s
    columns = int(np.clip(width - 2, _MIN_WIDTH, _MAX_WIDTH))
    heights = _column_heights(result.saliency, duration_s, columns)
    cells = _block_rows(heights, glyphs)
    _label_peaks(cells, heights, _peaks(result.saliency, moments), duration_s)
    while len(cells) > _CURVE_ROWS and not "".join(cells[0]).strip():
        del cells[0]
    styles = _column_styles(result, columns)
    axis, times = _time_axis(duration_s, columns, glyphs)
    return Group(
        *(_styled("".join(row), styles) for row in cells),
        Text(axis, style="dim"),
        Text(times, style="dim"),
        *(_styled(line, styles) for line in _moment_lines(moments, duration_s, columns, glyphs)),
    )


def _column_heights(saliency: Saliency, duration_s: float, columns: int) -> NDArray[np.int64]:
    """The highest score of the clips under each column, in eighths of a row."""
    scores = np.array(saliency.scores)
    if scores.size == 0:
        return np.zeros(columns, dtype=np.int64)
    low, high = score_range(saliency.scores)
    edges = np.arange(columns + 1) * (duration_s / columns / saliency.clip_length_s)
    starts = np.floor(edges[:-1] + 1e-6).astype(np.int64)
    ends = np.maximum(np.ceil(edges[1:] - 1e-6).astype(np.int64), starts + 1)
    peaks = np.array([scores[start:end].max(initial=low) for start, end in zip(starts, ends, strict=True)])
    share = (peaks - low) / (high - low) if high > low else np.zeros(columns)
    return np.rint(share * 8 * _CURVE_ROWS).astype(np.int64)


def _block_rows(heights: NDArray[np.int64], glyphs: Glyphs) -> list[list[str]]:
    """The cells of the curve from top to bottom, below an empty row for what is written above it."""
    levels = [np.clip(heights - 8 * row, 0, 8) for row in reversed(range(_CURVE_ROWS + 1))]
    return [[glyphs.levels[level] for level in row] for row in levels]


def _peaks(saliency: Saliency, moments: Sequence[Moment]) -> list[tuple[float, float]]:
    """Seconds and scores worth a label, the most important first."""
    if not saliency.scores:
        return []
    whole = Moment(0.0, len(saliency.scores) * saliency.clip_length_s, 0.0)
    return [peak(saliency, moment) for moment in moments or [whole]]


def _label_peaks(
    cells: list[list[str]],
    heights: NDArray[np.int64],
    peaks: Sequence[tuple[float, float]],
    duration_s: float,
) -> None:
    """Write scores into the empty cells right above their places; those that find no room are left out."""
    columns = len(heights)
    written: set[tuple[int, int]] = set()
    for time_s, score in peaks:
        label = f"{score:.2f}"
        column = _column(time_s, duration_s, columns)
        at = min(max(column - len(label) // 2, 0), columns - len(label))
        row = len(cells) - 1 - int(np.ceil(heights[at : at + len(label)].max() / 8))
        if written.isdisjoint((row, beside) for beside in range(at - 1, at + len(label) + 1)):
            cells[row][at : at + len(label)] = label
            written.update((row, under) for under in range(at, at + len(label)))


def _column(time_s: float, duration_s: float, columns: int) -> int:
    return min(max(int(time_s / duration_s * columns), 0), columns - 1)


def _span(moment: Moment, duration_s: float, columns: int) -> tuple[int, int]:
    """The columns of a moment, from the first to the one after the last."""
    first = _column(moment.start_s, duration_s, columns)
    return first, max(min(round(moment.end_s / duration_s * columns), columns), first + 1)


def _column_styles(result: GroundingResult, columns: int) -> list[str]:
    """The colour of each column: of the best moment there, if any."""
    styles = [""] * columns
    for rank, moment in reversed(list(enumerate(result.moments, start=1))):
        first, last = _span(moment, result.duration_s, columns)
        styles[first:last] = [_style(result, rank)] * (last - first)
    return styles


def _style(result: GroundingResult, rank: int) -> str:
    """The style of a moment; none if it does not clearly match."""
    if not result.is_clear(result.moments[rank - 1]):
        return ""
    return "bold green" if rank == 1 else "cyan"


def _styled(line: str, styles: Sequence[str]) -> Text:
    cells = zip(line, styles, strict=True)
    runs = [(style, "".join(cell for cell, _ in run)) for style, run in groupby(cells, key=itemgetter(1))]
    return Text.assemble(*((text, style) for style, text in runs))


def _moment_lines(moments: Sequence[Moment], duration_s: float, columns: int, glyphs: Glyphs) -> list[str]:
    """Marks that start with the ranks of moments, as many of the best as there is room for."""
    marks = []
    for rank, moment in enumerate(moments, start=1):
        first, last = _span(moment, duration_s, columns)
        marks.append((first, str(rank)[: columns - first].ljust(last - first, glyphs.moment)))
    places = rows([(first, first + len(text)) for first, text in marks])
    lines = [[" "] * columns for _ in range(min(max(places, default=-1) + 1, MOST_ROWS))]
    for row, (first, text) in zip(places, marks, strict=True):
        if row < MOST_ROWS:
            lines[row][first : first + len(text)] = text
    return ["".join(line) for line in lines]


def _time_axis(duration_s: float, columns: int, glyphs: Glyphs) -> tuple[str, str]:
    """The line under the curve, and round times under it, as many as there is room for."""
    line, times = [glyphs.axis] * columns, [" "] * columns
    room = max(columns // (len(timecode(duration_s)) + 3), 1)
    for time_s, text in time_ticks(duration_s, room):
        column = _column(time_s, duration_s, columns)
        at = min(max(column - len(text) // 2, 0), columns - len(text))
        if not "".join(times[max(at - 1, 0) : at + len(text) + 1]).strip():
            line[column] = glyphs.tick
            times[at : at + len(text)] = text
    return "".join(line), "".join(times)
