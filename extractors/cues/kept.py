"""The cues inside a video file, read once and kept in the cache by the content of the video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extractors.cache.store import FeatureCache
from extractors.cues.cue import CueStream, Source
from extractors.cues.subprocess_reader import Progress, read_apart


def read_once(
    video: Path,
    source: Source,
    cache: FeatureCache,
    *,
    recipe: str,
    on_picture: Progress | None = None,
) -> tuple[float, list[CueStream]]:
    """Read the cues of a video file, as `read_apart`, unless the cache has them.

    Args:
        video: the file.
        source: which of its cues.
        cache: where they are kept.
        recipe: version of how they are read; another one reads them again.
        on_picture: as of `read_apart`.

    Raises:
        VideoError, WeightsMissing, WeightsInvalid: as `read_apart`.
        CacheError: if the cache cannot be read or written.
    """
    identity = cache.identify(video)
    documents = cache.documents(source, recipe)
    known = _read(documents.load(identity))
    if known is not None:
        return known
    duration_s, streams = read_apart(video, source, on_picture=on_picture)
    identity.confirm()
    documents.store(identity, {"duration_s": duration_s, "streams": [stream.to_json() for stream in streams]})
    return duration_s, streams


def _read(document: Any) -> tuple[float, list[CueStream]] | None:
    try:
        return float(document["duration_s"]), [CueStream.from_json(stream) for stream in document["streams"]]
    except (ValueError, TypeError, LookupError):
        return None
