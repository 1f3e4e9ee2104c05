"""Subtitle files: SubRip, WebVTT, ASS, SSA and SBV, in any common encoding.

Such files come from strangers. pysubs2 reads them whole, and some of its patterns take time in proportion to the square
of a text. So it is given what `_Guard` lets through: short lines, short blocks, and times that can be times.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from extractors.cues.cleaning import clean_ass, clean_text
from extractors.cues.cue import LONGEST_TEXT, MOST_CUES, Cue, CueStream, in_order
from extractors.cues.encodings import decode_text
from extractors.errors import VideoError
from extractors.files.regular import open_regular

SUFFIXES = (".srt", ".vtt", ".ass", ".ssa", ".sbv")
"""How the names of subtitle files end."""

MOST_BYTES = 32_000_000
"""Bytes of a file; a day of talk has 5 MB."""

_LONGEST_LINE = 10_000
_MOST_LINES = 50  # of a cue

_CLOCK = r"\d{1,2}:\d{1,2}:\d{1,2}[.,]\d{1,3}"
_SRT_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?![\d.,:])")
_VTT_CLOCK = r"(?:\d{1,4}:)?\d\d:\d\d\.\d{3}"
_VTT_TIMES = re.compile(rf"\s*{_VTT_CLOCK}\s*-->\s*{_VTT_CLOCK}(?![\d.,:])")
_TIMES_LIKE = re.compile(r"\s*-?\d[\d:.,]{0,30}\s*-->")
_SBV_TIMES = re.compile(rf"\s*({_CLOCK}),({_CLOCK})\s*$")
_SBV_LIKE = re.compile(r"\s*-?\d+:\d+:\d+[.,]\d+,-?\d+:")
_ASS_LINE = re.compile(
    r"Dialogue:\s*[^,]{0,40},\s*\d{1,2}:\d{1,2}:\d{1,2}[.:,]\d{1,3}\s*,\s*\d{1,2}:\d{1,2}:\d{1,2}[.:,]"
)


def read_subtitle_file(path: Path, *, language: str = "") -> CueStream:
    """Read the cues of a subtitle file.

    Args:
        path: the file; its name selects the format.
        language: of the text, as far as known.

    Returns:
        the cues in order of time. Its notes say what was left out: cues with impossible times, and those beyond the
        first `MOST_CUES`.

    Raises:
        VideoError: of the subtitle file, if it cannot be read, is too large, or holds no cue.
    """
    with open_regular(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise VideoError(
            path, f"is larger than {MOST_BYTES / 1e6:.0f} MB, which no subtitles are; move it away or cut it"
        )
    text, encoding = decode_text(data)
    guard = _Guard(path.suffix.lower())
    cues = tuple(guard.read(text, path.name))
    notes = list(guard.notes())
    if encoding == "cp1252":
        notes.append("is not UTF-8 and was read as Windows-1252; if letters are wrong, convert it to UTF-8")
    if not cues:
        raise VideoError(path, f"holds no subtitles{f' ({notes[0]})' if notes else ''}")
    return CueStream(path.name, language=language, cues=in_order(cues), notes=tuple(notes))


class _Guard:
    """Reads one text, and counts what it leaves out.

    Args:
        suffix: one of `SUFFIXES`.
    """

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._without_time = 0
        self._cut = 0
        self._is_full = False

    def notes(self) -> Iterator[str]:
        """What was left out; each completes a sentence that begins with the name of the file."""
        if self._without_time:
            yield f"{self._without_time:,} of its cues have impossible times and are left out"
        if self._cut:
            yield f"{self._cut:,} of its cues are cut to {LONGEST_TEXT:,} characters or {_MOST_LINES} lines"
        if self._is_full:
            yield f"only its first {MOST_CUES:,} cues are read"

    def read(self, text: str, stream: str) -> Iterator[Cue]:
        """The cues, in the order of the text."""
        import pysubs2

        is_ass = self._suffix in (".ass", ".ssa")
        lines = self._ass_lines(text) if is_ass else self._blocks(text)
        kind = "ass" if is_ass else "vtt" if self._suffix == ".vtt" else "srt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of fields that say how a text looks
            try:
                events = pysubs2.SSAFile.from_string("".join(lines), format_=kind, keep_html_tags=True).events
            except (pysubs2.Pysubs2Error, ValueError, LookupError, ArithmeticError):
                return
        for event in events:
            # pysubs2 writes line ends as ASS does.
            shown = clean_ass(event.text) if is_ass else clean_text(event.text, has_entities=kind == "vtt")
            if event.end <= event.start:
                self._without_time += 1
            elif shown:
                self._cut += len(shown) > LONGEST_TEXT
                yield Cue(event.start / 1000, event.end / 1000, shown[:LONGEST_TEXT], stream=stream)

    def _blocks(self, text: str) -> Iterator[str]:
        """The lines of SubRip, WebVTT and SBV that belong to cues, as SubRip or WebVTT."""
        if self._suffix == ".vtt":
            yield "WEBVTT\n\n"
        block: list[str] | None = None
        count = 0
        for line in _lines(text):
            times = self._times(line)
            if times is None:
                if block is not None:
                    block.append(line)
                continue
            yield from self._written(block)
            block = None
            if count == MOST_CUES:
                self._is_full = True
                return
            if times:
                block = [times]
                count += 1
            else:
                self._without_time += 1
        yield from self._written(block)

    def _times(self, line: str) -> str | None:
        """A line of times as pysubs2 reads it; empty if they are impossible, None if it is another line."""
        if self._suffix == ".sbv":
            if match := _SBV_TIMES.match(line):
                return f"{match[1]} --> {match[2]}"
            return "" if _SBV_LIKE.match(line) else None
        if not _TIMES_LIKE.match(line):
            return None
        match = (_VTT_TIMES if self._suffix == ".vtt" else _SRT_TIMES).match(line)
        return match[0] if match else ""

    def _written(self, block: list[str] | None) -> Iterator[str]:
        """A cue as canonical SubRip, without the number or the name of the next one."""
        if block is None:
            return
        times, *lines = block
        if self._suffix == ".vtt":
            # A cue ends at an empty line; what follows is a name, a comment or a style.
            blank = next((at for at, line in enumerate(lines) if not line.strip()), len(lines))
            lines = lines[:blank]
        elif len(lines) > 1 and lines[-1].strip().isdecimal() and not lines[-2].strip():
            lines = lines[:-1]
        lines = [line.strip() for line in lines if line.strip()]
        self._cut += len(lines) > _MOST_LINES
        # pysubs2 takes a number at the end for that of the next cue.
        yield "\n".join([times, *lines[:_MOST_LINES], "", "0", ""])

    def _ass_lines(self, text: str) -> Iterator[str]:
        """The lines of ASS and SSA that are shown; styles, fonts and pictures are left out."""
        yield "[Events]\n"
        count = 0
        for line in _lines(text):
            if not line.startswith("Dialogue:"):
                continue
            if count == MOST_CUES:
                self._is_full = True
                return
            if _ASS_LINE.match(line):
                count += 1
                yield f"{line}\n"
            else:
                self._without_time += 1


def _lines(text: str) -> Iterator[str]:
    """The lines of a text without their ends, each cut to a length that a cue can have."""
    for line in io.StringIO(text, newline=None):
        yield line.rstrip("\n")[:_LONGEST_LINE]
