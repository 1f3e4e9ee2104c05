"""What is offered of the folders and files that the user names; nothing that a link out of them leads to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from extractors.errors import UsageError
from extractors.pipeline import collect_videos


def find_served(paths: Sequence[Path], library: Path) -> tuple[list[Path], list[str]]:
    """The files that are offered of what the user named.

    Args:
        paths: files, and folders that are searched with their subfolders.
        library: where uploads are kept; what lies there is not offered twice.

    Returns:
        files without links in their paths, each once, and what the user should know, a sentence each.

    Raises:
        UsageError: if a path does not exist.
    """
    found: dict[Path, None] = {}
    notes = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        if not path.is_dir():
            found[path.resolve()] = None
            continue
        root = path.resolve()
        videos = _videos_in(path)
        for video in videos:
            real = video.resolve()
            if not real.is_relative_to(root):
                notes.append(f"{video}: left out: it is a link that leads out of the folder")
            elif library not in real.parents:
                found[real] = None
        if not videos:
            notes.append(f"{path} holds no video")
    return list(found), notes


def _videos_in(folder: Path) -> list[Path]:
    try:
        return collect_videos([folder])
    except UsageError:  # it holds none
        return []
