"""The two output streams: answers on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from extractors.errors import VtgError, reason_of

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Verbosity:
    """How much goes to standard error: `quiet` leaves only errors, `verbose` adds what each step does."""

    quiet: bool = False
    verbose: bool = False


verbosity = Verbosity()


@dataclass
class Reader:
    """The state of standard output: `left` once it is a pipe without a reader."""

    left: bool = False


reader = Reader()


def out() -> Console:
    """The stream of answers; once its reader has left, like `head`, they are dropped and the command continues."""
    import shutil

    from rich.console import Console, ConsoleDimensions

    class Answers(Console):
        def on_broken_pipe(self) -> None:
            _drop_answers()

    console = Answers(highlight=False)
    if console.is_dumb_terminal:
        # Otherwise it is taken for one of 80 columns, whatever it has.
        console.size = ConsoleDimensions(*shutil.get_terminal_size())
    return console


@contextmanager
def answering() -> Iterator[None]:
    """Writes to standard output: a closed pipe is not an error, and the command continues.

    Raises:
        VtgError: if it is closed, or cannot be written for another reason, such as a full disk.
    """

    if sys.stdout is None:
        raise VtgError("standard output is closed; write to a file with -o instead")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_answers()
    except OSError as error:
        _drop_answers()
        raise VtgError(f"standard output cannot be written ({reason_of(error)})") from error


def _drop_answers() -> None:
    """Send the rest of standard output, what is buffered included, nowhere."""
    reader.left = True
    with suppress(OSError, ValueError):  # not a file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def err() -> Console:
    """Where progress, notes and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def error_line(message: str) -> None:
    """Print an error; file names are printed unchanged, with control characters made visible."""
    _say(f"vtg: {printable(message)}")


def note(message: str) -> None:
    """Print a note for the user, unless `--quiet`."""
    if not verbosity.quiet:
        _say(f"note: {printable(message)}")


def detail(message: str) -> None:
    """Print what a step does, if `--verbose`."""
    if verbosity.verbose and not verbosity.quiet:
        _say(printable(message))


def _say(line: str) -> None:
    # Where standard error is closed or nobody reads it, there is nobody to tell; print would turn to standard output.
    if sys.stderr is not None:
        with suppress(OSError):
            print(line, file=sys.stderr)


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things, such as `1 clip` or `2 queries`; `many` is the plural where an s does not make it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """The text with every control character, line ends included, shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_line(text: str) -> str:
    """The text on one line, without control characters, as formats need it that give them a meaning."""
    shown = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "backslashreplace").decode())
    return " ".join(shown.split())


def print_json(document: object) -> None:
    """Print a document for programs on standard output."""
    import json

    print(json.dumps(document, indent=2))
