"""Plain text out of what subtitles hold: markup goes, and so does all that would act on a terminal or a page.

Texts come from strangers. Each step takes time in proportion to the text.
"""

from __future__ import annotations

import html
import re
import unicodedata

_LONGEST_RAW = 10_000  # a line of karaoke has a tag for each syllable
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,500}>|<\d[\d:.]{0,20}>")  # WebVTT has times as tags
_OVERRIDE = re.compile(r"\{[^{}]{0,2000}\}")
_STYLE_OVERRIDE = re.compile(r"\{\\[^{}]{0,2000}\}")
_DRAWING = re.compile(r"\\p(\d{1,9})")
_BREAK = re.compile(r"\\N|\r\n?|[\u2028\u2029\u0085\x0b\x0c]")
# Letters of several scripts and emoji are joined by these two.
_JOINERS = frozenset("\u200c\u200d")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)?|[@-Z\\^_])")


def clean_text(raw: str, *, has_entities: bool = False) -> str:
    """The text of a cue of SubRip, SBV or WebVTT.

    Args:
        raw: as it is in the file.
        has_entities: whether `&amp;` stands for `&`, as in WebVTT.

    Returns:
        plain text without empty lines, of the first 10,000 characters; empty if nothing is left.
    """
    text = _STYLE_OVERRIDE.sub("", _TAG.sub("", raw[:_LONGEST_RAW]))
    return plain_text(html.unescape(text) if has_entities else text)


def clean_ass(raw: str, *, hides_braces: bool = True) -> str:
    """The text of a line of ASS, without overrides and drawings.

    Args:
        raw: its last field.
        hides_braces: whether all that is in braces is hidden, as in ASS; FFmpeg makes ASS of other formats, in which
            braces may be text.

    Returns:
        as `clean_text`.
    """
    override = _OVERRIDE if hides_braces else _STYLE_OVERRIDE
    raw = raw[:_LONGEST_RAW]
    parts, at, draws = [], 0, False
    for match in override.finditer(raw):
        if not draws:
            parts.append(raw[at : match.start()])
        at = match.end()
        for scale in _DRAWING.findall(match[0]):
            draws = int(scale) > 0
    if not draws:
        parts.append(raw[at:])
    text = "".join(parts).replace("\\h", " ").replace("\\n", "\n")
    if not hides_braces:
        text = _TAG.sub("", text).replace("\\{", "{").replace("\\}", "}")
    return plain_text(text)


def plain_text(text: str) -> str:
    """The text without control characters, escape sequences of terminals and empty lines."""
    text = _BREAK.sub("\n", _ESCAPE.sub("", text))
    kept = "".join(character for character in text if character == "\n" or _is_text(character))
    lines = (" ".join(line.split()) for line in kept.split("\n"))
    return "\n".join(line for line in lines if line)


def _is_text(character: str) -> bool:
    if character.isprintable() or character in _JOINERS:
        return True
    # Spaces other than the plain one are not printable; what is left are controls, surrogates and unassigned ones.
    return unicodedata.category(character) == "Zs" or character == "\t"
