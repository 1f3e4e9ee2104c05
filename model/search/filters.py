"""Which videos of a library are searched."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from model.search.storage.catalogue import Content, File


@dataclass(frozen=True)
class Filters:
    """Conditions on videos, all of which have to hold; by default none.

    Attributes:
        inside: folders in one of which they have to be.
        among: files and folders likewise.
        name: pattern of the file's name, or of its whole path if it has a separator, as in a shell.
        newer_than_s: time of the last change of the file, at least, in seconds of `time.time`.
        longer_than_s: length of the video, at least, in seconds.
    """

    inside: tuple[Path, ...] = ()
    among: tuple[Path, ...] = ()
    name: str | None = None
    newer_than_s: float | None = None
    longer_than_s: float | None = None

    def choose(self, content: Content, files: Sequence[File]) -> list[File]:
        """Those of the files of a content that fulfil the conditions."""
        if not self.allows_length(content.duration_s):
            return []
        return [file for file in files if self.allows_file(file.path, file.state.modified_ns)]

    def allows_length(self, duration_s: float) -> bool:
        """Whether a video of some seconds is long enough."""
        return self.longer_than_s is None or duration_s >= self.longer_than_s

    def allows_file(self, path: Path, modified_ns: int) -> bool:
        """Whether a file fulfils all conditions that the length of the video plays no part in.

        Args:
            path: absolute.
            modified_ns: when it was last written to, in nanoseconds of `time.time_ns`.
        """
        if self.newer_than_s is not None and modified_ns < self.newer_than_s * 1e9:
            return False
        if self.name is not None and not matches(path, self.name):
            return False
        return all(not places or is_in(path, places) for places in self._places)

    @cached_property
    def _places(self) -> tuple[frozenset[Path], ...]:
        return frozenset(self.inside), frozenset(self.among)


def is_in(path: Path, places: Container[Path]) -> bool:
    """Whether an absolute path is one of some places, or in one of them; as fast for many places as for one."""
    return path in places or any(parent in places for parent in path.parents)


def matches(path: Path, pattern: str) -> bool:
    """Whether the name of a file, or its whole path if the pattern has a separator, is as a pattern describes it."""
    if os.sep in pattern or (os.altsep and os.altsep in pattern):
        return fnmatch.fnmatch(str(path), str(absolute(pattern)))
    return fnmatch.fnmatch(path.name, pattern)


def absolute(path: str | Path) -> Path:
    """The path from the root of the file system, as it is written: links in it stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
