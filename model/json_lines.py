"""Files with one JSON object per line, the format of annotations and predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extractors.errors import VtgError, reason_of

_MOST_DIGITS = 4000  # of a whole number; Python itself refuses more than 4300, and advises to allow more


def read_json_lines(path: str | Path, error: type[VtgError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a file's objects; empty lines are skipped, and so is a byte order mark.

    Args:
        path: the file, UTF-8.
        error: what to raise.

    Yields:
        where an object stands, such as `mine.jsonl, line 3`, and the object.

    Raises:
        error: if the file cannot be read, or a line is not a JSON object; the message names the file and the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeError as failure:
        raise error(
            f"{path}: is not UTF-8 text, so its lines cannot be read as JSON ({failure})"
        ) from failure
    except OSError as failure:
        raise error(f"{path}: cannot be read ({reason_of(failure)})") from failure
    # Not splitlines(): it would also break at the line separators that a sentence may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            value = json.loads(line, parse_int=_whole)
        except json.JSONDecodeError as failure:
            raise error(f"{place}: not JSON: {failure.msg} at column {failure.colno}") from failure
        except RecursionError as failure:
            raise error(f"{place}: is nested too deeply") from failure
        except ValueError as failure:
            raise error(f"{place}: {failure}") from failure
        if not isinstance(value, dict):
            raise error(f'{place}: not a JSON object: each line is one, such as {{"vid": "kitchen", …}}')
        yield place, value


def shown(value: object) -> str:
    """A value for a message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8; `"\\ud800"` in JSON is a string that cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"holds a number of {len(digits)} digits")
    return int(digits)
