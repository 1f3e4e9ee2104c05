"""A watched folder: which of its videos are complete and not yet handed out, and when to look again.

The state comes from the folder itself, never from the system's change reports. So a lost report, as on every network
drive, costs seconds and not a video.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_RESCAN_S = 5.0  # between looks at a folder without change reports
_SHORTEST_WAIT_S = 0.5  # between looks while files are being written
_TEMPORARY_WORDS = frozenset({"part", "partial", "temp", "tmp"})


@dataclass(frozen=True)
class FileState:
    """The facts that show whether a file is still changing.

    Attributes:
        size: bytes.
        modified_ns: when it was last written to, as the file system says, in nanoseconds.
    """

    size: int
    modified_ns: int


@dataclass(frozen=True)
class Arrival:
    """A video that counts as complete.

    Attributes:
        path: the file.
        state: how it was then.
    """

    path: Path
    state: FileState

    @property
    def has_changed(self) -> bool:
        """Whether the file has changed or gone: then what was read from it is useless, and that is not an error."""
        return file_state(self.path) != self.state


@dataclass(frozen=True)
class _Sighting:
    """A file that may still be changing: how it is, since when, and how many files were seen before it."""

    state: FileState
    since_s: float
    number: int


class Arrivals:
    """Decides which files are ready: those unchanged for a while, each once per state.

    A file that changes after it was handed out is handed out again once it has settled: a copy that paused for
    longer is not lost. An empty file is the place of one that is still to come.

    Args:
        settle_s: seconds without a change after which a file counts as whole.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._waiting: dict[Path, _Sighting] = {}
        self._done: dict[Path, FileState] = {}
        self._seen = 0

    @property
    def waiting(self) -> tuple[Path, ...]:
        """Files that are there and were not handed out, in the order they were seen."""
        return tuple(sorted(self._waiting, key=lambda path: self._waiting[path].number))

    def pass_over(self, files: Mapping[Path, FileState]) -> None:
        """Never hand out these files as they are now."""
        self._done.update(files)

    def look(self, files: Mapping[Path, FileState], now_s: float) -> list[Arrival]:
        """Take note of what is there now.

        Args:
            files: every video in the folder.
            now_s: the time, in seconds of any clock that does not go back.

        Returns:
            the files that are ready, in the order they were seen; each comes again until it is taken.
        """
        for path in self._waiting.keys() - files.keys():
            del self._waiting[path]
        for path, state in files.items():
            if self._done.get(path) == state:
                self._waiting.pop(path, None)
                continue
            before = self._waiting.get(path)
            if before is None:
                self._seen += 1
                self._waiting[path] = _Sighting(state, now_s, self._seen)
            elif before.state != state:
                self._waiting[path] = _Sighting(state, now_s, before.number)
        return [
            Arrival(path, self._waiting[path].state)
            for path in self.waiting
            if self._waiting[path].state.size and now_s - self._waiting[path].since_s >= self._settle_s
        ]

    def take(self, arrival: Arrival) -> None:
        """Hand a file out; it comes again only if it changes."""
        self._done[arrival.path] = arrival.state
        self._waiting.pop(arrival.path, None)

    def forget(self, path: Path) -> None:
        """Hand a file out again if it comes back, even as it was."""
        self._done.pop(path, None)
        self._waiting.pop(path, None)

    def next_look_s(self, now_s: float) -> float:
        """Seconds until a file may have settled, as far as is known now; infinite if none is waiting."""
        left_s = (
            sighting.since_s + self._settle_s - now_s
            for sighting in self._waiting.values()
            if sighting.state.size
        )
        return max(min(left_s, default=float("inf")), 0.0)


def arriving(folder: Path, arrivals: Arrivals) -> Iterator[Arrival]:
    """The videos of a folder and its subfolders as they become whole: first what is there, by name; never ends.

    Args:
        folder: where videos arrive. If it is not there for a while, it is waited for.
        arrivals: what is known of its files.
    """
    bell = Bell(folder)
    while True:
        # A look for each: while one is read, others change.
        now_s = time.monotonic()
        ready = arrivals.look(videos_in(folder), now_s)
        if ready:
            arrivals.take(ready[0])
            yield ready[0]
        else:
            bell.wait(arrivals.next_look_s(now_s))


def videos_in(folder: Path) -> dict[Path, FileState]:
    """The videos of a folder and its subfolders, by name; without hidden files, and those that programs write to."""
    from extractors.errors import UsageError
    from extractors.extraction.collect import collect_videos

    try:
        paths = collect_videos([folder])
    except UsageError:  # there are none, or the folder is away
        return {}
    states = {path: file_state(path) for path in paths if not is_temporary(path.name)}
    return {path: state for path, state in states.items() if state is not None}


def file_state(path: Path) -> FileState | None:
    """The state of a file; None if it is gone or not a regular file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileState(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def is_temporary(name: str) -> bool:
    """Whether programs call a file so while they write it: `talk.part.mp4`, `~talk.mp4`, `.talk.mp4`."""
    words = name.lower().split(".")[1:-1][-1:]
    return name.startswith((".", "~")) or not _TEMPORARY_WORDS.isdisjoint(words)


class Bell:
    """Signals changes in one of the folders, and polls where the system does not report them."""

    def __init__(self, *folders: Path) -> None:
        import watchfiles

        self._changes = watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=200,
            rust_timeout=200,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )

    def wait(self, at_most_s: float) -> None:
        """Return when something has happened, or when so many seconds, or a few, have passed."""
        start_s = time.monotonic()
        at_most_s = min(max(at_most_s, _SHORTEST_WAIT_S), _RESCAN_S)
        rung = False
        while True:
            rung = self._rings() or rung
            waited_s = time.monotonic() - start_s
            if waited_s >= at_most_s or (rung and waited_s >= _SHORTEST_WAIT_S):
                return

    def _rings(self) -> bool:
        """Wait a fifth of a second, or until something happens."""
        try:
            return bool(next(self._changes))
        except (StopIteration, OSError, RuntimeError):
            # No file system that reports, no more watches left, or the folder is away: looking now and then will do.
            time.sleep(0.2)
            return False
