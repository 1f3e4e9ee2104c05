"""The videos that agents may use: those of some libraries, and those in the folders that the user named.

Nothing else is read, so that an agent that was misled by what it has read cannot look at the user's other files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError
from model.search.filters import absolute
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.library.folders import Folders

if TYPE_CHECKING:
    from model.search.library import Library


@dataclass(frozen=True)
class OfferedVideo:
    """A video that agents may use.

    Attributes:
        path: the file.
        duration_s: length in seconds; None if it is in no library.
        library: name of the library it is in; None for one of a folder only.
    """

    path: Path
    duration_s: float | None
    library: str | None


@dataclass(frozen=True)
class Addition:
    """What is added to a library.

    Attributes:
        videos: the files.
        folders: those around them whose other videos may be added later, too.
    """

    videos: tuple[Path, ...]
    folders: tuple[Path, ...]


class Places:
    """The libraries and folders of a server. For one thread, because its libraries are.

    Args:
        paths: folders and videos.
        libraries: as for `LibraryArguments`.
        choice: what answers in them.

    Raises:
        UsageError: if a path does not exist, or a library can be neither a name nor a folder.
    """

    def __init__(
        self, paths: Sequence[Path], libraries: Sequence[str | None], choice: ModelArguments
    ) -> None:
        self._folders = Folders(paths)
        self._libraries = {_name(place): place for place in libraries}
        self._choice = choice
        self._opened: dict[str, Library] = {}

    @property
    def library_names(self) -> list[str]:
        """Names of the libraries."""
        return list(self._libraries)

    def place_of(self, name: str) -> str | None:
        """A library as it was named in the command; raises UsageError if agents may not use it."""
        if name not in self._libraries:
            known = ", ".join(self._libraries) or "none"
            raise UsageError(f"library {name!r}: is not one that this server offers; there is {known}")
        return self._libraries[name]

    def library(self, name: str) -> Library:
        """A library, open; raises UsageError if agents may not use it."""
        place = self.place_of(name)
        if name not in self._opened:
            self._opened[name] = LibraryArguments(place).open(self._choice)
        return self._opened[name]

    def videos(self, library: str | None = None) -> list[OfferedVideo]:
        """The videos of a library, or of all places if None, in order of path.

        Raises:
            UsageError: if agents may not use the library.
            CacheError, VectorIndexError: if a library cannot be read.
        """
        found: dict[Path, OfferedVideo] = {}
        for name in self._libraries if library is None else (library,):
            for video in self.library(name).videos():
                found.setdefault(video.path, OfferedVideo(video.path, video.duration_s, name))
        if library is None:
            for path in self._folders.look()[0]:
                found.setdefault(path, OfferedVideo(path, None, None))
        return [found[path] for path in sorted(found)]

    def video(self, text: str) -> Path:
        """The file of a video, by its path or its path in one of the folders.

        Raises:
            UsageError: if it is not among the videos that agents may use.
        """
        offered = self._folders.look()[0]
        for place in self._meant(text):
            if place in offered:
                return place
        path = absolute(text) if "\0" not in text else None
        for name in self._libraries:
            for video in self.library(name).videos():
                if path in (video.path, *video.copies):
                    assert path is not None
                    return path
        raise UsageError(
            f"{text!r}: is not a video that this server offers; list_videos lists them. If it should be, the "
            "user can add its folder to the arguments of vtg mcp"
        )

    def addition(self, text: str) -> Addition:
        """The videos in one of the folders or in a subfolder, or the one video.

        Raises:
            UsageError: if it is not in the folders, or holds no video.
        """
        offered = self._folders.look()[0]
        for place in self._meant(text):
            found = sorted(path for path in offered if path == place or place in path.parents)
            if found:
                return Addition(tuple(found), tuple(self._folders.whole(place)))
        named = ", ".join(map(str, self._folders.folders)) or "none"
        raise UsageError(f"{text!r}: holds no video that this server offers; its folders: {named}")

    def _meant(self, text: str) -> Iterator[Path]:
        """What a text may mean, without links."""
        given = Path(text)
        starts = [Path()] if given.is_absolute() else [folder.resolve() for folder in self._folders.folders]
        for start in starts:
            try:
                yield (start / given).resolve()
            except (OSError, ValueError, RuntimeError):  # a zero byte, a loop of links
                continue


def _name(place: str | None) -> str:
    from model.search.storage.places import DEFAULT_LIBRARY, library_place

    library_place(place)  # refuses what cannot be one
    return DEFAULT_LIBRARY if place is None else place
