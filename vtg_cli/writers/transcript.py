"""What is said or written in a video, as subtitles, JSON or text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from extractors.errors import UsageError
from vtg_cli.writers import subrip, webvtt
from vtg_cli.writers.cues import Cue as Shown
from vtg_cli.writers.formats import STDOUT, write_data

if TYPE_CHECKING:
    from extractors.cues.cue import Cue, CueStream, Transcript

SCHEMA = "vtg.transcript/1"

_Writer = Callable[["Transcript", "Sequence[CueStream]", TextIO], None]


def write_transcript(transcript: Transcript, streams: Sequence[CueStream], output: str, form: str) -> None:
    """Write cues in order of time to a file, atomically, or to standard output if it is `-`.

    Args:
        transcript: of a video.
        streams: those of its streams that are written.
        output: the file.
        form: one of `FORMATS`.

    Raises:
        VtgError: if the file cannot be written.
    """
    text = io.StringIO(newline="")
    FORMATS[form](transcript, streams, text)
    write_data(text.getvalue().encode("utf-8", "backslashreplace"), output)


def require_form(output: str, name: str | None) -> str:
    """The format that a name selects, or else the ending of a file; text for standard output.

    Raises:
        UsageError: if there is none.
    """
    form = name or ("txt" if output == STDOUT else Path(output).suffix.lower().removeprefix("."))
    if form not in FORMATS:
        known = ", ".join(FORMATS)
        if name:
            raise UsageError(f"--format {name}: unknown format; known are {known}")
        raise UsageError(f"--output {output}: its ending selects no format; add --format, one of {known}")
    return form


def _in_order(streams: Sequence[CueStream]) -> Sequence[Cue]:
    from extractors.cues.cue import in_order

    return in_order(cue for stream in streams for cue in stream.cues)


def _shown(streams: Sequence[CueStream]) -> list[Shown]:
    return [Shown(cue.start_s, cue.end_s, cue.text) for cue in _in_order(streams)]


def _srt(transcript: Transcript, streams: Sequence[CueStream], file: TextIO) -> None:
    subrip.write_cues(_shown(streams), file)


def _vtt(transcript: Transcript, streams: Sequence[CueStream], file: TextIO) -> None:
    webvtt.write_cues(_shown(streams), file)


def _txt(transcript: Transcript, streams: Sequence[CueStream], file: TextIO) -> None:
    from vtg_cli.terminal.console import one_line
    from vtg_cli.terminal.timecode import timecode

    cues = _in_order(streams)
    width = len(timecode(cues[-1].start_s)) if cues else 0
    for cue in cues:
        file.write(f"{timecode(cue.start_s):>{width}}  {one_line(cue.text)}\n")


def _json(transcript: Transcript, streams: Sequence[CueStream], file: TextIO) -> None:
    document = {
        "schema": SCHEMA,
        "video": transcript.video,
        "duration_s": round(transcript.duration_s, 3),
        "streams": [
            {
                "name": stream.name,
                "source": stream.source,
                "language": stream.language or None,
                "cues": len(stream.cues),
            }
            for stream in transcript.streams
        ],
        "cues": [
            {
                "start_s": round(cue.start_s, 3),
                "end_s": round(cue.end_s, 3),
                "text": cue.text,
                "source": cue.source,
                "stream": cue.stream,
                "confidence": round(cue.confidence, 4),
            }
            for cue in _in_order(streams)
        ],
    }
    json.dump(document, file, ensure_ascii=False, indent=2, allow_nan=False)
    file.write("\n")


FORMATS: Mapping[str, _Writer] = {"srt": _srt, "vtt": _vtt, "json": _json, "txt": _txt}
"""How a transcript can be written, by the ending of the file."""
