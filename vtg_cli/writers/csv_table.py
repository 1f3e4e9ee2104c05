"""CSV: one row per moment, for spreadsheets and data frames.

Spreadsheets run cells that begin like formulas, and terminals obey control characters. A query or a foreign file name
must not reach them unescaped.

Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult, Moment

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # as spreadsheets take them, wide ones included
_CONTROLS = ("Cc", "Zl", "Zp")  # control characters, and ends of lines and paragraphs

COLUMNS = ("video", "query", "rank", "start_s", "end_s", "score", "model", "clear_match")
QUOTE_COLUMNS = ("source", "stream", "text")


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write a heading and each moment as a row; seconds to the millisecond, scores to four digits.

    If an answer was found by words, there are columns for what they were read from, and for the words.
    """
    results = list(results)
    has_quotes = any(result.has_quotes for result in results)
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow((*COLUMNS, *(QUOTE_COLUMNS if has_quotes else ())))
    for result in results:
        for rank, moment in enumerate(result.moments, start=1):
            verdict = result.verdict(moment)
            clear = "" if verdict is None else str(verdict).lower()
            times = (f"{moment.start_s:.3f}", f"{moment.end_s:.3f}")
            names = (safe_cell(result.video), safe_cell(result.query))
            row = (*names, rank, *times, f"{moment.score:.4f}", safe_cell(result.model), clear)
            rows.writerow((*row, *(_quote_cells(moment) if has_quotes else ())))


def _quote_cells(moment: Moment) -> tuple[str, str, str]:
    quote = moment.quote
    if quote is None:
        return "", "", ""
    return safe_cell(quote.source), safe_cell(quote.stream), safe_cell(quote.text)


def safe_cell(text: str) -> str:
    """The text as a cell that is text to every reader: no formula, and control characters as escapes."""
    shown = "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _CONTROLS else c for c in text
    )
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


FORMAT = Format(
    name="csv",
    write=write,
    label="CSV table",
    summary="one row per moment: video, query, rank, start, end, score, model, clear_match",
    suffix=".csv",
    media_type="text/csv",
    appendable=True,
    has_heading=True,
    marks_unclear=True,
)
