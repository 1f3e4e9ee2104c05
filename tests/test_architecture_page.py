"""docs/architecture.md names the folders and dataclasses that exist, all of them and no others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["extractors", "model", "vtg_cli"])
def test_every_folder_is_named(package):
    files = (
        path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    folders = {path.parent.relative_to(ROOT).as_posix() for path in files}
    named = {name.rstrip("/") for name in re.findall(rf"^- `({package}/[\w/]*)`", PAGE, re.MULTILINE)}
    assert folders == named


@pytest.mark.parametrize("package", ["extractors", "model", "vtg_cli"])
def test_no_folder_has_too_many_modules(package):
    modules = Counter(path.parent for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py")
    assert {folder.relative_to(ROOT).as_posix() for folder, count in modules.items() if count > 14} == set()


def test_named_paths_exist():
    for name in re.findall(r"`((?:extractors|model|vtg_cli)/[\w./]*)`", PAGE):
        assert (ROOT / name).exists(), name


def test_named_dataclasses_exist():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `([\w./]+)` \|", PAGE, re.MULTILINE)
    assert len(rows) > 5
    for names, file in rows:
        for name in re.findall(r"\w+", names):
            assert f"class {name}" in (ROOT / file).read_text(encoding="utf-8"), name


def test_contracts_are_quoted():
    contracts = re.findall(
        r'^name = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert all(f'"{name}"' in PAGE for name in contracts if name != "vtg")


def test_order_of_layers():
    toml = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r'"(.+)"', toml.rpartition("layers = [")[2].partition("]")[0])
    order = "; ".join(layer.replace(" | ", ", ") for layer in reversed(layers))
    assert f"The order is {order}." in " ".join(PAGE.split())
