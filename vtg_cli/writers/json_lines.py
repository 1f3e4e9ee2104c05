"""JSON Lines: one line per result, each with the version of its schema, so that files can be concatenated."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write each result as one line of JSON."""
    from model.grounding.results import SCHEMA

    for result in results:
        line = {"schema": SCHEMA} | result.to_json()
        file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")


FORMAT = Format(
    name="jsonl",
    write=write,
    label="JSON Lines",
    summary="the same, one line per video and query",
    suffix=".jsonl",
    media_type="application/x-ndjson",
    appendable=True,
    marks_unclear=True,
)
