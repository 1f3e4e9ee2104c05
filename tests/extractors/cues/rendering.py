"""Small videos with known subtitles, in the file and beside it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from vtg_cli.terminal.timecode import subtitle_time


class Line(NamedTuple):
    """A subtitle: seconds, and what is shown."""

    start_s: float
    end_s: float
    text: str


LINES = (
    Line(0.5, 2.04, "Good morning, and welcome.\nPlease sit down."),
    Line(2.5, 4.75, "Le café coûte 4 € à Genève."),
    Line(5.25, 7.11, "Next year we will spend four million."),
)
"""Times that ASS can write, too: it counts hundredths."""

_ASS_HEAD = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
    "Style: Default,Arial,20\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def srt(lines: Sequence[Line]) -> str:
    """SubRip."""
    return "".join(
        f"{number}\n{_time(line.start_s, ',')} --> {_time(line.end_s, ',')}\n{line.text}\n\n"
        for number, line in enumerate(lines, start=1)
    )


def vtt(lines: Sequence[Line]) -> str:
    """WebVTT, with all that may stand between cues."""
    cues = "".join(
        f"cue {number}\n{_time(line.start_s)} --> {_time(line.end_s)} align:start\n<v Ann>{line.text}</v>\n\n"
        f"NOTE not shown\nat all\n\n"
        for number, line in enumerate(lines, start=1)
    )
    return f"WEBVTT\n\nSTYLE\n::cue {{ color: red }}\n\n{cues}"


def ass(lines: Sequence[Line]) -> str:
    """ASS, with overrides and a drawing."""
    drawing = "Dialogue: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}\n"
    return (
        _ASS_HEAD
        + drawing
        + "".join(
            "Dialogue: 0,{},{},Default,,0,0,0,,{{\\b1\\pos(1,2)}}{}\n".format(
                _time(line.start_s)[1:-1], _time(line.end_s)[1:-1], line.text.replace("\n", "\\N{\\i1}")
            )
            for line in lines
        )
    )


def sbv(lines: Sequence[Line]) -> str:
    """SBV of YouTube."""
    return "".join(f"{_time(line.start_s)[1:]},{_time(line.end_s)[1:]}\n{line.text}\n\n" for line in lines)


WRITERS = {"srt": srt, "vtt": vtt, "ass": ass, "sbv": sbv}


def _time(seconds: float, separator: str = ".") -> str:
    return subtitle_time(seconds, separator=separator)


def render_video(
    path: Path,
    *,
    duration_s: int = 8,
    tracks: Sequence[tuple[str, Sequence[Line], str]] = (),
) -> Path:
    """Render a grey video with text tracks.

    Args:
        path: where to; the suffix chooses the container.
        duration_s: its length.
        tracks: format (`mov_text`, `srt`, `vtt`, `ass`), lines, and language of each.
    """
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        packets = []
        for kind, lines, language in tracks:
            if kind == "mov_text":
                stream = out.add_mux_stream("mov_text", time_base=base)
                for line in lines:
                    text = line.text.encode()
                    packet = av.Packet(len(text).to_bytes(2, "big") + text)
                    packet.time_base, packet.pts = base, round(line.start_s * 1000)
                    packet.dts, packet.duration = packet.pts, round((line.end_s - line.start_s) * 1000)
                    packets.append((stream, packet))
            else:
                source = path.with_name(f"{path.stem}-track.{kind}")
                source.write_text(WRITERS[kind](lines), encoding="utf-8")
                with av.open(str(source)) as opened:
                    track = opened.streams.subtitles[0]
                    stream = out.add_stream_from_template(track)
                    packets += [(stream, packet) for packet in opened.demux(track) if packet.size]
                source.unlink()
            stream.metadata["language"] = language
        for number in range(5 * duration_s):
            frame = av.VideoFrame.from_ndarray(
                np.full((64, 64, 3), 2 * number % 256, np.uint8), format="rgb24"
            )
            for packet in picture.encode(frame):
                out.mux(packet)
        for packet in picture.encode(None):
            out.mux(packet)
        for stream, packet in packets:
            packet.stream = stream
            out.mux(packet)
    return path
