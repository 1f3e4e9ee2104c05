"""Work on files that may be hostile, in a subprocess: a crash or hang there is reported here.

The child is started with the first piece of work and serves one after another, as
`extractors.decoding.subprocess_reader` does for decoding. A request is a line of JSON; an answer is a line of JSON, and
the bytes that it counts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from extractors import child
from extractors.errors import VtgError

TIMEOUT_S = 60.0
"""Seconds a piece of work may take."""

_MOST_BYTES = 1 << 30
_STOPPING = "the server is stopping"


class WorkFailed(VtgError):
    """The file cannot be read; the message is the reason, without the file's name."""


class Apart:
    """Runs the tasks of `apart_worker` in a child process, one at a time. Safe to use from many threads.

    A thread of its own starts the child and talks to it. So work that waits for its turn on the event loop holds no
    thread, and the system ends the child with that thread (on Linux), however the server ends.

    Args:
        timeout_s: seconds after which a piece of work is given up.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, "vtg-apart")
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def call(self, task: str, **arguments: Any) -> bytes:
        """Run a task; not from the event loop.

        Args:
            task: its name; the arguments are plain JSON.

        Raises:
            WorkFailed: if the task fails, crashes, or takes too long.
        """
        return self._submit(task, arguments).result()

    async def run(self, task: str, **arguments: Any) -> bytes:
        """`call`, from the event loop."""
        return await asyncio.wrap_future(self._submit(task, arguments))

    def stop(self) -> None:
        """End the subprocess in any state and accept no more work."""
        if self._stopped:
            return
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()  # its caller gets WorkFailed
        self._thread.submit(self._end)
        self._thread.shutdown()

    def _submit(self, task: str, arguments: dict[str, Any]) -> Future[bytes]:
        try:
            return self._thread.submit(self._do, task, arguments)
        except RuntimeError as error:  # the thread takes no more work
            raise WorkFailed(_STOPPING) from error

    def _do(self, task: str, arguments: dict[str, Any]) -> bytes:
        if self._stopped:
            raise WorkFailed(_STOPPING)
        process = self._process
        if process is None or process.poll() is not None:
            self._end()
            process = self._process = subprocess.Popen(
                _command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            if self._stopped:  # meanwhile
                process.kill()
        return self._exchange(process, {"task": task, "limit_s": self._timeout_s, **arguments})

    def _exchange(self, process: subprocess.Popen[bytes], request: dict[str, Any]) -> bytes:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None, "it was asked for"
            assert process.stdout is not None, "it was asked for"
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            header = json.loads(process.stdout.readline(1 << 16))
            length = int(header["bytes"])
            if not 0 <= length <= _MOST_BYTES:
                raise ValueError("not an answer")
            answer = process.stdout.read(length)
            if len(answer) < length:
                raise EOFError
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._end()
            if late.is_set():
                raise WorkFailed(f"it took longer than {self._timeout_s:g} s to read") from error
            raise WorkFailed("the decoder crashed on it; the file is damaged or hostile") from error
        finally:
            timer.cancel()
        if not header["ok"]:
            raise WorkFailed(answer.decode(errors="replace"))
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            child.end(process)


def _command() -> list[str]:
    # With this process's own search path: not that of the folder it happens to be started in.
    code = f"import sys; sys.path[:] = {sys.path!r}; from vtg_cli.serve.apart_worker import main; main()"
    return [sys.executable, "-c", code]
