"""The message for a dataset that is not on this machine: a screen of instructions instead of one long line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import typer

from vtg_cli.terminal.console import error_line, note, printable


@contextmanager
def explain_missing_data() -> Iterator[None]:
    """Print the lines of a `DataMissing` to standard error, and exit with 1."""
    from model.training.data.inputs import DataMissing

    try:
        yield
    except DataMissing as error:
        first, *rest = str(error).split("\n")
        error_line(first)
        for line in rest:
            print(printable(line), file=sys.stderr)
        raise typer.Exit(1) from None


def note_left_out(names: Iterable[str]) -> None:
    """Print which videos and queries were left out for missing features, the first few by name."""
    left_out = sorted(set(names))
    if left_out:
        note(f"left out, without features: {', '.join(left_out[:5])}{' …' if len(left_out) > 5 else ''}")
