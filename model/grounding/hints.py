"""Hints for queries whose wording may lead to worse answers than the video allows."""

from __future__ import annotations

import re
import unicodedata

# Function words of German, French, Spanish, Italian, Portuguese and Dutch that are rare in English sentences
# and names.
_FOREIGN_WORDS = """
ein eine einen einem einer und mit auf im zum zur ist wird
une dans avec est qui sur aux
una con por para que
uno della nella gli
um uma com ao
het een naar wordt
"""
_FOREIGN = frozenset(_FOREIGN_WORDS.split())
_SHORTEST = 2  # letters


def query_hints(query: str, tokens: int, most_tokens: int | None) -> tuple[str, ...]:
    """Return hints about a query, in sentences for the user.

    Args:
        query: the sentence.
        tokens: number of tokens from the text encoder, including the start and end tokens.
        most_tokens: maximum number of tokens of the encoder; None if it never truncates.
    """
    hints = []
    if most_tokens is not None and tokens >= most_tokens:
        hints.append(
            f"only the first {most_tokens - 2} tokens of this query are read, about {round(0.75 * most_tokens)} words; "
            "shorten it, or ask for its parts one by one"
        )
    letters = [letter for letter in query if letter.isalpha()]
    if len(letters) < _SHORTEST:
        hints.append("this query is hardly a word; describe in a few words what is to be seen")
    elif not _is_english(query, letters):
        hints.append("the text encoders know English best; ask in English")
    return tuple(hints)


def _is_english(query: str, letters: list[str]) -> bool:
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * latin >= len(letters) and _FOREIGN.isdisjoint(re.findall(r"[^\W\d_]+", query.lower()))
