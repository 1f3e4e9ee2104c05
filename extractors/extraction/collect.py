"""The videos that paths, folders and patterns name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from extractors.errors import UsageError
from extractors.places import Address, Place, place_of

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip
"""Suffixes of videos in a folder; a file that is named directly may have any suffix."""


def collect_places(paths: Sequence[str | Place]) -> list[Place]:
    """Find the videos that a list of files, folders, patterns and addresses stands for.

    Args:
        paths: as for `collect_videos`, or addresses in object storage. One with `*` or `**` stands for what it matches;
            one that ends with `/`, or without a video's suffix, is a folder if it holds a video; any other names an
            object, which is not looked at yet.

    Returns:
        Each video once, in the order of `paths`, and in order of name within a folder or pattern.

    Raises:
        UsageError: if a path does not exist, a folder or pattern holds no video, or an address cannot be used; the
            message lists all such paths.
        StorageError: if a bucket cannot be listed.
    """
    found: dict[Place, None] = {}
    files: dict[str, Path] = {}
    wrong = []
    for place in map(place_of, paths):
        try:
            videos = _videos_at(place) if isinstance(place, Address) else collect_videos([place])
        except UsageError as error:
            wrong.append(str(error))
            continue
        for video in videos:
            # resolve() would merge links
            known = files.setdefault(os.path.abspath(video), video) if isinstance(video, Path) else video  # noqa: PTH100
            found.setdefault(known)
    if wrong:
        raise UsageError("; ".join(wrong))
    return list(found)


def _videos_at(address: Address) -> list[Address]:
    """The videos of a folder or pattern in object storage, or the one object of that name.

    Raises:
        UsageError: if the address cannot be used, or is a folder or pattern without a video.
        StorageError: if it cannot be listed.
    """
    from extractors.storage.filesystems import require_usable

    require_usable(address)
    if "*" in address.key:
        # `?` and `[` may be part of a key.
        folder = Address(address.scheme, address.bucket, address.key.partition("*")[0].rpartition("/")[0])
        pattern = re.compile("".join(map(_as_expression, re.split(r"(\*\*/|\*+)", address.key))), re.DOTALL)
        matches = [video for video in _videos_under(folder) if pattern.fullmatch(video.key)]
        if not matches:
            raise UsageError(f"{address} matches no video")
        return matches
    if is_video_name(address.name) and not address.key.endswith("/"):
        return [address]
    videos = _videos_under(address)
    if not videos and (address.key.endswith("/") or not address.key):
        raise UsageError(f"{address} holds no video")
    return videos or [address]


def _videos_under(folder: Address) -> list[Address]:
    from extractors.storage.listing import objects_under

    return [address for address in objects_under(folder) if is_video_name(address.name)]


def _as_expression(part: str) -> str:
    """A part of a pattern as a regular expression: `**/` any folders, `*` anything but a slash, all else itself."""
    return {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}.get(part, re.escape(part))


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
        yield from (Path(parent, name) for name in sorted(files) if is_video_name(name))
    # A folder that cannot be looked into may hold videos: it is listed, and fails as a video does.
    yield from (Path(error.filename) for error in closed)


def _videos_matching(pattern: str) -> Iterator[Path]:
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - patterns may be absolute
        path = Path(match)
        if path.is_dir():
            # `**` matches folders beside the files in them; the caller lists each file once.
            yield from videos_in(path)
        elif is_video_name(path.name):
            yield path


def is_video_name(name: str) -> bool:
    """Whether a file of this name is a video of its folder."""
    return not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
