"""Where the rows of a library's videos are read: from the cache, or from the library where it stores them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from extractors.cache.features import CachedFeatures
from extractors.cache.store import FeatureCache
from extractors.features import FeatureSpec
from model.search.filters import is_in
from model.search.roots import Roots
from model.search.storage.access import LibraryIndex
from model.search.storage.catalogue import Content, File
from model.search.storage.stored_rows import StoredRows


class LibraryRows:
    """Reads the rows of videos.

    Args:
        cache: where they are read, and kept if they come from elsewhere.
        stored: those in object storage, if the library has them there.
        absent: folders that were added on other machines, and are not on this one.
    """

    def __init__(
        self, cache: FeatureCache, stored: StoredRows | None = None, absent: Sequence[Path] = ()
    ) -> None:
        self._cache = cache
        self._stored = stored
        self._absent = frozenset(absent)

    @classmethod
    def of(cls, index: LibraryIndex, cache: FeatureCache) -> LibraryRows:
        """Those of a library as it is now."""
        if index.rows is None:
            return cls(cache)
        return cls(cache, index.rows, _absent(index.catalogue().roots(), index))

    def load(self, content: Content, spec: FeatureSpec, path: Path) -> CachedFeatures | None:
        """The rows of a content; None if there are none that can be trusted.

        Args:
            content: of the catalogue.
            spec: what they must be.
            path: where a video of this content is, or was.

        Raises:
            CacheError, StorageError: if the cache or the storage cannot be read.
        """
        found = self._cache.load_content(content.address, content.content, spec, path=path)
        if found is None and self._stored is not None:
            data = self._stored.load(spec, content.address)
            if data is not None:
                found = self._cache.adopt(content.address, content.content, spec, data, path=path)
        return found

    def path_of(self, files: Sequence[File]) -> Path | None:
        """A file that still holds its content, or that is not to be seen from this machine; None without one."""
        here = next((file.path for file in files if file.is_unchanged()), None)
        return here or next((file.path for file in files if is_in(file.path, self._absent)), None)


def _absent(roots: Roots, index: LibraryIndex) -> list[Path]:
    """Folders that were added and are not there; a single file that is not there has been deleted."""
    missing = [root for root, included in roots.items() if included and not root.exists()]
    known = index.catalogue().files() if missing else {}
    return [root for root in missing if root not in known]
