"""Find the words of a query in cues, in any form of a word: `budget` finds `budgets`.

The index is SQLite's FTS5 with its stemmer for English; words of other languages are matched whole, ignoring
case and accents. User input is never passed as an FTS5 query: words are looked up one at a time, quoted.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError

_WORD = re.compile(r"\w+")
# Scripts without spaces between words: a phrase can begin and end anywhere.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
# Words that shape a question rather than name its subject, and are in all texts.
_COMMON = frozenset((
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "can", "d", "did", "do", "does", "for",
    "from", "had", "has", "have", "he", "her", "him", "his", "how", "i", "if", "in", "into", "is", "it",
    "its", "ll", "m", "me", "my", "no", "not", "of", "on", "or", "our", "re", "s", "she", "so", "t", "that",
    "the", "their", "them", "there", "they", "this", "to", "us", "ve", "was", "we", "were", "what", "when",
    "where", "which", "who", "why", "will", "with", "would", "you", "your",
))  # fmt: skip


def words(text: str) -> list[str]:
    """Return the words of a text in order, in lower case and without accents."""
    return _WORD.findall(folded(text))


def folded(text: str) -> str:
    """Normalize a text so that case, accents and variant forms of letters do not matter."""
    if text.isascii():  # a fast path for most texts: ASCII has no accents or variant forms
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c)))


def is_unspaced(text: str) -> bool:
    """Check whether a text is in a script without spaces between words, so that word borders are unknown."""
    return _UNSPACED.search(text) is not None


def holds_phrase(phrase: str, text: str) -> bool:
    """Check whether a text contains a phrase word for word, whatever separates the words."""
    sought = words(phrase)
    if not sought:
        return False
    if is_unspaced(phrase):
        return "".join(sought) in "".join(words(text))
    return f" {' '.join(sought)} " in f" {' '.join(words(text))} "


def sought_words(query: str) -> list[str]:
    """Return the words of a query to look for, each once: all but common ones, unless there are no others."""
    sought = list(dict.fromkeys(words(query)))
    return [word for word in sought if word not in _COMMON] or sought


def word_weights(found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weigh the words of a query: words that are in few texts weigh more; the weights sum to 1.

    Args:
        found: (W, N), whether text n has word w.

    Returns:
        (W,).
    """
    held = found.sum(axis=1)
    weights: NDArray[np.float64] = np.log1p((found.shape[1] - held + 0.5) / (held + 0.5))
    total = float(weights.sum())
    return weights / total if total else weights


def term_of(word: str) -> str | None:
    """Return the stem of a word in an index: empty if it has none, None if the index splits the word."""
    terms = list(WordIndex([word]).terms())
    return (terms or [""])[0] if len(terms) <= 1 else None


class WordIndex:
    """An index of the words of texts, in memory.

    Args:
        texts: the texts of the cues.

    Raises:
        VtgError: if Python's SQLite has no full-text search.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            self._connection.execute(
                "CREATE VIRTUAL TABLE cues "
                "USING fts5(text, content='', columnsize=0, tokenize='porter unicode61 remove_diacritics 2')"
            )
        except sqlite3.OperationalError as error:
            raise VtgError(
                f"this Python's SQLite cannot search in texts ({error}); install another Python"
            ) from error
        rows = ((number, folded(text)) for number, text in enumerate(texts, start=1))
        self._connection.executemany("INSERT INTO cues (rowid, text) VALUES (?, ?)", rows)

    def matches(self, query: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Find the words of a query in the texts.

        Returns:
            (W, N), whether text n has word w; and (W,), the weight of each word: words that are in few texts weigh
            more; the weights sum to 1. W is 0 if the query has no words.
        """
        sought = sought_words(query)
        found = np.zeros((len(sought), self._count), dtype=bool)
        for row, word in enumerate(sought):
            found[row, self._rows(word)] = True
        return found, word_weights(found)

    def terms(self) -> dict[str, NDArray[np.int64]]:
        """Return the stems in the index, each with the indices of the texts that contain it, in order."""
        self._connection.execute(
            "CREATE VIRTUAL TABLE temp.terms USING fts5vocab('main', 'cues', 'instance')"
        )
        places: dict[str, dict[int, None]] = {}
        for term, number in self._connection.execute("SELECT term, doc FROM temp.terms"):
            places.setdefault(term, {})[number - 1] = None
        self._connection.execute("DROP TABLE temp.terms")
        return {term: np.array(sorted(numbers), dtype=np.int64) for term, numbers in places.items()}

    def _rows(self, word: str) -> list[int]:
        found = self._connection.execute("SELECT rowid FROM cues WHERE cues MATCH ?", (f'"{word}"',))
        return [number - 1 for (number,) in found]
