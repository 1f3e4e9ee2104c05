"""Work that takes minutes: one job at a time on a separate thread, with its progress.

A job is a frozen value that is replaced at each change, so readers never see half a change.
"""

from __future__ import annotations

import secrets
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from extractors.errors import VtgError

MOST_WAITING = 64
MOST_KEPT = 200
"""Finished jobs that can still be looked up."""

State = Literal["queued", "running", "done", "failed"]
Report = Callable[[float, str], None]
"""Takes the progress in [0, 1] and what is being done; raises `Cancelled` if the work is to end."""
Work = Callable[[Report], str]
"""Does a job, and returns a sentence about the result."""


class Cancelled(Exception):
    """The server stops; raised by `Report`, and passed on by the work."""


@dataclass(frozen=True)
class Job:
    """Something that is done in the background.

    Attributes:
        id: what requests call it by.
        subject: what it works on.
        state: where it stands.
        progress: share that is done, in [0, 1].
        message: what is being done; at the end the result, or why it failed.
    """

    id: str
    subject: str
    state: State = "queued"
    progress: float = 0.0
    message: str = "waiting for other jobs"

    @property
    def is_finished(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("done", "failed")


class Jobs:
    """The jobs of a server, and the thread that does them. Safe to use from many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._queue: deque[tuple[str, Work]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="vtg-mcp-jobs", daemon=True)
        self._thread.start()

    def submit(self, subject: str, work: Work) -> Job:
        """Put work at the end of the queue; if a job for the subject waits or runs, that one.

        Raises:
            VtgError: if the queue has no room.
        """
        with self._changed:
            for job in self._jobs.values():
                if job.subject == subject and not job.is_finished:
                    return job
            if len(self._queue) >= MOST_WAITING:
                raise VtgError(f"{MOST_WAITING} jobs are waiting already; try again when some are done")
            job = Job(secrets.token_hex(8), subject)
            self._jobs[job.id] = job
            self._queue.append((job.id, work))
            self._changed.notify_all()
            return job

    def get(self, job_id: str) -> Job | None:
        """The job of an id; None if there is none, or it is no longer kept."""
        with self._changed:
            return self._jobs.get(job_id)

    def close(self, timeout_s: float) -> bool:
        """Stop the work.

        Args:
            timeout_s: seconds to wait for what is being done.

        Returns:
            whether the thread has ended.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job_id, work = self._queue.popleft()
                self._update(job_id, state="running", message="starting")
            outcome = self._outcome(job_id, work)
            with self._changed:
                self._update(job_id, **outcome)

    def _outcome(self, job_id: str, work: Work) -> dict[str, Any]:
        def report(progress: float, message: str) -> None:
            with self._changed:
                if self._closed:
                    raise Cancelled
                self._update(job_id, progress=min(max(progress, 0.0), 1.0), message=message)

        try:
            return {"message": work(report), "state": "done", "progress": 1.0}
        except Cancelled:
            return {"state": "failed", "message": "the server was stopped"}
        except VtgError as error:
            return {"state": "failed", "message": str(error)}
        except MemoryError:
            return {"state": "failed", "message": "memory ran out; try a shorter video or fewer features"}
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return {
                "state": "failed",
                "message": "vtg itself failed; the traceback is on the server's standard error",
            }

    def _update(self, job_id: str, **changes: Any) -> None:
        """Replace a job by a changed one; only with the lock."""
        job = self._jobs[job_id] = replace(self._jobs[job_id], **changes)
        if job.is_finished:
            finished = [other.id for other in self._jobs.values() if other.is_finished]
            for old in finished[:-MOST_KEPT]:
                del self._jobs[old]
