"""What a library needs of the place where its catalogue and its vectors are: a folder, or object storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from extractors.features import FeatureSpec
from extractors.places import Place
from model.search.storage.catalogue import Catalogue
from model.search.storage.index import Batching, Snapshot, Writer
from model.search.storage.stored_rows import StoredRows
from model.search.vectors.vector_index import VectorIndex

T = TypeVar("T")


class LibraryIndex(Protocol):
    """The files of one library. Any number of processes may read it, and any number may want to write."""

    @property
    def place(self) -> Place:
        """Where the library is."""
        ...

    @property
    def batching(self) -> Batching:
        """How additions are best written."""
        ...

    @property
    def rows(self) -> StoredRows | None:
        """The rows that the library itself stores; None if it leaves them to the cache."""
        ...

    @property
    def exists(self) -> bool:
        """Whether anything was ever added."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of the library."""
        ...

    def close(self) -> None:
        """Close what is open; it is opened again when it is needed."""
        ...

    def snapshot(self) -> Snapshot:
        """What the library holds now; the same object as long as nothing changes."""
        ...

    def catalogue(self) -> Catalogue:
        """The catalogue of the last snapshot or a newer one, for reading; raises NoCatalogue if there is none."""
        ...

    def vectors(self, spec: FeatureSpec) -> VectorIndex:
        """The vectors of a recipe, at least as new as the last snapshot."""
        ...

    def write(self, change: Callable[[Writer], T]) -> T:
        """Change the library while no other process does.

        Args:
            change: makes the change. It is called again, on what the library holds then, if another machine was faster.

        Returns:
            what the last call returned.
        """
        ...
