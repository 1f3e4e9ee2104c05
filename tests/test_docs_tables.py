"""The tables in README and docs are those that the entries give."""

from __future__ import annotations

import importlib.util
import re

import pytest

from extractors.encoders.registry import features
from model.dataset_entry import datasets
from tests.test_architecture_page import ROOT
from vtg_cli.writers.formats import formats

_SPEC = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
assert _SPEC is not None
assert _SPEC.loader is not None
tables = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tables)


@pytest.mark.parametrize("file", tables.TABLES)
def test_tables_are_up_to_date(file):
    page = (ROOT / file).read_text(encoding="utf-8")
    assert page == tables.with_tables(page, tables.TABLES[file]), "run python docs/tables.py"


@pytest.mark.parametrize(
    ("make", "entries"),
    [
        (tables.feature_table, features),
        (tables.answer_table, features),
        (tables.format_table, formats),
        (tables.dataset_table, datasets),
    ],
)
def test_every_entry_has_a_row(make, entries):
    named = re.findall(r"^\| `(\w+)` \|", make(), re.MULTILINE)
    assert named == [entry.name for entry in entries()]


def test_every_file_of_the_network_has_a_row():
    files = {path.stem for path in (ROOT / "model" / "network").glob("*.py")} - {"__init__"}
    assert files == set(re.findall(r"^\| `network/(\w+)\.py` \|", tables.network_table(), re.MULTILINE))


def test_marks_that_are_missing_are_reported():
    with pytest.raises(ValueError, match="0 tables are marked as 'features'"):
        tables.with_tables("no table", {"features": tables.feature_table})
