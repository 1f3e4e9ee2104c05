"""The video file that is written: what it may be called, and how it appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from extractors.errors import UsageError, VideoError, VtgError, reason_of
from extractors.files.atomic import atomic_write

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".flv": "flv",
}
"""Endings of the files that can be written, and FFmpeg's names of their formats; AVI keeps no times for sound."""

ENCODED_CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv")
"""Endings of the files that can hold what is encoded again: H.264 or HEVC, and AAC."""


def check_target(target: Path, endings: Sequence[str], source: Path) -> None:
    """Raise UsageError if the ending of a target is none of those, or the target is the source."""
    if target.suffix.lower() not in endings:
        raise UsageError(f"{target}: cannot be written as a video; its name must end in {', '.join(endings)}")
    with suppress(OSError):
        if target.samefile(source):
            raise UsageError(f"{target}: is the source video; give the cut another name")


@contextmanager
def writing(target: Path, source: Path) -> Iterator[Any]:
    """A container to write to, which becomes the target if all goes well; errors name the source."""
    import av

    try:
        with atomic_write(target) as file, ExitStack() as stack:
            output = av.open(file, "w", format=CONTAINERS[target.suffix.lower()])
            stack.callback(_close, output)
            yield output
            stack.pop_all()
            output.close()
    except av.error.FFmpegError as error:
        raise VideoError(source, f"cannot be cut into {target} ({error.strerror})") from error
    except OSError as error:
        raise VtgError(f"{target}: cannot be written ({reason_of(error)})") from error


def _close(output: Any) -> None:
    """Close an abandoned file; that it is incomplete is expected."""
    import av

    with suppress(av.error.FFmpegError, OSError, ValueError):
        output.close()
