"""A file that may be a video, looked at once before anything else opens it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extractors.decoding.container.mp4_samples import claimed_samples
from extractors.decoding.container.signature import HEAD_BYTES, indexed_format, is_playlist
from extractors.errors import VideoError
from extractors.files.regular import open_regular

_MOST_SAMPLES = 20_000_000  # of all tracks; a day of 60 frames per second has 5.2 million frames
_BUFFER_BYTES = 1 << 16


@dataclass(frozen=True)
class VideoFile:
    """A regular file that is not empty, no playlist, and claims no more than there is room for; made by `check`.

    Attributes:
        path: the file.
        indexed_format: as of `signature.indexed_format`.
    """

    path: Path
    indexed_format: str

    @classmethod
    def check(cls, path: Path) -> VideoFile:
        """Look at a file; what else is wrong with it, opening it as a video finds out.

        Raises:
            VideoError: if it cannot be read, or is none of this.
        """
        with open_regular(path, buffering=_BUFFER_BYTES) as file:
            head = file.read(HEAD_BYTES)
            if not head:
                raise VideoError(path, "is empty")
            if is_playlist(head):
                raise VideoError(path, "is a playlist, not a video; name the files that it lists")
            claimed = 0
            with suppress(OSError, ValueError):
                claimed = claimed_samples(file, _MOST_SAMPLES)
        if claimed > _MOST_SAMPLES:
            raise VideoError(
                path, f"claims to hold more than {_MOST_SAMPLES:,} samples; it is damaged or hostile"
            )
        return cls(path, indexed_format(head))
