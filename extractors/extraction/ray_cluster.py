"""Extraction on a Ray cluster: Ray starts workers and notices when they die, and each is handed video after video.

Workers are actors (`ray_worker`). Ray decides where they run, within the shares of a node that each declares. Videos
and features never pass through Ray: workers read videos and write features themselves. What comes back are events of a
few hundred bytes.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import load_video_encoder
from extractors.errors import CacheError, UsageError, VtgError
from extractors.extraction.device_worker import DeviceJob, LoadEncoder, VideoWanted, WorkerCrashed, WorkerDone
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import Listener, ignore
from extractors.extraction.ray_worker import RayJob, RayWorker
from extractors.extraction.work_list import Worker, WorkList
from extractors.files.atomic import write_failure
from extractors.places import Address, Place, place_of
from extractors.subprocesses.wire import Failed
from extractors.videos.events import ExtractionReport, RoomWanted, VideoFinished

_TICK_S = 1.0  # how often the size of the cluster is looked at
_END_S = 30.0  # more than a network and a batch take, after which a worker gives back what it holds
_LEAST_PENDING, _MOST_PENDING = 2, 100
_FAULTS = 3  # workers that end in a row without a video done, after which the fault is not one node's
_NODE_GONE = "its node is gone"
_THREADS = 32  # of an actor, one for each video: some are being downloaded, some uploaded


@dataclass(frozen=True)
class WorkerShare:
    """What a worker takes of its node; Ray starts no more workers on a node than fit.

    Attributes:
        cpus: cores. A worker decodes in one process and encodes in another.
        gpus: GPUs, or a part of one, such as 0.25; with 0 it encodes on the CPU.
        memory_bytes: memory that it needs; 0 does not say.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        if not (self.cpus > 0 and self.gpus >= 0 and self.memory_bytes >= 0):
            raise UsageError("a worker takes a part of a CPU or more; GPUs and memory may be 0")

    def fits(self, node: Mapping[str, float]) -> int:
        """Number of workers that a node with these resources has room for."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory_bytes)}
        # Ray counts in units of 1/10,000.
        return min(int(node.get(name, 0.0) / each + 1e-4) for name, each in wanted.items() if each)


def require_ray() -> Any:
    """The package ray.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "extraction on a cluster needs a package that is not installed: pip install 'vtg[ray]'"
        ) from error
    return ray


def cluster_room(share: WorkerShare) -> list[int]:
    """Number of workers that each node of the connected cluster has room for."""
    nodes = require_ray().nodes()
    return [share.fits(node["Resources"]) for node in nodes if node["Alive"]]


def cluster_gpus() -> float:
    """Number of GPUs of the connected cluster."""
    return float(require_ray().cluster_resources().get("GPU", 0.0))


