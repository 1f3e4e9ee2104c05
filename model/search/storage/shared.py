"""A library in object storage, which any number of machines search and change.

Each process works on a folder of its own that holds a whole library, as `Index` has it, made of copies of the objects.
A change is made in such a folder, and then uploaded as the next generation. If another machine was faster, the change
is made again in a folder of that machine's generation. So nothing half-written is ever seen, and a kill leaves nothing
but objects that no generation names, which the next writer removes.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from extractors.errors import CacheError, reason_of
from extractors.features import FeatureSpec
from extractors.places import Address
from extractors.storage.filesystems import require_usable
from model.search.storage.catalogue import Catalogue, NoCatalogue, recipe_key
from model.search.storage.copies import Copies, ObjectUnusable, digest_in
from model.search.storage.generations import Generation, Generations
from model.search.storage.index import Batching, Index, Snapshot, Writer
from model.search.storage.stored_rows import StoredRows
from model.search.vectors.files import VectorsDamaged
from model.search.vectors.vector_index import VectorIndex

T = TypeVar("T")

_ATTEMPTS = 30  # to change what other machines change
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 3.0  # before the second; twice as long before each further one
_READ_ATTEMPTS = 5  # of a generation whose objects are removed meanwhile


class SharedIndex:
    """The files of a library in object storage; see `LibraryIndex`.

    Args:
        place: the folder of the library.

    Raises:
        UsageError: if the address cannot be used, for lack of a package for instance.
        StorageError: if there are no credentials.
    """

    # Every write sends the catalogue.
    batching = Batching(videos=1024, wait_s=60.0)

    def __init__(self, place: Address) -> None:
        require_usable(place)
        self.place = place
        self._generations = Generations(place)
        self._copies = Copies(place, self._generations)
        self.rows = StoredRows(place)
        self._generation = Generation()
        self._index: Index | None = None
        self._unusable: dict[str, ObjectUnusable] = {}

    @property
    def exists(self) -> bool:
        """Whether anything was ever added."""
        return self._index is not None or self._generations.newest().number > 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all objects of the library."""
        return self._generations.size_bytes()

    def close(self) -> None:
        """Close what is open, and remove this process's folder."""
        self._drop()
        self._copies.close()

    def snapshot(self) -> Snapshot:
        """What the library holds now; raises StorageError or CacheError if it cannot be read."""
        index = self._newest()
        return Snapshot({}, {}, (), {}) if index is None else index.snapshot()

    def catalogue(self) -> Catalogue:
        """The catalogue of the last snapshot, for reading; raises NoCatalogue if there is none."""
        index = self._index or self._newest()
        if index is None:
            raise NoCatalogue(f"{self.place}: there is no library")
        return index.catalogue()

    def vectors(self, spec: FeatureSpec) -> VectorIndex:
        """The vectors of a recipe, as of the last snapshot.

        Raises:
            ObjectUnusable: if some are lost or damaged.
            VectorIndexError: if they cannot be read.
        """
        index = self._index or self._newest()
        if index is None:
            raise NoCatalogue(f"{self.place}: there is no library")
        for name, error in self._unusable.items():
            if recipe_key(spec) in name.split("/"):
                raise error
        return index.vectors(spec)

    def write(self, change: Callable[[Writer], T]) -> T:
        """Change the library; as of `LibraryIndex`.

        Raises:
            StorageError: if the storage cannot be written.
            CacheError: if others change the library all the time, or its copy here cannot be written.
        """
        with self._turn():
            for attempt in range(_ATTEMPTS):
                if attempt:
                    time.sleep(random.uniform(0, min(_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)))
                base, folder, unusable = self._fetched()
                index, catalogue = Index(folder), digest_in(folder)
                before = index.snapshot()
                index.close()
                try:
                    result = index.write(change)
                    made = self._published(base, folder, catalogue, unusable)
                except BaseException as error:
                    shutil.rmtree(folder, ignore_errors=True)
                    if unusable and isinstance(error, VectorsDamaged):
                        raise next(iter(unusable.values())) from error
                    raise
                if made is not None:
                    still = {name: error for name, error in unusable.items() if name in made.files}
                    self._use(made, index, still)
                    if made != base:
                        self._generations.sweep(made)
                        left = before.addresses - index.snapshot().addresses
                        self.rows.remove(left, [recipe.spec for recipe in before.recipes])
                    return result
                shutil.rmtree(folder, ignore_errors=True)
        raise self._too_busy()

    def _published(
        self, base: Generation, folder: Path, catalogue: str, unusable: Collection[str]
    ) -> Generation | None:
        """Make what a folder holds the library; None if another machine was faster.

        Args:
            base: what the folder held before the change.
            folder: where no file is open.
            catalogue: digest of the catalogue before the change.
            unusable: what the folder lacked then.
        """
        kept, new = self._copies.changes(folder, base, catalogue, unusable)
        if not new and kept == base.files:
            return base
        uploaded = self._generations.upload(new, base)
        made = self._generations.follow(base, kept | uploaded)
        if made is not None:
            self._copies.keep(folder, uploaded)
        return made

    def _newest(self) -> Index | None:
        """The library as it is now; None if there is none."""
        generation = self._generations.newest()
        if generation.number == 0:
            self._drop()
        elif self._index is None or generation != self._generation:
            generation, folder, unusable = self._fetched()
            self._use(generation, Index(folder), unusable)
        return self._index

    def _fetched(self) -> tuple[Generation, Path, dict[str, ObjectUnusable]]:
        """The newest generation, a folder of it, and which vectors are not in the folder."""
        for _ in range(_READ_ATTEMPTS):
            generation = self._generations.newest()
            try:
                folder, unusable = self._copies.folder(generation)
            except ObjectUnusable:
                if self._generations.newest() == generation:
                    raise
                continue
            # Those of an older generation are removed.
            if not unusable or self._generations.newest() == generation:
                return generation, folder, unusable
            shutil.rmtree(folder, ignore_errors=True)
        raise self._too_busy()

    def _too_busy(self) -> CacheError:
        return CacheError(
            f"{self.place}: other machines change it all the time; run the same command again later"
        )

    def _use(self, generation: Generation, index: Index, unusable: dict[str, ObjectUnusable]) -> None:
        self._drop()
        self._generation, self._index, self._unusable = generation, index, unusable
        self._copies.trim(generation)

    def _drop(self) -> None:
        if self._index is not None:
            self._index.close()
            shutil.rmtree(self._index.folder, ignore_errors=True)
        self._index, self._generation, self._unusable = None, Generation(), {}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the one process of this machine that writes: the others would have to start again."""
        from filelock import FileLock

        try:
            self._copies.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._copies.root / "writer.lock")
            lock.acquire()
        except OSError as error:
            raise CacheError(
                f"{self._copies.root}: cannot be written ({reason_of(error)}); VTG_HOME may name another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()
