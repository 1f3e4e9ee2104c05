"""The cues of a video as pages show them: a track for each stream, as plain JSON types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extractors.cues.cue import CueStream, Transcript

_MOST_TRACKS = 4
_MOST_CUES = 20_000  # of all tracks: more than a day of talk has
_MOST_LETTERS = 4_000_000


def cue_tracks(words: Sequence[Transcript]) -> list[dict[str, Any]]:
    """The streams of some transcripts of one video, the preferred one of each first.

    What is too much for a page is left out: streams after the fourth, and cues after 20,000 or four million letters.

    Returns:
        of each stream its `name`, its `source` and its `cues`; of a cue `start_s` and `end_s` in seconds, and its
        `text` on one line. The text comes from the video or from a file beside it: never markup.
    """
    first = [stream for transcript in words for stream in transcript.streams[:1]]
    others = [stream for transcript in words for stream in transcript.streams[1:]]
    tracks, room, letters = [], _MOST_CUES, _MOST_LETTERS
    for stream in [*first, *others][:_MOST_TRACKS]:
        cues = _cues(stream, room, letters)
        room -= len(cues)
        letters -= sum(len(cue["text"]) for cue in cues)
        if cues:
            tracks.append({"name": stream.name, "source": stream.source, "cues": cues})
    return tracks


def _cues(stream: CueStream, most: int, letters: int) -> list[dict[str, Any]]:
    cues = []
    for cue in stream.cues[:most]:
        letters -= len(cue.line)
        if letters < 0:
            break
        cues.append({"start_s": round(cue.start_s, 3), "end_s": round(cue.end_s, 3), "text": cue.line})
    return cues
