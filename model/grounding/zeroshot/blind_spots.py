"""Detect queries about things that the `lite` features cannot capture.

The features come from an object classifier, so they miss people, actions, colours, sizes and written words.
For such a query, it would be wrong to answer that nothing matches.
"""

from __future__ import annotations

import re
from typing import Literal

BlindSpot = Literal["people", "actions", "attributes", "text"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PEOPLE = _words(
    "man men woman women person people child children boy boys girl girls baby babies kid kids someone somebody crowd "
    "crowds pedestrian pedestrians friend friends family couple face faces hand hands player players worker workers "
    "guy lady gentleman audience team he she they"
)
_VERBS = _words(
    "walk run jump throw catch open close turn hold put take eat drink cook cut sit stand lie sleep talk speak smile "
    "laugh cry look watch read write play dance sing ride drive swim climb fall kick hit push pull carry pour wash "
    "clean wear dress undress pick drop hug kiss wave clap point fight shake stretch flip slide spin wait work"
)
_ATTRIBUTES = _words(
    "red orange yellow green blue purple pink brown black white grey gray golden silver striped spotted colourful "
    "colorful big large small little tiny huge tall short long old young new broken wet empty"
)
_TEXT = _words("word words text letter letters caption captions subtitle subtitles title logo says written")
_DETERMINERS = _words("a an the some two three his her their its my your")


def blind_spot(query: str) -> BlindSpot | None:
    """Return the first of text, actions, people and attributes that an English query asks for, or None.

    "A frying pan" and "a swimming pool" are objects, "a dog swimming" is an action: an -ing word between a
    determiner and another word is part of a name.
    """
    words = re.findall(r"[a-z]+", query.lower())
    if not _TEXT.isdisjoint(words):
        return "text"
    if any(_is_action(words, place) for place in range(len(words))):
        return "actions"
    if not _PEOPLE.isdisjoint(words):
        return "people"
    return None if _ATTRIBUTES.isdisjoint(words) else "attributes"


def _is_action(words: list[str], place: int) -> bool:
    word, before = words[place], words[place - 1] if place else ""
    if word.endswith("ing"):
        stem = word[:-3]  # of walking, taking, running
        named = before in _DETERMINERS and place + 1 < len(words)
        return not named and not _VERBS.isdisjoint((stem, stem + "e", stem[:-1]))
    # After a determiner, a word is a noun ("his watches"); "opens" and "jumps" after a noun are actions.
    return word.endswith("s") and word.removesuffix("s") in _VERBS and before not in _DETERMINERS | {""}
