"""Queries in, text features out, through the cache: a repeated sentence needs no text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.encoders.base import TextEncoder
from extractors.features import TextFeatures

_AT_ONCE = 16  # phrases between two looks at the progress


def encode_queries(queries: Sequence[str], encoder: TextEncoder, cache: FeatureCache) -> list[TextFeatures]:
    """Encode queries, those that the cache lacks in one batch.

    Returns:
        one result a query, in order, in the values of the cache's half precision.

    Raises:
        WeightsMissing, WeightsInvalid: if a query is new and the encoder cannot be loaded.
        CacheError: if the cache cannot be read or written.
    """
    known: dict[str, TextFeatures] = {}
    new: list[str] = []
    for query in dict.fromkeys(queries):
        cached = cache.load_text(query, encoder.spec)
        if cached is None:
            new.append(query)
        else:
            known[query] = cached
    for query, features in zip(new, encoder.encode(new) if new else [], strict=True):
        known[query] = cache.store_text(query, encoder.spec, features)
    return [replace(known[query], sentence=query) for query in queries]


def pooled_phrases(
    phrases: Sequence[str],
    encoder: TextEncoder,
    cache: FeatureCache,
    *,
    on_phrases: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """The pooled rows of many phrases, kept in the cache as one entry so that they are read as one.

    Args:
        phrases: as many as wanted.
        encoder: makes the rows.
        cache: where they are kept.
        on_phrases: called with how many phrases are encoded, and how many there are; not if the cache has them. They
            are then encoded some at a time.

    Returns:
        (M, E) rows in the order of the phrases; raises as `encode_queries`.
    """
    key = "\n".join(phrases)
    entry = cache.load_text(key, encoder.spec)
    if entry is None:
        most = len(phrases) if on_phrases is None else _AT_ONCE
        pooled = []
        for at in range(0, len(phrases), max(most, 1)):
            pooled += [features.pooled for features in encoder.encode(phrases[at : at + most])]
            if on_phrases is not None:
                on_phrases(len(pooled), len(phrases))
        rows = np.stack(pooled)
        entry = cache.store_text(key, encoder.spec, TextFeatures(tokens=rows, pooled=rows.mean(axis=0)))
    return entry.tokens
