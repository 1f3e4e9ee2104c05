"""Ctrl-C at any moment: one line on how to continue, no files or children left; a second one ends at once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cli.running import EXAMPLES, clean_environment, vtg
from tests.end_to_end.places import command, entries, leftovers
from tests.extractors.index_encoder import make_video
from tests.hostile import without_end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of POSIX"),
]

LITE = ("--features", "lite", "--device", "cpu")
ROUNDS = int(os.environ.get("VTG_INTERRUPTS", "3"))
"""How many moments are tried beside the telling ones."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        make_video(folder / f"{number}.mp4", seconds=10.0, variant=number)
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The entries of a run that nobody interrupted."""
    home = tmp_path_factory.mktemp("whole")
    assert vtg("extract", videos, *LITE, "--cache", home / "cache", home=home).returncode == 0
    return entries(home / "cache")


class Running:
    """A `vtg` in a process group of its own, as a terminal starts it."""

    def __init__(self, *arguments: str | Path, home: Path) -> None:
        self.process = subprocess.Popen(
            command(*arguments),
            env=clean_environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A runner in the background hands down an ignored SIGINT; a user's terminal does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        self._children: list[psutil.Process] = []

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so, while the command runs."""
        deadline_s = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.005)

    def has_child(self) -> bool:
        """Whether a decoder is at work."""
        return bool(psutil.Process(self.process.pid).children())

    def interrupt(self, *, group: bool = True, number: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C or another signal, to the command and its children as a terminal does, or to the command alone."""
        self._children = psutil.Process(self.process.pid).children(recursive=True)
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self._children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error, once it and all its children have ended."""
        stderr = self.process.communicate(timeout=60)[1]
        _, alive = psutil.wait_procs(self._children, timeout=10)
        assert not alive
        return self.process.returncode, stderr


def says_how_to_go_on(code: int, stderr: str, expected: int = 130) -> None:
    lines = [line for line in stderr.splitlines() if not line.startswith("note: ")]
    assert code == expected, stderr
    assert lines == ["vtg: interrupted; what was finished is kept, and the same command continues from there"]


@pytest.mark.parametrize(("done", "group"), [(0, True), (1, False), (2, True)])
def test_an_interrupted_extraction_goes_on(
    videos: Path, whole: dict[str, bytes], tmp_path: Path, done: int, group: bool
) -> None:
    cache = tmp_path / "cache"
    arguments = ("extract", videos, *LITE, "--cache", cache)
    running = Running(*arguments, home=tmp_path)
    running.wait_for(lambda: running.has_child() and len(list(cache.rglob("*.npz"))) >= done)
    time.sleep(0.2)
    running.interrupt(group=group)
    says_how_to_go_on(*running.end())
    assert not leftovers(tmp_path)
    kept = entries(cache)
    assert done <= len(kept) <= 4
    assert kept.items() <= whole.items()

    again = vtg(*arguments, home=tmp_path)
    assert again.returncode == 0
    assert f"{4 - len(kept)} extracted" in again.stdout
    assert entries(cache) == whole


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("what", ["extract", "ground"])
def test_any_moment_is_a_good_one(
    videos: Path, whole: dict[str, bytes], tmp_path: Path, what: str, round_: int
) -> None:
    """From the first import to the last line."""
    cache = tmp_path / "cache"
    target: tuple[str | Path, ...] = (videos,) if what == "extract" else (videos / "0.mp4", "a cup", "a dog")
    running = Running(what, *target, *LITE, "--cache", cache, home=tmp_path)
    time.sleep(0.15 + random.Random(f"{what} {round_}").random() * 4)
    if running.process.poll() is None:
        running.interrupt()
    code, stderr = running.end()
    if code != 0:  # it may have been done
        says_how_to_go_on(code, stderr)
    assert not leftovers(tmp_path)
    videos_kept = {name: data for name, data in entries(cache).items() if "text" not in name}
    assert videos_kept.items() <= whole.items()
    assert vtg(what, *target, *LITE, "--cache", cache, home=tmp_path).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Even where it would be at work for hours."""
    running = Running("ground", without_end(tmp_path), "a cup", *LITE, home=tmp_path)
    running.wait_for(running.has_child)
    running.kill(number)
    assert running.end()[0] != 0


def test_endless_file_is_interrupted(tmp_path: Path) -> None:
    running = Running("ground", without_end(tmp_path), "a cup", *LITE, home=tmp_path)
    running.wait_for(running.has_child)
    time.sleep(2)
    running.interrupt()
    start_s = time.monotonic()
    says_how_to_go_on(*running.end())
    assert time.monotonic() - start_s < 10


def test_interrupted_answer_explains_resuming(videos: Path, tmp_path: Path) -> None:
    cache, target = tmp_path / "cache", tmp_path / "answers.json"
    arguments = ("ground", videos / "0.mp4", "a cup", *LITE, "--cache", cache, "-o", target)
    running = Running(*arguments, home=tmp_path)
    running.wait_for(lambda: bool(list((cache / ".claims").glob("*.lock"))))
    running.interrupt()
    says_how_to_go_on(*running.end())
    assert not leftovers(tmp_path)
    assert not target.exists()
    assert vtg(*arguments, home=tmp_path).returncode == 0
    assert target.exists()


def test_a_second_interrupt_ends_it_at_once(videos: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Even while it waits for something that does not end."""
    cache = tmp_path / "cache"
    arguments = ("extract", videos, *LITE, "--cache", cache)
    running = Running(*arguments, home=tmp_path)
    running.wait_for(lambda: running.has_child() and len(list(cache.rglob("*.npz"))) >= 1)
    running.interrupt()
    running.process.send_signal(signal.SIGINT)
    start_s = time.monotonic()
    code, stderr = running.end()
    assert code == 130
    assert time.monotonic() - start_s < 10
    assert "Traceback" not in stderr
    assert "vtg: interrupted" in stderr
    # Whatever is left behind is not trusted, and the next run takes it away.
    assert vtg(*arguments, home=tmp_path).returncode == 0
    assert entries(cache) == whole
    assert not leftovers(tmp_path)


def test_a_terminated_extraction_ends_in_order(videos: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """SIGTERM to all its processes, as of a system that shuts down."""
    cache = tmp_path / "cache"
    arguments = ("extract", videos, *LITE, "--cache", cache)
    running = Running(*arguments, home=tmp_path)
    running.wait_for(lambda: running.has_child() and len(list(cache.rglob("*.npz"))) >= 1)
    running.interrupt(number=signal.SIGTERM)
    says_how_to_go_on(*running.end(), 143)
    assert not leftovers(tmp_path)
    assert entries(cache).items() <= whole.items()


CUTS = {"clips": ("--clips", "cuts"), "supercut": ("--supercut", "cuts/all.mp4")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
@pytest.mark.parametrize("what", CUTS)
def test_interrupted_cuts_leave_nothing(
    what: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("ground", EXAMPLES / "example.mp4", "a cat", "a dog", "-k", "2", *CUTS[what])
    running = Running(*arguments, home=tmp_path)
    running.wait_for(lambda: bool(leftovers(tmp_path / "cuts")))
    running.interrupt(number=number)
    code, stderr = running.end()
    if number != signal.SIGKILL:
        says_how_to_go_on(code, stderr, 128 + number)
        assert not leftovers(tmp_path)
        return
    assert leftovers(tmp_path / "cuts")
    time.sleep(2.5)  # a writer may just have begun
    assert vtg(*arguments, home=tmp_path).returncode == 0
    assert not leftovers(tmp_path)


_STUCK = """
import signal, sys, time
from vtg_cli import main
from vtg_cli.app import app

@app.command()
def stuck() -> None:
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        print("ending", flush=True)
        time.sleep(600)

sys.argv = ["vtg", "stuck"]
main.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_second_interrupt_ends_at_once(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK], cwd=Path(__file__).parents[2], env=clean_environment(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None
    for word in ("ready", "ending"):
        assert process.stdout.readline() == f"{word}\n"
        process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    assert stderr == "vtg: interrupted again; stopped at once\n"


def test_background_runs_ignore_interrupts(videos: Path, tmp_path: Path) -> None:
    """A shell without job control starts it with SIGINT ignored, and Ctrl-C is not meant for it."""
    process = subprocess.Popen(
        command("extract", videos, *LITE), env=clean_environment(tmp_path),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )  # fmt: skip
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 0, stderr
