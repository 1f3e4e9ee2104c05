"""The cues inside a video file, read once and kept in the cache by the content of the video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extractors.cache.store import FeatureCache
from extractors.cues.cue import CueStream, Source
from extractors.cues.parts import Parts
from extractors.cues.subprocess_reader import Progress, read_apart


def read_once(
    video: Path,
    source: Source,
    cache: FeatureCache,
    *,
    recipe: str,
    made_by: str = "",
    weights: Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[float, list[CueStream]]:
    """Read the cues of a video file, as `read_apart`, unless the cache has them.

    Args:
        video: the file.
        source: which of its cues.
        cache: where they are kept.
        recipe: version of how they are read; another one reads them again.
        made_by: identity of the user's choice of weights; cues of another choice are read again, and replaced.
        weights, on_progress: as of `read_apart`.

    Raises:
        VideoError, WeightsMissing, WeightsInvalid: as `read_apart`.
        CacheError: if the cache cannot be read or written.
    """
    identity = cache.identify(video)
    documents = cache.documents(source, recipe)
    document = documents.load(identity)
    known = _read(document)
    if known is not None and _maker(document) == made_by:
        return known
    if source == "speech":
        parts = Parts(cache.documents(source, f"{recipe} part"), identity, made_by)
        duration_s, streams = parts.completed(
            lambda begun, on_heard: read_apart(
                video, source, weights=weights, begun=begun, on_heard=on_heard, on_progress=on_progress
            )
        )
    else:
        duration_s, streams = read_apart(video, source, on_progress=on_progress)
    identity.confirm()
    written = [stream.to_json() for stream in streams]
    documents.store(identity, {"duration_s": duration_s, "made_by": made_by, "streams": written})
    return duration_s, streams


def recall(
    video: Path, source: Source, cache: FeatureCache, *, recipe: str
) -> tuple[float, list[CueStream]] | None:
    """What the cache has of the cues of a video file, whoever made them; None if it has none.

    Raises:
        VideoError: if the video cannot be read.
        CacheError: if the cache cannot be read.
    """
    documents = cache.documents(source, recipe)
    return None if documents.is_empty else _read(documents.load(cache.identify(video)))


def _maker(document: Any) -> Any:
    return document.get("made_by", "") if isinstance(document, dict) else ""


def _read(document: Any) -> tuple[float, list[CueStream]] | None:
    try:
        return float(document["duration_s"]), [CueStream.from_json(stream) for stream in document["streams"]]
    except (ValueError, TypeError, LookupError):
        return None
