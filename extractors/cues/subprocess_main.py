"""The subprocess of `subprocess_reader`: reads the cues of the video files that it is asked for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extractors.cues.cue import Cue, CueStream, Source
from extractors.cues.tracks import read_tracks
from extractors.decoding import ffmpeg_log, pulse
from extractors.decoding.decode import as_video_errors
from extractors.errors import VideoError, VtgError
from extractors.subprocesses import worker
from extractors.subprocesses.wire import Alive, Failed

_CUES_AT_ONCE = 50  # of the longest texts in the longest notation they fill half a message


@dataclass(frozen=True)
class CueRequest:
    """A video file whose cues are to be read.

    Attributes:
        path: the file.
        source: `subtitles` for its text tracks, `screen` for the text in its pictures, `speech` for its sound.
        weights: what transcribes speech, as of `SpeechModel.folder`.
        from_s: where speech is transcribed from, in seconds from the start of the video.
        language: of the speech; empty if it is not known.
    """

    path: Path
    source: Source = "subtitles"
    weights: Path | None = None
    from_s: float = 0.0
    language: str = ""


@dataclass(frozen=True)
class SomeCues:
    """Successive cues of one stream.

    Attributes:
        name, language: of the stream.
        cues: some of its cues.
        notes: of the stream; with its last cues.
    """

    name: str
    language: str
    cues: tuple[Cue, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PartDone:
    """How many pictures of the screen or seconds of the sound are done, of how many."""

    done: int
    count: int


@dataclass(frozen=True)
class Heard:
    """Speech that was transcribed so far; all of it is sent again in the end.

    Attributes:
        cues: those that come after the last ones.
        until_s: up to where they go, in seconds from the start of the video.
        language: of the speech so far.
    """

    cues: tuple[Cue, ...]
    until_s: float
    language: str


@dataclass(frozen=True)
class CuesEnd:
    """All cues were sent.

    Attributes:
        duration_s: length of the video in seconds.
    """

    duration_s: float


def main() -> None:
    """Serve requests until there are no more."""
    ffmpeg_log.keep()
    channel = worker.begin()
    pulse.on_beat(lambda: channel.send(Alive()))
    with suppress(BrokenPipeError):  # the parent has ended
        for request in channel.requests(CueRequest):
            serve(request, channel)


def serve(request: CueRequest, channel: worker.Channel) -> None:
    """Send the cues of a video, or why it failed."""
    try:
        with as_video_errors(request.path):
            duration_s, streams = _read(request, channel)
        for stream in streams:
            for part in _parts(stream):
                channel.send(part)
        channel.send(CuesEnd(duration_s))
    except VtgError as error:
        channel.send(Failed(error))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Where a file makes the decoders' own assumptions fail.
        reason = str(error).strip().partition("\n")[0]
        text = f"its text cannot be read ({type(error).__name__}: {reason[:120]})"
        channel.send(Failed(VideoError(request.path, text)))


def _read(request: CueRequest, channel: worker.Channel) -> tuple[float, list[CueStream]]:
    if request.source == "subtitles":
        return read_tracks(request.path)

    def tell(done: int, count: int) -> None:
        channel.send(PartDone(done, count))

    if request.source == "speech":
        from extractors.cues.speech.reading import transcribe

        if request.weights is None:
            raise ValueError("nothing to transcribe with")
        return transcribe(
            request.path,
            request.weights,
            tell,
            from_s=request.from_s,
            language=request.language,
            on_heard=lambda cues, until_s, language: channel.send(Heard(cues, until_s, language)),
        )
    from extractors.cues.screen.reading import read_screen_text

    return read_screen_text(request.path, tell)


def _parts(stream: CueStream) -> list[SomeCues]:
    starts = range(0, max(len(stream.cues), 1), _CUES_AT_ONCE)  # a stream without cues may have notes
    return [
        SomeCues(
            stream.name,
            stream.language,
            stream.cues[start : start + _CUES_AT_ONCE],
            stream.notes if start == starts[-1] else (),
        )
        for start in starts
    ]


if __name__ == "__main__":
    main()
