"""The classes that a query asks for by name: "a street at night" by the word "street".

A query is looked up by what it names first, without what follows a preposition: "a flagpole on a lawn" asks for a
flagpole. Of several words the longest run that ends there counts, so "a hot dog" is no dog.
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
    """The classes that an English query names; none if it names several things, or none that is known.

    Args:
        query: as typed.
        words: the classes of each word or run of words, in lower case and the singular.
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
    """The words themselves, and what they are the plural of."""
    yield words
    for ending, instead in _ENDINGS:
        if words.endswith(ending):
            yield words.removesuffix(ending) + instead
