"""Handing out videos to workers that die."""

from __future__ import annotations

from pathlib import Path

import pytest

from extractors.errors import UsageError
from extractors.extraction.ray_cluster import WorkerShare
from extractors.extraction.work_list import Worker, WorkList
from extractors.videos.events import Event, VideoFinished, VideoStarted, WorkerLost
from extractors.videos.facts import VideoInfo

PATHS = [Path(f"v{index}.mp4") for index in range(4)]


@pytest.fixture
def events() -> list[Event]:
    return []


def started(index: int) -> VideoStarted:
    info = VideoInfo(PATHS[index], 8.0, 10.0, 160, 128, 80, "h264", 0, "pyav", "")
    return VideoStarted(index, PATHS[index], info, {"lite": 8})


def finish(videos: WorkList, worker: Worker, index: int) -> None:
    videos.take(worker, VideoFinished(index, PATHS[index], "extracted"))


def handed(videos: WorkList, worker: Worker, **how: bool) -> int | None:
    video = videos.hand_out(worker, **how)
    return None if video is None else video[0]


def test_suspects_come_last_and_fail_after_their_retries(events: list[Event]) -> None:
    videos = WorkList(PATHS, events.append, retries=1)
    first = Worker("a")
    assert [handed(videos, first), handed(videos, first)] == [0, 1]
    videos.take(first, started(0))
    videos.lose(first, "SIGKILL")
    assert first.open == set()
    assert videos.left == 4

    second = Worker("b")
    assert [handed(videos, second, suspects=False) for _ in range(3)] == [2, 3, None]
    finish(videos, second, 2)
    finish(videos, second, 3)
    assert handed(videos, second) == 0
    assert videos.has_suspect(second)
    videos.take(second, started(0))
    videos.lose(second, "SIGSEGV")
    assert events[-2] == WorkerLost("b", "SIGSEGV", (PATHS[0],))

    third = Worker("c")
    assert [handed(videos, third), handed(videos, third)] == [1, None]
    finish(videos, third, 1)
    assert videos.is_finished
    assert videos.lost == 2
    assert [result.status for result in videos.results()] == ["failed", "extracted", "extracted", "extracted"]
    reason = videos.results()[0].reason
    assert reason.startswith("2 workers ended while they had it, the last one on b (SIGSEGV)")


def test_a_video_that_kills_before_it_starts_fails_too(events: list[Event]) -> None:
    videos = WorkList(PATHS[:1], events.append, retries=2)
    for _ in range(4):  # the first time it may have been in bad company
        assert handed(videos, Worker("a")) == 0
        worker = Worker("a", open={0})
        videos.lose(worker, "SIGKILL")
    assert videos.is_finished
    assert videos.results()[0].status == "failed"


def test_a_node_that_leaves_with_notice_is_nobodys_fault(events: list[Event]) -> None:
    videos = WorkList(PATHS[:1], events.append, retries=0)
    for _ in range(3):
        worker = Worker("a")
        assert handed(videos, worker) == 0
        videos.take(worker, started(0))
        videos.lose(worker, "its node is gone", counts=False)
    worker = Worker("b")
    assert handed(videos, worker) == 0
    finish(videos, worker, 0)
    assert videos.results()[0].status == "extracted"


@pytest.mark.parametrize(
    ("share", "count"),
    [
        (WorkerShare(1), 16),
        (WorkerShare(0.1), 160),
        (WorkerShare(1, gpus=0.25), 8),
        (WorkerShare(5, gpus=0.25), 3),
        (WorkerShare(1, memory_bytes=30_000_000_000), 2),
        (WorkerShare(1, gpus=4), 0),
    ],
)
def test_what_fits_on_a_node(share: WorkerShare, count: int) -> None:
    assert share.fits({"CPU": 16.0, "GPU": 2.0, "memory": 64e9, "node:10.0.0.1": 1.0}) == count


def test_nothing_is_no_share() -> None:
    with pytest.raises(UsageError):
        WorkerShare(0)
