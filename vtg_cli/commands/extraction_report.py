"""The report of an extraction: one JSON line per video, written as soon as the video is done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from extractors.errors import UsageError, VtgError
from extractors.files.atomic import write_failure
from extractors.places import Place

if TYPE_CHECKING:
    from extractors.videos.events import Event

_STATUS = {"extracted": "ok", "cached": "skipped", "failed": "failed"}


class ReportFile:
    """Writes a line for each finished video. Use it in a `with` block, and call it with each event.

    Args:
        path: the file, which is replaced; None writes nothing.
        videos: what must not be written over.

    Raises:
        UsageError: if it is one of the videos.
        VtgError: if it cannot be written.
    """

    def __init__(self, path: Path | None, videos: Iterable[Place] = ()) -> None:
        self._path = path
        self._file: TextIO | None = None
        if (
            path is not None
            and path.exists()
            and any(isinstance(video, Path) and _is_same(path, video) for video in videos)
        ):
            raise UsageError(f"--report {path}: is one of the videos; give the report another name")

    def __enter__(self) -> ReportFile:
        if self._path is not None:
            try:
                self._file = self._path.open("w", encoding="utf-8")
            except OSError as error:
                raise self._failure(error) from error
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            # The failed write was reported, and would be tried again.
            with suppress(OSError):
                self._file.close()

    def __call__(self, event: Event) -> None:
        """Record a finished video; other events are ignored."""
        from extractors.videos.events import VideoFinished

        if self._file is None or not isinstance(event, VideoFinished):
            return
        row = {
            # File names need not be text; what is not comes out as escapes, and reads back the same.
            "path": str(event.path),
            "status": _STATUS[event.status],
            "reason": event.reason,
            "seconds": round(event.seconds, 3),
            "duration_s": event.duration_s,
            **event.facts.to_json(digits=3),
        }
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> VtgError:
        return VtgError(
            f"{self._path}: the report cannot be written ({write_failure(error)}); extracted features are kept, "
            "and the same command continues from there"
        )


def _is_same(path: Path, other: Path) -> bool:
    with suppress(OSError):
        return path.samefile(other)
    return False
