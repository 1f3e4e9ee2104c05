"""The folders and files that were added to a library, and what has become of the videos in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from extractors.extraction.collect import videos_in
from model.search.filters import absolute, is_in
from model.search.storage.catalogue import File

Roots = Mapping[Path, bool]
"""What was added (True), and what was removed from that (False)."""


@dataclass(frozen=True)
class Sight:
    """What is to be seen at the roots now.

    Attributes:
        videos: each once, in order of the roots and of name.
        unreachable: roots that are not there, and folders without a video where the library knows some: perhaps they
            are on a drive that is not connected.
    """

    videos: tuple[Path, ...]
    unreachable: tuple[Path, ...]


def is_included(path: Path, roots: Roots) -> bool:
    """Whether a path belongs to a library: the innermost root that it is, or is in, decides."""
    return next((roots[place] for place in (path, *path.parents) if place in roots), False)


def is_taken_out(path: Path, roots: Roots) -> bool:
    """Whether a path was removed from a library on purpose, alone or with a folder around it, and not added since."""
    return not next((roots[place] for place in (path, *path.parents) if place in roots), True)


def look_at(roots: Roots, known: Iterable[Path]) -> Sight:
    """Look for the videos of roots.

    Args:
        roots: of the library.
        known: the videos of the library.
    """
    known = frozenset(known)
    videos: dict[Path, None] = {}
    unreachable = []
    for root in (path for path, included in roots.items() if included):
        found = (
            [root]
            if root.is_file()
            else [absolute(video) for video in videos_in(root)]
            if root.is_dir()
            else []
        )
        if found:
            videos.update(dict.fromkeys(video for video in found if is_included(video, roots)))
        elif root in known and root.parent.is_dir():
            continue  # a single file, which has been deleted
        elif not root.is_dir() or any(is_in(video, {root}) for video in known):
            unreachable.append(root)
    return Sight(tuple(videos), tuple(unreachable))


def gone(files: Iterable[File], roots: Roots, sight: Sight, failed: Iterable[Path]) -> list[Path]:
    """The files that are to leave the library.

    Args:
        files: of the library.
        roots: of the library.
        sight: of the roots.
        failed: files that could not be read now.

    Returns:
        files that have been deleted, moved or replaced by something that is no video. What cannot be looked at stays.
    """
    seen, broken, unreachable = set(sight.videos), set(failed), set(sight.unreachable)
    return [
        file.path
        for file in files
        if not is_in(file.path, unreachable)
        and (
            (file.path not in seen and is_missing(file.path))
            or (file.path in broken and not file.is_unchanged())
            or not is_included(file.path, roots)
        )
    ]


def is_missing(path: Path) -> bool:
    """Whether nothing is at a path; what cannot be looked at may be there."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
