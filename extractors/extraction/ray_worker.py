"""The worker of an extraction on a Ray cluster: an actor that holds the encoders and extracts the videos it is handed.

It does what `device_worker` does in a subprocess, with the same job and the same messages. Each video is a task of the
actor, which yields the video's events. Videos and features never pass through Ray: workers read and write them.
"""

from __future__ import annotations

import os
import platform
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from extractors.compute.memory import keep_freed_memory
from extractors.encoders.base import VideoEncoder
from extractors.errors import UsageError, VtgError
from extractors.extraction.device_worker import DeviceJob, VideoWanted, WorkerCrashed, WorkerDone, fault
from extractors.places import Place
from extractors.subprocesses.cores import CORES
from extractors.subprocesses.wire import Failed
from extractors.videos.events import (
    Event,
    RoomWanted,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoWaiting,
    WorkerLost,
)

_REPEATED = (VideoOpening, VideoProgress, VideoWaiting)
_REPEAT_S = 1.0  # one process listens to all workers of a cluster

Message = Event | VideoWanted | Failed | WorkerCrashed | WorkerDone
"""What a task yields; the last one is a `VideoFinished`, `Failed`, `WorkerCrashed` or `WorkerDone`."""


@dataclass(frozen=True)
class RayJob:
    """What an actor is told first.

    Attributes:
        job: the encoders, the cache and the options.
        cores: that a worker may keep busy.
        folder: working folder of the command, from which relative paths start.
        proof: a file that the command has made in the cache; None if nothing proves that the nodes share it.
    """

    job: DeviceJob
    cores: int
    folder: Path
    proof: Path | None


class RayWorker:
    """The actor. Ray calls its methods on several threads; one more thread does the work."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._handed: queue.SimpleQueue[tuple[int, Place] | None] = queue.SimpleQueue()
        self._inboxes: dict[int, queue.SimpleQueue[Message]] = {}
        self._end: Message | None = None
        self._turn = threading.Lock()
        self._sent_s: dict[type, float] = {}
        self._thread: threading.Thread | None = None

    def begin(self, job: RayJob) -> str | VtgError:
        """Build the encoders, and get ready for videos; returns the name of the node, or what is wrong."""
        # There is a worker on every core of a node, or on every few.
        os.environ[CORES] = str(job.cores)
        # Read once, when the encoders load torch: threads that spin would take the cores of other workers.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("GOMP_SPINCOUNT", "0")
        keep_freed_memory()
        with suppress(OSError):  # without it, only relative paths are not found
            os.chdir(job.folder)
        if job.proof is not None and not job.proof.exists():
            return UsageError(
                f"the cache {job.proof.parent} is not the same folder on all nodes of the cluster; name one that they "
                "share with --cache or VTG_CACHE"
            )
        try:
            encoders = job.job.encoders()
        except VtgError as error:
            return error
        self._thread = threading.Thread(
            target=self._work, args=(job.job, encoders), name="vtg-worker", daemon=True
        )
        self._thread.start()
        return f"node {platform.node()}"

    def extract(self, index: int, path: Place) -> Iterator[Message]:
        """Extract a video; yields its events, and a `VideoWanted` once the decoder is ready for the next one."""
        inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        with self._turn:
            if self._end is not None:
                inbox.put(self._end)
            else:
                self._inboxes[index] = inbox
        self._handed.put((index, path))
        message: Message | None = None
        while not isinstance(message, (VideoFinished, Failed, WorkerCrashed, WorkerDone)):
            message = inbox.get()
            yield message

    def no_more(self) -> None:
        """Take note that there is no other video for the time being: those that were put off come now."""
        self._handed.put(None)

    def stop(self) -> None:
        """End in order: drop the videos that are open, and give their claims back."""
        self._stopping.set()
        self._handed.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self, job: DeviceJob, encoders: list[VideoEncoder]) -> None:
        end: Message = WorkerDone()
        try:
            while not self._stopping.is_set():
                if (first := self._handed.get()) is not None:
                    job.extract(encoders, self._videos(first), self._send, self._stopping)
        except Exception as error:
            end = fault(error)
        with self._turn:
            self._end = end
            for inbox in self._inboxes.values():
                inbox.put(end)

    def _videos(self, first: tuple[int, Place]) -> Iterator[tuple[int, Place]]:
        """What is handed out until there is no more; the decoder asks for one after the other."""
        video: tuple[int, Place] | None = first
        while video is not None:
            yield video
            with self._turn:
                # Without an open video, it is known that the worker wants one.
                for inbox in islice(self._inboxes.values(), 1):
                    inbox.put(VideoWanted())
            video = self._handed.get()

    def _send(self, event: Event) -> None:
        if isinstance(event, _REPEATED):
            now_s = time.monotonic()
            if now_s - self._sent_s.get(type(event), -_REPEAT_S) < _REPEAT_S:
                return
            self._sent_s[type(event)] = now_s
        assert not isinstance(event, (WorkerLost, RoomWanted)), "these are not a worker's to report"
        with self._turn:
            is_last = isinstance(event, VideoFinished)
            inbox = self._inboxes.pop(event.index, None) if is_last else self._inboxes.get(event.index)
            if inbox is not None:
                inbox.put(event)
