"""JSON: one document, `{"schema": "vtg.grounding/1", "results": [...]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TextIO

from model.grounding.results import GroundingResult, to_document


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write results as one JSON document and a line end."""
    json.dump(to_document(results), file, ensure_ascii=False, indent=2, allow_nan=False)
    file.write("\n")
