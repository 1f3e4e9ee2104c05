"""Scores as a table: the measured ones next to the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vtg_cli.terminal.console import out
from vtg_cli.terminal.table import print_table

if TYPE_CHECKING:
    from model.training.published import PublishedRow


def print_scores(columns: Mapping[str, Mapping[str, float]], paper: PublishedRow | None = None) -> None:
    """Print scores, one line per metric.

    Args:
        columns: heading to percents by metric; the first gives the lines.
        paper: printed numbers for a last column.
    """
    shown = {**columns, "paper": paper.metrics} if paper is not None else dict(columns)
    rows = [
        (name, *(f"{column[name]:.2f}" if name in column else "" for column in shown.values()))
        for name in next(iter(columns.values()))
    ]
    headings = ("", *shown) if len(shown) > 1 else ("", "")
    print_table(headings, rows, right=range(1, len(headings)))
    if paper is not None:
        out().print(f"paper: {paper.source}", style="dim", markup=False)
