"""Jobs: one at a time on a separate thread, the others in a bounded queue.

A job is a frozen value that is replaced at each change, so readers need no lock and never see half a change.
"""

from __future__ import annotations

import secrets
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from extractors.errors import VideoError, VtgError

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult
    from vtg_cli.serve.library.library import Video

MOST_WAITING = 64
MOST_KEPT = 200
"""Finished jobs that can still be looked up."""

State = Literal["queued", "running", "done", "failed", "cancelled"]
Stage = Literal["waiting", "extracting", "grounding", "done"]


class QueueFull(VtgError):
    """Too many jobs wait."""


class NoSuchJob(VtgError):
    """There is no such job, or it is no longer kept."""


class Cancelled(Exception):
    """The job was cancelled; raised by `Report`, and passed on by the work."""


@dataclass(frozen=True)
class Job:
    """A search for some queries in one video.

    Attributes:
        id: what requests call it by.
        video: where to look.
        queries: what for, in order.
        top_k: maximum moments per query.
        threshold: moments that score less are left out.
        created_at: ISO 8601, UTC.
        state: where it stands.
        stage: what it is at.
        progress: share that is done, in [0, 1].
        error: why it failed.
        notes: what the user should know about these answers, one sentence per note.
        model_notes: what holds for every answer of the model, one sentence per note.
        results: one per query, once it is done; they call the video by its name.
    """

    id: str
    video: Video
    queries: tuple[str, ...]
    top_k: int
    threshold: float
    created_at: str
    state: State = "queued"
    stage: Stage = "waiting"
    progress: float = 0.0
    error: str | None = None
    notes: tuple[str, ...] = ()
    model_notes: tuple[str, ...] = ()
    results: tuple[GroundingResult, ...] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Findings:
    """What a job's work gives: a result a query, and notes as in `Job`."""

    results: tuple[GroundingResult, ...]
    notes: tuple[str, ...]
    model_notes: tuple[str, ...]


Report = Callable[[Stage, float], None]
"""Takes how far the work is; raises `Cancelled` if it is to end."""

Work = Callable[[Job, Report], Findings]


class Jobs:
    """The jobs of a server, and the thread that does them. Safe to use from many threads.

    Args:
        work: does a job.
        most_waiting: jobs that may be in the queue.
        most_kept: finished jobs that are remembered.
    """

    def __init__(self, work: Work, *, most_waiting: int = MOST_WAITING, most_kept: int = MOST_KEPT) -> None:
        self._work = work
        self._most_waiting = most_waiting
        self._most_kept = most_kept
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._queue: deque[str] = deque()
        self._unwanted: set[str] = set()
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="vtg-jobs", daemon=True)
        self._thread.start()

    def submit(self, video: Video, queries: Sequence[str], *, top_k: int, threshold: float) -> Job:
        """Put a job at the end of the queue.

        Raises:
            QueueFull: if the queue has no room.
        """
        job = Job(
            id=secrets.token_hex(8),
            video=video,
            queries=tuple(queries),
            top_k=top_k,
            threshold=threshold,
            created_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        )
        with self._changed:
            if len(self._queue) >= self._most_waiting:
                raise QueueFull(
                    f"{len(self._queue)} searches are waiting already; try again when some are done"
                )
            self._jobs[job.id] = job
            self._queue.append(job.id)
            self._changed.notify_all()
        return job

    def get(self, job_id: str) -> Job:
        """Look a job up.

        Raises:
            NoSuchJob: if there is none of that id.
        """
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise NoSuchJob(
                f"there is no such job; the last {self._most_kept} are kept until the server stops"
            )
        return job

    def jobs(self) -> list[Job]:
        """All of them, newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def cancel(self, job_id: str) -> Job:
        """Take a job out of the queue, or have it end with the chunk of video it is at; a finished one stays as it is.

        Raises:
            NoSuchJob: if there is none of that id.
        """
        job = self.get(job_id)
        with self._changed:
            if job_id in self._queue:
                self._queue.remove(job_id)
                self._update(job_id, state="cancelled")
            elif not job.is_finished:
                self._unwanted.add(job_id)
        return self.get(job_id)

    def listen(self, job_id: str, on_change: Callable[[], None]) -> Callable[[], None]:
        """Have a function called, on some thread, after each change of a job.

        Returns:
            what ends that.
        """
        with self._changed:
            self._listeners.setdefault(job_id, []).append(on_change)

        def stop() -> None:
            with self._changed:
                listeners = self._listeners.get(job_id, [])
                if on_change in listeners:
                    listeners.remove(on_change)
                if not listeners:
                    self._listeners.pop(job_id, None)

        return stop

    def close(self, timeout_s: float) -> bool:
        """Cancel everything.

        Args:
            timeout_s: seconds to wait for what is being done.

        Returns:
            whether the thread has ended.
        """
        with self._changed:
            self._closed = True
            self._unwanted.update(self._jobs)
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self._do(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            return self._update(self._queue.popleft(), state="running")

    def _do(self, job: Job) -> None:
        def report(stage: Stage, progress: float) -> None:
            progress = min(max(progress, 0.0), 1.0)
            with self._changed:
                if job.id in self._unwanted:
                    raise Cancelled
                now = self._jobs[job.id]
                if (stage, progress) != (now.stage, now.progress):
                    self._update(job.id, stage=stage, progress=progress)

        outcome: dict[str, Any]
        try:
            found = self._work(job, report)
            outcome = {
                "state": "done",
                "stage": "done",
                "progress": 1.0,
                "results": found.results,
                "notes": found.notes,
                "model_notes": found.model_notes,
            }
        except Cancelled:
            outcome = {"state": "cancelled"}
        except VideoError as error:
            outcome = {"state": "failed", "error": f"{job.video.name}: {error.reason}"}
        except VtgError as error:
            outcome = {"state": "failed", "error": str(error)}
        except MemoryError:
            outcome = {"state": "failed", "error": "memory ran out; try a shorter video or fewer features"}
        except Exception:
            traceback.print_exc(file=sys.stderr)
            outcome = {
                "state": "failed",
                "error": "vtg itself failed here; see what vtg serve printed on its terminal",
            }
        with self._changed:
            self._unwanted.discard(job.id)
            self._update(job.id, **outcome)

    def _update(self, job_id: str, **changes: Any) -> Job:
        """Replace a job by a changed one, and say so; only with the lock."""
        job = self._jobs[job_id] = replace(self._jobs[job_id], **changes)
        if job.is_finished:
            finished = [other.id for other in self._jobs.values() if other.is_finished]
            for old in finished[: -self._most_kept]:
                del self._jobs[old]
        for on_change in self._listeners.get(job_id, ()):
            on_change()
        return job
