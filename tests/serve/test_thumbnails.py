"""Thumbnails of files that change while they are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extractors.rendering import render
from vtg_cli.serve.library.library import NotThere, Video
from vtg_cli.serve.library.thumbnails import Thumbnails
from vtg_cli.serve.sandbox import Sandbox, WorkFailed


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.stop()


def video_at(path: Path) -> Video:
    return Video("1", path.name, path.resolve(), "", path.stat().st_size, 2.0, 10.0, 64, 48, uploaded=False)


def test_a_file_that_goes_while_its_picture_waits_is_gone(sandbox, tmp_path):
    video = video_at(render(tmp_path / "going.mp4", frames=20, fps=10))
    video.path.unlink()
    with pytest.raises(NotThere, match=r"going\.mp4: the file has gone"):
        asyncio.run(Thumbnails(sandbox).get(video, 1.0))


def test_a_file_that_is_damaged_meanwhile_failed(sandbox, tmp_path):
    video = video_at(render(tmp_path / "cut.mp4", frames=20, fps=10))
    video.path.write_bytes(video.path.read_bytes()[:200])
    with pytest.raises(WorkFailed):
        asyncio.run(Thumbnails(sandbox).get(video, 1.0))
