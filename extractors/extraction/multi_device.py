"""Extraction on several devices: one worker subprocess per device, all working on one list of videos.

Videos are handed out one at a time, each to a worker whose decoder is ready for it, so that all workers end at about
the same time. The events of a worker are passed on as they are. If a worker dies, the videos it was encoding fail, and
the other workers finish the list. The cache's claims alone could share out a list, too; but not one that is extracted
again in spite of the cache, and a video that kills its worker would kill them all, one after another.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extractors.cache.store import FeatureCache
from extractors.compute.device import resolve_devices, usable_cores
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.encoders.registry import load_video_encoder
from extractors.errors import UsageError, VideoError, VtgError
from extractors.extraction.device_worker import (
    DeviceJob,
    HandedVideo,
    VideoWanted,
    WorkerCrashed,
    WorkerDone,
)
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import Listener, ignore
from extractors.subprocesses.parent import Subprocess, SubprocessEnded, python_command
from extractors.videos.events import (
    ExtractionReport,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoStarted,
    VideoWaiting,
    WorkerLost,
)

_END_S = 10.0  # more than a batch takes, after which a worker can give back what it holds
_MESSAGES = (
    VideoWanted,
    VideoOpening,
    VideoStarted,
    VideoProgress,
    VideoWaiting,
    VideoFinished,
    WorkerCrashed,
    WorkerDone,
)

LoadEncoder = Callable[[str, EncoderOptions], VideoEncoder]
"""Makes the encoder of a feature; a function at the top of a module, as each worker imports it."""


def extract_on_devices(
    paths: Sequence[str | Path],
    devices: Sequence[str],
    features: Mapping[str, EncoderOptions],
    cache: FeatureCache,
    options: ExtractionOptions = ExtractionOptions(),
    *,
    on_event: Listener | None = None,
    load: LoadEncoder = load_video_encoder,
) -> ExtractionReport:
    """Make the missing features of videos on several devices at once.

    Every device is served by a worker, a subprocess that decodes and encodes as `extract_features` does. A device named
    twice has two; on a GPU that pays where one worker cannot decode as fast as it encodes. Workers on `cpu` share its
    cores evenly. Weights must be on this machine.

    Args:
        paths: the videos.
        devices: names as `resolve_device` takes them, one for each worker.
        features: how the encoders are built, by feature name; the device is set here.
        cache: where features are kept; other processes may share it, too.
        options: how features are extracted.
        on_event: called on this thread as things happen; events of videos that are encoded at the same time mix. The
            seconds of a result are those of its worker.
        load: makes an encoder.

    Returns:
        What became of each video. One whose worker ended while it was encoded has failed.

    Raises:
        UsageError: if there is no device or no feature, or a device is unknown or not there: before anything starts.
        VtgError: if every worker has ended early, or what one of them raised.
    """
    if not devices or not features:
        raise UsageError("give one device or more, and one feature or more")
    resolved = resolve_devices(",".join(devices))
    start_s = time.perf_counter()
    cache.sweep()
    features = {name: replace(encoder, offline=True, on_download=None) for name, encoder in features.items()}
    job = DeviceJob("", features, load.__module__, load.__name__, cache.root, options)
    results = _Workers([Path(path) for path in paths], job, on_event or ignore).run(resolved)
    return ExtractionReport(results, time.perf_counter() - start_s)


@dataclass(eq=False)
class _Worker:
    """A worker as its parent sees it.

    Attributes:
        device: where it computes.
        process: its subprocess.
        open: places in the list of the videos that it was handed and has not finished.
        started: places of those that it has begun to encode.
        crash: its own fault that it reported, if any.
        is_done: whether it ends because no video is left.
        listening: the thread that waits for its messages; it ends with the subprocess.
    """

    device: str
    process: Subprocess
    open: set[int] = field(default_factory=set)
    started: set[int] = field(default_factory=set)
    crash: str = ""
    is_done: bool = False
    listening: threading.Thread | None = None


class _Workers:
    """Hands videos out, and gathers what becomes of them."""

    def __init__(self, paths: Sequence[Path], job: DeviceJob, emit: Listener) -> None:
        self._paths = paths
        self._job = job
        self._emit = emit
        self._left = deque(range(len(paths)))
        self._results: dict[int, VideoFinished] = {}
        self._workers: list[_Worker] = []
        self._inbox: queue.Queue[tuple[_Worker, Any]] = queue.Queue()

    def run(self, devices: Sequence[str]) -> tuple[VideoFinished, ...]:
        """Work until all videos are finished; returns what became of each.

        Raises:
            VtgError: if every worker has ended early, or what one of them raised.
        """
        loss = ""
        # What a lost worker had not begun may come back when the others have ended; they are then started again.
        while self._left and devices:
            devices = self._start(devices)
            try:
                while self._workers:
                    worker, message = self._inbox.get()
                    if not isinstance(message, SubprocessEnded):
                        self._handle(worker, message)
                        continue
                    self._workers.remove(worker)
                    if worker.is_done:
                        devices.append(worker.device)
                    else:
                        loss = self._lose(worker, worker.crash or message.how)
            finally:
                self._stop()
        if self._left:
            raise VtgError(
                f"no process is left for {len(self._left)} of {len(self._paths)} videos; the last one, on {loss}. "
                "What was finished is kept, and the same command continues from there"
            )
        return tuple(self._results[index] for index in range(len(self._paths)))

    def _start(self, devices: Sequence[str]) -> list[str]:
        """Start a worker on each device, but no more than there are videos; returns the devices without."""
        devices, spare = devices[: len(self._left)], devices[len(self._left) :]
        threads = max(usable_cores() // max(devices.count("cpu"), 1), 1)
        for device in devices:
            # Spinning threads would take the cores that other workers need.
            environment = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
            if device == "cpu":
                environment["OMP_NUM_THREADS"] = str(threads)
            process = Subprocess(
                python_command("extractors.extraction.device_worker"),
                shows_errors=True,
                environment={**environment, **os.environ},
            )
            process.send(replace(self._job, device=device))
            worker = _Worker(device, process)
            worker.listening = threading.Thread(
                target=self._listen, args=(worker,), name=f"vtg-{device}", daemon=True
            )
            self._workers.append(worker)
            worker.listening.start()
        return list(spare)

    def _listen(self, worker: _Worker) -> None:
        """Put the messages of a worker into the inbox; the last one is a `SubprocessEnded`."""
        message: Any = None
        while not isinstance(message, SubprocessEnded):
            try:
                message = worker.process.receive(_MESSAGES)
            except VtgError as error:
                message = error
            except ValueError:
                message = SubprocessEnded("it sent what is no message")
            self._inbox.put((worker, message))

    def _handle(self, worker: _Worker, message: Any) -> None:
        if isinstance(message, VtgError):
            raise message
        if isinstance(message, VideoWanted):
            worker.process.send(self._hand_out(worker))
        elif isinstance(message, WorkerDone):
            worker.is_done = True
        elif isinstance(message, WorkerCrashed):
            worker.crash = message.reason
        elif isinstance(message, VideoFinished):
            worker.open.discard(message.index)
            self._finish(message)
        else:
            if isinstance(message, VideoStarted):
                worker.started.add(message.index)
            self._emit(message)

    def _hand_out(self, worker: _Worker) -> HandedVideo:
        if not self._left:
            return HandedVideo(-1, None)
        index = self._left.popleft()
        worker.open.add(index)
        return HandedVideo(index, self._paths[index])

    def _finish(self, result: VideoFinished) -> None:
        self._results[result.index] = result
        self._emit(result)

    def _lose(self, worker: _Worker, reason: str) -> str:
        """Fail what a worker was encoding, and take back what it was not; returns what happened."""
        lost = sorted(worker.open & worker.started)
        self._left.extendleft(sorted(worker.open.difference(lost), reverse=True))
        self._emit(WorkerLost(worker.device, reason, tuple(self._paths[index] for index in lost)))
        for index in lost:
            path = self._paths[index]
            why = f"the process on {worker.device} that was encoding it ended ({reason}); extract it again"
            self._finish(VideoFinished(index, path, "failed", VideoError(path, why)))
        return f"{worker.device}, ended: {reason}"

    def _stop(self) -> None:
        """End the workers that are left; they give their claims back."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            assert worker.listening is not None, "it was started with the worker"
            worker.listening.join(_END_S)
            if worker.listening.is_alive():
                worker.process.kill()
                worker.listening.join()
        self._workers.clear()
