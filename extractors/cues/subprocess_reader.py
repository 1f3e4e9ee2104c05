"""The text tracks of a video file, read in a subprocess, so that a hostile file can crash or hang only that one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from extractors.cues.cleaning import plain_text
from extractors.cues.cue import LONGEST_TEXT, MOST_CUES, Cue, CueStream
from extractors.cues.subprocess_main import CueRequest, CuesEnd, SomeCues
from extractors.decoding.subprocess_reader import STALL_S, DecoderCrash
from extractors.errors import VideoError, VtgError
from extractors.subprocesses import wire
from extractors.subprocesses.parent import Subprocess, SubprocessEnded, SubprocessStalled, python_command

_INVALID = "the reader of its text tracks sent invalid data; the file is damaged or hostile"


def read_tracks_apart(
    path: Path, *, stall_s: float = STALL_S, command: Sequence[str] | None = None
) -> tuple[float, list[CueStream]]:
    """Read the text tracks of a video file in a subprocess, as `extractors.cues.tracks.read_tracks`.

    Args:
        path: the video file.
        stall_s: seconds without progress after which the video is given up.
        command: what the subprocess runs; this package's worker by default.

    Raises:
        VideoError: if the video cannot be read, or its reader crashed or hung over it.
    """
    process = Subprocess(command or python_command("extractors.cues.subprocess_main"))
    try:
        process.send(CueRequest(path))
        return _receive(process, stall_s)
    except SubprocessEnded as error:
        raise DecoderCrash(path, error.how) from error
    except SubprocessStalled as error:
        reason = f"the reader of its text tracks made no progress for {stall_s:g} s and was stopped"
        raise VideoError(path, reason) from error
    except wire.Nonsense as error:
        raise VideoError(path, _INVALID) from error
    except VtgError as error:
        raise VideoError(path, error.reason if isinstance(error, VideoError) else str(error)) from error
    finally:
        process.end()


def _receive(process: Subprocess, stall_s: float) -> tuple[float, list[CueStream]]:
    languages: dict[str, str] = {}
    cues: dict[str, list[Cue]] = {}
    notes: dict[str, list[str]] = {}
    count = 0
    while True:
        message = process.receive((SomeCues, CuesEnd), timeout_s=stall_s)
        if isinstance(message, CuesEnd):
            break
        count += len(message.cues)
        if count > MOST_CUES:
            raise wire.Nonsense("more cues than are read")
        languages.setdefault(message.name, message.language)
        cues.setdefault(message.name, []).extend(map(_checked, message.cues))
        notes.setdefault(message.name, []).extend(message.notes)
    if not 0 < message.duration_s < math.inf:
        raise wire.Nonsense("a length that no video has")
    streams = [
        CueStream(name, language=language, cues=tuple(cues[name]), notes=tuple(notes[name]))
        for name, language in languages.items()
    ]
    return message.duration_s, streams


def _checked(cue: Cue) -> Cue:
    """A cue as it may be used, whatever has become of the process that read it."""
    if not 0 <= cue.start_s < cue.end_s < math.inf:
        raise wire.Nonsense("a cue without a time")
    return replace(cue, text=plain_text(cue.text)[:LONGEST_TEXT])
