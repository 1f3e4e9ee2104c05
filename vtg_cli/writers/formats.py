"""Formats by name: the choice of a file's format, and writing it. Each entry is in its writer's module, as `FORMAT`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from extractors.errors import UsageError, VtgError, reason_of
from extractors.plugins import Registry, entries_of, known
from vtg_cli.terminal.console import answering

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult

STDOUT = "-"
"""The output that is standard output, not a file."""


@dataclass(frozen=True)
class Format:
    """A way to write results: the entry with all facts about it.

    Attributes:
        name: its name for `--format`.
        write: writes results into a text file; raises VtgError if the format cannot hold them.
        label: its name on the page.
        summary: what it holds, for people.
        suffix: the ending of files that selects it; empty if there is none.
        media_type: of downloads.
        holds_one_video: whether times of several videos would be mixed up in it.
        appendable: whether files can be written to their end, as answers come.
        has_heading: whether its first line is a heading, once per file.
        marks_unclear: whether it marks moments that do not clearly match; other formats leave them out unless asked.
        counts_frames: whether it needs the video's file, to name it and to count its frames.
        quote: of a format that counts frames: the name of a file as it is written down in it.
    """

    name: str
    write: Callable[[Sequence[GroundingResult], TextIO], None]
    label: str
    summary: str
    suffix: str = ""
    media_type: str = "text/plain"
    holds_one_video: bool = False
    appendable: bool = False
    has_heading: bool = False
    marks_unclear: bool = False
    counts_frames: bool = False
    quote: Callable[[str], str] = str

    @property
    def ending(self) -> str:
        """What the name of a downloaded file ends in."""
        return self.suffix or f".{self.name}.txt"


def _own() -> list[Any]:
    return entries_of(__package__, "FORMAT")


_FORMATS = Registry[Format](_own)

register = _FORMATS.register
formats = _FORMATS.all
find_format = _FORMATS.find


def findings(results: Sequence[GroundingResult], *, all_moments: bool) -> Sequence[GroundingResult]:
    """The results without moments that do not clearly match, unless all are asked for."""
    return results if all_moments else [result.clear() for result in results]


def assign_formats(outputs: Sequence[str], names: Sequence[str]) -> list[Format]:
    """Decide in which format each output is written.

    Args:
        outputs: file names, or `-`.
        names: names of formats: one for each output, or one for each whose ending selects none, in order.

    Raises:
        UsageError: if a name is unknown, an ending selects no format, or the counts do not match.
    """
    named = [require_format(name) for name in names]
    told = [_format_of(Path(output).suffix.lower()) for output in outputs]
    if len(named) == len(outputs):
        return named
    if len(named) == told.count(None):
        waiting = iter(named)
        return [next(waiting) if form is None else form for form in told]
    if not named:
        unknown = outputs[told.index(None)]
        raise UsageError(
            f"--output {unknown}: its ending selects no format; add --format, one of {_known_names()}"
        )
    raise UsageError(
        f"--format is given {len(named)} times and --output {len(outputs)} times; give one --format for each output, "
        "or one for each whose ending selects none"
    )


def require_format(name: str) -> Format:
    """The format of a name; raises UsageError if there is none."""
    form = find_format(name)
    if form is None:
        raise UsageError(f"--format {name}: unknown format; known are {_known_names()}")
    return form


def _format_of(suffix: str) -> Format | None:
    if not suffix:
        return None
    return next((form for read in (_FORMATS.own, formats) for form in read() if form.suffix == suffix), None)


def _known_names() -> str:
    return known([form.name for form in formats()])


def write_output(results: Sequence[GroundingResult], output: str, form: Format) -> None:
    """Write results to a file, atomically, or to standard output.

    Raises:
        VtgError: if the file cannot be written, or the format cannot hold these results.
    """
    write_data(_rendered(results, form), output)


def write_data(data: bytes, output: str) -> None:
    """Write bytes to a file, atomically, or to standard output.

    Raises:
        VtgError: if the file cannot be written.
    """
    from extractors.files.atomic import atomic_write

    if output == STDOUT:
        _print(data)
        return
    try:
        with atomic_write(output) as file:
            file.write(data)
    except OSError as error:
        raise VtgError(f"{output}: cannot be written ({reason_of(error)})") from error


class Appender:
    """Appends results to a file or standard output as they come; each is written at once.

    Args:
        output: the file, made with its folder if missing, or `-`.
        form: one that is appendable.
    """

    def __init__(self, output: str, form: Format) -> None:
        self._output = output
        self._form = form
        self._begun = False

    def append(self, results: Sequence[GroundingResult]) -> None:
        """Add results.

        Raises:
            VtgError: if the file cannot be written.
        """
        data = _rendered(results, self._form)
        _, _, rows = data.partition(b"\n") if self._form.has_heading else (b"", b"", data)
        if self._output == STDOUT:
            _print(rows if self._begun else data)
            self._begun = True
            return
        path = Path(self._output)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                end = file.seek(0, io.SEEK_END)
                if end:
                    file.seek(-1, io.SEEK_END)
                # A writer that was killed may have left half a line.
                border = b"\n" if end and file.read(1) != b"\n" else b""
                # In one piece, so that an interrupt leaves no half line.
                file.write(border + (rows if end else data))
        except OSError as error:
            raise VtgError(f"{self._output}: cannot be written ({reason_of(error)})") from error


def _rendered(results: Sequence[GroundingResult], form: Format) -> bytes:
    text = io.StringIO(newline="")
    form.write(results, text)
    # Names of files need not be text; what is not comes out as escapes, which JSON reads back as they were.
    return text.getvalue().encode("utf-8", "backslashreplace")


def _print(data: bytes) -> None:
    with answering():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
