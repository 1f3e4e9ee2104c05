"""`import vtg` next to a user's own `model.py`, in separate processes as users run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a folder, which comes first on the path, as in notebooks; vtg comes last, as if installed."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_same_names_as_model() -> None:
    import model
    import vtg

    assert dir(vtg) == sorted(model.__all__)
    assert vtg.Grounder is model.Grounder
    with pytest.raises(AttributeError, match="'vtg' has no attribute 'nothing'"):
        _ = vtg.nothing


def test_light_import(tmp_path: Path) -> None:
    done = run("import vtg; print('torch' in sys.modules)", tmp_path)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.parametrize("name", ["model", "extractors"])
def test_hidden_package_is_named(tmp_path: Path, name: str) -> None:
    hiding = tmp_path / f"{name}.py"
    hiding.write_text("raise SystemExit('the user’s own file must not run')")
    done = run("from vtg import Grounder", tmp_path)
    assert done.returncode == 1
    assert f"ImportError: {hiding} hides vtg's package '{name}'" in done.stderr
    assert "rename it" in done.stderr


def test_command_names_the_hiding_file(tmp_path: Path) -> None:
    hiding = tmp_path / "model.py"
    hiding.write_text("")
    done = run("from vtg_cli.main import main; sys.argv[1:] = ['--help']; main()", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"vtg: {hiding} hides vtg's package 'model'")
    assert done.stderr.count("\n") == 1
