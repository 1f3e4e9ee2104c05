"""The files of a library: its catalogue, and the vectors of each recipe.

    <folder>/catalogue.sqlite
    <folder>/vectors/<key of the recipe>/
    <folder>/writer.lock

Both halves cannot change in one step, so they change in an order in which the catalogue never names vectors that are
not there: vectors are saved before their entries, and entries are removed before their vectors. A kill between the two
leaves vectors that no entry names. Readers ignore those, and the next writer removes them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from extractors.errors import CacheError, reason_of
from extractors.features import FeatureSpec
from extractors.files.identity import FileState
from model.search.storage.catalogue import (
    FILE,
    Catalogue,
    Content,
    Entries,
    File,
    NoCatalogue,
    Recipe,
    recipe_key,
)
from model.search.vectors.files import VectorsDamaged
from model.search.vectors.vector_index import VectorIndex

T = TypeVar("T")

_VECTORS, _LOCK = "vectors", "writer.lock"


@dataclass(frozen=True)
class Batching:
    """How many additions are written together.

    Attributes:
        videos: at most.
        wait_s: seconds that the first of them waits at most.
    """

    videos: int
    wait_s: float


@dataclass(frozen=True)
class NewVideo:
    """A video file that is to be in the index.

    Attributes:
        path: absolute.
        state: size and times of the file when its content was found out.
        settled: as of `File`.
        content, address: of its `VideoIdentity`.
        duration_s: length in seconds.
        vectors: (S, dim) by recipe; none for features that cannot be compared with text.
    """

    path: Path
    state: FileState
    settled: bool
    content: str
    address: str
    duration_s: float
    vectors: Mapping[FeatureSpec, NDArray[np.float32]]


@dataclass(frozen=True)
class Snapshot:
    """What a library holds at one moment.

    Attributes:
        contents: by id.
        files: of each content, in order of path.
        recipes: what is indexed.
        entries: by the id of their recipe.
    """

    contents: Mapping[int, Content]
    files: Mapping[int, Sequence[File]]
    recipes: Sequence[Recipe]
    entries: Mapping[int, Entries]

    @property
    def addresses(self) -> set[str]:
        """Those of all contents."""
        return {content.address for content in self.contents.values()}

    def entries_of(self, spec: FeatureSpec) -> Entries | None:
        """The entries of a spec; None if it is not indexed."""
        return next(
            (self.entries[recipe.id] for recipe in self.recipes if recipe.key == recipe_key(spec)), None
        )


class Index:
    """The files of one library. One process writes at a time; any number may read.

    Args:
        folder: of the library; it is made by the first writer.
    """

    batching = Batching(videos=64, wait_s=5.0)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader: Catalogue | None = None
        self._read_inode = -1
        self._read: tuple[int, Snapshot] | None = None
        self._opened: dict[str, VectorIndex] = {}

    @property
    def rows(self) -> None:
        """Rows are left to the cache."""

    @property
    def place(self) -> Path:
        """The folder."""
        return self.folder

    @property
    def exists(self) -> bool:
        """Whether anything was ever added."""
        try:
            self.catalogue()
        except NoCatalogue:
            return False
        return True

    def close(self) -> None:
        """Close what is open."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._read = None, None
        self._opened.clear()

    def snapshot(self) -> Snapshot:
        """What the library holds now.

        Raises:
            CacheError: if the catalogue cannot be read.
        """
        if not self.exists:
            return Snapshot({}, {}, (), {})
        catalogue = self.catalogue()
        revision = catalogue.revision
        if self._read is None or self._read[0] != revision:
            self._opened.clear()
            self._read = revision, _snapshot(catalogue)
        return self._read[1]

    def catalogue(self) -> Catalogue:
        """The catalogue, for reading; raises NoCatalogue if there is none."""
        if self._reader is not None and self._inode() != self._read_inode:  # deleted, and perhaps made again
            self.close()
        if self._reader is None:
            self._reader, self._read_inode = Catalogue(self.folder), self._inode()
        return self._reader

    def _inode(self) -> int:
        try:
            return (self.folder / FILE).stat().st_ino
        except OSError:
            return -1

    def vectors(self, spec: FeatureSpec) -> VectorIndex:
        """The vectors of a recipe, at least as new as the last snapshot.

        Raises:
            VectorIndexError: if they cannot be read.
        """
        key = recipe_key(spec)
        if key not in self._opened:
            self._opened[key] = self.open_vectors(key, spec.dim)
        return self._opened[key]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files of the library."""
        size = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # another process has replaced it
                size += path.stat().st_size if path.is_file() else 0
        return size

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the one process that writes; waits for the others.

        Raises:
            CacheError: if the folder cannot be written.
        """
        from filelock import FileLock

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK)
            lock.acquire()
        except OSError as error:
            raise CacheError(
                f"{self.folder}: cannot be written ({reason_of(error)}); --library may name another folder"
            ) from error
        try:
            with closing(Catalogue(self.folder, create=True)) as catalogue:
                yield Writer(self, catalogue)
        finally:
            lock.release()

    def write(self, change: Callable[[Writer], T]) -> T:
        """Change the library while no other process does; returns what the change returns.

        Raises:
            CacheError: if the folder cannot be written; and what the change raises.
        """
        with self.writing() as writer:
            return change(writer)

    def open_vectors(self, key: str, dim: int) -> VectorIndex:
        """The vectors of a recipe as they are now; raises VectorIndexError if they cannot be read."""
        return VectorIndex.open(self.vector_folder(key), dim)

    def vector_folder(self, key: str) -> Path:
        """Where the vectors of a recipe are."""
        return self.folder / _VECTORS / key


