"""Find the classes that a query names: "a street at night" names the class of the word "street".

Only the words before the first preposition are looked up: "a flagpole on a lawn" asks for a flagpole. The
longest run of words that ends there and is known counts, so "a hot dog" is not a dog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PREPOSITIONS = _words(
    "on in by at with near under over of from behind beside between through into onto to across along for against "
    "inside outside around above below"
)
_JOINING = _words("and or")
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""))


def named_classes(query: str, words: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the classes that an English query names; none if it names several things or nothing known.

    Args:
        query: as typed.
        words: the classes for each word or run of words, in lower case and singular.
    """
    asked = re.findall(r"[a-z]+", query.lower().replace("'s", ""))
    if not _JOINING.isdisjoint(asked):
        return ()
    end = next((place for place, word in enumerate(asked) if word in _PREPOSITIONS), len(asked))
    for start in range(end):
        for form in _singular(" ".join(asked[start:end])):
            if form in words:
                return words[form]
    return ()


def _singular(words: str) -> Iterator[str]:
    """Yield the words themselves, and their possible singular forms."""
    yield words
    for ending, instead in _ENDINGS:
        if words.endswith(ending):
            yield words.removesuffix(ending) + instead
