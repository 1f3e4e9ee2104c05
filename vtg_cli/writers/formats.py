"""One writer per format, each a module with `write(results, file)`; this module chooses the writer of a file."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VtgError
from vtg_cli.terminal.console import answering

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult

STDOUT = "-"
"""The output that is standard output, not a file."""


@dataclass(frozen=True)
class Format:
    """A way to write results down.

    Attributes:
        name: what `--format` calls it.
        module: the module of this package that writes it.
        suffix: the ending of files that are written in it unasked; empty if there is none.
        holds_one_video: whether times of several videos would be mixed up in it.
    """

    name: str
    module: str
    suffix: str = ""
    holds_one_video: bool = False


FORMATS = (
    Format("json", "json_document", ".json"),
    Format("jsonl", "json_lines", ".jsonl"),
    Format("csv", "csv_table", ".csv"),
    Format("srt", "subrip", ".srt", holds_one_video=True),
    Format("vtt", "webvtt", ".vtt", holds_one_video=True),
    Format("edl", "edl", ".edl"),
    Format("otio", "otio", ".otio"),
    Format("fcpxml", "fcpxml", ".fcpxml"),
    Format("text", "plain_text", ".txt"),
    Format("chapters", "chapters", holds_one_video=True),
)

APPENDED = ("jsonl", "csv")
"""Names of the formats whose files can be written to their end, as answers come."""

_HEADED = ("csv",)  # whose first line is a heading, once a file


def assign_formats(outputs: Sequence[str], names: Sequence[str]) -> list[Format]:
    """Decide in which format each output is written.

    Args:
        outputs: file names, or `-`.
        names: names of formats: one for each output, or one for each whose ending says none, in order.

    Raises:
        UsageError: if a name is unknown, an ending says nothing, or the numbers do not go together.
    """
    by_name = {form.name: form for form in FORMATS}
    by_suffix = {form.suffix: form for form in FORMATS if form.suffix}
    named = []
    for name in names:
        if name not in by_name:
            raise UsageError(f"--format {name}: unknown format; known are {', '.join(by_name)}")
        named.append(by_name[name])
    told = [by_suffix.get(Path(output).suffix.lower()) for output in outputs]
    if len(named) == len(outputs):
        return named
    if len(named) == told.count(None):
        waiting = iter(named)
        return [next(waiting) if form is None else form for form in told]
    if not named:
        unknown = outputs[told.index(None)]
        raise UsageError(
            f"--output {unknown}: its ending selects no format; add --format, one of {', '.join(by_name)}"
        )
    raise UsageError(
        f"--format is given {len(named)} times and --output {len(outputs)} times; give one --format for each output, "
        "or one for each whose ending selects none"
    )


def write_output(results: Sequence[GroundingResult], output: str, form: Format) -> None:
    """Write results to a file, atomically, or to standard output.

    Raises:
        VtgError: if the file cannot be written, or the format cannot hold these results.
    """
    from extractors.files.atomic import atomic_write

    data = _rendered(results, form)
    if output == STDOUT:
        _print(data)
        return
    try:
        with atomic_write(output) as file:
            file.write(data)
    except OSError as error:
        raise VtgError(f"{output}: cannot be written ({error.strerror or error})") from error


class Appender:
    """Writes results as they come, after what a file holds already, or to standard output; each stands there at once.

    Args:
        output: the file, made with its folder if missing, or `-`.
        form: a format of APPENDED.
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
        _, _, rows = data.partition(b"\n") if self._form.name in _HEADED else (b"", b"", data)
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
            raise VtgError(f"{self._output}: cannot be written ({error.strerror or error})") from error


def _rendered(results: Sequence[GroundingResult], form: Format) -> bytes:
    text = io.StringIO(newline="")
    import_module(f"{__package__}.{form.module}").write(results, text)
    # Names of files need not be text; what is not comes out as escapes, which JSON reads back as they were.
    return text.getvalue().encode("utf-8", "backslashreplace")


def _print(data: bytes) -> None:
    with answering():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