def extract_on_ray(
    paths: Sequence[str | Place],
    features: Mapping[str, EncoderOptions],
    cache: FeatureCache,
    options: ExtractionOptions = ExtractionOptions(),
    *,
    share: WorkerShare = WorkerShare(),
    most_workers: int | None = None,
    retries: int = 2,
    on_event: Listener | None = None,
    load: LoadEncoder = load_video_encoder,
) -> ExtractionReport:
    """Make the missing features of videos on the Ray cluster that this process is connected to.

    There are as many workers as the cluster has room for, and some that wait for room, so that a cluster that can grow
    does. The videos of a worker that dies, alone or with its node, are handed out again. Every node needs vtg, and
    the weights or a connection to download them.

    Args:
        paths: the videos, in object storage or in folders that all nodes share.
        features: how the encoders are built, by feature name; the device is set here.
        cache: where features are kept, in a folder that all nodes share; where `options.output` is in object storage,
            that alone counts, and every node may have a cache of its own.
        options: how features are extracted; the scratch space is that of a node.
        share: what a worker takes of a node.
        most_workers: the most workers at a time; None for as many as there is room for.
        retries: how often a video is tried again whose worker died, not counting nodes that leave with notice.
        on_event: called on this thread as things happen. Progress of a worker comes at most once a second, and the
            seconds of a result are those of its worker.
        load: makes an encoder.

    Returns:
        What became of each video.

    Raises:
        UsageError: if ray is not installed or this process is not connected to a cluster, there is no feature, or
            the nodes do not share the cache.
        VtgError: if workers fail one after the other, over anything but a video.
    """
    ray = require_ray()
    if not ray.is_initialized():
        raise UsageError("not connected to a Ray cluster; call ray.init() first")
    if not features:
        raise UsageError("give one feature or more")
    start_s = time.perf_counter()
    cache.sweep()
    features = {name: replace(encoder, on_download=None) for name, encoder in features.items()}
    neighbours = max([1, *cluster_room(share)])
    options = replace(options, scratch_bytes=options.scratch_bytes // neighbours)
    device = "cuda" if share.gpus else "cpu"
    job = DeviceJob(device, features, load.__module__, load.__name__, cache.root.absolute(), options)
    videos = WorkList([place_of(path) for path in paths], on_event or ignore, retries=retries)
    with _proof(cache, options) as proof:
        _Cluster(
            ray,
            videos,
            RayJob(job, math.ceil(share.cpus), Path.cwd(), proof),
            share,
            most_workers,
            on_event or ignore,
        ).run()
    if videos.lost:
        cache.sweep()  # of what the dead workers held
    return ExtractionReport(videos.results(), time.perf_counter() - start_s)


@contextmanager
def _proof(cache: FeatureCache, options: ExtractionOptions) -> Iterator[Path | None]:
    """A file in the cache that every node must see; None if they may each have their own, as results are elsewhere."""
    if isinstance(options.output, Address):
        yield None
        return
    proof = cache.root.absolute() / f".cluster-{uuid.uuid4().hex}.tmp"
    try:
        proof.parent.mkdir(parents=True, exist_ok=True)
        proof.touch()
    except OSError as error:
        raise CacheError(
            f"cannot write {proof.parent} ({write_failure(error)}); name another cache"
        ) from error
    try:
        yield proof
    finally:
        with suppress(OSError):
            proof.unlink()


@dataclass(eq=False)
class _RayWorker(Worker):
    """A worker as the command sees it; its place is its node.

    Attributes:
        actor: the handle of its actor.
        beginning: the reference to the result of `RayWorker.begin`, until it is there.
        streams: the events of its videos, by index.
        wants: whether its decoder is ready for another video while one is open.
    """

    actor: Any = field(kw_only=True)
    beginning: Any = None
    streams: dict[int, Any] = field(default_factory=dict)
    wants: bool = False


class _Cluster:
    """Starts actors where there is room, and works a list of videos off with them."""

    def __init__(
        self,
        ray: Any,
        videos: WorkList,
        job: RayJob,
        share: WorkerShare,
        most_workers: int | None,
        emit: Listener,
    ) -> None:
        self._ray = ray
        self._videos = videos
        self._job = job
        self._share = share
        self._most_workers = most_workers
        self._emit = emit
        self._actor_class = ray.remote(RayWorker).options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            memory=share.memory_bytes or None,
            max_restarts=0,  # a new actor takes the place of a dead one, wherever there is room
            max_task_retries=0,
            max_concurrency=_THREADS,
            scheduling_strategy="SPREAD",
        )
        self._workers: list[_RayWorker] = []
        self._looked_s = 0.0
        self._room: int | None = None
        self._faults = 0  # in a row
        self._fault: VtgError | None = None

    def run(self) -> None:
        """Work until every video has a result.

        Raises:
            VtgError: if workers fail one after the other.
        """
        try:
            while not self._videos.is_finished:
                self._start()
                for worker, source in self._ready():
                    self._receive(worker, source)
                for worker in list(self._workers):
                    self._hand_out(worker)
        finally:
            self._stop()

    def _start(self) -> None:
        """Start workers for what is left, within the room there is; no more than a few may wait for room.

        Raises:
            VtgError: if nothing is left but a fault that several workers had.
        """
        if self._fault is not None and self._faults >= _FAULTS:
            if self._workers:  # one that is done with a video shows that it was the fault of some nodes
                return
            raise self._fault
        pending = [worker for worker in self._workers if worker.beginning is not None]
        begun = len(self._workers) - len(pending)
        now_s = time.monotonic()
        if self._room is None or now_s - self._looked_s > _TICK_S:
            room, self._looked_s = sum(cluster_room(self._share)), now_s
            if room == 0 and self._room != 0:
                self._emit(RoomWanted(self._share.cpus, self._share.gpus, self._share.memory_bytes))
            self._room = room
        # Workers that wait for room are what makes a cluster grow.
        waiting = min(max(begun, _LEAST_PENDING), _MOST_PENDING)
        wanted = min(self._videos.left, max(self._room - begun, waiting))
        if self._most_workers is not None:
            wanted = min(wanted, self._most_workers - begun)
        for worker in pending[max(wanted, 0) :]:
            self._dismiss(worker)
        for _ in range(wanted - len(pending)):
            actor = self._actor_class.remote()
            self._workers.append(_RayWorker("a node", actor=actor, beginning=actor.begin.remote(self._job)))

    def _ready(self) -> list[tuple[_RayWorker, Any]]:
        """Workers with a message to be read, and where: their beginning, or a stream of events."""
        sources = {
            id(source): (worker, source)
            for worker in self._workers
            for source in ([worker.beginning] if worker.beginning is not None else worker.streams.values())
        }
        if not sources:
            time.sleep(_TICK_S)
            return []
        waited = [source for _, source in sources.values()]
        ready, _ = self._ray.wait(waited, num_returns=1, timeout=_TICK_S, fetch_local=False)
        if ready:  # perhaps not alone
            ready, _ = self._ray.wait(waited, num_returns=len(waited), timeout=0, fetch_local=False)
        return [sources[id(source)] for source in ready]

    def _receive(self, worker: _RayWorker, source: Any) -> None:
        if worker not in self._workers:  # it was lost over another message
            return
        try:
            if source is worker.beginning:
                self._begin(worker, self._ray.get(source))
            else:
                self._take(worker, self._ray.get(next(source)))
        except StopIteration:  # the last message should have been one that ends a video
            self._lose(worker, "it lost a video")
        except self._ray.exceptions.RayError as error:
            reason = _how_it_ended(error)
            if worker.beginning is None:
                self._lose(worker, reason, counts=not getattr(error, "preempted", False))
            elif reason == _NODE_GONE:
                self._dismiss(worker)
            else:
                self._fail(worker, VtgError(f"a worker could not begin: {reason}"))

    def _begin(self, worker: _RayWorker, message: str | VtgError) -> None:
        worker.beginning = None
        if isinstance(message, UsageError):
            raise message
        if isinstance(message, VtgError):
            self._fail(worker, message)
        else:
            worker.place = message

    def _take(self, worker: _RayWorker, message: Any) -> None:
        if isinstance(message, VideoWanted):
            worker.wants = True
        elif isinstance(message, Failed):
            self._fail(worker, message.error)
        elif isinstance(message, WorkerCrashed):
            self._lose(worker, message.reason)
        elif isinstance(message, WorkerDone):
            self._lose(worker, "it was stopped", counts=False)
        else:
            if isinstance(message, VideoFinished):
                del worker.streams[message.index]
                if message.status != "failed":
                    self._faults = 0
            self._videos.take(worker, message)

    def _hand_out(self, worker: _RayWorker) -> None:
        """Hand a worker a video if it is free, or its decoder is.

        A video that may have killed a worker is alone with the next one. When few are left, they are for those who have
        none.
        """
        if worker.beginning is not None or (worker.open and not worker.wants):
            return
        enough = bool(worker.open) and (
            self._videos.has_suspect(worker) or len(worker.open) > self._fair_share()
        )
        video = None if enough else self._videos.hand_out(worker, suspects=not worker.open)
        worker.wants = False
        if video is not None:
            index, path = video
            worker.streams[index] = worker.actor.extract.remote(index, path)
        elif worker.open:
            worker.actor.no_more.remote()
        else:
            self._dismiss(worker)

    def _fair_share(self) -> int:
        """How many of the videos that are left each worker can have, of those that are there or about to be."""
        begun = sum(worker.beginning is None for worker in self._workers)
        room = min(self._room or 0, self._most_workers or self._room or 0)
        return self._videos.left // max(begun, room, 1)

    def _fail(self, worker: _RayWorker, error: VtgError) -> None:
        """Lose a worker over an error that is not a video's: it may be its node's, or everybody's."""
        self._note_fault(error)
        self._lose(worker, str(error))

    def _note_fault(self, error: VtgError) -> None:
        self._fault = error
        self._faults += 1

    def _lose(self, worker: _RayWorker, reason: str, *, counts: bool = True) -> None:
        self._workers.remove(worker)
        self._ray.kill(worker.actor)  # it may only be out of reach
        self._videos.lose(worker, reason, counts=counts)

    def _dismiss(self, worker: _RayWorker) -> None:
        """Let a worker go that has nothing to do, so that its node is free."""
        self._workers.remove(worker)
        self._ray.kill(worker.actor)

    def _stop(self) -> None:
        """End the workers that are left; they give their claims back."""
        with suppress(self._ray.exceptions.RayError):  # the cluster may be gone
            at_work = [worker for worker in self._workers if worker.open]
            stops = [worker.actor.stop.remote() for worker in at_work]
            if stops:
                self._ray.wait(stops, num_returns=len(stops), timeout=_END_S)
            for worker in self._workers:
                self._ray.kill(worker.actor)
        self._workers.clear()


def _how_it_ended(error: Exception) -> str:
    """What Ray knows of the end of an actor, in a few words."""
    text = str(error)
    if getattr(error, "preempted", False) or "node has died" in text or "node was terminated" in text:
        return _NODE_GONE
    if "low on memory" in text or "OutOfMemory" in type(error).__name__:
        return "its node ran out of memory"
    if "its worker process has died" in text:
        return "it crashed, or was killed"
    return " ".join(text.split())[:300]
