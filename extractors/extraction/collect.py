"""The videos that paths, folders and patterns name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from extractors.errors import UsageError

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip
"""Suffixes of videos in a folder; a file that is named directly may have any suffix."""


def collect_videos(paths: Sequence[str | Path]) -> list[Path]:
    """Find the videos that a list of files, folders and glob patterns stands for.

    Args:
        paths: files are taken as they are; folders are searched with their subfolders for files of
            `VIDEO_SUFFIXES`, hidden ones left out, and subfolders that cannot be searched are listed themselves; a
            pattern (`*`, `?`, `[...]`, `**`) stands for what it
            matches.

    Returns:
        Each video once, in the order of `paths`, and in order of name within a folder or pattern.

    Raises:
        UsageError: if a path does not exist, or a folder or pattern holds no video; the message lists all
            such paths.
    """
    videos: dict[str, Path] = {}
    wrong = []
    for path in map(Path, paths):
        if path.is_dir():
            found = list(videos_in(path))
            complaint = "holds no video"
        elif path.exists():
            found = [path]
            complaint = ""
        elif glob.has_magic(str(path)):
            found = list(_videos_matching(str(path)))
            complaint = "matches no video"
        else:
            found = []
            complaint = "does not exist"
        if not found:
            wrong.append(f"{path} {complaint}")
        for video in found:
            videos.setdefault(os.path.abspath(video), video)  # noqa: PTH100 - resolve() would merge links
    if wrong:
        raise UsageError("; ".join(wrong))
    return list(videos.values())


def videos_in(folder: Path) -> Iterator[Path]:
    """The videos of a folder and its subfolders, as `collect_videos` finds them; nothing for an empty one."""
    visited = set()
    closed: list[OSError] = []
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=closed.append):
        real = os.path.realpath(parent)
        if real in visited:  # a link back up the tree
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if _is_video_name(name))
    # A folder that cannot be looked into may hold videos: it is listed, and fails as a video does.
    yield from (Path(error.filename) for error in closed)


def _videos_matching(pattern: str) -> Iterator[Path]:
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - patterns may be absolute
        path = Path(match)
        if path.is_dir():
            # `**` matches folders beside the files in them; the caller lists each file once.
            yield from videos_in(path)
        elif _is_video_name(path.name):
            yield path


def _is_video_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
