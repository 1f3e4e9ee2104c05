"""Scores as a table: the measured ones next to the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vtg_cli.terminal.console import out
from vtg_cli.terminal.table import print_table

if TYPE_CHECKING:
    from model.metrics.existence import Existence
    from model.training.scores.published import PublishedRow


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


def print_existence(scores: Existence) -> None:
    """Print how well a model knows what is not there, in percent."""
    from model.metrics.existence import REFUSED

    rows = [
        ("queries with a match, without one", f"{scores.present}, {scores.absent}"),
        ("AUROC", _percent(scores.auroc)),
        ("AUROC of the sentences alone", _percent(scores.text_only)),
        (f"absent rejected where {REFUSED:.0%} of the present are", _percent(scores.rejected)),
    ]
    if scores.clear_from is not None:
        rows += [
            ("clear from a score of", f"{scores.clear_from:.4f}"),
            ("present called clear", _percent(scores.found_clear)),
            ("absent called clear", _percent(scores.false_clear)),
        ]
    print_table(("existence", ""), rows, right=[1])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
