"""What is written on the screen of a video."""

from __future__ import annotations

from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.cues.cue import CueStream, Transcript
from extractors.cues.kept import read_once, recall
from extractors.cues.screen.recogniser import WEIGHTS_ID
from extractors.cues.subprocess_reader import Progress
from extractors.files.identity import Identity

_RECIPE = f"1 {WEIGHTS_ID}"  # the number is raised whenever the same video would give other cues


def read_screen(video: Path, cache: FeatureCache, *, on_picture: Progress | None = None) -> Transcript:
    """Read the text on the screen, once; it is kept in the cache by the content of the video.

    The text is read in a subprocess, from one picture for every two seconds of video; pictures like the one before are
    not looked at. A cue is a line, for as long as it stays.

    Args:
        video: the file.
        cache: where cues are kept.
        on_picture: called with how many pictures were looked at, and how many there are; not if the cache has them.

    Raises:
        VideoError: if the video cannot be read.
        WeightsMissing: if the text recognition is not installed.
        WeightsInvalid: if its networks are not the pinned ones.
        CacheError: if the cache cannot be read or written.
    """
    return _transcript(video, *read_once(video, "screen", cache, recipe=_RECIPE, on_progress=on_picture))


def known_screen(video: Path, cache: FeatureCache) -> Transcript | None:
    """The text on the screen, if it was read before; arguments and errors as of `read_screen`."""
    known = recall(video, "screen", cache, recipe=_RECIPE)
    return None if known is None else _transcript(video, *known)


def screen_state(identity: Identity, cache: FeatureCache) -> str:
    """A name of what the cache has of the screen of a video, which changes if that does; empty if it has nothing.

    Raises:
        CacheError: if the cache cannot be read.
    """
    return cache.documents("screen", _RECIPE).state(identity)


def _transcript(video: Path, duration_s: float, streams: list[CueStream]) -> Transcript:
    notes = tuple(f"{video}, screen: {note}" for stream in streams for note in stream.notes)
    return Transcript(str(video), duration_s, tuple(streams), notes, source="screen")
