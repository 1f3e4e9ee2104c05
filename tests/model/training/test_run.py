"""The folder of a run, looked at by several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractors.errors import UsageError
from model.training.run import Run


@pytest.mark.parametrize(("rank", "left"), [("0", False), ("1", True)])
def test_only_the_main_process_removes_leftovers(
    rank: str, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    being_written = tmp_path / ".config.toml.0123456789ab.tmp"
    being_written.touch()

    assert Run(tmp_path).read_state() is None

    assert being_written.exists() is left


def test_only_the_main_process_refuses_a_folder_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("RANK", "1")
    Run(tmp_path).require_new()

    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="is not empty"):
        Run(tmp_path).require_new()
