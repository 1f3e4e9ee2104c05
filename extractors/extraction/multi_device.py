"""Extraction on several devices: one worker process per device, all working on one list of videos.

Videos are handed out one at a time, each to a worker whose decoder is ready for it, so that all workers end at about
the same time. The events of a worker are passed on like local ones. If a worker dies, the videos it was encoding fail,
and the other workers finish the list.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, overload

from extractors.cache.store import FeatureCache
from extractors.compute.device import resolve_devices
from extractors.decoding.clip_reader import CHUNK_S, Decoder
from extractors.decoding.subprocess_reader import STALL_S
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.encoders.registry import load_video_encoder
from extractors.errors import UsageError, VtgError
from extractors.extraction.events import Event, ExtractionReport, VideoFinished, VideoResult, VideoStarted
from extractors.extraction.pipeline import make_outcomes

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

_POLL_S = 0.2
_END_S = 10.0  # more than a batch takes, after which a process can give back what it holds


@dataclass(frozen=True)
class WorkerLost:
    """A worker died; the others continue.

    Attributes:
        device: the one it worked on.
        reason: how it ended.
        paths: the videos that failed with it.
    """

    device: str
    reason: str
    paths: tuple[Path, ...]


LoadEncoder = Callable[[str, EncoderOptions], VideoEncoder]
"""Makes the encoder of a feature; a function that can be imported, as each process does so."""


def extract_on_devices(
    paths: Sequence[str | Path],
    devices: Sequence[str],
    features: Mapping[str, EncoderOptions],
    cache: FeatureCache,
    *,
    overwrite: bool = False,
    on_event: Callable[[Event | WorkerLost], None] | None = None,
    chunk_s: float = CHUNK_S,
    decoder: Decoder = "auto",
    stall_s: float | None = STALL_S,
    load: LoadEncoder = load_video_encoder,
) -> ExtractionReport:
    """Make the missing features of videos on several devices at once.

    Every device has a separate worker process, which decodes and encodes like `extract_features`. A device
    named twice has two; on a GPU that pays where one process cannot decode as fast as it encodes. Processes on `cpu`
    share its cores evenly. Weights must be on this machine. A script must call this below
    `if __name__ == "__main__":`, as new processes import it.

    Args:
        paths: the videos.
        devices: names as `resolve_device` takes them, one per process.
        features: how the encoders are built, by feature name; the device is set here.
        cache: where features are kept; processes that are none of these may share it, too.
        overwrite: extract even what is cached.
        on_event: called on this thread as things happen; events of videos that are encoded at the same time mix. The
            seconds of a result are those of its process.
        chunk_s, decoder, stall_s: as for `extract_features`.
        load: makes an encoder.

    Returns:
        What became of each video. One whose process ended while it was encoded has failed.

    Raises:
        UsageError: if there is no device or no feature, or a device is unknown or not there: before anything starts.
        VtgError: if every process has ended before its time, or what one of them raised.
    """
    if not devices or not features:
        raise UsageError("give one device or more, and one feature or more")
    resolved = resolve_devices(",".join(devices))
    start_s = time.perf_counter()
    cache.sweep()
    job = _Job(
        features={
            name: replace(options, offline=True, on_download=None) for name, options in features.items()
        },
        load=load,
        cache_root=cache.root,
        overwrite=overwrite,
        chunk_s=chunk_s,
        decoder=decoder,
        stall_s=stall_s,
    )
    results = _Fleet([Path(path) for path in paths], job, on_event or _ignore).run(resolved)
    return ExtractionReport(results, time.perf_counter() - start_s)


def _ignore(event: Event | WorkerLost) -> None:
    pass


@dataclass(frozen=True)
class _Job:
    """What every worker receives."""

    features: Mapping[str, EncoderOptions]
    load: LoadEncoder
    cache_root: Path
    overwrite: bool
    chunk_s: float
    decoder: Decoder
    stall_s: float | None


# What a process says, beside the events of its videos and the VtgError that ends all. The next path, or None, answers
# the first.


@dataclass(frozen=True)
class _WantsNext:
    pass


@dataclass(frozen=True)
class _Finished:
    """A video is done; its number counts from the first that the process was given."""

    place: int
    result: VideoFinished


@dataclass(frozen=True)
class _Crashed:
    reason: str


@dataclass(frozen=True)
class _Done:
    pass


# --- this side ------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Worker:
    """A worker process, seen from its parent.

    Attributes:
        handed: the videos it was given, as places in the list, in order.
        open: those of them that are not finished.
        started: paths of those that it has begun to encode.
    """

    device: str
    process: SpawnProcess
    connection: Connection[Any, Any]
    handed: list[int] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    started: set[Path] = field(default_factory=set)
    crash: str = ""
    is_done: bool = False


class _Fleet:
    """Hands videos out and collects the results."""

    def __init__(self, paths: Sequence[Path], job: _Job, emit: Callable[[Event | WorkerLost], None]) -> None:
        self._paths = paths
        self._job = job
        self._emit = emit
        self._left = deque(range(len(paths)))
        self._results: dict[int, VideoResult] = {}
        self._workers: list[_Worker] = []

    def run(self, devices: Sequence[str]) -> tuple[VideoResult, ...]:
        """Work until all videos are finished; returns the result of each.

        Raises:
            VtgError: if every process has ended before its time, or what one of them raised.
        """
        loss = ""
        # What a lost process had not begun may come back when the others have ended; they are then started again.
        while self._left and devices:
            devices = self._start(devices)
            try:
                while self._workers:
                    for worker in self._ready():
                        if not self._hear(worker):
                            self._workers.remove(worker)
                            self._join(worker)
                            if worker.is_done:
                                devices.append(worker.device)
                            else:
                                loss = self._lose(worker)
            finally:
                self._stop()
        if self._left:
            raise VtgError(
                f"no process is left for {len(self._left)} of {len(self._paths)} videos; the last one, on {loss}. "
                "What was finished is kept, and the same command continues from there"
            )
        return tuple(self._results[index] for index in range(len(self._paths)))

    def _start(self, devices: Sequence[str]) -> list[str]:
        """Start one worker per device, but no more than there are videos; returns the devices without."""
        from extractors.compute.device import usable_cores

        devices, spare = devices[: len(self._left)], devices[len(self._left) :]
        threads = max(usable_cores() // max(devices.count("cpu"), 1), 1)
        context = multiprocessing.get_context("spawn")
        for device in devices:
            here, there = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(there, self._job, device, threads if device == "cpu" else None),
                name=f"vtg-{device}",
                daemon=True,
            )
            with _no_interrupts():
                process.start()
            there.close()
            self._workers.append(_Worker(device, process, here))
        return list(spare)

    def _ready(self) -> list[_Worker]:
        ready = wait([worker.connection for worker in self._workers])
        return [worker for worker in self._workers if worker.connection in ready]

    def _hear(self, worker: _Worker) -> bool:
        """Do what the next message of a process asks for; returns whether there was one."""
        try:
            message = worker.connection.recv()
            if isinstance(message, _WantsNext):
                worker.connection.send(self._hand_out(worker))
                return True
        except (EOFError, OSError):
            return False
        if isinstance(message, _Finished):
            index = worker.handed[message.place]
            worker.open.discard(index)
            self._finish(index, message.result)
        elif isinstance(message, _Done):
            worker.is_done = True
        elif isinstance(message, _Crashed):
            worker.crash = message.reason
        elif isinstance(message, VtgError):
            raise message
        else:
            if isinstance(message, VideoStarted):
                worker.started.add(message.path)
            self._emit(message)
        return True

    def _hand_out(self, worker: _Worker) -> Path | None:
        if not self._left:
            return None
        index = self._left.popleft()
        worker.handed.append(index)
        worker.open.add(index)
        return self._paths[index]

    def _finish(self, index: int, result: VideoFinished) -> None:
        self._results[index] = result
        self._emit(result)

    def _lose(self, worker: _Worker) -> str:
        """Fail what a process was encoding, and take back what it was not; returns what happened."""
        reason = worker.crash or _describe(worker.process.exitcode)
        lost = sorted(index for index in worker.open if self._paths[index] in worker.started)
        self._left.extendleft(sorted(worker.open.difference(lost), reverse=True))
        self._emit(WorkerLost(worker.device, reason, tuple(self._paths[index] for index in lost)))
        for index in lost:
            why = f"the process on {worker.device} that was encoding it ended ({reason}); extract it again"
            self._finish(index, VideoFinished(self._paths[index], "failed", why, 0.0, 0.0))
        return f"{worker.device}, ended: {reason}"

    def _join(self, worker: _Worker) -> None:
        worker.connection.close()
        worker.process.join(_END_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _stop(self) -> None:
        """End the processes that are left; they give their claims back."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            self._join(worker)
        self._workers.clear()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, even while they load; this process ends them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _describe(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


# --- the other side -------------------------------------------------------------------------------


class _Line:
    """The connection of a process to the one that started it; its threads take turns."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def say(self, message: object) -> None:
        with self._turn:
            self._connection.send(message)

    def hears(self) -> bool:
        return self._connection.poll(_POLL_S)

    def answer(self) -> Path | None:
        path: Path | None = self._connection.recv()
        return path


class _HandedPaths(Sequence[Path]):
    """Videos that are asked for when they are needed: iterating waits for each."""

    def __init__(self, line: _Line, stopping: threading.Event) -> None:
        self._line = line
        self._stopping = stopping
        self._paths: list[Path] = []

    def __iter__(self) -> Iterator[Path]:
        while True:
            self._line.say(_WantsNext())
            while not self._line.hears():
                if self._stopping.is_set():
                    return
            path = self._line.answer()
            if path is None:
                return
            self._paths.append(path)
            yield path

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Path]: ...

    def __getitem__(self, index: int | slice) -> Path | Sequence[Path]:
        return self._paths[index]


def _serve(connection: Connection[Any, Any], job: _Job, device: str, threads: int | None) -> None:
    """Extract what is handed out until nothing is left."""
    stopping = threading.Event()
    is_loading = True

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        if is_loading:
            sys.exit(128 + number)
        # Later on there are claims to give back, and an exception out of nowhere could leave that half done.

    def leave_if_told() -> None:
        if stopping.is_set():
            sys.exit(128 + signal.SIGTERM)

    def tell(event: Event) -> None:
        line.say(event)
        leave_if_told()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    # Libraries that print must not print into the answers of the command.
    os.dup2(2, 1)
    _set_threads(threads)
    line = _Line(connection)
    try:
        encoders = [job.load(name, replace(options, device=device)) for name, options in job.features.items()]
        is_loading = False
        for outcome in make_outcomes(
            _HandedPaths(line, stopping),
            encoders,
            FeatureCache(job.cache_root),
            tell,
            overwrite=job.overwrite,
            chunk_s=job.chunk_s,
            decoder=job.decoder,
            stall_s=job.stall_s,
            stop=stopping,
        ):
            line.say(_Finished(outcome.index, outcome.result))
        leave_if_told()
        line.say(_Done())
    except (EOFError, ConnectionError):
        sys.exit(1)  # nobody is left to work for
    except VtgError as error:
        line.say(error)
    except Exception as error:
        traceback.print_exc()
        line.say(_Crashed(f"{type(error).__name__}: {error}"))


def _set_threads(threads: int | None) -> None:
    # Spinning threads would take the cores that other processes need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if threads is None or "OMP_NUM_THREADS" in os.environ:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
