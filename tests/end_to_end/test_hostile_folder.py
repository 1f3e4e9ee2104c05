"""Good and hostile files through `vtg extract`: good ones are done, bad ones named, nothing is left over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import EXAMPLES, vtg
from tests.extractors.index_encoder import make_video
from tests.hostile import NAMES, damaged_in_the_middle, write_hostile


def test_partly_damaged_files_are_done(tmp_path: Path) -> None:
    whole, damaged = damaged_in_the_middle(tmp_path)
    report = tmp_path / "report.jsonl"
    done = vtg("extract", whole, damaged, "--features", "lite", "--report", report, home=tmp_path / "home")
    assert done.returncode == 0
    assert "damaged somewhere in" in done.stderr
    assert str(damaged) in done.stderr
    assert str(whole) not in done.stderr
    rows = {row["path"]: row for row in map(json.loads, report.read_text().splitlines())}
    assert rows[str(whole)]["damaged_s"] == []
    ((start_s, end_s),) = rows[str(damaged)]["damaged_s"]
    assert start_s <= 15 <= end_s


@pytest.mark.slow
def test_good_files_are_done_and_bad_ones_named(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    good = [
        make_video(folder / "good" / f"{name}.mp4", seconds=2.0, variant=i) for i, name in enumerate(NAMES)
    ]
    small = make_video(tmp_path / "seed.mp4", seconds=2.0)
    hostile = write_hostile(folder / "bad", [small, EXAMPLES / "example.mp4"])
    assert len(hostile) >= 50

    done = vtg(
        "extract", folder, "--features", "lite", "--report", tmp_path / "report.jsonl", "--timeout", 60,
        home=tmp_path / "home",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    rows = {row["path"]: row for row in map(json.loads, (tmp_path / "report.jsonl").read_text().splitlines())}
    assert set(rows) == {str(path) for path in (*good, *hostile)}
    for path in good:
        assert rows[str(path)]["status"] in ("ok", "skipped"), rows[str(path)]
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert len(failed) >= 30  # a mutation may miss everything that matters
    assert all(row["reason"] for row in failed)
    assert sum(line.startswith("vtg: ") for line in done.stderr.splitlines()) == len(failed)

    # Nothing half written: every array in the cache is whole, and there is nothing else.
    for path in (tmp_path / "home").rglob("*"):
        assert not path.name.endswith((".tmp", ".lock", ".part")), path
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                assert np.isfinite(arrays["features"]).all()

    # A second run does nothing again but look at the bad ones.
    again = vtg("extract", folder, "--features", "lite", "--quiet", home=tmp_path / "home")
    assert again.returncode == 1
    assert f"0 extracted, {len(rows) - len(failed)} already there, {len(failed)} failed" in again.stdout
