"""CSV: a row a moment, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from model.moments import GroundingResult

COLUMNS = ("video", "query", "rank", "start_s", "end_s", "score", "model")


def write(results: Iterable[GroundingResult], file: TextIO) -> None:
    """Write a heading and each moment as a row; seconds to the millisecond, scores to four digits."""
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    for result in results:
        for rank, moment in enumerate(result.moments, start=1):
            times = (f"{moment.start_s:.3f}", f"{moment.end_s:.3f}")
            rows.writerow((result.video, result.query, rank, *times, f"{moment.score:.4f}", result.model))
