"""A new fact about a video is one field: it reaches every reader without being named on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extractors.rendering import render

REPO = Path(__file__).resolve().parents[3]
another = "tests.extractors.extraction.another_fact"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return render(tmp_path / "video.mp4", frames=40, fps=10, width=64, height=64)


def run(code: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import sys\nimport {another}\n{code}", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPO), "VTG_HOME": str(folder), "VTG_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )


def test_report_and_terminal(video: Path, tmp_path: Path) -> None:
    code = """
from vtg_cli.main import main
sys.argv[0] = "vtg"
main()
"""
    for devices in ("cpu", "cpu,cpu"):
        cache, report = tmp_path / devices, tmp_path / "report.jsonl"
        for status in ("ok", "skipped"):
            done = run(
                code, tmp_path, "extract", video, "--features", "lite", "--devices", devices, "--cache", cache,
                "--report", report,
            )  # fmt: skip
            (row,) = map(json.loads, report.read_text().splitlines())
            assert (row["status"], row["damaged_s"], row["dark_s"]) == (status, [], [[1.25, 3.0]])
            assert f"{video.name}: dark from 1.25 s" in done.stderr.replace("\n", "")


def test_answers_and_page(video: Path, tmp_path: Path) -> None:
    code = """
from pathlib import Path
from dataclasses import replace
from types import SimpleNamespace
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.grounding import GroundingWork
path = Path(sys.argv[1])
video = SimpleNamespace(path=path, name=path.name, check_file=lambda: None)
job = SimpleNamespace(video=video, queries=("a cat",), top_k=1, threshold=0.0)
found = GroundingWork(ModelArguments(features="lite"))(job, lambda stage, progress: None)
print(found.notes)
print(found.results[0].to_json()["dark_s"])
"""
    done = run(code, tmp_path, video)
    assert "'This video is dark from 1.25 s.'" in done.stdout
    assert "[[1.25, 3.0]]" in done.stdout
