"""The files that are in the folders now, without those behind links that lead out."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from extractors.errors import UsageError
from extractors.extraction.collect import collect_videos
from vtg_cli.terminal.console import one_line
from vtg_cli.watch import FileState


class Folders:
    """What the user named, to be looked at again and again.

    Args:
        paths: files, and folders that are searched with their subfolders.
        library: where uploads are kept, if there are any; what lies there is not offered twice.

    Attributes:
        folders: those among the paths.

    Raises:
        UsageError: if a path does not exist.
    """

    def __init__(self, paths: Sequence[Path], library: Path | None = None) -> None:
        for path in paths:
            if not path.exists():
                raise UsageError(f"{path} does not exist")
        self.folders = tuple(path for path in paths if path.is_dir())
        self._real_folders = tuple(folder.resolve() for folder in self.folders)
        # A file that is named may be a link, but not become one.
        self._files = tuple(path.resolve() for path in paths if not path.is_dir())
        self._library = library
        self._noted: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.folders or self._files)

    def name_of(self, path: Path) -> str:
        """The folder of a video, as of `Video.folder`.

        Args:
            path: the video, without links in it.
        """
        for folder in self._real_folders:
            if path.is_relative_to(folder):
                inside = path.parent.relative_to(folder).as_posix()
                return one_line(folder.name if inside == "." else f"{folder.name}/{inside}")
        return ""

    def whole(self, place: Path | None = None) -> list[Path]:
        """The folders all of whose videos are offered: no link in them leads out.

        Args:
            place: only folders in it, or itself if it is in one of them; without links in it.
        """
        chosen = list(self._real_folders)
        if place is not None:
            is_inside = any(place.is_relative_to(folder) for folder in chosen)
            chosen = [place] if is_inside else [folder for folder in chosen if folder.is_relative_to(place)]
        return [
            folder
            for folder in chosen
            if folder.is_dir()
            and all(
                real.is_relative_to(folder) and self._library not in real.parents
                for _, real in _videos_in(folder)
            )
        ]

    def look(self) -> tuple[dict[Path, FileState], list[str]]:
        """What is there now.

        Returns:
            each file by its path without links, and new notes for the user, one sentence per note.
        """
        found = {}
        notes = []
        for path in self._files:
            if (state := _state(path)) is not None:
                found[path] = state
        for folder in self.folders:
            holds_any = False
            for path, real in _videos_in(folder):
                holds_any = True
                if not real.is_relative_to(folder.resolve()):
                    notes.append(f"{path}: left out: it is a link that leads out of the folder")
                elif self._library in real.parents:
                    continue
                elif (state := _state(real)) is not None:
                    found[real] = state
                elif real.is_dir():
                    notes.append(f"{path}: left out: the folder cannot be read")
            if not holds_any:
                notes.append(f"{folder} holds no video")
        fresh = [text for text in notes if text not in self._noted]
        self._noted.update(fresh)
        return found, fresh


def _videos_in(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The videos of a folder, and their paths without links."""
    try:
        paths = collect_videos([folder])
    except UsageError:  # it holds none, or is away
        return
    real_parents: dict[Path, Path] = {}
    for path in paths:
        parent = real_parents.setdefault(path.parent, path.parent.resolve())
        yield path, path.resolve() if path.is_symlink() else parent / path.name


def _state(path: Path) -> FileState | None:
    """How a file is; None if it has gone, or something else is in its place."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return FileState(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
