"""From the events of extractions and downloads to the progress of a job."""

from __future__ import annotations

from collections.abc import Callable

from extractors.videos.events import Event, VideoFinished, VideoOpening, VideoProgress, VideoWaiting
from vtg_cli.mcp.jobs import Report
from vtg_cli.terminal.console import counted
from vtg_cli.terminal.sizes import size


def downloading(report: Report) -> Callable[[int, int | None], None]:
    """A listener that reports how much of some weights has been downloaded."""

    def listen(done: int, total: int | None) -> None:
        if total is None:
            report(0.0, f"downloading weights: {size(done)}")
        else:
            report(done / max(total, 1), f"downloading weights: {size(done)} of {size(total)}")

    return listen


def extracting(count: int, report: Report) -> Callable[[Event], None]:
    """A listener that reports how far some videos are."""
    finished = 0

    def listen(event: Event) -> None:
        nonlocal finished
        if isinstance(event, VideoFinished):
            finished += 1
            report(finished / count, f"{finished} of {counted(count, 'video')}")
        elif isinstance(event, VideoProgress):
            share = event.done_s / max(event.duration_s, 1e-3)
            done = f"{event.done_s:.0f} of {event.duration_s:.0f} s"
            report((finished + min(share, 1.0)) / count, f"extracting features of {event.path.name}: {done}")
        elif isinstance(event, (VideoOpening, VideoWaiting)):
            report(finished / count, f"opening {event.path.name}")

    return listen
