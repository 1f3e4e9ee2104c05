"""Commands of a forked process and of a new one are the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, _forker, clean_environment, new_vtg, vtg

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all processes are new")


@pytest.mark.parametrize(
    "arguments",
    [("cache", "info", "--json"), ("train", "--dataset", "no.jsonl"), ("ground", "a.mp4", "a cat"), ("--version",)],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_forked_commands_say_the_same(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes((EXAMPLES / "example.mp4").read_bytes())
    forked = _forker().run(arguments, clean_environment(tmp_path), timeout_s=300)
    new = new_vtg(*arguments, home=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)


def test_variables_that_libraries_set_are_not_handed_on(tmp_path, monkeypatch):
    before = clean_environment(tmp_path)
    for name in ("LD_LIBRARY_PATH", "PATH", "RAY_CLIENT_MODE", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "/set/by/a/library")
    assert clean_environment(tmp_path) == before


def test_variables_of_imports_need_a_new_process(tmp_path):
    assert not _forker().suits(clean_environment(tmp_path) | {"PYTHONIOENCODING": "ascii"})
    assert "é" not in vtg("ground", "é.mp4", "a cat", home=tmp_path, PYTHONIOENCODING="ascii").stderr