class Writer:
    """Changes an index; made by `Index.writing`.

    Attributes:
        catalogue: for changes that concern no vectors.
    """

    def __init__(self, index: Index, catalogue: Catalogue) -> None:
        self._index = index
        self.catalogue = catalogue
        if catalogue.is_unfinished:
            self.settle()

    def add(self, videos: Sequence[NewVideo]) -> None:
        """Put videos into the index; what a file held before is removed unless another file holds it.

        Raises:
            CacheError, VectorIndexError: if something cannot be written.
        """
        catalogue = self.catalogue
        new: dict[FeatureSpec, dict[str, tuple[int, NDArray[np.float32]]]] = {}
        with catalogue.transaction():
            for video in videos:
                for spec, vectors in video.vectors.items():
                    if video.content not in new.get(spec, {}) and not self._has(spec, video.content):
                        place = catalogue.reserve_ids(len(vectors)), vectors
                        new.setdefault(spec, {})[video.content] = place
            catalogue.mark_unfinished(True)
        for spec, added in new.items():
            ids = [np.arange(first, first + len(rows), dtype=np.int64) for first, rows in added.values()]
            rows = np.concatenate([rows for _, rows in added.values()])
            if len(rows):
                held = self._index.open_vectors(recipe_key(spec), spec.dim)
                held.add(np.concatenate(ids), rows)
                held.save()
        with catalogue.transaction():
            contents = {
                video.content: catalogue.add_content(video.content, video.address, video.duration_s)
                for video in videos
            }
            for spec, added in new.items():
                recipe = catalogue.add_recipe(spec)
                for content, (first, rows) in added.items():
                    catalogue.add_entry(recipe.id, contents[content], first, len(rows))
            for video in videos:
                catalogue.put_file(File(video.path, contents[video.content], video.state, video.settled))
            catalogue.remove_failures(video.path for video in videos)
            freed = catalogue.remove_unheld()
            catalogue.mark_unfinished(bool(freed))
        if freed:
            self._free(freed)

    def remove_files(self, paths: Sequence[Path]) -> None:
        """Take files out of the index, and what no other file holds; nothing is written if there are none.

        Raises:
            CacheError, VectorIndexError: if something cannot be written.
        """
        if not paths:
            return
        with self.catalogue.transaction():
            self.catalogue.remove_files(paths)
            freed = self.catalogue.remove_unheld()
            self.catalogue.mark_unfinished(True)
        self._free(freed)

    def remove_recipes(self, recipes: Sequence[Recipe]) -> None:
        """Take all vectors of recipes out of the index."""
        if not recipes:
            return
        with self.catalogue.transaction():
            for recipe in recipes:
                self.catalogue.remove_recipe(recipe.id)
            self.catalogue.mark_unfinished(True)
        self.settle()

    def settle(self) -> None:
        """Make the vectors and the catalogue agree, whatever became of the last writers.

        Vectors without an entry are removed, as are entries without their vectors: the next `add` or `update` of their
        videos makes them again from the cache.
        """
        recipes = self.catalogue.recipes()
        for recipe in recipes:
            self._settle(recipe)
        keys = {recipe.key for recipe in recipes}
        with suppress(FileNotFoundError):
            for folder in (self._index.folder / _VECTORS).iterdir():
                if folder.name not in keys:
                    shutil.rmtree(folder, ignore_errors=True)
        self._finish()

    def _settle(self, recipe: Recipe) -> None:
        entries = self.catalogue.entries(recipe.id)
        named = entries.ids()
        try:
            vectors = self._index.open_vectors(recipe.key, recipe.spec.dim)
        except VectorsDamaged:
            shutil.rmtree(self._index.vector_folder(recipe.key), ignore_errors=True)
            vectors = self._index.open_vectors(recipe.key, recipe.spec.dim)
        there = vectors.ids
        missing = np.setdiff1d(named, there, assume_unique=True)
        if len(missing):
            with self.catalogue.transaction():
                self.catalogue.remove_entries(recipe.id, np.unique(entries.contents_of(missing)).tolist())
            named = self.catalogue.entries(recipe.id).ids()
        vectors.remove(np.setdiff1d(there, named, assume_unique=True))
        vectors.save()

    def _has(self, spec: FeatureSpec, content: str) -> bool:
        recipe, known = self.catalogue.find_recipe(spec), self.catalogue.find_content(content)
        return recipe is not None and known is not None and self.catalogue.has_entry(recipe.id, known.id)

    def _free(self, freed: Mapping[int, NDArray[np.int64]]) -> None:
        for recipe in self.catalogue.recipes():
            if len(ids := freed.get(recipe.id, ())):
                vectors = self._index.open_vectors(recipe.key, recipe.spec.dim)
                vectors.remove(np.asarray(ids))
                vectors.save()
        self._finish()

    def _finish(self) -> None:
        with self.catalogue.transaction():
            self.catalogue.mark_unfinished(False)
        self.catalogue.give_back_space()


def covers(catalogue: Catalogue, specs: Sequence[FeatureSpec]) -> bool:
    """Whether all contents have vectors of some specs."""
    held = [catalogue.find_recipe(spec) for spec in specs]
    contents = len(catalogue.contents())
    return all(recipe is not None and len(catalogue.entries(recipe.id).counts) == contents for recipe in held)


def superseded(catalogue: Catalogue, specs: Sequence[FeatureSpec]) -> list[Recipe]:
    """The recipes of features that some specs make in another way now: of the same names and lengths."""
    kinds = {(spec.name, spec.clip_length_s) for spec in specs}
    current = {recipe_key(spec) for spec in specs}
    return [
        recipe
        for recipe in catalogue.recipes()
        if recipe.key not in current and (recipe.spec.name, recipe.spec.clip_length_s) in kinds
    ]


def _snapshot(catalogue: Catalogue) -> Snapshot:
    with catalogue.snapshot():
        contents = catalogue.contents()
        files: dict[int, list[File]] = {}
        for file in catalogue.files().values():
            files.setdefault(file.content_id, []).append(file)
        recipes = catalogue.recipes()
        return Snapshot(
            contents, files, recipes, {recipe.id: catalogue.entries(recipe.id) for recipe in recipes}
        )
