"""What the classifier's classes are called, and what else their pictures show, in words that people search for.

Two lists lie beside this module. `class_names.txt` holds the names of each ImageNet class, in ImageNet's order;
`python -m extractors.encoders.lite.class_words` makes it again. `class_words.txt` holds words that no class is named
after: kinds ("a vehicle") and places ("a street"), with the classes that stand for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_DATA = "data"
_NAMES = "class_names.txt"
_WORDS = "class_words.txt"
_RUN = re.compile(r"(\d+)(?:-(\d+))?")


@cache
def class_words() -> Mapping[str, tuple[int, ...]]:
    """The classes that stand for each name and word, which are in lower case and the singular.

    None stand for a name that mostly means something else.
    """
    names: dict[str, set[int]] = {}
    for index, line in enumerate(_lines(_NAMES)):
        for name in line.split(", "):
            names.setdefault(_plain(name), set()).add(index)
    words: dict[str, set[int]] = {}
    for line in _lines(_WORDS):
        same, _, classes = line.partition(": ")
        for word in same.split(", "):
            for name in classes.split(", "):
                words.setdefault(word, set()).update(_classes(name, names))
    return {word: tuple(sorted(found)) for word, found in (names | words).items()}


def concept_names() -> tuple[str, ...]:
    """The first name of each class, then kinds and places, in lower case; none that mostly means something else."""
    stands_for = class_words()
    words = [word for line in _lines(_WORDS) for word in line.partition(": ")[0].split(", ")]
    names = [line.split(", ")[0].lower() for line in _lines(_NAMES)]
    return tuple(name for name in dict.fromkeys([*names, *words]) if stands_for[_plain(name)])


def imagenet_names() -> list[str]:
    """The names of each ImageNet class, separated by commas, in ImageNet's order, as timm's `ImageNetInfo` has them."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index) for index in range(info.num_classes())]


def _classes(name: str, names: Mapping[str, set[int]]) -> set[int]:
    if name == "-":
        return set()
    run = _RUN.fullmatch(name)
    if run is None:
        return names[_plain(name)]
    first = int(run[1])
    return set(range(first, int(run[2] or first) + 1))


def _plain(name: str) -> str:
    return " ".join(re.findall(r"[a-z]+", name.lower().replace("'s", "")))


def _lines(file: str) -> list[str]:
    text = (files(__package__) / _DATA / file).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


if __name__ == "__main__":
    from pathlib import Path

    (Path(__file__).parent / _DATA / _NAMES).write_text("\n".join(imagenet_names()) + "\n", encoding="utf-8")
