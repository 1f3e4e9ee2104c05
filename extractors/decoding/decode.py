"""A video decoded from beginning to end, as events: in this process, or in the one that serves requests."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from extractors.decoding.clip_reader import ClipReader, DecodingOptions
from extractors.decoding.grid import Sampling
from extractors.errors import VideoError, reason_of
from extractors.videos.events import ClipsDecoded, DecoderEvent, VideoDecoded, VideoStarted


@dataclass(frozen=True)
class DecodeRequest:
    """A video to be decoded.

    Attributes:
        index: its place in the list of videos.
        path: the file.
        samplings: by feature name, the frames that are wanted.
        options: how it is decoded.
    """

    index: int
    path: Path
    samplings: Mapping[str, Sampling]
    options: DecodingOptions = DecodingOptions()


def decode(request: DecodeRequest) -> Generator[DecoderEvent, None, None]:
    """Decode a video in this process.

    Yields:
        `VideoStarted`, `ClipsDecoded` for each chunk, and `VideoDecoded`.

    Raises:
        VideoError: if it cannot be read.
    """
    index, path = request.index, request.path
    with (
        as_video_errors(path),
        ClipReader(path, tuple(request.samplings.values()), request.options) as reader,
    ):
        counts = dict(zip(request.samplings, reader.clip_counts, strict=True))
        yield VideoStarted(index, path, reader.info, counts)
        for chunk in reader:
            event = ClipsDecoded(index, chunk)
            del chunk
            yield event
            del event  # its frames are the consumer's alone while the next ones are decoded
        yield VideoDecoded(index, reader.facts)


@contextmanager
def as_video_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a file is read as VideoErrors."""
    try:
        yield
    except MemoryError as error:
        raise VideoError(path, "out of memory while decoding") from error
    except OSError as error:
        raise VideoError(path, f"cannot be read: {reason_of(error)}") from error
