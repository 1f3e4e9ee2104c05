"""What a cache holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extractors.features import FeatureSpec


@dataclass(frozen=True)
class SpecUsage:
    """What one recipe occupies in the cache.

    Attributes:
        folder: name of its folder, `<name>-<spec digest>`.
        spec: the recipe; None if its description is gone.
        files: number of entries.
        size_bytes: what they occupy.
        outdated: how many of the entries are damaged or of another version's layout: they count as missing, and
            are replaced when their features are next needed.
    """

    folder: str
    spec: FeatureSpec | None
    files: int
    size_bytes: int
    outdated: int = 0


@dataclass(frozen=True)
class CacheInfo:
    """What lies in a cache: where it is, and its recipes in order of name."""

    root: Path
    specs: tuple[SpecUsage, ...]

    @property
    def files(self) -> int:
        """Number of entries of all recipes."""
        return sum(usage.files for usage in self.specs)

    @property
    def size_bytes(self) -> int:
        """What they occupy."""
        return sum(usage.size_bytes for usage in self.specs)

    @property
    def outdated(self) -> int:
        """Number of entries that count as missing."""
        return sum(usage.outdated for usage in self.specs)


@dataclass(frozen=True)
class Cleared:
    """What `FeatureCache.clear` removed."""

    files: int
    size_bytes: int
