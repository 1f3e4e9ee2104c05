"""The subprocess that `multi_device` starts for a device: extracts the videos that it is handed, one after another."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from extractors.cache.store import FeatureCache
from extractors.compute.memory import keep_freed_memory
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.errors import VtgError
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_each
from extractors.places import Place
from extractors.subprocesses import worker
from extractors.subprocesses.wire import Failed
from extractors.videos.events import Event

LoadEncoder = Callable[[str, EncoderOptions], VideoEncoder]
"""Makes the encoder of a feature; a function at the top of a module, because each worker imports it."""


@dataclass(frozen=True)
class DeviceJob:
    """What a worker is told first.

    Attributes:
        device: where it computes.
        features: how the encoders are built, by feature name.
        load_module, load_function: the function that builds them.
        cache_root: where features are kept.
        options: how they are extracted.
    """

    device: str
    features: Mapping[str, EncoderOptions]
    load_module: str
    load_function: str
    cache_root: Path
    options: ExtractionOptions

    def encoders(self) -> list[VideoEncoder]:
        """Build the encoders."""
        load = getattr(importlib.import_module(self.load_module), self.load_function)
        return [load(name, replace(options, device=self.device)) for name, options in self.features.items()]

    def extract(
        self,
        encoders: Sequence[VideoEncoder],
        videos: Iterable[tuple[int, Place]],
        send: Callable[[Event], None],
        stop: threading.Event,
    ) -> None:
        """Extract the features of videos: the work of every worker, here or on a cluster.

        Args:
            encoders: as `encoders()` has built them.
            videos: place in the list and path of each; read one by one as the decoder is ready for them.
            send: called with every event.
            stop: once it is set, the videos that are open are dropped.

        Raises:
            VtgError: as `extract_features`.
        """
        cache = FeatureCache(self.cache_root)
        with closing(extract_each(videos, encoders, cache, self.options, send, stop=stop)) as finished:
            for event, _ in finished:
                send(event)


@dataclass(frozen=True)
class VideoWanted:
    """The worker is ready for a video; the answer is a `HandedVideo`."""


@dataclass(frozen=True)
class HandedVideo:
    """A video, and its place in the list; no path if none is left."""

    index: int
    path: Place | None


@dataclass(frozen=True)
class WorkerCrashed:
    """The worker ends over a fault of its own."""

    reason: str


@dataclass(frozen=True)
class WorkerDone:
    """The worker ends, as no video is left."""


def fault(error: Exception) -> Failed | WorkerCrashed:
    """The last message of a worker that ends over an error; one that is not vtg's own is printed, too."""
    if isinstance(error, VtgError):
        return Failed(error)
    traceback.print_exception(error)
    return WorkerCrashed(f"{type(error).__name__}: {error}")


def main() -> None:
    """Extract what is handed out until nothing is left."""
    # It decodes in a subprocess of its own, and ends in order: there are claims to give back.
    channel = worker.begin(reads_hostile_files=False)
    stopping = threading.Event()
    is_loading = True

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if is_loading:
            sys.exit(128 + number)
        # Later on, an exception out of nowhere could leave giving back claims half done.

    def leave_if_stopping() -> None:
        if stopping.is_set():
            sys.exit(128 + signal.SIGTERM)

    def emit(event: Event) -> None:
        channel.send(event)
        leave_if_stopping()

    def handed() -> Iterator[tuple[int, Place]]:
        while not stopping.is_set():
            channel.send(VideoWanted())
            try:
                video = channel.receive(HandedVideo)
            except EOFError:
                stopping.set()
                return
            if video.path is None:
                return
            yield video.index, video.path

    signal.signal(signal.SIGTERM, stop)
    keep_freed_memory()
    try:
        job = channel.receive(DeviceJob)
        encoders = job.encoders()
        is_loading = False
        job.extract(encoders, handed(), emit, stopping)
        leave_if_stopping()
        channel.send(WorkerDone())
    except (EOFError, ConnectionError):
        sys.exit(1)  # nobody is left to work for
    except Exception as error:
        channel.send(fault(error))


if __name__ == "__main__":
    main()
