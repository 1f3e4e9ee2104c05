"""`vtg` in a process that is forked from one that has imported its libraries.

Imports take most of the time of most commands. Each command is a process of its own, with its own environment, folder,
streams and signals, and runs `vtg_cli.main` from its first line to the last exit handler. Only the imports come before.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import NoReturn

_ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = (
    "accelerate", "av", "decord", "efficientnet_lite_pytorch", "faiss", "fastapi", "matplotlib.pyplot", "open_clip",
    "PIL.Image", "psutil", "pytorchvideo.models", "rich.progress", "s3fs", "tensorboardX", "timm", "tokenizers",
    "tomli_w", "torch", "torch._dynamo", "torchvision", "uvicorn",
)  # fmt: skip
"""What commands import where they need it, except what starts threads, which a fork would lose."""
_NOT_IMPORTED = ("vtg_cli.main", "vtg_cli.__main__", "vtg_cli.mcp", "extractors.extraction.ray")
_SIZE_BYTES = 8
# Libraries read these variables when they are used, and others perhaps when they are imported.
_READ_LATE = ("AWS_", "COLUMNS", "HOME", "PYTEST_", "RAY_", "VTG_", "XDG_CACHE_HOME")


class Forker:
    """A process that has imported everything, and ends with the tests.

    Args:
        environment: that of its imports.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._early = _early(environment)
        self._folder = tempfile.TemporaryDirectory(prefix="vtg-tests-")
        self._address = str(Path(self._folder.name) / "socket")
        home = {"HOME": self._folder.name, "XDG_CACHE_HOME": self._folder.name}
        # `vtg` sets the last two before it loads torch, whose threads read them.
        spinning = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.forked", self._address],
            cwd=_ROOT,
            env={**environment, **home, **spinning},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether libraries that were imported in one environment are the same in another."""
        return _early(environment) == self._early

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `vtg`, like `subprocess.run` with its output captured as text.

        Raises:
            subprocess.TimeoutExpired: if it takes longer; it is then killed.
        """
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": str(Path.cwd())}
        message = json.dumps(request).encode()
        said = ["", ""]

        def read(which: int, descriptor: int) -> None:
            with open(descriptor, encoding="utf-8") as stream:
                said[which] = stream.read()

        pipes = [os.pipe(), os.pipe()]
        readers = [threading.Thread(target=read, args=(which, pipes[which][0])) for which in (0, 1)]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address)
            size = len(message).to_bytes(_SIZE_BYTES, "big")
            socket.send_fds(connection, [size], [pipe[1] for pipe in pipes])
            for pipe in pipes:
                os.close(pipe[1])
            connection.sendall(message)
            for reader in readers:
                reader.start()
            connection.settimeout(timeout_s)
            answers = connection.makefile()
            process = int(answers.readline())
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["vtg", *arguments], timeout_s) from None
        for reader in readers:
            reader.join()
        return subprocess.CompletedProcess(["vtg", *arguments], code, *said)


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(_READ_LATE)}


# In the process that is forked


def _import_everything() -> None:
    for name in _LIBRARIES:
        import_module(name)
    for package in ("extractors", "model", "vtg_cli"):
        for module in walk_packages([str(_ROOT / package)], f"{package}."):
            if not module.name.startswith(_NOT_IMPORTED):
                import_module(module.name)
    # Or the first collection in each command would copy all of it.
    gc.collect()
    gc.freeze()


def _serve(address: str) -> list[str]:
    """Fork a process for each request; returns in that process, with the arguments of the command."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    print("ready", flush=True)
    while True:
        with suppress(ChildProcessError):  # none is left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:  # closed: the tests have ended
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            break
        connection.close()
    listening.close()
    size, descriptors, _, _ = socket.recv_fds(connection, _SIZE_BYTES, 2)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(size, "big")))
    process = os.fork()
    if process:
        for descriptor in (1, *descriptors):  # or its readers would wait for this process, too
            os.close(descriptor)
        connection.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    connection.close()
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *descriptors)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]  # as of `python -m`
    arguments: list[str] = request["arguments"]
    return arguments


def _end(code: int) -> NoReturn:
    """End as an interpreter does, but without taking all modules apart, which takes longer than most commands."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or without a reader
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _import_everything()
    sys.argv[1:] = _serve(sys.argv[1])
    try:
        runpy.run_module("vtg_cli.main", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        _end(1)
