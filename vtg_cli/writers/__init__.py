"""One writer a format, each a module with `write(results, file)`; here is which one writes a file, and writing it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VtgError

if TYPE_CHECKING:
    from model.moments import GroundingResult

STDOUT = "-"
"""The output that is standard output, not a file."""


@dataclass(frozen=True)
class Format:
    """A way to write results down.

    Attributes:
        name: what `--format` calls it.
        module: the module of this package that writes it.
        suffix: the ending of files that are written in it unasked; empty if there is none.
    """

    name: str
    module: str
    suffix: str = ""


FORMATS = (
    Format("json", "json_document", ".json"),
    Format("jsonl", "json_lines", ".jsonl"),
    Format("csv", "csv_table", ".csv"),
    Format("srt", "subrip", ".srt"),
    Format("vtt", "webvtt", ".vtt"),
    Format("edl", "edl", ".edl"),
    Format("otio", "otio", ".otio"),
    Format("fcpxml", "fcpxml", ".fcpxml"),
    Format("text", "plain_text", ".txt"),
    Format("chapters", "chapters"),
)


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
            raise UsageError(f"--format {name}: there is no such format; there are {', '.join(by_name)}")
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
            f"--output {unknown}: its name says no format; add --format, one of {', '.join(by_name)}"
        )
    raise UsageError(
        f"--format is given {len(named)} times and --output {len(outputs)} times; give one --format for each output, "
        "or one for each whose name says no format"
    )


def write_output(results: Sequence[GroundingResult], output: str, form: Format) -> None:
    """Write results to a file, which appears whole or not at all, or to standard output.

    Raises:
        VtgError: if the file cannot be written, or the format cannot hold these results.
    """
    from extractors.atomic import atomic_write

    text = io.StringIO(newline="")
    import_module(f"{__name__}.{form.module}").write(results, text)
    # Names of files need not be text; what is not comes out as escapes, which JSON reads back as they were.
    data = text.getvalue().encode("utf-8", "backslashreplace")
    if output == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with atomic_write(output) as file:
            file.write(data)
    except OSError as error:
        raise VtgError(f"{output}: cannot be written ({error.strerror or error})") from error


def one_line(text: str) -> str:
    """The text on one line, without control characters, as formats need it that give them a meaning."""
    shown = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "backslashreplace").decode())
    return " ".join(shown.split())
