"""Reference data that is not part of the project: real videos, real features, oracles.

Tests that read it are skipped with a reason if it is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("VTG_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared(relative: str) -> Path:
    """Path of a reference file or folder; skips the calling test when it is missing."""
    path = ROOT / relative
    if not path.exists():
        pytest.skip(f"reference data {relative} is not at hand (set VTG_SHARED to its folder)")
    return path
