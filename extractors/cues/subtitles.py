"""All subtitles of a video: files beside it, and text tracks inside."""

from __future__ import annotations

from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.cues.cue import Transcript
from extractors.cues.kept import read_once, recall
from extractors.cues.sidecars import Listings, find_sidecars, read_sidecars
from extractors.decoding.container.text_tracks import may_hold_text
from extractors.files.identity import Identity

RECIPE = "1"
"""Version of how tracks are read; raised whenever the same tracks would give other cues."""


def read_subtitles(video: Path, cache: FeatureCache, *, follow_links: bool = True) -> Transcript:
    """Read the subtitles of a video.

    Text tracks are read once and kept in the cache by the content of the video. Files beside it are small, and are read
    each time, so that a change to one shows at once.

    Args:
        video: the file.
        cache: where tracks are kept.
        follow_links: whether a link beside the video can be a subtitle file, wherever it leads.

    Returns:
        the streams: files beside the video first, then its tracks. If a file beside it cannot be read, a note says so.

    Raises:
        VideoError: if the video cannot be read.
        CacheError: if the cache cannot be read or written.
    """
    duration_s, tracks = read_once(video, "subtitles", cache, recipe=RECIPE)
    sidecars, failures = read_sidecars(video, follow_links=follow_links)
    named = [(str(video.with_name(stream.name)), stream) for stream in sidecars]
    named += [(f"{video}, {stream.name}", stream) for stream in tracks]
    streams, notes = [], [*failures]
    for name, stream in named:
        kept = stream.within(duration_s)
        notes += [f"{name}: {note}" for note in kept.notes]
        if kept.cues:
            streams.append(kept)
    return Transcript(str(video), duration_s, tuple(streams), tuple(notes))


def subtitles_at_hand(video: Path, cache: FeatureCache, *, follow_links: bool = True) -> Transcript | None:
    """The subtitles of a video; None if it has none, as far as a look tells that takes a millisecond.

    Tracks in containers other than MP4, QuickTime, Matroska and WebM count only once they are in the cache. Arguments
    and errors as of `read_subtitles`.
    """
    may_have_some = may_have_subtitles(video, cache, follow_links=follow_links)
    return read_subtitles(video, cache, follow_links=follow_links) if may_have_some else None


def may_have_subtitles(
    video: Path, cache: FeatureCache, *, follow_links: bool = True, listings: Listings | None = None
) -> bool:
    """Whether a video has subtitles, as `subtitles_at_hand` finds out.

    Arguments and errors as of it; `listings` are of folders that need not be listed again.
    """
    if find_sidecars(video, follow_links=follow_links, listings=listings):
        return True
    known = recall(video, "subtitles", cache, recipe=RECIPE)
    return may_hold_text(video) if known is None else bool(known[1])


def subtitles_state(identity: Identity, cache: FeatureCache) -> str:
    """A name of what the cache has of the tracks of a video; empty if it has nothing.

    Raises:
        CacheError: if the cache cannot be read.
    """
    return cache.documents("subtitles", RECIPE).state(identity)
