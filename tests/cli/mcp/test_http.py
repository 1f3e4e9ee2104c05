"""`vtg mcp --http`, driven by the client of the SDK; who else may connect."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import httpx2
import pytest
from mcp.client.streamable_http import streamable_http_client

from tests.cli.mcp.running import connected
from tests.cli.running import EXAMPLES, Running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "videos").mkdir()
    shutil.copy(EXAMPLES / "example.mp4", folder / "videos" / "cat.mp4")
    return folder


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[tuple[Running, str]]:
    """A server, and its address."""
    options = ("--http", "--port", "0", "--output", folder / "exports")
    with Running("mcp", folder / "videos", *options, *arguments, home=folder) as server:
        server.wait_for("out", "/mcp")
        found = re.search(r"http://\S+", server.said["out"][0])
        assert found
        yield server, found[0]


def test_a_moment_is_found_and_exported(folder):
    with serving(folder) as (server, address):
        with connected(address) as agent:
            found = agent.call("find_moments", query="a cat", video="cat.mp4", wait_s=240)
            assert agent.progress
            assert (found["moments"][0]["start_s"], found["moments"][0]["end_s"]) == (6.0, 14.0)
            written = Path(agent.call("export", found=[found["found"]], format="vtt", file="cats")["path"])
            assert "00:00:06.000 --> 00:00:14.000" in written.read_text()
        assert server.end() == 0


def test_other_sites_are_refused(folder):
    with serving(folder) as (_, address):
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        for headers in (
            {"host": "rebound.example.com"},
            {"origin": "http://example.com"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
        ):
            assert httpx.post(address, json=body, headers=headers, trust_env=False).status_code == 403, (
                headers
            )
        assert httpx.post(address, json=body, trust_env=False).status_code not in (401, 403)


def test_a_token_is_needed(folder):
    (folder / "token").write_text("s3cret\n")
    with serving(folder, "--token-file", str(folder / "token")) as (server, address):
        server.wait_for("out", "Authorization: Bearer s3cret")
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        for headers in ({}, {"authorization": "Bearer wrong"}):
            refused = httpx.post(address, json=body, headers=headers, trust_env=False)
            assert refused.status_code == 401
            assert "Authorization: Bearer TOKEN" in refused.json()["error"]
        client = httpx2.AsyncClient(headers={"authorization": "Bearer s3cret"}, trust_env=False)
        with connected(streamable_http_client(address, http_client=client)) as agent:
            assert agent.call("list_videos")["total"] == 1


def test_other_addresses_need_a_token(folder):
    with serving(folder, "--host", "0.0.0.0") as (server, address):
        server.wait_for("out", "Authorization: Bearer ")
        server.wait_for("err", "the connection is not encrypted")
        port = address.rpartition(":")[2]
        refused = httpx.post(f"http://127.0.0.1:{port}", json={}, trust_env=False)
        assert refused.status_code == 401
