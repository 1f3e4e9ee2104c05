"""Concepts: names of things that videos may show, for zero-shot grounding; built in, or listed in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.encoders.base import TextEncoder
from extractors.encoders.registry import own_features, video_feature
from extractors.errors import UsageError
from extractors.extraction.queries import pooled_phrases
from extractors.features import TextFeatures
from extractors.plugins import imported
from model.grounding.zeroshot.method import ZeroShot

_VECTORS = ".npz"
_FORM = "give names in a text file, one per line, or an .npz file with `names` (N) and `text` (N, width)"


@dataclass(frozen=True)
class Concepts:
    """Concepts to look for in videos.

    Attributes:
        names: names in normal spelling, each once.
        rows: (N, E) their pooled rows, in the space of a feature.
        given: whether the rows were read from a file rather than made by the feature's text encoder.
    """

    names: tuple[str, ...]
    rows: NDArray[np.float32]
    given: bool

    @property
    def queries(self) -> list[TextFeatures]:
        """The names as queries of the zero-shot model."""
        pairs = zip(self.names, self.rows, strict=True)
        return [TextFeatures(tokens=row[None], pooled=row, sentence=name) for name, row in pairs]

    def teacher(
        self, feature: str, clip_length_s: float, text_encoder: Callable[[], TextEncoder], cache: FeatureCache
    ) -> ZeroShot:
        """Return the zero-shot model that looks for the concepts.

        Given vectors may be from an encoder that is not installed, so they serve as their own background.
        """
        if self.given:
            return ZeroShot(feature, clip_length_s, lambda _: self.rows)
        return ZeroShot(
            feature, clip_length_s, lambda phrases: pooled_phrases(phrases, text_encoder(), cache)
        )


def read_concepts(
    file: Path | None, feature: str, text_encoder: Callable[[], TextEncoder], cache: FeatureCache
) -> Concepts:
    """Read concepts.

    Args:
        file: a text file with one name per line, or an `.npz` file with `names` and their vectors `text`;
            None for the names that come with vtg.
        feature: the feature whose rows they are compared with.
        text_encoder: returns the feature's text encoder; called only if names have no vectors.
        cache: cache of encoded text.

    Raises:
        UsageError: if the file cannot be used.
        WeightsMissing: if the encoder's weights are not installed.
    """
    if file is not None and file.suffix.lower() == _VECTORS:
        return _vectors(file, video_feature(feature).dim)
    names = _built_in() if file is None else _listed(file)
    return Concepts(
        names, pooled_phrases([with_article(name) for name in names], text_encoder(), cache), False
    )


def plain_name(name: str) -> str:
    """Return a name in normal spelling: `bow` for `bow_(weapon)`."""
    return " ".join(re.sub(r"\(.*?\)|[^\w'-]|_", " ", name.partition("/")[0]).lower().split())


def with_article(name: str) -> str:
    """Add the indefinite article: `a dog`, `an apple`."""
    return f"{'an' if name.startswith(tuple('aeiou')) else 'a'} {name}"


def _built_in() -> tuple[str, ...]:
    (names,) = (imported(feature.concepts)() for feature in own_features() if feature.concepts is not None)
    return tuple(names)


def _listed(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{file}: cannot be read as text ({error}); {_FORM}") from error
    return _require_some(file, dict.fromkeys(filter(None, map(plain_name, lines))))


def _vectors(file: Path, dim: int) -> Concepts:
    try:
        with np.load(file, allow_pickle=False) as archive:
            names, rows = archive["names"], archive["text"]
    except Exception as error:  # damaged archives raise whatever their readers happen to trip over
        raise UsageError(f"{file}: cannot be read ({error or type(error).__name__}); {_FORM}") from error
    if (
        names.ndim != 1
        or names.dtype.kind != "U"
        or rows.dtype.kind != "f"
        or rows.shape != (len(names), dim)
    ):
        raise UsageError(
            f"{file}: names of shape {list(names.shape)} and vectors of shape {list(rows.shape)} do not fit the "
            f"features, which have {dim} numbers; {_FORM}"
        )
    if not np.isfinite(rows).all():
        raise UsageError(f"{file}: holds numbers that are not finite")
    first: dict[str, NDArray[Any]] = {}
    for name, row in zip(map(plain_name, names.tolist()), rows.astype(np.float32), strict=True):
        if name:
            first.setdefault(name, row)
    return Concepts(_require_some(file, first), np.stack(list(first.values())), True)


def _require_some(file: Path, names: Sequence[str] | dict[str, Any]) -> tuple[str, ...]:
    """Raise UsageError for fewer than two names: a single one cannot be compared with anything."""
    if len(names) < 2:
        count = "1 name" if names else "no name"
        raise UsageError(f"{file}: holds {count}, but at least 2 are needed; {_FORM}")
    return tuple(names)
