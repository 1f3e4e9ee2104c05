"""Progress of extraction and downloads on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from extractors.pipeline import Event, VideoFinished, VideoProgress, VideoStarted, VideoWaiting
from vtg_cli.console import detail, err, error_line, printable, verbosity
from vtg_cli.timecode import span

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ExtractionProgress:
    """Shows extraction as it goes: files done, the one at work, time left, and how many times faster than real time.

    Call it with each event.

    Args:
        progress: the live display.
        file_count: number of videos.
        report_failures: whether to say which videos failed; a caller that raises the error says it itself.
    """

    def __init__(self, progress: Progress, file_count: int, *, report_failures: bool) -> None:
        self._progress = progress
        self._report_failures = report_failures
        self._files = progress.add_task("videos", total=file_count, visible=file_count > 1, speed="")
        self._video: TaskID | None = None
        self._done_s = 0.0
        self._started = time.monotonic()

    def __call__(self, event: Event) -> None:
        match event:
            case VideoStarted():
                self._close()
                name = printable(event.path.name)
                self._video = self._progress.add_task(name, total=event.info.duration_s, speed="")
                if event.info.note:
                    detail(f"{event.path}: {event.info.note}")
            case VideoProgress() if self._video is not None:
                elapsed = max(time.monotonic() - self._started, 1e-3)
                speed = f"{(self._done_s + event.done_s) / elapsed:.1f} × real time"
                self._progress.update(self._video, completed=event.done_s, speed=speed)
            case VideoWaiting():
                detail(f"{event.path}: another process is extracting it; waiting")
            case VideoFinished():
                self._finished(event)

    def _finished(self, event: VideoFinished) -> None:
        self._close()
        self._progress.advance(self._files)
        if event.status == "extracted":
            self._done_s += event.duration_s
            detail(f"{event.path}: extracted in {span(event.seconds)}")
        elif event.status == "cached":
            detail(f"{event.path}: nothing missing")
        elif self._report_failures:
            error_line(event.reason if str(event.path) in event.reason else f"{event.path}: {event.reason}")

    def _close(self) -> None:
        if self._video is not None:
            self._progress.remove_task(self._video)
            self._video = None


@contextmanager
def extraction_progress(file_count: int = 1, *, report_failures: bool = True) -> Iterator[ExtractionProgress]:
    """A live display for `extract_features`' events; nothing is drawn with `--quiet` or into a pipe."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    if file_count > 1:
        columns = (*columns[:2], MofNCompleteColumn(), *columns[2:])  # type: ignore[assignment]
    with Progress(
        *columns, console=console, transient=True, disable=verbosity.quiet or not console.is_terminal
    ) as bar:
        yield ExtractionProgress(bar, file_count, report_failures=report_failures)


class DownloadProgress:
    """Shows a download; call it with bytes done and bytes in all (None if unknown)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int | None) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        if self._progress is None:
            console = err()
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                disable=verbosity.quiet or not console.is_terminal,
            )
            self._progress.start()
            self._task = self._progress.add_task(self._name, total=total)
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total)
        if total is not None and done >= total:
            self.stop()

    def stop(self) -> None:
        """Take the display away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = self._task = None
