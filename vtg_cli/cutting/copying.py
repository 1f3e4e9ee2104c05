"""An excerpt copied: its packets as they are, from a key frame on."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from extractors.errors import VideoError
from vtg_cli.cutting.source import STRAGGLERS_S, Excerpt, Source, decodable, packets

_DECODING_LEAD_S = (
    0.1  # given to frames that are decoded in another order than shown, where the file does not say
)


def copy(source: Source, output: Any, excerpt: Excerpt) -> int:
    """Copy an excerpt that starts with a key frame; returns the tick at which the last frame that came along ends.

    Raises:
        VideoError: if the key frame cannot be found again, or the output cannot hold what is copied.
    """
    missing, end = excerpt.last - excerpt.first, excerpt.end
    start_s, end_s = excerpt.start * source.tick_s, excerpt.end * source.tick_s
    with source.open_before(excerpt) as (container, stream):
        copied = _copied_streams(source, output, container, stream, start_s)
        waiting = {index for index in copied if index != stream.index}
        begun = False
        for packet in packets(container, [container.streams[index] for index in copied]):
            if packet.pts is None or packet.size == 0 or packet.is_discard:
                continue
            index, pts = packet.stream.index, packet.pts
            if index != stream.index:
                if pts * packet.time_base >= end_s:
                    waiting.discard(index)
                elif pts * packet.time_base >= start_s:
                    copied[index].mux(output, packet)
            elif missing:
                begun = begun or (packet.is_keyframe and pts >= excerpt.start)
                # Frames before the key frame that follow it in the file need frames that stay behind.
                if begun and pts >= excerpt.start:
                    missing -= pts < excerpt.end
                    end = max(end, pts + source.step(pts))
                    copied[index].mux(output, packet)
            elif pts > excerpt.end + round(STRAGGLERS_S / source.tick_s):
                break
            if not (waiting or missing):
                break
    if not begun:
        raise VideoError(source.path, "its key frames cannot be found again; cut without copying")
    return end


def _copied_streams(
    source: Source, output: Any, container: Any, stream: Any, start_s: Fraction
) -> dict[int, _Copied]:
    copied = {}
    lead_s = _DECODING_LEAD_S if stream.codec_context.has_b_frames else 0.0
    for one in (stream, *decodable(container)):
        try:
            # Opaque, as there need not be an encoder for what is copied.
            written = output.add_stream_from_template(one, opaque=True)
        except ValueError as error:
            raise VideoError(
                source.path,
                f"{one.codec_context.codec.canonical_name} cannot be copied into a file of this format; take the "
                "ending of the source, or .mkv",
            ) from error
        copied[one.index] = _Copied(written, start_s, lead_s if one is stream else 0.0)
    return copied


class _Copied:
    """A stream whose packets are copied.

    Args:
        stream: of the file that is written.
        start_s: what of the source's clock is 0 there.
        lead_s: how long its first frame is decoded before it is shown, where the source does not say.
    """

    def __init__(self, stream: Any, start_s: Fraction, lead_s: float) -> None:
        self._stream = stream
        self._start_s = start_s
        self._lead_s = lead_s
        self._latest: int | None = None

    def mux(self, output: Any, packet: Any) -> None:
        """Write a packet of the source, with its times moved."""
        shift = round(self._start_s / packet.time_base)
        packet.pts -= shift
        if packet.dts is not None:
            packet.dts -= shift
        elif self._latest is not None:
            packet.dts = self._latest + 1
        else:
            # Matroska does not say when its first frames are decoded: in this order, and before any other.
            packet.dts = packet.pts - round(self._lead_s / packet.time_base)
        self._latest = packet.dts
        packet.stream = self._stream
        output.mux(packet)
