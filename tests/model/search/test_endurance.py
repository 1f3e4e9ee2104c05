"""A library whose processes are killed and work side by side, at a small size."""

from __future__ import annotations

import pytest

from tests.model.search.endurance import run


@pytest.mark.slow
def test_kills_and_several_processes(tmp_path):
    figures = run(tmp_path, files=60, kills=6)
    assert figures.is_good, figures
    assert figures.kills > 0
