"""The list of videos that workers share: which are left, which worker has which, and what became of each.

The process that starts workers, here or on a cluster, hands out videos from this list one at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from extractors.errors import VideoError
from extractors.extraction.pipeline import Listener
from extractors.places import Place
from extractors.videos.events import Event, VideoFinished, VideoStarted, WorkerLost


@dataclass(eq=False)
class Worker:
    """A worker as the process that hands out videos sees it.

    Attributes:
        place: where it works, for messages: a device, or a node of a cluster.
        open: indices of the videos that it was handed and has not finished.
        started: indices of those that it has begun to encode.
    """

    place: str
    open: set[int] = field(default_factory=set)
    started: set[int] = field(default_factory=set)


class WorkList:
    """Hands out the videos of a list, and collects the results.

    A video whose worker dies may have killed it. It is handed out again after all others, until it has cost
    `retries + 1` workers; then it fails.

    Args:
        paths: the videos.
        emit: called with every event.
        retries: how often a video is tried again.

    Attributes:
        lost: number of workers that have died.
    """

    def __init__(self, paths: Sequence[Place], emit: Listener, *, retries: int = 0) -> None:
        self._paths = paths
        self._emit = emit
        self._retries = retries
        self._fresh = deque(range(len(paths)))
        self._suspects: deque[int] = deque()
        self._suspected: set[int] = set()
        self._deaths: Counter[int] = Counter()
        self._results: dict[int, VideoFinished] = {}
        self.lost = 0

    @property
    def left(self) -> int:
        """Number of videos that no worker has."""
        return len(self._fresh) + len(self._suspects)

    @property
    def count(self) -> int:
        """Number of videos in all."""
        return len(self._paths)

    @property
    def is_finished(self) -> bool:
        """Whether every video has a result."""
        return len(self._results) == len(self._paths)

    def results(self) -> tuple[VideoFinished, ...]:
        """What became of each video, in their order, once all are finished."""
        return tuple(self._results[index] for index in range(len(self._paths)))

    def hand_out(self, worker: Worker, *, suspects: bool = True) -> tuple[int, Place] | None:
        """Give a worker its next video; None if there is none.

        Args:
            worker: who gets it.
            suspects: whether it may be one whose worker has died before.
        """
        if self._fresh:
            index = self._fresh.popleft()
        elif self._suspects and suspects:
            index = self._suspects.popleft()
        else:
            return None
        worker.open.add(index)
        return index, self._paths[index]

    def has_suspect(self, worker: Worker) -> bool:
        """Whether a worker has a video whose worker has died before."""
        return not self._suspected.isdisjoint(worker.open)

    def take(self, worker: Worker, event: Event) -> None:
        """Pass on an event of a worker's video."""
        if isinstance(event, VideoStarted):
            worker.started.add(event.index)
        if isinstance(event, VideoFinished):
            worker.open.discard(event.index)
            worker.started.discard(event.index)
            self._results[event.index] = event
        self._emit(event)

    def lose(self, worker: Worker, reason: str, *, counts: bool = True) -> None:
        """Take back the videos of a worker that has died, or fail them.

        A video that was not being encoded counts as innocent the first time.

        Args:
            worker: the worker.
            reason: how it ended.
            counts: whether its videos may be to blame.
        """
        self.lost += 1
        failed = []
        for index in sorted(worker.open):
            if counts and (index in worker.started or index in self._suspected):
                self._deaths[index] += 1
            if self._deaths[index] > self._retries:
                failed.append(index)
            else:
                self._suspects.append(index)
                self._suspected.add(index)
        worker.open.clear()
        self._emit(WorkerLost(worker.place, reason, tuple(self._paths[index] for index in failed)))
        for index in failed:
            path = self._paths[index]
            error = VideoError(path, self._blame(worker.place, reason))
            self._results[index] = VideoFinished(index, path, "failed", error)
            self._emit(self._results[index])

    def _blame(self, place: str, reason: str) -> str:
        if self._retries == 0:
            return f"the process on {place} that was encoding it ended ({reason}); extract it again"
        return (
            f"{self._retries + 1} workers ended while they had it, the last one on {place} ({reason}); "
            "it may be what ends them"
        )
