"""What people see of a result in the terminal: a table of ranked moments and a saliency curve over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.moments import GroundingResult, Moment, Saliency
from vtg_cli.console import printable
from vtg_cli.timecode import timecode

_BLOCKS = " ▁▂▃▄▅▆▇█"
_CURVE_ROWS = 4
_MIN_WIDTH, _MAX_WIDTH = 20, 120


def render_result(result: GroundingResult, *, width: int, clear_match: bool = True) -> RenderableType:
    """One result: the query, its moments, its curve.

    Args:
        width: columns of the terminal.
        clear_match: whether anything in the video matches; said if not.
    """
    parts: list[RenderableType] = [Text(f"“{printable(result.query)}”", style="bold")]
    if not clear_match:
        parts.append(
            Text("Nothing here matches clearly; these are only the likeliest places.", style="yellow")
        )
    if result.moments:
        parts.append(moments_table(result.moments))
    else:
        parts.append(Text("no moment scores as high as the threshold"))
    parts.append(saliency_curve(result.saliency, result.moments, duration_s=result.duration_s, width=width))
    return Group(*parts, "")


def moments_table(moments: Sequence[Moment]) -> Table:
    """Ranked moments with time codes, lengths and scores."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("#", "start", "end", "length", "score"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for rank, moment in enumerate(moments, start=1):
        table.add_row(
            str(rank),
            timecode(moment.start_s),
            timecode(moment.end_s),
            f"{moment.length_s:.1f} s",
            f"{moment.score:.2f}",
            Text("█" * max(round(moment.score * 20), 0), style="green" if rank == 1 else "cyan"),
            style="bold" if rank == 1 else "",
        )
    return table


def saliency_curve(
    saliency: Saliency, moments: Sequence[Moment], *, duration_s: float, width: int
) -> RenderableType:
    """The saliency curve in block characters, the moments marked by rank under it, and a time axis.

    Scores in [0, 1] are drawn on that scale; unbounded ones between their minimum and maximum.
    """
    columns = int(np.clip(width - 2, _MIN_WIDTH, _MAX_WIDTH))
    heights = _column_heights(np.array(saliency.scores), columns)
    rows = [Text(row, style="green") for row in _block_rows(heights)]
    marks, axis = _moment_marks(moments, duration_s, columns), _time_axis(duration_s, columns)
    return Group(*rows, Text(marks, style="bold"), Text(axis, style="dim"))


def _column_heights(scores: np.ndarray, columns: int) -> np.ndarray:
    """The highest score under each column, in eighths of a row."""
    if scores.size == 0:
        return np.zeros(columns, dtype=int)
    low, high = min(0.0, scores.min()), max(1.0, scores.max())
    if low < 0 or high > 1:
        low, high = scores.min(), scores.max()
    starts = np.arange(columns) * scores.size // columns
    ends = np.maximum((np.arange(columns) + 1) * scores.size // columns, starts + 1)
    peaks = np.array([scores[start:end].max() for start, end in zip(starts, ends, strict=True)])
    share = (peaks - low) / (high - low) if high > low else np.zeros(columns)
    return np.rint(share * 8 * _CURVE_ROWS).astype(int)


def _block_rows(heights: np.ndarray) -> list[str]:
    levels = [np.clip(heights - 8 * row, 0, 8) for row in reversed(range(_CURVE_ROWS))]
    return ["".join(_BLOCKS[level] for level in row) for row in levels]


def _moment_marks(moments: Sequence[Moment], duration_s: float, columns: int) -> str:
    line = ["─"] * columns
    for rank, moment in reversed(list(enumerate(moments, start=1))):
        first = min(int(moment.start_s / duration_s * columns), columns - 1)
        last = max(min(round(moment.end_s / duration_s * columns), columns), first + 1)
        line[first:last] = "━" * (last - first)
        line[first] = str(rank) if rank < 10 else "+"
    return "".join(line)


def _time_axis(duration_s: float, columns: int) -> str:
    labels = [timecode(duration_s * part / 4) for part in range(5)]
    line = [" "] * columns
    for part, label in enumerate(labels):
        at = min(
            max(round(columns * part / 4) - (len(label) // 2 if 0 < part < 4 else 0), 0), columns - len(label)
        )
        if part in (0, 4) or columns >= 5 * (len(labels[-1]) + 2):
            line[at : at + len(label)] = label
    return "".join(line)
