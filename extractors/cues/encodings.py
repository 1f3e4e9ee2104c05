"""Text out of bytes whose encoding nobody knows."""

from __future__ import annotations

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HEAD_BYTES = 4096
_DAMAGED_SHARE = 0.1  # of characters beyond ASCII: a UTF-8 file with more broken ones is none


def decode_text(data: bytes) -> tuple[str, str]:
    """Decode a text file: by its byte order mark, else as UTF-8, UTF-16 or Windows-1252 (of which Latin-1 is a part).

    Returns:
        the text, and the name of the encoding. Bytes that are nothing in the encoding become U+FFFD.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), encoding
    head = data[:_HEAD_BYTES]
    if encoding := _unmarked_utf16(head):
        return data.decode(encoding, "replace"), encoding
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    foreign = sum(not character.isascii() for character in text)
    if damaged <= _DAMAGED_SHARE * foreign:
        return text, "utf-8"
    return data.decode("cp1252", "replace"), "cp1252"


def _unmarked_utf16(head: bytes) -> str:
    """The kind of UTF-16 that most bytes of a text speak for: digits and spaces have a zero byte each."""
    pairs = len(head) // 2
    if pairs < 2:
        return ""
    high, low = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if low > 0.2 * pairs and high <= 0.02 * pairs:
        return "utf-16-le"
    if high > 0.2 * pairs and low <= 0.02 * pairs:
        return "utf-16-be"
    return ""
