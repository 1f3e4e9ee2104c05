"""What `vtg mcp` prints for clients, and what it answers where it cannot run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mcp.client.stdio import StdioServerParameters

from tests.cli.mcp.running import connected, environment
from tests.cli.running import EXAMPLES, clean_environment, vtg
from tests.test_architecture_page import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def config(*arguments: str | Path, home: Path, **variables: str) -> dict:
    done = vtg("mcp", *arguments, "--config", home=home, **variables)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["mcpServers"]) == ["vtg"]
    return document["mcpServers"]["vtg"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "videos").mkdir()
    shutil.copy(EXAMPLES / "example.mp4", tmp_path / "videos" / "cat.mp4")
    monkeypatch.setenv("PYTHONPATH", environment(tmp_path)["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_are_absolute(folder):
    options = ("--library", "mine", "--library", "./index", "--output=out", "--features", "lite", "--offline")
    entry = config("videos", *options, home=folder)
    assert Path(entry["command"]).is_absolute()
    arguments = entry["args"][entry["args"].index("mcp") + 1 :]
    assert arguments[0] == str(folder / "videos")
    assert ["--library", "mine", "--library", str(folder / "index")] == arguments[1:5]
    assert {"--offline", str(folder / "out"), "lite"} <= set(arguments)
    assert "--config" not in arguments
    assert entry["env"]["VTG_HOME"] == str(folder / "vtg")


def test_only_paths_are_made_absolute(folder):
    (folder / "run").mkdir()
    options = ("--features", "open_clip:ViT-L-14/openai", "--weights", "clip=w.pt", "--library", "a b")
    options += ("--library", "s3://films/library")
    arguments = config("videos", *options, "--model", "run", home=folder)["args"]
    assert {
        "s3://films/library",
        "open_clip:ViT-L-14/openai",
        f"clip={folder / 'w.pt'}",
        "a b",
        str(folder / "run"),
    } <= set(arguments)
    assert "zero-shot" in config("videos", "--model", "zero-shot", home=folder)["args"]


def test_address(folder):
    entry = config("videos", "--http", "--port", "9000", home=folder)
    assert entry == {"type": "http", "url": "http://127.0.0.1:9000/mcp"}
    entry = config("videos", "--http", "--token", "abc", home=folder)
    assert entry["headers"] == {"Authorization": "Bearer abc"}
    for options, message in ((("--port", "0"), "needs a --port"), (("--host", "0.0.0.0"), "needs a token")):
        done = vtg("mcp", "videos", "--http", *options, "--config", home=folder)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("option", ["--host", "--port", "--token", "--token-file"])
def test_options_of_http_need_it(folder, option):
    done = vtg("mcp", "videos", option, "9000", home=folder)
    assert (done.returncode, done.stderr) == (2, f"vtg: {option}: needs --http\n")


@pytest.mark.slow
def test_the_printed_command_works(folder):
    entry = config("videos", "--output", "out", home=folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    # As clients do it: in another folder, with few variables besides those that are named.
    variables = entry["env"] | {"PYTHONPATH": os.environ["PYTHONPATH"]}
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=variables, cwd=elsewhere)
    with connected(server) as agent:
        found = agent.call("find_moments", query="a cat", video="cat.mp4", wait_s=240)
        assert found["moments"][0]["start_s"] == 6.0
        agent.call("export", found=[found["found"]], format="csv", file="cats")
    assert (folder / "out" / "cats.csv").exists()


@pytest.mark.parametrize("missing", ["mcp", "mcp.server.mcpserver"])
def test_a_missing_package_is_named(folder, missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['vtg', 'mcp', 'videos']\n"
        "from vtg_cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("vtg: vtg mcp needs a package")
    # The same as in the extra, which names it for installations.
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["mcp"]
    assert line.endswith(f"-m pip install '{extra[0]}'")
