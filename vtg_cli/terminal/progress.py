"""Progress of extraction and downloads on standard error.

A display appears with the first thing to show. So a command with cached answers draws nothing and loads nothing, and a
download before an extraction has the terminal to itself.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from extractors.places import Place
from extractors.videos.events import (
    Event,
    RoomWanted,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoStarted,
    VideoWaiting,
    WorkerLost,
)
from vtg_cli.terminal.console import detail, err, error_line, note, printable, verbosity
from vtg_cli.terminal.sizes import size
from vtg_cli.terminal.timecode import span

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID


_Shown = TypeVar("_Shown", bound="Display")


class Display:
    """A display that is started when it is needed, and taken away when its `with` block is left."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __enter__(self: _Shown) -> _Shown:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def _start(self, *columns: ProgressColumn) -> Progress:
        """Show these columns; nothing is drawn with `--quiet` or into a pipe."""
        from rich.progress import Progress

        console = err()
        disable = verbosity.quiet or not console.is_terminal
        self._progress = Progress(*columns, console=console, transient=True, disable=disable)
        self._progress.start()
        return self._progress

    def pause(self) -> None:
        """Take the display away, so that something else can be printed; the next thing to show brings it back."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class ExtractionProgress(Display):
    """Shows extraction as it goes: files done, the one at work, time left, and how many times faster than real time.

    Call it with each event.

    Args:
        file_count: number of videos.
        report_failures: whether to say which videos failed; a caller that raises the error says it itself.
    """

    def __init__(self, file_count: int = 1, *, report_failures: bool = True) -> None:
        super().__init__()
        self._file_count = file_count
        self._report_failures = report_failures
        self._files: TaskID | None = None
        self._videos: dict[Place, TaskID] = {}
        self._finished_count = 0
        self._done_s: dict[Place, float] = {}  # of what is extracted, and of what is being extracted
        self._waited_for: set[Place] = set()
        self._started = time.monotonic()

    def expect(self, file_count: int) -> None:
        """Set the number of videos, before the first event."""
        self._file_count = file_count

    def __call__(self, event: Event) -> None:
        match event:
            case VideoOpening():
                self._show(event.path, speed="opening")
            case VideoStarted():
                self._show(event.path, total=event.info.duration_s, speed="")
                if event.info.note:
                    detail(f"{event.path}: {event.info.note}")
            case VideoProgress():
                elapsed = max(time.monotonic() - self._started, 1e-3)
                self._done_s[event.path] = event.done_s
                speed = f"{sum(self._done_s.values()) / elapsed:.1f} × real time"
                self._show(event.path, total=event.duration_s, completed=event.done_s, speed=speed)
            case VideoWaiting() if event.path not in self._waited_for:
                self._waited_for.add(event.path)
                detail(f"{event.path}: another process is extracting it; waiting")
            case VideoFinished():
                self._finish(event)
            case WorkerLost():
                error_line(f"the process on {event.device} stopped: {event.reason}")
            case RoomWanted():
                memory = f", {size(event.memory_bytes)}" if event.memory_bytes else ""
                note(
                    f"no node of the cluster has room for a worker ({event.cpus:g} CPUs, {event.gpus:g} GPUs{memory}); "
                    "waiting for one"
                )

    def _stop(self) -> None:
        super()._stop()
        self._videos.clear()

    def _show(
        self, video: Place, *, speed: str, total: float | None = None, completed: float | None = None
    ) -> None:
        """Show how far a video is; a length that is not given is unknown."""
        progress = self._progress or self._start_files()
        if video not in self._videos:
            self._videos[video] = progress.add_task(printable(video.name), total=None, speed=speed)
        progress.update(self._videos[video], total=total, completed=completed, speed=speed)

    def _start_files(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        several = self._file_count > 1
        progress = self._start(
            TextColumn("{task.description}"),
            BarColumn(),
            *([MofNCompleteColumn()] if several else []),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
        )
        self._files = progress.add_task(
            "videos", total=self._file_count, completed=self._finished_count, visible=several, speed=""
        )
        return progress

    def _finish(self, event: VideoFinished) -> None:
        self._finished_count += 1
        if self._progress is not None and self._files is not None:
            self._progress.update(self._files, completed=self._finished_count)
            if event.path in self._videos:
                self._progress.remove_task(self._videos.pop(event.path))
        if event.status == "extracted":
            self._done_s[event.path] = event.duration_s
            detail(f"{event.path}: extracted in {span(event.seconds)}")
        elif event.status == "cached":
            detail(f"{event.path}: nothing missing")
        elif self._report_failures:
            error_line(str(event.error))
        for warning in event.facts.warnings():
            note(f"{event.path}: {warning}")


class DownloadProgress(Display):
    """Shows a download; call it with bytes done and bytes in all (None if unknown)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int | None) -> None:
        progress = self._progress or self._start_download(total)
        if self._task is not None:
            progress.update(self._task, completed=done, total=total)
        if total is not None and done >= total:
            self._stop()

    def _start_download(self, total: int | None) -> Progress:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        progress = self._start(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._task = progress.add_task(self._name, total=total)
        return progress


class CountProgress(Display):
    """Shows how many things are done; call it with that and how many there are in all."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

            progress = self._start(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            )
            self._task = progress.add_task(self._what, total=total)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)
