"""Scores as a table: the measured ones next to the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vtg_cli.terminal.console import out

if TYPE_CHECKING:
    from model.training.published import PublishedRow


def print_scores(columns: Mapping[str, Mapping[str, float]], paper: PublishedRow | None = None) -> None:
    """Print scores, one line per metric.

    Args:
        columns: heading to percents by metric; the first gives the lines.
        paper: printed numbers for a last column.
    """
    from rich.table import Table

    table = Table(
        box=None, pad_edge=False, header_style="dim", show_header=len(columns) > 1 or paper is not None
    )
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    if paper is not None:
        table.add_column("paper", justify="right")
    for name in next(iter(columns.values())):
        cells = [f"{column[name]:.2f}" if name in column else "" for column in columns.values()]
        if paper is not None:
            cells.append(f"{paper.metrics[name]:.2f}" if name in paper.metrics else "")
        table.add_row(name, *cells)
    out().print(table)
    if paper is not None:
        out().print(f"paper: {paper.source}", style="dim", markup=False)
