"""Temporary files of writers that were killed are removed, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from extractors.files import atomic
from extractors.files.atomic import atomic_write, remove_abandoned


def abandoned(folder: Path, name: str, *, age_s: float = 60.0) -> Path:
    """What a writer of a file leaves behind that is killed."""
    path = folder / f".{name[:40]}.0123456789ab.tmp"
    path.write_text("half")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_killed_writers_left_is_removed(tmp_path):
    files = [abandoned(tmp_path, name) for name in ("v_a-cat_01.mp4", "v_a-dog_01.mp4", "v_" + "long" * 50)]
    others = [
        abandoned(tmp_path, "w_a-cat_01.mp4"),
        abandoned(tmp_path, "v_fresh.mp4", age_s=0.0),
        tmp_path / ".v_notes.swp.tmp",
        tmp_path / "v_a-cat_01.mp4",
    ]
    for other in others:
        other.touch()
    os.utime(others[2], (0, 0))
    assert remove_abandoned(tmp_path, "v_") == 3
    assert not any(file.exists() for file in files)
    assert all(other.exists() for other in others)
    assert remove_abandoned(tmp_path / "nowhere", "v_") == 0


def test_a_long_name_is_found_by_its_beginning(tmp_path):
    file = abandoned(tmp_path, "v" * 60 + "_a-cat_01.mp4")
    assert remove_abandoned(tmp_path, "v" * 60 + "_") == 1
    assert not file.exists()


@pytest.mark.skipif(os.name == "nt", reason="needs locks of POSIX")
def test_a_writer_that_lives_keeps_its_file(tmp_path):
    target = tmp_path / "v_a-cat_01.mp4"
    with atomic_write(target) as file:
        file.write(b"whole")
        file.flush()
        os.utime(file.fileno(), (0, 0))  # it has been at work for long
        assert remove_abandoned(tmp_path, "v_") == 0
    assert target.read_bytes() == b"whole"


def test_without_locks_age_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_lock", lambda file: None)
    young, old = abandoned(tmp_path, "v_1", age_s=600), abandoned(tmp_path, "v_2", age_s=4000)
    assert remove_abandoned(tmp_path, "v_") == 1
    assert young.exists()
    assert not old.exists()
