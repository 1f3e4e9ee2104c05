"""Runs the real `vtg serve` in a separate process, on a free port of this machine's own address."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.cli.running import clean_environment
from vtg_cli.serve.library.upload_folder import LOCK, MARKER

START_S = 90.0
JOB_S = 240.0


class Server:
    """A running server.

    Attributes:
        address: where its page is on this machine, with the token if there is one.
        announced: the address that it printed first.
        url: the same without path and token.
        process: it.
    """

    def __init__(self, process: subprocess.Popen[str], address: str, announced: str, stderr: Path) -> None:
        self.process = process
        self.address = address
        self.announced = announced
        self.url = address.partition("?")[0].rstrip("/")
        self._stderr = stderr

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def said(self) -> str:
        """What it has written to standard error."""
        return self._stderr.read_text()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def upload(self, client: httpx.Client, content: bytes, name: str = "video.mp4") -> httpx.Response:
        return client.post("/api/videos", params={"name": name}, content=content)

    def start_job(self, client: httpx.Client, video_id: str, *queries: str, **options: Any) -> httpx.Response:
        return client.post("/api/jobs", json={"video_id": video_id, "queries": list(queries), **options})

    def finished(self, client: httpx.Client, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job."""

        def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = client.get(f"/api/jobs/{job_id}").json()
            return job if job["state"] in ("done", "failed", "cancelled") else None

        return wait_for(ended, JOB_S)

    def raw(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes as they are; returns the status and the whole answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            answer = b""
            while block := connection.recv(65536):
                answer += block
        return int(answer.split(b" ", 2)[1]), answer

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it, as Ctrl-C does; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


def events(client: httpx.Client, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The server-sent events of a job, until the stream ends."""
    with client.stream("GET", f"/api/jobs/{job_id}/events") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """Ask until something true comes back."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
    return answer


@contextmanager
def serving(
    *arguments: str | Path,
    home: Path,
    cache: Path | None = None,
    wrapper: Sequence[str] = (),
    **environment: str,
) -> Iterator[Server]:
    """A server with all its state in one folder, for the length of a `with` block.

    Args:
        arguments: of `vtg serve`, besides `--port`.
        home: the folder.
        cache: where features are kept; in `home` if not given.
        wrapper: the command that the server's is given to.
    """
    home.mkdir(parents=True, exist_ok=True)
    stderr = home / "stderr.txt"
    command = [sys.executable, "-m", "vtg_cli.main", "serve", *map(str, arguments), "--port", "0"]
    if cache is not None:
        command += ["--cache", str(cache)]
    with stderr.open("w") as errors:
        process = subprocess.Popen(
            [*wrapper, *command],
            env=clean_environment(home) | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        timer.cancel()
        found = re.search(r"http://\S+", line)
        assert found, f"it did not start: {line}{stderr.read_text()}"
        server = Server(process, re.sub(r"//[^:/]+", "//127.0.0.1", found[0]), found[0], stderr)
        yield server
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def files_in(folder: Path) -> set[str]:
    """Names in a folder of uploads, without its lock and its marker."""
    return {name for name in os.listdir(folder) if name not in (LOCK, MARKER)}  # noqa: PTH208
