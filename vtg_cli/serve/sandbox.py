"""Work on files that may be hostile, in a subprocess: what crashes or hangs there is reported here."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from extractors.errors import VideoError, VtgError
from extractors.subprocesses.parent import Subprocess, SubprocessEnded, SubprocessStalled, python_command
from extractors.subprocesses.wire import Nonsense
from vtg_cli.serve.sandbox_worker import ANSWERS, TIMEOUT_S, Task

_STOPPING = "the server is stopping"

_Answer = TypeVar("_Answer")


class WorkFailed(VtgError):
    """The file is at fault; the message is the reason, without the file's name."""


class Sandbox:
    """Runs the tasks of `sandbox_worker` in a subprocess, one at a time. Safe to use from many threads.

    The subprocess is started with the first task, by a thread of its own that also talks to it. So work that waits for
    its turn on the event loop holds no thread, and the system ends the subprocess with that thread (on Linux), however
    the server ends.

    Args:
        timeout_s: seconds after which a task is given up.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, "vtg-sandbox")
        self._process: Subprocess | None = None
        self._stopped = False

    def call(self, task: Task[_Answer]) -> _Answer:
        """Have a task done; not from the event loop.

        Raises:
            WorkFailed: if the task fails, crashes, or takes too long.
        """
        return self._submit(task).result()

    async def run(self, task: Task[_Answer]) -> _Answer:
        """`call`, from the event loop."""
        return await asyncio.wrap_future(self._submit(task))

    def stop(self) -> None:
        """End the subprocess, whatever it is doing, and take no more work."""
        if self._stopped:
            return
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()  # the task that waits for it gets WorkFailed
        self._thread.submit(self._end)
        self._thread.shutdown()

    def _submit(self, task: Task[_Answer]) -> Future[_Answer]:
        try:
            return self._thread.submit(self._do, task)
        except RuntimeError as error:  # the thread takes no more work
            raise WorkFailed(_STOPPING) from error

    def _do(self, task: Task[_Answer]) -> _Answer:
        if self._stopped:
            raise WorkFailed(_STOPPING)
        process = self._process
        if process is None or not process.is_running:
            self._end()
            process = self._process = Subprocess(python_command("vtg_cli.serve.sandbox_worker"))
            if self._stopped:  # meanwhile
                process.kill()
        process.send(replace(task, limit_s=self._timeout_s))
        try:
            answer: _Answer = process.receive(ANSWERS, timeout_s=self._timeout_s)
        except SubprocessStalled as error:
            raise WorkFailed(f"it took longer than {self._timeout_s:g} s to read") from error
        except (SubprocessEnded, Nonsense) as error:
            raise WorkFailed("the decoder crashed on it; the file is damaged or hostile") from error
        except VtgError as error:
            raise WorkFailed(error.reason if isinstance(error, VideoError) else str(error)) from error
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()
