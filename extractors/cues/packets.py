"""The packets of some streams of a file, as far as it can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from extractors.decoding import ffmpeg_log, pulse


def read_packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """Packets in the order of the file; where it is damaged, they end, and what came before counts.

    Args:
        container: an open container of PyAV.
        streams: of the container; the last packet of each is empty.
    """
    import av

    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            ffmpeg_log.complain()
            return
        pulse.beat()
        yield packet
