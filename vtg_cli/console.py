"""The two streams people see: answers on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Verbosity:
    """How much is said on standard error: `quiet` leaves errors only, `verbose` adds what each step does."""

    quiet: bool = False
    verbose: bool = False


verbosity = Verbosity()


def out() -> Console:
    """Where answers go."""
    from rich.console import Console

    return Console(highlight=False)


def err() -> Console:
    """Where progress, notes and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def error_line(message: str) -> None:
    """Say what went wrong; names of files are printed as they are, control characters made visible."""
    print(f"vtg: {printable(message)}", file=sys.stderr)


def note(message: str) -> None:
    """Say something the user should know, unless `--quiet`."""
    if not verbosity.quiet:
        print(f"note: {printable(message)}", file=sys.stderr)


def detail(message: str) -> None:
    """Say what a step does, if `--verbose`."""
    if verbosity.verbose and not verbosity.quiet:
        print(printable(message), file=sys.stderr)


def printable(text: str) -> str:
    """The text with every control character, line ends included, shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
