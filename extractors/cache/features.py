"""Cached features of a video, read from the bytes of an entry wherever they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.cache.entry import read_entry
from extractors.features import FeatureSpec
from extractors.places import Place
from extractors.videos.facts import VideoFacts, VideoInfo


@dataclass(frozen=True)
class CachedFeatures:
    """The features of one video as the cache holds them.

    Attributes:
        spec: what a row is.
        features: (N, dim) float32, one row per clip. The values are those of the half precision on disk, so that
            the first query of a video and every later one see the same numbers.
        info: the video they were made from, at the place it was asked for by.
        facts: what decoding found out about it.
    """

    spec: FeatureSpec
    features: NDArray[np.float32]
    info: VideoInfo
    facts: VideoFacts = VideoFacts()


def entry_of(
    data: bytes, spec: FeatureSpec, identity: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]] | None:
    """Arrays and record of an entry; None if it is damaged, or of another origin than asked for."""
    entry = read_entry(data)
    if entry is None:
        return None
    arrays, record = entry
    if record.get("identity") != identity or record.get("spec") != spec.to_json():
        return None
    return {key: array.astype(np.float32) for key, array in arrays.items()}, record


def features_of(
    data: bytes, spec: FeatureSpec, address: str, content_of: Callable[[], str], place: Place
) -> CachedFeatures | None:
    """The features in an entry of a video.

    Args:
        data: the entry's file.
        spec: what the features must be.
        address, content_of: of the `VideoIdentity`; the content is asked for only if all else fits.
        place: where the video is.

    Returns:
        The features; None if the entry is damaged, or of another video or recipe.
    """
    entry = entry_of(data, spec, address)
    if entry is None:
        return None
    arrays, record = entry
    features = arrays.get("features")
    if features is None or features.ndim != 2 or features.shape[1] != spec.dim:
        return None
    try:
        video = {**record["video"]}
        video.pop("name")
        info = VideoInfo(path=place, **video)
        facts = VideoFacts.from_json(record)  # of which earlier versions noted none
        content = str(record["content"])  # which entries of earlier versions lack
    except (KeyError, TypeError, ValueError):
        return None
    if content != content_of():
        return None
    return CachedFeatures(spec, features, info, facts)
