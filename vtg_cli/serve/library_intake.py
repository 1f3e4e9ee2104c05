"""Adds offered videos to the library that is searched, in the background."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from extractors.errors import UsageError, VtgError
from extractors.places import local_path
from extractors.videos.events import Event, VideoFinished, VideoProgress
from model.search.filters import Filters
from model.search.library import Library as SearchLibrary
from vtg_cli.serve.jobs import Cancelled
from vtg_cli.serve.library.library import Library, NotThere, Video
from vtg_cli.serve.library.upload_folder import upload_id

_LOOK_S = 1.0  # between looks at what is offered


@dataclass(frozen=True)
class Adding:
    """How far an addition is.

    Attributes:
        done: videos that were looked at.
        total: all of them.
        video: name of the one that is being read; empty between two.
        progress: share of the work that is done, in [0, 1].
        eta_s: seconds that are left, as far as can be told; None at first.
    """

    done: int
    total: int
    video: str
    progress: float
    eta_s: float | None


@dataclass(frozen=True)
class IntakeState:
    """Which of the offered videos can be searched.

    Attributes:
        videos: how many are offered.
        searchable: how many of them the library holds.
        following: whether videos that the library lacks are added, those that arrive too.
        adding: the addition under way; None if there is none.
        failed: videos that could not be added, and why, without the path.
        error: why nothing can be added; None if it can.
    """

    videos: int
    searchable: int
    following: bool
    adding: Adding | None
    failed: tuple[tuple[Video, str], ...]
    error: str | None


class LibraryIntake:
    """Keeps the library up to what is offered, once it is asked to. Safe to use from many threads.

    Args:
        offered: the videos.
        open_library: opens the library, for this object alone.
        folders: gives the folders in which `vtg index update` is to look for others, too.
        following: whether to add videos from the start.
    """

    def __init__(
        self,
        offered: Library,
        open_library: Callable[[], SearchLibrary],
        folders: Callable[[], Sequence[Path]],
        *,
        following: bool,
    ) -> None:
        self._offered = offered
        self._folders = folders
        self._library = open_library()
        self._changed = threading.Condition()
        self._following = following
        self._closed = False
        self._looked_at: str | None = None  # revision of what is offered
        # By path: the id of the video that was there when it was added. A file that changes has another id.
        self._held: dict[Path, str] = {}
        self._failed: dict[str, str] = {}
        self._taken_out: set[Path] = set()
        self._bringing_back = False
        self._adding: Adding | None = None
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name="vtg-intake-library", daemon=True)
        self._thread.start()

    def state(self) -> IntakeState:
        """How things stand."""
        videos = self._offered.videos()
        with self._changed:
            return IntakeState(
                videos=len(videos),
                searchable=sum(self._held.get(video.path) == video.id for video in videos),
                following=self._following,
                adding=self._adding,
                failed=tuple((video, self._failed[video.id]) for video in videos if video.id in self._failed),
                error=self._error,
            )

    def follow(self) -> None:
        """Add what the library lacks, now and whenever videos arrive.

        Videos that failed are tried again, and those that were removed from the library before this come back.
        """
        with self._changed:
            self._following = self._bringing_back = True
            self._failed.clear()
            self._error = None
            self._look_again()

    def cancel(self) -> None:
        """Add nothing more; what is being read is given up at its next chunk, and what was added stays."""
        with self._changed:
            self._following = False

    def forget(self, videos: Sequence[Video]) -> None:
        """Have videos added again, whose files or features a search did not find as the library knows them."""
        if not videos:
            return
        with self._changed:
            for video in videos:
                self._held.pop(video.path, None)
            self._look_again()

    def close(self, timeout_s: float) -> bool:
        """Stop adding.

        Args:
            timeout_s: seconds to wait for what is being done.

        Returns:
            whether the thread has ended.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _look_again(self) -> None:
        self._looked_at = None
        self._changed.notify_all()

    def _run(self) -> None:
        while self._wait_for_change():
            try:
                self._look()
                missing = self._missing()
                if missing:
                    self._add(missing)
            except Cancelled:
                pass
            except VtgError as error:
                self._give_up(str(error))
            except Exception:
                traceback.print_exc(file=sys.stderr)
                self._give_up("vtg itself failed here; see what vtg serve printed on its terminal")
            finally:
                with self._changed:
                    self._adding = None
        self._library.close()

    def _give_up(self, error: str) -> None:
        with self._changed:
            self._following = False
            self._error = error

    def _wait_for_change(self) -> bool:
        """Wait until something else is offered; returns whether to go on."""
        with self._changed:
            while not self._closed:
                revision = self._offered.revision
                if revision != self._looked_at:
                    self._looked_at = revision
                    return True
                self._changed.wait(_LOOK_S)
        return False

    def _look(self) -> None:
        """Find out what the library holds and what was removed from it, and take uploads out that were deleted."""
        known = {
            path: video.size_bytes for video in self._library.videos() for path in (video.path, *video.copies)
        }
        offered = self._offered.videos()
        taken_out = self._library.taken_out(video.path for video in offered)
        with self._changed:
            self._taken_out = set() if self._bringing_back else taken_out
            self._bringing_back = False
            self._held = {path: held for path, held in self._held.items() if path in known}
            for video in offered:
                if known.get(video.path) == video.size_bytes:
                    self._held.setdefault(video.path, video.id)
        paths = {video.path for video in offered}
        deleted = [
            path
            for path in known.keys() - paths
            if path.parent == self._offered.folder and upload_id(path.name) and not path.exists()
        ]
        if deleted:
            with suppress(UsageError):  # another process has taken them out meanwhile
                self._library.remove(deleted)

    def _missing(self) -> list[Video]:
        """The videos to add now, in order of name."""
        videos = self._offered.videos()
        with self._changed:
            if not self._following:
                return []
            lacking = [
                video
                for video in videos
                if self._held.get(video.path) != video.id
                and video.id not in self._failed
                and video.path not in self._taken_out
            ]
        missing = []
        for video in lacking:
            with suppress(NotThere):  # the watch of its folder is about to find out
                video.check_file()
                missing.append(video)
        return missing

    def _add(self, videos: Sequence[Video]) -> None:
        started_s = time.monotonic()
        by_path = {video.path: video for video in videos}
        now = Adding(0, len(videos), "", 0.0, None)

        def tell(event: Event) -> None:
            nonlocal now
            share = 0.0
            if isinstance(event, VideoFinished):
                now = replace(now, done=now.done + 1, video="")
            elif isinstance(event, VideoProgress):
                share = min(event.done_s / max(event.duration_s, 1e-3), 1.0)
                now = replace(now, video=by_path[local_path(event.path)].name)
            progress = min((now.done + share) / now.total, 1.0)
            if progress:
                spent_s = time.monotonic() - started_s
                now = replace(now, progress=progress, eta_s=spent_s / progress - spent_s)
            with self._changed:
                if isinstance(event, VideoFinished):
                    self._note(by_path[local_path(event.path)], event.reason)
                self._adding = now
                if self._closed or not self._following:
                    raise Cancelled

        with self._changed:
            self._adding = now
        try:
            paths = [video.path for video in videos]
            around = [folder for folder in self._folders() if any(folder in path.parents for path in paths)]
            changes = self._library.add(paths, folders=around, on_event=tell)
            self._read_words(changes.taken)
        except UsageError:
            if all(path.exists() for path in by_path):
                raise
            with self._changed:
                self._look_again()  # without those that have just gone
            return
        with self._changed:
            self._error = None

    def _read_words(self, files: Sequence[Path]) -> None:
        """Make what is said in new videos ready for searches."""
        from model.cues.grounder import CueGrounder

        def go_on(done: int, total: int) -> None:
            with self._changed:
                if self._closed or not self._following:
                    raise Cancelled

        if files:
            cues = CueGrounder.for_server(self._library.grounder.cache)
            self._library.read_words(Filters(among=tuple(files)), cue_grounder=cues, on_video=go_on)

    def _note(self, video: Video, reason: str) -> None:
        if reason:
            self._failed[video.id] = reason
        else:
            self._held[video.path] = video.id
