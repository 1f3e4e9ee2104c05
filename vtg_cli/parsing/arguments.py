"""The arguments of `vtg ground`: videos, or sentences to look for in them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from extractors.errors import UsageError, VtgError
from vtg_cli.parsing.values import exists, path_text

STDIN = "-"
"""The --queries that are read from standard input."""

_MOST_BYTES = 10_000_000  # of a file of sentences; a larger file is something else
_EXAMPLE = 'vtg ground video.mp4 "man opens fridge"'


def videos_and_queries(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Sort arguments: those that name existing video files are videos, the others are queries.

    A file whose name has no video's ending is a video only as the first argument. Patterns such as `*.mp4` that the
    shell left alone stand for the videos they match.

    Returns:
        the videos, each once, and the queries, both in the order given.

    Raises:
        UsageError: if an argument is a folder, another file, an address, or a video that does not exist.
    """
    videos: dict[str, Path] = {}
    queries = []
    for number, argument in enumerate(arguments):
        found = _videos_named(argument, is_first=number == 0)
        for video in found or ():
            videos.setdefault(os.path.abspath(video), video)  # noqa: PTH100 - resolve() would merge links
        if found is None:
            queries.append(argument)
    return list(videos.values()), queries


def require_queries(queries: Sequence[str]) -> None:
    """Raise UsageError if there is no query, or an invalid one."""
    from model.grounding.grounder import check_queries

    if not queries:
        raise UsageError('say what to look for, in a query such as "man opens fridge"')
    check_queries(queries)


def require_videos(videos: Sequence[Path], arguments: Sequence[str]) -> None:
    """Raise UsageError if there is no video among the arguments."""
    if videos:
        return
    if len(arguments) > 1:
        raise UsageError(f"{arguments[0]}: no such video; name a video before the query: {_EXAMPLE}")
    raise UsageError(f"name a video and say what to look for: {_EXAMPLE}")


def read_queries(source: str) -> list[str]:
    """Read queries, one per line; blank lines are skipped.

    Args:
        source: a file of UTF-8 text, or `-` for standard input.

    Raises:
        UsageError: if it does not exist, or there is no query in it.
        VtgError: if it cannot be read, or is not text.
    """
    if source != STDIN and not exists(Path(source)):
        raise UsageError(f"--queries {source}: does not exist")
    try:
        if source == STDIN:
            data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin is not None else b""
        else:
            with Path(source).open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise VtgError(
                f"--queries {source}: is larger than {_MOST_BYTES / 1e6:.0f} MB; give one sentence per line"
            )
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise VtgError(f"--queries {source}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError:
        raise VtgError(f"--queries {source}: is not UTF-8 text; give one sentence per line") from None
    queries = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    if not queries:
        raise UsageError(f"--queries {source}: holds no sentence; give one per line")
    return queries


def _videos_named(argument: str, *, is_first: bool) -> list[Path] | None:
    """The videos that an argument stands for; None if it is a query."""
    from extractors.extraction.collect import VIDEO_SUFFIXES

    if argument == STDIN:
        raise UsageError("-: is not a sentence; to read them from standard input: --queries -")
    if not argument.strip():
        return None
    path_text("VIDEO")(argument)
    place = Path(argument)
    named_as_video = place.suffix.lower() in VIDEO_SUFFIXES
    if exists(place):
        if os.path.isdir(place):  # noqa: PTH112 - says False where a folder cannot be looked into
            raise UsageError(
                f"{argument}: is a folder; name the videos in it (vtg ground {place}/*.mp4 …), watch the folder "
                f"(--watch {place}), or fill the cache (vtg extract {place})"
            )
        if named_as_video or is_first:
            return [place]
        raise UsageError(
            f"{argument}: is a file without a video ending; to read sentences from it, one per line: "
            f"--queries {argument}"
        )
    if named_as_video and glob.has_magic(argument):
        matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 - absolute, too
        if not matches:
            raise UsageError(f"{argument}: matches no video")
        return matches
    if named_as_video:
        raise UsageError(f"{argument}: does not exist")
    return None
