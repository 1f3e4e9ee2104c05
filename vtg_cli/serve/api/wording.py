"""What is wrong with a request, in words for its sender; pydantic's messages name Python types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SENTENCES: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "there is no such field",
    "string_type": "has to be text",
    "string_unicode": "is not valid Unicode",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "is blank",
    "string_too_long": "has more than {max_length} characters",
    "list_type": "has to be a list",
    "too_short": "is empty",
    "too_long": "has more than {max_length} entries",
    "int_type": "has to be a whole number",
    "int_parsing": "has to be a whole number",
    "int_parsing_size": "has to be a smaller number",
    "int_from_float": "has to be a whole number",
    "bool_type": "has to be true or false",
    "float_type": "has to be a number",
    "float_parsing": "has to be a number",
    "finite_number": "has to be a finite number",
    "greater_than_equal": "has to be {ge:g} or more",
    "less_than_equal": "has to be {le:g} or less",
    "literal_error": "has to be {expected}",
    "json_invalid": "is not JSON",
    "model_attributes_type": "has to be a JSON object, sent as application/json",
}
"""By pydantic's names of what can be wrong with the requests there are."""

_OTHERWISE = "is not as /api/openapi.json describes it"


def sentence(error: Mapping[str, Any]) -> str:
    """Say what is wrong.

    Args:
        error: the `loc`, `type` and `ctx` of one of pydantic's errors.

    Returns:
        the place in the request, and what is wrong there; a field's name may be any text.
    """
    words = _SENTENCES.get(error["type"], _OTHERWISE)
    is_whole = error["type"] in ("json_invalid", "model_attributes_type")
    place = "the body" if is_whole else _place(error["loc"])
    return f"{place}: {words.format(**error.get('ctx', {}))}"


def _place(loc: Sequence[str | int]) -> str:
    """`queries[2]`; the first part tells only whether it is in the body or the address."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])
    return place.removeprefix(".") or "the body"
