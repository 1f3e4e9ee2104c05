"""What people see when a dataset is not on this machine: the whole screen of what to do, not one long line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from vtg_cli.console import error_line, printable


@contextmanager
def explain_missing_data() -> Iterator[None]:
    """Print the lines of a `DataMissing` to standard error, and exit with 1."""
    from model.experiments import DataMissing

    try:
        yield
    except DataMissing as error:
        first, *rest = str(error).split("\n")
        error_line(first)
        for line in rest:
            print(printable(line), file=sys.stderr)
        raise typer.Exit(1) from None
