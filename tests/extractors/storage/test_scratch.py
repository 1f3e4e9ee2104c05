"""Room for downloads: bounded, given in turn, cleared after a kill."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from extractors.storage.scratch import Scratch, scratch_root

_HOLDS_A_FILE = """
import sys
from pathlib import Path
from extractors.storage.scratch import Scratch

scratch = Scratch(root=Path(sys.argv[1]))
file = scratch.new_file(".mp4")
file.write_bytes(b"x")
print(file, flush=True)
sys.stdin.read()
"""


def test_room_is_bounded_and_given_in_turn(tmp_path: Path) -> None:
    scratch, stop = Scratch(100, tmp_path), threading.Event()
    assert scratch.take(0, 60, stop)
    taken: list[int] = []

    def take(turn: int, size: int) -> None:
        if scratch.take(turn, size, stop):
            taken.append(turn)

    first, large, small = (
        threading.Thread(target=take, args=(turn, size)) for turn, size in ((1, 60), (3, 50), (4, 30))
    )
    for thread in (small, large, first):
        thread.start()
    scratch.skip(2)
    # 4 would fit beside 0 and beside 1, but it comes after 3, which does not.
    assert taken == []
    scratch.give_back(60)
    first.join()
    assert taken == [1]
    scratch.give_back(60)
    large.join()
    small.join()
    assert sorted(taken) == [1, 3, 4]


def test_one_file_always_fits(tmp_path: Path) -> None:
    scratch, stop = Scratch(10, tmp_path), threading.Event()
    assert scratch.take(0, 1000, stop)
    stop.set()
    assert not scratch.take(1, 1, stop)


def test_files_are_gone_after_use(tmp_path: Path) -> None:
    scratch = Scratch(root=tmp_path / "root")
    assert not (tmp_path / "root").exists()
    file = scratch.new_file(".mp4")
    file.write_bytes(b"x")
    scratch.close()
    assert list((tmp_path / "root").iterdir()) == []


def test_what_a_kill_left_is_cleared(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", _HOLDS_A_FILE, tmp_path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    files = [Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout is not None]
    dead, living = holders
    dead.kill()
    dead.wait()
    (tmp_path / "of-others").mkdir()
    scratch = Scratch(root=tmp_path)
    own = scratch.new_file(".mp4").parent
    assert [file.exists() for file in files] == [False, True]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        own.name,
        files[1].parent.name,
        "of-others",
    }
    scratch.close()
    living.communicate()
    assert living.returncode == 0


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.delenv("VTG_SCRATCH", raising=False)
    assert scratch_root() == tmp_path / "scratch"
    monkeypatch.setenv("VTG_SCRATCH", str(tmp_path / "other"))
    assert scratch_root() == tmp_path / "other"
