"""The notebook of the examples runs as it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.running import EXAMPLES, clean_environment


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=EXAMPLES,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "6.0 to  14.0 s" in done.stdout
    assert "an elephant" in done.stdout
    assert "clear: False" in done.stdout
    assert "example.mp4 35.0 43.0" in done.stdout
