"""Runs the installed command in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def vtg(*arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vtg` with all its state in one folder and no connections."""
    return subprocess.run(
        [sys.executable, "-m", "vtg_cli.main", *map(str, arguments)],
        env=clean_environment(home) | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment with every cache in a folder."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("VTG_", "HF_", "TORCH_HOME"))
    }
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "VTG_HOME": str(home / "vtg"),
        "VTG_OFFLINE": "1",
        "COLUMNS": "100",
    }
