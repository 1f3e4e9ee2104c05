"""A video that a subprocess decodes, read as a `ClipReader` is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from extractors.decoding.clip_reader import Decoder, DecodingOptions
from extractors.decoding.decode import DecodeRequest
from extractors.decoding.grid import Sampling
from extractors.decoding.subprocess_reader import DecodeProcess
from extractors.videos.events import ClipsDecoded, VideoDecoded, VideoStarted
from extractors.videos.facts import ClipChunk, VideoFacts


class Reading:
    """The events of a video that was opened, put together; its facts are known at the end."""

    def __init__(
        self,
        process: DecodeProcess,
        path: Path,
        samplings: Sequence[Sampling],
        *,
        decoder: Decoder = "auto",
        chunk_s: float = 10.0,
    ) -> None:
        named = {str(number): sampling for number, sampling in enumerate(samplings)}
        self._events = process.decode(DecodeRequest(7, path, named, DecodingOptions(decoder, chunk_s)))
        started = next(self._events)
        assert isinstance(started, VideoStarted)
        assert (started.index, started.path, started.info.path) == (7, path, path)
        self.info = started.info
        self.clip_counts = tuple(started.clip_counts.values())
        self.facts = VideoFacts()

    def __iter__(self) -> Iterator[ClipChunk]:
        for event in self._events:
            assert event.index == 7
            if isinstance(event, VideoDecoded):
                self.facts = event.facts
            elif isinstance(event, ClipsDecoded):
                yield event.chunk

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exception: object) -> None:
        self._events.close()
