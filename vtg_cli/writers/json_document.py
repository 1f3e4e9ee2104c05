"""JSON: one document, `{"schema": "vtg.grounding/1", "results": [...]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write results as one JSON document and a line end."""
    from model.grounding.results import to_document

    json.dump(to_document(results), file, ensure_ascii=False, indent=2, allow_nan=False)
    file.write("\n")


FORMAT = Format(
    name="json",
    write=write,
    label="JSON",
    summary="everything, [one document](json.md)",
    suffix=".json",
    media_type="application/json",
    marks_unclear=True,
)
