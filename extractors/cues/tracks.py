"""Text tracks inside video files: mov_text, SubRip, ASS, WebVTT and what else FFmpeg reads as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extractors.cues.cleaning import clean_ass
from extractors.cues.cue import LONGEST_TEXT, MOST_CUES, Cue, CueStream, in_order
from extractors.cues.packets import read_packets
from extractors.decoding import ffmpeg_log
from extractors.decoding.container.timeline import open_container, read_timeline

_MOST_TRACKS = 64
_ASS = frozenset({"ass", "ssa"})


def read_tracks(path: Path) -> tuple[float, list[CueStream]]:
    """Read the text tracks of a video file in this process.

    Returns:
        the length of the video in seconds, and a stream for each track that holds cues, the default one first.
        Tracks of pictures, as of DVDs and Blu-rays, have none.

    Raises:
        VideoError: if the video cannot be read.
    """
    timeline = read_timeline(path)
    with open_container(timeline.file) as (container, _):
        tracks = [
            _Track(stream) for stream in container.streams.subtitles if stream.codec_context is not None
        ]
        tracks = tracks[:_MOST_TRACKS]
        if tracks:
            _read(container, tracks, timeline.start_s)
    streams = [track.stream() for track in sorted(tracks, key=lambda track: not track.is_default)]
    return timeline.end_s, [stream for stream in streams if stream.cues]


def _read(container: Any, tracks: list[_Track], start_s: float) -> None:
    by_index = {track.index: track for track in tracks}
    count = 0
    for packet in read_packets(container, [track.demuxed for track in tracks]):
        if not packet.size:
            continue
        count += by_index[packet.stream_index].add(packet, start_s)
        if count == MOST_CUES:
            for track in tracks:
                track.is_full = True
            return


class _Track:
    """What is read of one track.

    Args:
        demuxed: the stream, of PyAV.

    Attributes:
        demuxed: that stream.
        index: its number in the file.
        is_default: whether the file marks it as the one to show.
        is_full: whether there is no room for more cues.
    """

    def __init__(self, demuxed: Any) -> None:
        from av.stream import Disposition

        self.demuxed = demuxed
        self.index: int = demuxed.index
        self.is_default = bool(demuxed.disposition & Disposition.default)
        self.is_full = False
        self._hides_braces = demuxed.codec_context.name in _ASS
        self._cues: list[Cue] = []
        self._timeless = 0

    @property
    def name(self) -> str:
        """How people and options name it; the number is FFmpeg's."""
        return f"track {self.index}"

    def add(self, packet: Any, start_s: float) -> bool:
        """Read a packet; returns whether it holds a cue.

        Args:
            packet: of PyAV.
            start_s: start of the container on the clock of the stream, in seconds.
        """
        import av

        try:
            parts = packet.decode()
        except av.error.FFmpegError:
            ffmpeg_log.complain()
            return False
        texts = [_text(part, hides_braces=self._hides_braces) for part in parts]
        text = "\n".join(dict.fromkeys(filter(None, texts)))[:LONGEST_TEXT]
        if not text:
            return False
        times = _times(packet, start_s)
        if times is None:
            self._timeless += 1
            return False
        self._cues.append(Cue(*times, text, stream=self.name))
        return True

    def stream(self) -> CueStream:
        """What was read."""
        notes = []
        if self._timeless:
            notes.append(f"{self._timeless:,} of its cues have impossible times and are left out")
        if self.is_full:
            notes.append(f"the file has more than {MOST_CUES:,} cues, and only that many are read")
        language = _language(self.demuxed)
        return CueStream(self.name, language=language, cues=in_order(self._cues), notes=tuple(notes))


def _times(packet: Any, start_s: float) -> tuple[float, float] | None:
    """Start and end of a packet in seconds from the start of the video, to the millisecond; None if it has none."""
    if packet.pts is None or not packet.time_base or not packet.duration:
        return None
    begin_s = round(max(float(packet.pts * packet.time_base) - start_s, 0.0), 3)
    end_s = round(float((packet.pts + packet.duration) * packet.time_base) - start_s, 3)
    return (begin_s, end_s) if end_s > begin_s else None


def _text(part: Any, *, hides_braces: bool) -> str:
    """The text of one part of a packet; empty if it is a picture."""
    if part.type not in (b"ass", b"text"):
        return ""
    raw = part.ass.decode("utf-8", "replace")
    # ReadOrder, Layer, Style, Name, MarginL, MarginR, MarginV, Effect, Text
    fields = raw.split(",", 8)
    return clean_ass(fields[8], hides_braces=hides_braces) if len(fields) == 9 else ""


def _language(stream: Any) -> str:
    language = stream.language or ""
    return language if language.isascii() and language.isalpha() and language != "und" else ""
