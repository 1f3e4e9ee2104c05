"""Which words of a query are in which cues, in any form of a word: `budgets` is found by `budget`.

The index is SQLite's FTS5 with its stemmer of English words; other languages are found by whole words without regard to
case and accents. What a person types is never a query of FTS5: words go to it one at a time, quoted.
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
# Words that say how something is asked, and are in all texts.
_COMMON = frozenset((
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "can", "d", "did", "do", "does", "for",
    "from", "had", "has", "have", "he", "her", "him", "his", "how", "i", "if", "in", "into", "is", "it",
    "its", "ll", "m", "me", "my", "no", "not", "of", "on", "or", "our", "re", "s", "she", "so", "t", "that",
    "the", "their", "them", "there", "they", "this", "to", "us", "ve", "was", "we", "were", "what", "when",
    "where", "which", "who", "why", "will", "with", "would", "you", "your",
))  # fmt: skip


def words(text: str) -> list[str]:
    """The words of a text in order, in lower case and without accents."""
    return _WORD.findall(folded(text))


def folded(text: str) -> str:
    """The text without regard to case, accents and forms of letters."""
    if text.isascii():  # most texts, which have no other forms
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c)))


def is_unspaced(text: str) -> bool:
    """Whether a text is of a script without spaces between words, so that nobody can tell where one ends."""
    return _UNSPACED.search(text) is not None


def holds_phrase(phrase: str, text: str) -> bool:
    """Whether a text holds a phrase word for word, whatever stands between the words."""
    sought = words(phrase)
    if not sought:
        return False
    if is_unspaced(phrase):
        return "".join(sought) in "".join(words(text))
    return f" {' '.join(sought)} " in f" {' '.join(words(text))} "


def sought_words(query: str) -> list[str]:
    """The words of a query that are looked for, each once: all but the common ones, unless there are no others."""
    sought = list(dict.fromkeys(words(query)))
    return [word for word in sought if word not in _COMMON] or sought


def word_weights(found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The weight of each word of a query: words that are in few texts weigh more, and all weigh 1 in sum.

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
    """The stem by which an index knows a word: empty if it holds none, None if it takes the word for several."""
    terms = list(WordIndex([word]).terms())
    return (terms or [""])[0] if len(terms) <= 1 else None


class WordIndex:
    """The words of some texts, in memory.

    Args:
        texts: of the cues.

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
        """Which words of a query are in which texts.

        Returns:
            (W, N), whether text n has word w; and (W,), the weight of each word: words that are in few texts weigh
            more, and all weigh 1 in sum. W is 0 if the query has only common words.
        """
        sought = sought_words(query)
        found = np.zeros((len(sought), self._count), dtype=bool)
        for row, word in enumerate(sought):
            found[row, self._rows(word)] = True
        return found, word_weights(found)

    def terms(self) -> dict[str, NDArray[np.int64]]:
        """The stems that it knows words by, and the numbers of the texts that have them, in order."""
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
