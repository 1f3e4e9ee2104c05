"""Runs the installed command in a separate process, as a user does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.cli.forked import Forker

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_TIMEOUT_S = 300.0


def vtg(*arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vtg` with all its state in one folder and no connections, forked from a process that has its imports.

    With a variable that libraries may read while they are imported, the process is new.
    """
    complete = clean_environment(home) | environment
    if sys.platform == "linux" and _forker().suits(complete):
        return _forker().run([*map(str, arguments)], complete, _TIMEOUT_S)
    return new_vtg(*arguments, home=home, **environment)


def new_vtg(*arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vtg` in a new process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "vtg_cli.main", *map(str, arguments)],
        env=clean_environment(home) | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )


@cache
def _forker() -> Forker:
    return Forker(_AT_FIRST)


# What would lead to the user's own files, and what libraries have set in this process.
_NOT_HANDED_ON = (
    "VTG_",
    "HF_",
    "TORCH_HOME",
    "TORCHINDUCTOR_",
    "TOKENIZERS_",
    "CRC32C_",
    "RAY_CLIENT_MODE",
)
# cv2 and decord change these in their process.
_CHANGED = ("LD_LIBRARY_PATH", "PATH")
_GIVEN = {name: os.environ[name] for name in _CHANGED if name in os.environ}


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment with every cache in a folder."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_HANDED_ON) and name not in _CHANGED
    }
    return (
        kept
        | _GIVEN
        | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "VTG_HOME": str(home / "vtg"),
            "VTG_OFFLINE": "1",
            "COLUMNS": "100",
        }
    )


_AT_FIRST = clean_environment(Path.home())


class Running:
    """A `vtg` command in a process of its own, which runs until it is stopped, with its output."""

    def __init__(self, *arguments: str | Path, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vtg_cli.main", *map(str, arguments)],
            env=clean_environment(home) | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell starts what it runs in the background without the interrupt that ends this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        self.said: dict[str, list[str]] = {"out": [], "err": []}
        self._threads = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str, stream: Iterator[str]) -> None:
        for line in stream:
            self.said[name].append(line.rstrip("\n"))

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def wait_for(self, stream: str, text: str, *, times: int = 1, at_most_s: float = 90) -> None:
        """Wait until so many lines hold a text."""
        end_s = time.monotonic() + at_most_s
        while sum(text in line for line in self.said[stream]) < times:
            assert time.monotonic() < end_s, self.said
            assert self._process.poll() is None, self.said
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal to it and its children, as a terminal does; returns the exit code."""
        os.killpg(self._process.pid, number)
        code = self._process.wait(timeout=60)
        for thread in self._threads:
            thread.join(timeout=10)
        return code


def pieces(terminal: int) -> Iterator[bytes]:
    """What is written to a pseudo-terminal until its other end is closed."""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return
        if not piece:
            return
        yield piece
