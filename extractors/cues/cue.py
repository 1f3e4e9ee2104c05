"""A cue: a text with the time at which it is said or shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from extractors.errors import UsageError

Source = Literal["subtitles", "screen", "speech"]
"""What a cue was read from: subtitles, the picture, or the sound."""

LONGEST_TEXT = 2000
"""Characters of a cue; a longer text is cut, because nobody can read more at once."""

MOST_CUES = 200_000
"""Cues of one stream: more than two per second for a day."""


@dataclass(frozen=True)
class Cue:
    """A text and when it is said or shown.

    Attributes:
        start_s, end_s: seconds from the start of the video; the end is later than the start.
        text: plain text without markup or control characters; its lines are separated by line feeds.
        source: what it was read from.
        stream: which of these: the name of a subtitle file, `track 2` of the video file, `screen` or `speech`.
        confidence: in [0, 1]; 1 for subtitles.
    """

    start_s: float
    end_s: float
    text: str
    source: Source = "subtitles"
    stream: str = ""
    confidence: float = 1.0

    @property
    def line(self) -> str:
        """The text on one line."""
        return " ".join(self.text.split())


@dataclass(frozen=True)
class CueStream:
    """The cues of one subtitle file or of one track, in order of time.

    Attributes:
        name: as of `Cue.stream`.
        source: what the cues were read from.
        language: as the file says it, such as `en` or `eng`; empty if it does not.
        cues: in order of their starts.
        notes: what was left out, for people; each completes a sentence that begins with the name.
    """

    name: str
    source: Source = "subtitles"
    language: str = ""
    cues: tuple[Cue, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and language, for messages."""
        return f"{self.name} ({self.language})" if self.language else self.name

    def to_json(self) -> dict[str, Any]:
        """The stream as plain JSON types."""
        return {
            "name": self.name,
            "source": self.source,
            "language": self.language,
            "cues": [[cue.start_s, cue.end_s, cue.text, cue.confidence] for cue in self.cues],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, record: Any) -> CueStream:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, LookupError: if it is something else.
        """
        name, source = str(record["name"]), record["source"]
        if source not in get_args(Source):
            raise ValueError(f"{source!r} is no source of cues")
        cues = tuple(
            Cue(float(start_s), float(end_s), str(text), source, name, float(confidence))
            for start_s, end_s, text, confidence in record["cues"]
        )
        return cls(name, source, str(record["language"]), cues, tuple(map(str, record["notes"])))

    def within(self, duration_s: float) -> CueStream:
        """The stream with the cues that begin before the end of the video; ends are moved to it."""
        kept = tuple(
            cue if cue.end_s <= duration_s else replace(cue, end_s=duration_s)
            for cue in self.cues
            if cue.start_s < duration_s
        )
        late = len(self.cues) - len(kept)
        notes = (f"{late:,} of its cues begin after the end of the video and are left out",) if late else ()
        return replace(self, cues=kept, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Transcript:
    """All that was read from a video, stream by stream.

    Attributes:
        video: the file as it was given.
        duration_s: length of the video in seconds.
        streams: the preferred one first; none is without cues.
        notes: what could not be read, or was left out, for people.
        source: what it was read from, above all.
        lack: why there is no stream, if that is known; completes a sentence that begins with the video.
    """

    video: str
    duration_s: float
    streams: tuple[CueStream, ...]
    notes: tuple[str, ...] = ()
    source: Source = "subtitles"
    lack: str = ""

    @property
    def cues(self) -> tuple[Cue, ...]:
        """The cues of all streams in order of time."""
        return in_order(cue for stream in self.streams for cue in stream.cues)

    def joined(self, other: Transcript) -> Transcript:
        """This transcript, followed by the streams of another one of the same video."""
        return replace(self, streams=(*self.streams, *other.streams), notes=(*self.notes, *other.notes))

    def chosen(self, names: Sequence[str] = ()) -> tuple[CueStream, ...]:
        """The streams of some names or languages; the preferred one if none is named.

        Raises:
            UsageError: if no stream has a name or a language.
        """
        if not names:
            return self.streams[:1]
        picked: dict[str, CueStream] = {}
        for name in names:
            named = [stream for stream in self.streams if name in (stream.name, stream.language)]
            if not named:
                known = ", ".join(stream.label for stream in self.streams) or "none"
                raise UsageError(
                    f"--stream {name}: {self.video} has no stream of this name or language; it has: {known}"
                )
            picked.update((stream.name, stream) for stream in named)
        return tuple(picked.values())


def in_order(cues: Iterable[Cue]) -> tuple[Cue, ...]:
    """Cues in order of their starts, then of their ends."""
    return tuple(sorted(cues, key=lambda cue: (cue.start_s, cue.end_s)))
