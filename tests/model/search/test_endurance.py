"""A library whose processes are killed and work side by side, at a small size."""

from __future__ import annotations

import pytest

from extractors.places import Address
from tests.model.search.endurance import run


@pytest.mark.slow
def test_kills_and_several_processes(tmp_path):
    figures = run(tmp_path, files=60, kills=6)
    assert figures.is_good, figures
    assert figures.kills > 0


@pytest.mark.slow
def test_kills_and_several_machines(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "home"))
    figures = run(tmp_path, files=15, kills=2, library=Address("s3", bucket.name, "library"))
    assert figures.is_good, figures
