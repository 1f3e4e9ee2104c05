"""The cues inside a video file, read in a subprocess, so that a hostile file can crash or hang only that one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from extractors.cues.cleaning import plain_text
from extractors.cues.cue import LONGEST_TEXT, MOST_CUES, Cue, CueStream, Source
from extractors.cues.subprocess_main import CueRequest, CuesEnd, Heard, PartDone, SomeCues
from extractors.decoding.subprocess_reader import STALL_S, DecoderCrash
from extractors.errors import VideoError, VtgError, WeightsInvalid, WeightsMissing
from extractors.subprocesses import wire
from extractors.subprocesses.parent import Subprocess, SubprocessEnded, SubprocessStalled, python_command

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is in all."""

SPEECH_STALL_S = 1800.0
"""Seconds that a slow machine may take for half a minute of speech with the largest weights."""

_LANGUAGE = 20  # letters of its name, at most
_INVALID = "the reader of its text sent invalid data; the file is damaged or hostile"


def read_apart(
    path: Path,
    source: Source = "subtitles",
    *,
    stall_s: float | None = None,
    command: Sequence[str] | None = None,
    weights: Path | None = None,
    begun: Heard | None = None,
    on_heard: Callable[[Heard], None] | None = None,
    on_progress: Progress | None = None,
) -> tuple[float, list[CueStream]]:
    """Read the cues of a video file in a subprocess.

    Args:
        path: the video file.
        source: `subtitles` for `extractors.cues.tracks.read_tracks`, `screen` for
            `extractors.cues.screen.reading.read_screen_text`, `speech` for `extractors.cues.speech.reading.transcribe`.
        stall_s: seconds without progress after which the video is given up.
        command: what the subprocess runs; this package's worker by default.
        weights: what transcribes speech, as of `SpeechModel.folder`.
        begun: speech that is known already; only the rest is transcribed and returned.
        on_heard: called with each part of speech that was transcribed.
        on_progress: called with how many pictures of the screen or seconds of the sound are done, and how many there
            are.

    Raises:
        VideoError: if the video cannot be read, or its reader crashed or hung over it.
        WeightsMissing, WeightsInvalid: if what reads the screen or transcribes speech cannot be loaded.
    """
    if stall_s is None:
        stall_s = SPEECH_STALL_S if source == "speech" else STALL_S
    process = Subprocess(command or python_command("extractors.cues.subprocess_main"))
    try:
        from_s, language = (0.0, "") if begun is None else (begun.until_s, begun.language)
        process.send(CueRequest(path, source, weights, from_s, language))
        return _receive(process, source, stall_s, on_progress, on_heard)
    except SubprocessEnded as error:
        raise DecoderCrash(path, error.how) from error
    except SubprocessStalled as error:
        reason = f"the reader of its text made no progress for {stall_s:g} s and was stopped"
        raise VideoError(path, reason) from error
    except wire.Nonsense as error:
        raise VideoError(path, _INVALID) from error
    except (WeightsMissing, WeightsInvalid):
        raise
    except VtgError as error:
        raise VideoError(path, error.reason if isinstance(error, VideoError) else str(error)) from error
    finally:
        process.end()


def _receive(
    process: Subprocess,
    source: Source,
    stall_s: float,
    on_progress: Progress | None,
    on_heard: Callable[[Heard], None] | None,
) -> tuple[float, list[CueStream]]:
    languages: dict[str, str] = {}
    cues: dict[str, list[Cue]] = {}
    notes: dict[str, list[str]] = {}
    count = 0
    while True:
        message = process.receive((SomeCues, PartDone, Heard, CuesEnd), timeout_s=stall_s)
        if isinstance(message, PartDone):
            if on_progress is not None:
                on_progress(message.done, message.count)
            continue
        if isinstance(message, Heard):
            if on_heard is not None:
                cues_heard = tuple(_checked(cue, source) for cue in message.cues)
                on_heard(replace(message, cues=cues_heard, language=plain_text(message.language)[:_LANGUAGE]))
            continue
        if isinstance(message, CuesEnd):
            break
        count += len(message.cues)
        if count > MOST_CUES:
            raise wire.Nonsense("more cues than are read")
        languages.setdefault(message.name, message.language)
        cues.setdefault(message.name, []).extend(_checked(cue, source) for cue in message.cues)
        notes.setdefault(message.name, []).extend(message.notes)
    if not 0 < message.duration_s < math.inf:
        raise wire.Nonsense("a length that no video has")
    streams = [
        CueStream(name, source, language=language, cues=tuple(cues[name]), notes=tuple(notes[name]))
        for name, language in languages.items()
    ]
    return message.duration_s, streams


def _checked(cue: Cue, source: Source) -> Cue:
    """A cue as it may be used, whatever has become of the process that read it."""
    if cue.source != source or not 0 <= cue.confidence <= 1:
        raise wire.Nonsense("a cue of another kind")
    if not 0 <= cue.start_s < cue.end_s < math.inf:
        raise wire.Nonsense("a cue without a time")
    return replace(cue, text=plain_text(cue.text)[:LONGEST_TEXT])
