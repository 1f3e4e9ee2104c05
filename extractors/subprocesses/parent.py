"""The parent's side: start a subprocess, send it dataclasses, receive dataclasses, end it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from extractors.errors import VtgError
from extractors.subprocesses import wire

_END_S = 10.0  # to wait for the exit code of a process that has closed its pipes


class SubprocessEnded(VtgError):
    """The subprocess ended, or sent something other than a message.

    Attributes:
        how: signal or exit code.
    """

    def __init__(self, how: str) -> None:
        super().__init__(f"the subprocess ended ({how})")
        self.how = how


class SubprocessStalled(VtgError):
    """The subprocess sent nothing for too long, and was killed."""


def python_command(module: str) -> list[str]:
    """The command that runs the `main` of a module in this Python.

    It gets this process's own search path, not that of the folder it happens to be started in.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
    return [sys.executable, "-c", code]


class Subprocess:
    """A running subprocess that reads requests from its standard input and answers on its standard output.

    Args:
        command: what it runs, such as a `python_command` whose `main` begins with `worker.begin`.
        shows_errors: whether its standard error is shown.
        environment: its environment variables; those of this process by default.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        shows_errors: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        with _no_interrupts():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if shows_errors else subprocess.DEVNULL,
                env=environment,
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, message: Any) -> None:
        """Send a dataclass; if the subprocess has ended, `receive` raises."""
        assert self._process.stdin is not None, "it was asked for"
        with suppress(OSError):
            wire.send(self._process.stdin, message)

    def receive(self, kinds: Sequence[type], *, timeout_s: float | None = None) -> Any:
        """Wait for a dataclass of one of some classes.

        Args:
            kinds: the classes that may come.
            timeout_s: seconds without a message, or a sign of life, after which the subprocess is killed.

        Raises:
            VtgError: the error that the subprocess sent.
            SubprocessEnded: if it ends, or sends something other than a message.
            SubprocessStalled: if it sends nothing for too long.
            wire.Nonsense: if the message is none of `kinds`.
        """
        message: Any = wire.Alive()
        while isinstance(message, wire.Alive):
            message = self._next(kinds, timeout_s)
        if isinstance(message, wire.Failed):
            raise message.error
        return message

    def _next(self, kinds: Sequence[type], timeout_s: float | None) -> Any:
        stalled = threading.Event()

        def give_up() -> None:
            stalled.set()
            self.kill()

        timer = threading.Timer(min(timeout_s or 0.0, threading.TIMEOUT_MAX), give_up)
        timer.daemon = True
        if timeout_s is not None:
            timer.start()
        assert self._process.stdout is not None, "it was asked for"
        try:
            return wire.receive(self._process.stdout, (*kinds, wire.Alive, wire.Failed), is_trusted=False)
        except wire.Nonsense:
            self.end()
            raise
        except (EOFError, OSError, ValueError) as error:
            if isinstance(error, EOFError):  # it is ending: wait for its exit code
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_S)
            self.end()
            if stalled.is_set():
                raise SubprocessStalled(f"the subprocess sent nothing for {timeout_s:g} s") from error
            raise SubprocessEnded(self.how_it_ended) from error
        finally:
            timer.cancel()

    @property
    def how_it_ended(self) -> str:
        """The signal or exit code with which it ended."""
        code = self._process.returncode
        if code is not None and code < 0:
            with suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit code {code}"

    def terminate(self) -> None:
        """Ask it to end in order: it gets a signal, and no more messages."""
        self._process.terminate()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def kill(self) -> None:
        """Kill it, from any thread; a waiting `receive` raises `SubprocessEnded`."""
        self._process.kill()

    def end(self) -> None:
        """Kill it in any state and close its pipes."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()


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
