"""`vtg eval`: score predictions as the papers do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vtg_cli.console import out


def evaluate(
    predictions: Annotated[
        Path,
        typer.Option(help="Predictions, a JSON object a line, in the benchmarks' form.", show_default=False),
    ],
    annotations: Annotated[
        Path, typer.Option(help="Annotations, a JSON object a line, as published.", show_default=False)
    ],
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object with the published key names instead of a table."),
    ] = False,
) -> None:
    """Score moments (R1, mAP, mIoU) and highlights (mAP, Hit1) with the published metrics.

    A line of predictions holds `qid`, and `pred_relevant_windows` [[start, end, score], ...], `pred_saliency_scores`
    [score, ...] or both.

    [bold]Examples[/]

      vtg eval --predictions preds.jsonl --annotations gt.jsonl

      vtg eval --predictions preds.jsonl --annotations gt.jsonl --json
    """
    from model.metrics.files import read_rows
    from model.metrics.report import evaluate as score

    report = score(read_rows(predictions), read_rows(annotations))
    if json:
        import json as json_module

        typer.echo(json_module.dumps(report.brief, indent=2))
        return

    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, percent in report.brief.items():
        table.add_row(name, f"{percent:.2f}")
    out().print(table)
