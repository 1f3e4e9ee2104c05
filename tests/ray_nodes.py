"""Ray clusters whose nodes are all on this machine, and what is run on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import psutil

from tests.cli.running import clean_environment
from tests.plugins.test_plugins import install

_STORE_BYTES = 80 << 20


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that the cluster does, however busy the machine is."""
    deadline_s = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def deadly_environment(home: Path) -> dict[str, str]:
    """Install the encoder of `toy_deadly` in a folder; returns the environment in which vtg and its workers find it."""
    path = f"{install(home, 'toy_deadly')}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    (home / "notes").mkdir()
    return clean_environment(home) | {"PYTHONPATH": path, "VTG_TOY_NOTES": str(home / "notes")}


class Nodes:
    """A cluster to which nodes of one core are added, and from which all but the first can be removed.

    Args:
        cpus: cores of the first node.
    """

    def __init__(self, cpus: int = 1) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": cpus, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
        self._cluster = _patiently(lambda: Cluster(initialize_head=True, head_node_args=head))

    @property
    def address(self) -> str:
        """HOST:PORT."""
        address: str = self._cluster.address
        return address

    def add(self, cpus: int = 1) -> Any:
        """A new node, which may not be up yet."""
        return _patiently(
            lambda: self._cluster.add_node(num_cpus=cpus, object_store_memory=_STORE_BYTES, wait=False)
        )

    def remove(self, node: Any) -> None:
        """End a node without notice."""
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def _patiently(start: Callable[[], Any]) -> Any:
    """What is started; Ray gives up after 30 s, which a busy machine may need."""
    for _ in range(4):
        with suppress(Exception):
            return start()
    return start()


@contextmanager
def nodes_of(count: int, environment: dict[str, str], *, cpus: int = 1) -> Iterator[Nodes]:
    """A cluster of so many nodes, the first of so many cores, whose workers have an environment."""
    with mock.patch.dict(os.environ, environment):
        nodes = Nodes(cpus)
        try:
            for _ in range(count - 1):
                nodes.add()
            yield nodes
        finally:
            nodes.shutdown()


class Run:
    """`vtg extract` with the features `deadly`, in the background.

    Args:
        environment: of the process.
        arguments: what follows the command's name.
    """

    def __init__(self, environment: dict[str, str], *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vtg_cli.main", "extract", "--features", "deadly", *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell starts what it runs in the background without the interrupt that ends this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that it does; fails if it ends instead."""
        wait_until(lambda: is_so() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()

    def end(self) -> tuple[int, str, str]:
        """Wait for it; returns exit code, output and errors."""
        out, errors = self.process.communicate(timeout=500)
        return self.process.returncode, out, errors


def entries(cache: Path) -> dict[str, bytes]:
    """The cached features by the names of their files."""
    return {path.name: path.read_bytes() for path in cache.glob("*/*_features/*.npz")}


def litter(cache: Path) -> list[Path]:
    """What must not be left in a cache."""
    return [path for path in cache.rglob("*") if path.suffix in (".tmp", ".lock")]


def ray_workers() -> list[psutil.Process]:
    """The processes of the workers on this process's clusters."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray::RayWorker" in " ".join(process.cmdline()):
                workers.append(process)
    return workers


def deadly_video(path: Path) -> Path:
    """A video of which the encoder dies."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        image = np.full((128, 160, 3), (250, 10, 10), np.uint8)
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
