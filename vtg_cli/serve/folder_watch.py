"""Keeps the library in sync with the user's folders: new videos are offered, removed ones are not."""

from __future__ import annotations

import time
from pathlib import Path

from extractors.errors import VideoError
from vtg_cli.serve.api.services import Services
from vtg_cli.serve.library.folders import Folders
from vtg_cli.terminal.console import detail, note
from vtg_cli.watch import Arrivals, Bell, FileState

_SETTLE_S = 1.0  # without a change, after which a file that arrives is taken to be whole


class FolderWatch:
    """Offers what the folders hold. For one thread.

    Args:
        folders: where to look.
        services: whose library is kept, and who says when to stop.
    """

    def __init__(self, folders: Folders, services: Services) -> None:
        self._folders = folders
        self._services = services
        self._arrivals = Arrivals(_SETTLE_S)
        self._known: set[Path] = set()

    def run(self) -> None:
        """Offer what is there, then what arrives, until the server stops."""
        try:
            files = self._look()
            for path in files:
                self._offer(path)
            self._arrivals.pass_over(files)
        finally:
            self._services.scanned.set()
        if not self._folders:
            return
        bell = Bell(*self._folders.folders)
        while not self._services.stopping:
            bell.wait(self._arrivals.next_look_s(time.monotonic()))
            for arrival in self._arrivals.look(self._look(), time.monotonic()):
                self._arrivals.take(arrival)
                self._offer(arrival.path)

    def _look(self) -> dict[Path, FileState]:
        """The files that are there; removed ones are forgotten, and count as new if they come back."""
        files, notes = self._folders.look()
        for sentence in notes:
            note(sentence)
        for gone in self._known - files.keys():
            self._arrivals.forget(gone)
            self._services.library.drop_served(gone)
        self._known = set(files)
        return files

    def _offer(self, path: Path) -> None:
        if self._services.stopping:
            return
        try:
            self._services.library.add_served(path, self._folders.name_of(path))
        except (VideoError, OSError) as error:
            self._services.library.drop_served(path)
            if not self._services.stopping:
                reason = error.reason if isinstance(error, VideoError) else error.strerror
                note(f"{path}: left out: {reason}")
        else:
            detail(f"{path}: offered")
