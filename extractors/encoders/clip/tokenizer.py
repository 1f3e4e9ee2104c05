"""CLIP's byte-pair encoding of a query, read out of the vocabulary inside open_clip, which is not imported for it.

Importing open_clip takes longer than everything else that a query needs. Its vocabulary is a list of merges, the most
frequent first; the tokens are the 256 bytes, the 256 bytes at the end of a word, one token per merge, and two marks.

The `tokenizers` package would give other tokens for some texts: its table of letters splits thousands of rare
characters differently from that of the `regex` package, which open_clip uses. It also takes longer to set up.

Source: Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, ACL 2016; Radford et al.,
Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from io import BytesIO
from itertools import pairwise
from typing import Any

from extractors.errors import WeightsInvalid, WeightsMissing
from extractors.weights.packaged import packaged_bytes

START, END = 49406, 49407
"""The tokens at the start and at the end of a text."""

_VOCABULARY = (
    "open_clip",
    "bpe_simple_vocab_16e6.txt.gz",
    "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
)
_MARKS = {"<start_of_text>": START, "<end_of_text>": END}
_MERGES = START - 512
_ENOUGH_BYTES = 600_000  # of the unpacked vocabulary, whose list continues after the merges that CLIP uses
_WORD_END = "</w>"


@cache
def load_tokenizer() -> Callable[[str], list[int]]:
    """What turns a text into tokens, without start and end: ours, or open_clip's if its vocabulary is not as known."""
    try:
        return Tokenizer().encode
    except (WeightsMissing, WeightsInvalid):
        from extractors.encoders.clip.image_tower import open_clips_tokenizer

        return open_clips_tokenizer()


class Tokenizer:
    """Texts in, the same tokens out as open_clip's tokenizer gives.

    Raises:
        WeightsMissing: if open_clip is not installed, or keeps its vocabulary elsewhere.
        WeightsInvalid: if its vocabulary is another.
    """

    def __init__(self) -> None:
        with gzip.open(BytesIO(packaged_bytes(*_VOCABULARY))) as file:
            lines = file.read(_ENOUGH_BYTES).decode("utf-8", "ignore").split("\n")
        merges = lines[1 : 1 + _MERGES]  # the first line is a heading
        letters = _byte_letters()
        tokens = [*letters.values(), *(letter + _WORD_END for letter in letters.values())]
        tokens += [merge.replace(" ", "", 1) for merge in merges]
        self._ranks = dict(zip(merges, range(_MERGES), strict=True))
        self._ids = dict(zip(tokens, range(START), strict=True))
        self._letters = letters

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without start and end."""
        tokens: list[int] = []
        for word in self._pattern.findall(clean(text)):
            if word in _MARKS:
                tokens.append(_MARKS[word])
            else:
                tokens += [self._ids[part] for part in self._parts(word)]
        return tokens

    def _parts(self, word: str) -> list[str]:
        """Merge the bytes of a word, the most frequent pair first, until no pair is known."""
        *parts, last = (self._letters[byte] for byte in word.encode("utf-8"))
        parts.append(last + _WORD_END)
        while pairs := {f"{left} {right}" for left, right in pairwise(parts)}:
            best = min(pairs, key=lambda pair: self._ranks.get(pair, _MERGES))
            if best not in self._ranks:
                break
            parts = list(_merged(parts, *best.split(" ")))
        return parts

    @cached_property
    def _pattern(self) -> Any:
        # Python's own `re` knows no classes of letters, and its tables of letters are of another age than these.
        import regex  # type: ignore[import-untyped]

        return regex.compile(
            r"<start_of_text>|<end_of_text>|'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
            regex.IGNORECASE,
        )


def clean(text: str) -> str:
    """A text as CLIP was trained on: mended, HTML entities resolved, single spaces, small letters."""
    # Mending leaves plain ASCII as it is, and ftfy would take longer to import than all else here takes to run.
    if "&" in text or not (text.isascii() and text.isprintable()):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _merged(parts: list[str], left: str, right: str) -> Iterator[str]:
    """The parts with every such pair made one, from the left."""
    index = 0
    while index < len(parts):
        if parts[index : index + 2] == [left, right]:
            yield left + right
            index += 2
        else:
            yield parts[index]
            index += 1


def _byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in the vocabulary, in the order of their tokens.

    Printable letters of Latin-1 stand for themselves and come first; the others stand for the letters from 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)) - set(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
