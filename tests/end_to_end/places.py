"""Full, closed and removed disks, and commands that run into them."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import clean_environment, vtg

Command = Sequence[str | Path]


def run(
    *arguments: str | Path,
    home: Path,
    largest_file: int | None = None,
    privileged: bool = True,
    stdout: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `vtg` as a user would.

    Args:
        home: folder of all its state.
        largest_file: bytes that the system lets it write into a file.
        privileged: whether it may do what permissions forbid, as root may.
        stdout: a file descriptor, instead of a pipe.
    """
    if largest_file is None and privileged and stdout is None:
        return vtg(*arguments, home=home)

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [*([] if privileged else _unprivileged()), *command(*arguments)],
        env=clean_environment(home),
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=limit,
    )


def command(*arguments: str | Path) -> list[str]:
    """What runs `vtg` with these arguments."""
    return [sys.executable, "-m", "vtg_cli.main", *map(str, arguments)]


def _unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give that up")
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]


Mount = Callable[..., Path]


@contextmanager
def mounting() -> Iterator[Mount]:
    """Gives a function that mounts a small file system in memory at a folder; all are gone afterwards."""
    mounted: list[Path] = []

    def mount(folder: Path, options: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted.append(folder)
        return folder

    try:
        yield mount
    finally:
        for folder in reversed(mounted):
            unmount(folder)


def unmount(folder: Path) -> None:
    """Take a file system away, as somebody does who pulls out a drive; nothing if it is gone."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def fill(folder: Path, *, free: int = 0) -> Path:
    """Fill a small file system up but for some bytes, with one file that can be removed again."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        place = os.statvfs(folder)
        left = place.f_bavail * place.f_frsize - free
        file.write(bytes(max(left, 0)))
    return filler


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The one line that a failed command says beside its notes."""
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("vtg: ")
    return lines[0]


def leftovers(*folders: Path) -> list[Path]:
    """What an ended command must not leave behind."""
    endings = (".tmp", ".lock", ".part")
    return [path for folder in folders for path in folder.rglob("*") if path.name.endswith(endings)]


def entries(folder: Path) -> dict[str, bytes]:
    """What lies in a cache: its entries, name to content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.npz"))}
