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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from extractors.cache.store import FeatureCache
from extractors.compute.device import resolve_devices
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import load_video_encoder
from extractors.errors import UsageError, VtgError
from extractors.extraction.device_worker import (
    DeviceJob,
    HandedVideo,
    LoadEncoder,
    VideoWanted,
    WorkerCrashed,
    WorkerDone,
)
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import Listener, ignore
from extractors.extraction.work_list import Worker, WorkList
from extractors.places import Place, place_of
from extractors.subprocesses.cores import usable_cores
from extractors.subprocesses.parent import Subprocess, SubprocessEnded, python_command
from extractors.videos.events import (
    ExtractionReport,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoStarted,
    VideoWaiting,
)

_END_S = 30.0  # more than a network and a batch take, after which a worker gives back what it holds
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


def extract_on_devices(
    paths: Sequence[str | Place],
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
    options = replace(
        options,
        scratch_bytes=options.scratch_bytes // len(resolved),
        # No worker downloads what others have the time for.
        objects_ahead=min(options.objects_ahead, max(len(paths) // len(resolved) - 1, 0)),
    )
    job = DeviceJob("", features, load.__module__, load.__name__, cache.root, options)
    videos = WorkList([place_of(path) for path in paths], on_event or ignore)
    results = _Workers(videos, job).run(resolved)
    return ExtractionReport(results, time.perf_counter() - start_s)


@dataclass(eq=False)
class _DeviceWorker(Worker):
    """A worker as its parent sees it; its place is its device.

    Attributes:
        process: its subprocess.
        crash: its own fault that it reported, if any.
        is_done: whether it ends because no video is left.
        listening: the thread that waits for its messages; it ends with the subprocess.
    """

    process: Subprocess = field(kw_only=True)
    crash: str = ""
    is_done: bool = False
    listening: threading.Thread | None = None


class _Workers:
    """Starts the workers of a list, and works it off with them."""

    def __init__(self, videos: WorkList, job: DeviceJob) -> None:
        self._videos = videos
        self._job = job
        self._workers: list[_DeviceWorker] = []
        self._inbox: queue.Queue[tuple[_DeviceWorker, Any]] = queue.Queue()

    def run(self, devices: Sequence[str]) -> tuple[VideoFinished, ...]:
        """Work until all videos are finished; returns what became of each.

        Raises:
            VtgError: if every worker has ended early, or what one of them raised.
        """
        loss = ""
        # What a lost worker had not begun may come back when the others have ended; they are then started again.
        while self._videos.left and devices:
            devices = self._start(devices)
            try:
                while self._workers:
                    worker, message = self._inbox.get()
                    if not isinstance(message, SubprocessEnded):
                        self._handle(worker, message)
                        continue
                    self._workers.remove(worker)
                    if worker.is_done:
                        devices.append(worker.place)
                    else:
                        reason = worker.crash or message.how
                        loss = f"{worker.place}, ended: {reason}"
                        self._videos.lose(worker, reason)
            finally:
                self._stop()
        if self._videos.left:
            raise VtgError(
                f"no process is left for {self._videos.left} of {self._videos.count} videos; the last one, on {loss}. "
                "What was finished is kept, and the same command continues from there"
            )
        return self._videos.results()

    def _start(self, devices: Sequence[str]) -> list[str]:
        """Start a worker on each device, but no more than there are videos; returns the devices without."""
        devices, spare = devices[: self._videos.left], devices[self._videos.left :]
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
            worker = _DeviceWorker(device, process=process)
            worker.listening = threading.Thread(
                target=self._listen, args=(worker,), name=f"vtg-{device}", daemon=True
            )
            self._workers.append(worker)
            worker.listening.start()
        return list(spare)

    def _listen(self, worker: _DeviceWorker) -> None:
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

    def _handle(self, worker: _DeviceWorker, message: Any) -> None:
        if isinstance(message, VtgError):
            raise message
        if isinstance(message, VideoWanted):
            worker.process.send(self._hand_out(worker))
        elif isinstance(message, WorkerDone):
            worker.is_done = True
        elif isinstance(message, WorkerCrashed):
            worker.crash = message.reason
        else:
            self._videos.take(worker, message)

    def _hand_out(self, worker: _DeviceWorker) -> HandedVideo:
        return HandedVideo(*(self._videos.hand_out(worker) or (-1, None)))

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
