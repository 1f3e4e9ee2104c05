"""The parts of one video decoded side by side, each from a key frame to a key frame, on the cores of this machine.

Several decoders with one thread each need less time together than one decoder with many threads, whose frames wait for
each other. Frames and their order are the same.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.container.timeline import Timeline, open_container
from extractors.decoding.frames import Geometry
from extractors.decoding.pyav_reader import PartReader
from extractors.decoding.selection import can_start_at_key_frames, needs
from extractors.subprocesses.cores import usable_cores

# Of frames that are decoded but not yet asked for: 150 MB at 224 x 224.
_MOST_FRAMES_AHEAD = 1024
_MOST_FRAMES_OF_PART = 400
_MOST_DECODER_BYTES = 1 << 30
_PICTURES_OF_DECODER = 20  # reference pictures and what is being decoded
_BYTES_OF_PIXEL = 3  # of 4:2:0 with ten bits


@dataclass(frozen=True)
class Crew:
    """How many decoders work on a video, and with how many threads each."""

    decoders: int
    threads: int

    @classmethod
    def for_parts(
        cls, parts: Sequence[NDArray[np.int64]], timeline: Timeline, *, cores: int | None = None
    ) -> Crew | None:
        """The decoders for the parts of a video; None where it is better read by a single one.

        Args:
            parts: of `wanted` frames, split at key frames.
            timeline: the video.
            cores: that are to be busy; those of this process by default.
        """
        cores = usable_cores() if cores is None else cores
        if not can_start_at_key_frames(timeline) or max(map(len, parts), default=0) > _MOST_FRAMES_OF_PART:
            return None
        decoder_bytes = timeline.width * timeline.height * _BYTES_OF_PIXEL * _PICTURES_OF_DECODER
        decoders = min(cores, len(parts), _MOST_DECODER_BYTES // decoder_bytes)
        return cls(decoders, max(cores // decoders, 1)) if decoders > 1 else None


def read_parts(
    parts: Sequence[NDArray[np.int64]], timeline: Timeline, geometry: Geometry, crew: Crew
) -> Generator[NDArray[np.uint8], None, None]:
    """Decode the parts of a video with several decoders; closing the generator ends them.

    Args:
        parts: (M,) rising indices into the timeline for each part; parts are split at key frames.
        timeline: the video.
        geometry: how frames are scaled and cut.
        crew: of `Crew.for_parts`.

    Yields:
        (size, size, 3) RGB for each of the frames, in order, as soon as it is decoded.

    Raises:
        VideoError: if the file cannot be opened.
        FrameMissing: if a frame that is wanted does not come out.
    """
    needed = needs(np.concatenate(parts), timeline)
    idle: queue.SimpleQueue[PartReader] = queue.SimpleQueue()
    stop = threading.Event()

    def read(part: NDArray[np.int64], pictures: queue.SimpleQueue[NDArray[np.uint8] | None]) -> None:
        with ExitStack() as ending:
            ending.callback(pictures.put, None)
            if stop.is_set():
                return
            reader = idle.get()
            ending.callback(idle.put, reader)  # or another thread would wait for it forever
            for picture in reader.read(part):
                if stop.is_set():
                    break
                pictures.put(picture)

    ahead = max(min(crew.decoders + 1, _MOST_FRAMES_AHEAD // max(map(len, parts))), crew.decoders)
    with ExitStack() as stack:
        for _ in range(crew.decoders):
            opened = stack.enter_context(open_container(timeline.file))
            idle.put(PartReader(*opened, timeline, geometry, needed, num_threads=crew.threads))
        pool = ThreadPoolExecutor(crew.decoders, "vtg-part")
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.callback(stop.set)
        waiting: deque[_Part] = deque()
        for part in parts:
            pictures: queue.SimpleQueue[NDArray[np.uint8] | None] = queue.SimpleQueue()
            waiting.append(_Part(pool.submit(read, part, pictures), pictures))
            if len(waiting) == ahead:
                yield from waiting.popleft().decoded()
        while waiting:
            yield from waiting.popleft().decoded()


@dataclass(frozen=True)
class _Part:
    """A part that is being decoded.

    Attributes:
        done: once it is decoded, or cannot be.
        pictures: what is decoded of it so far; None is the end.
    """

    done: Future[None]
    pictures: queue.SimpleQueue[NDArray[np.uint8] | None]

    def decoded(self) -> Iterator[NDArray[np.uint8]]:
        """Each picture as soon as it is there; raises what ended the part early."""
        while (picture := self.pictures.get()) is not None:
            yield picture
        self.done.result()
