"""A video decoded from beginning to end, as events: in this process, or in the one that serves requests."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractors.decoding.clip_reader import ClipReader, DecodingOptions
from extractors.decoding.frames import Framing
from extractors.decoding.grid import Sampling
from extractors.errors import VideoError, reason_of
from extractors.videos.events import ClipsDecoded, DecoderEvent, VideoDecoded, VideoStarted
from extractors.videos.facts import ClipChunk, VideoFacts


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
    """Decode a video in this process: once for all samplings that want the same framing.

    Yields:
        `VideoStarted`, `ClipsDecoded` for each chunk, and `VideoDecoded`.

    Raises:
        VideoError: if it cannot be read.
    """
    index, path, samplings = request.index, request.path, request.samplings
    with as_video_errors(path), ExitStack() as stack:
        readers = [
            (
                names,
                stack.enter_context(ClipReader(path, [samplings[name] for name in names], request.options)),
            )
            for names in _alike(samplings)
        ]
        counts = {
            name: count
            for names, reader in readers
            for name, count in zip(names, reader.clip_counts, strict=True)
        }
        yield VideoStarted(index, path, readers[0][1].info, {name: counts[name] for name in samplings})
        for names, reader in readers:
            for chunk in reader:
                event = ClipsDecoded(index, _for_all(chunk, names, tuple(samplings)))
                del chunk
                yield event
                del event  # its frames are the consumer's alone while the next ones are decoded
        yield VideoDecoded(index, VideoFacts.join(reader.facts for _, reader in readers))


def _alike(samplings: Mapping[str, Sampling]) -> list[tuple[str, ...]]:
    """The names of samplings, those of one framing together."""
    groups: dict[Framing, list[str]] = {}
    for name, sampling in samplings.items():
        groups.setdefault(sampling.framing, []).append(name)
    return [tuple(names) for names in groups.values()]


def _for_all(chunk: ClipChunk, names: tuple[str, ...], all_names: tuple[str, ...]) -> ClipChunk:
    """A chunk of some samplings as one of all, with no clips of the others."""
    if names == all_names:
        return chunk
    starts = dict(zip(names, chunk.start_clip, strict=True))
    rows = dict(zip(names, chunk.rows, strict=True))
    none = np.zeros((0, 1), np.int64)
    return ClipChunk(
        start_clip=tuple(starts.get(name, 0) for name in all_names),
        frames=chunk.frames,
        rows=tuple(rows.get(name, none) for name in all_names),
    )


@contextmanager
def as_video_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a file is read as VideoErrors."""
    try:
        yield
    except MemoryError as error:
        raise VideoError(path, "out of memory while decoding") from error
    except OSError as error:
        raise VideoError(path, f"cannot be read: {reason_of(error)}") from error
