"""A format of another package: one line per moment, `start-end query`, which grows with `--watch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from model.grounding.results import GroundingResult
from vtg_cli.writers.formats import Format, register


def write(results: Sequence[GroundingResult], file: TextIO) -> None:
    """Write each moment."""
    for result in results:
        for moment in result.moments:
            file.write(f"{moment.start_s:g}-{moment.end_s:g} {result.query}\n")


register(
    Format(
        name="spans",
        write=write,
        label="Spans",
        summary="one line per moment",
        suffix=".spans",
        appendable=True,
    )
)
