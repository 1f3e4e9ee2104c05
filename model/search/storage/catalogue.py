"""The catalogue of a library in SQLite: which videos it holds, where their files are, and which vectors are theirs.

    roots      the folders and files that were added, and parts of these that were removed, for `update`
    recipes    the feature specs that are indexed
    contents   what videos hold, each once however many files hold it, by the identity of the feature cache
    files      where a content lies, with the state of the file when that was found out
    failures   files that could not be read, likewise
    entries    of a content and a recipe: the ids of its vectors, a range; ids are never used twice

The catalogue decides what is in the library. It is changed in transactions, so readers see it before a change or after.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import CacheError
from extractors.features import FeatureSpec
from extractors.files.identity import FileState
from model.search.storage import segments

FILE = "catalogue.sqlite"

_VERSION = 1  # raised when an older vtg would misread the tables
_WAIT_S = 60.0
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE roots (path BLOB PRIMARY KEY, included INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recipes (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, spec TEXT NOT NULL);
CREATE TABLE contents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL UNIQUE, address TEXT NOT NULL, duration_s REAL NOT NULL
);
CREATE TABLE files (
    path BLOB PRIMARY KEY, content_id INTEGER NOT NULL REFERENCES contents (id),
    size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL, settled INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE failures (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, changed_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX files_of ON files (content_id);
CREATE TABLE entries (
    recipe_id INTEGER NOT NULL REFERENCES recipes (id), content_id INTEGER NOT NULL REFERENCES contents (id),
    first_id INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (recipe_id, content_id)
) WITHOUT ROWID;
"""
_NEXT_ID, _UNFINISHED = "next_id", "unfinished"


@dataclass(frozen=True)
class Content:
    """What one or more files hold.

    Attributes:
        id: in this catalogue.
        content: hash of every byte, as of `VideoIdentity`.
        address: the shorter name that cache entries bear.
        duration_s: length in seconds.
    """

    id: int
    content: str
    address: str
    duration_s: float


@dataclass(frozen=True)
class File:
    """A video file of the library.

    Attributes:
        path: absolute.
        content_id: of what it held.
        state: size and times when that was found out.
        settled: whether it had not changed just before, so that another change would show in its times.
    """

    path: Path
    content_id: int
    state: FileState
    settled: bool

    def is_unchanged(self) -> bool:
        """Whether the file is there and, by its size and times, still holds that."""
        return self.state.is_of(self.path)


@dataclass(frozen=True)
class Entries:
    """The vectors of a recipe, by content, in order of their ids.

    Attributes:
        content_ids: (C,) contents.
        first_ids: (C,) id of the first vector of each.
        counts: (C,) vectors of each; their ids follow each other.
    """

    content_ids: NDArray[np.int64]
    first_ids: NDArray[np.int64]
    counts: NDArray[np.int64]

    def ids(self, wanted: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """The ids of all vectors, or of those of the contents that are wanted (C,)."""
        first, counts = self.first_ids, self.counts
        if wanted is not None:
            first, counts = first[wanted], counts[wanted]
        ends = counts.cumsum()
        ids: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0, dtype=np.int64) + np.repeat(
            first - ends + counts, counts
        )
        return ids

    def contents_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The content of each vector, of the shape of `ids`; -1 for ids that are no entry's."""
        if not len(self.first_ids):
            return np.full(ids.shape, -1, dtype=np.int64)
        place = np.searchsorted(self.first_ids, ids, side="right") - 1
        known = (place >= 0) & (ids < self.first_ids[place] + self.counts[place])
        contents: NDArray[np.int64] = np.where(known, self.content_ids[place], -1)
        return contents


_NONE = np.empty(0, dtype=np.int64)
NO_ENTRIES = Entries(_NONE, _NONE, _NONE)


@dataclass(frozen=True)
class Recipe:
    """A kind of vectors; those of different recipes are never compared.

    Attributes:
        id: in this catalogue.
        key: `recipe_key` of the spec, when it was indexed.
        spec: of the features that the vectors are made from.
    """

    id: int
    key: str
    spec: FeatureSpec


def recipe_key(spec: FeatureSpec) -> str:
    """A name for the vectors of a spec as this version of vtg makes them."""
    return f"{spec.digest()}-{segments.VERSION}"


class NoCatalogue(CacheError):
    """There is no catalogue, or its first writer has not got so far, and perhaps never will."""


class Catalogue:
    """An open catalogue; every method is a statement in the transaction that is open, or one of its own.

    Args:
        folder: of the library.
        create: make an empty one if there is none.

    Raises:
        NoCatalogue: if there is none and none is to be made.
        CacheError: if it cannot be opened, or is no catalogue of this version.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self._file = folder / FILE
        with self._errors():
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            elif not self._file.exists():
                raise NoCatalogue(f"{self._file}: does not exist")
            mode = "rwc" if create else "rw"
            place = self._file.absolute().as_uri()
            self._connection = sqlite3.connect(
                f"{place}?mode={mode}",
                uri=True,
                timeout=_WAIT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._prepare(create)

    def _prepare(self, create: bool) -> None:
        run = self._connection.execute
        if run("PRAGMA user_version").fetchone()[0] == 0:
            if not create:
                self.close()
                raise NoCatalogue(f"{self._file}: is empty")
            # Only before the first table; freed pages can then be given back to the file system.
            run("PRAGMA auto_vacuum = INCREMENTAL")
            run("PRAGMA journal_mode = WAL")
            with self.transaction():
                if run("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _SCHEMA.split(";"):
                        run(statement)
                    run(f"PRAGMA user_version = {_VERSION}")
        run("PRAGMA synchronous = FULL")
        version = run("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise CacheError(
                f"{self._file}: was made by another version of vtg (layout {version}, not {_VERSION}); update vtg, or "
                "build the library again: vtg index add"
            )

    def close(self) -> None:
        """Close it; nothing else works afterwards."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise CacheError(
                f"{self._file}: cannot be used ({error}); --library may name another folder"
            ) from error
        except OSError as error:
            raise CacheError(f"{self._file}: cannot be made ({error.strerror})") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, or none."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read in the block is of one moment."""
        with self._errors():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    def digest(self) -> str:
        """A name for all that is in the catalogue: the same as long as no row is another."""
        hashed = hashlib.blake2b(digest_size=16)
        with self._errors():
            for line in self._connection.iterdump():
                if "sqlite_sequence" not in line[:40]:  # which counts attempts to add what is there, too
                    hashed.update(line.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()

    @property
    def revision(self) -> int:
        """Another number after each change that another connection has made."""
        return int(self._rows("PRAGMA data_version")[0][0])

    # Facts

    def fact(self, name: str) -> str | None:
        """What is noted under a name."""
        row = self._row("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        """Note a fact, replacing what is noted under the name."""
        self._run("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value)

    # Roots

    def roots(self) -> dict[Path, bool]:
        """Folders and files that were added (True), and removed from such a folder (False)."""
        return {_path(row[0]): bool(row[1]) for row in self._rows("SELECT * FROM roots ORDER BY path")}

    def put_roots(self, paths: Iterable[Path], *, included: bool) -> None:
        """Note that folders and files were added, or removed."""
        self._many(
            "INSERT OR REPLACE INTO roots VALUES (?, ?)", [(os.fsencode(path), included) for path in paths]
        )

    def remove_roots(self, paths: Iterable[Path]) -> None:
        """Forget folders and files."""
        self._many("DELETE FROM roots WHERE path = ?", [(os.fsencode(path),) for path in paths])

    # Recipes

    def recipes(self) -> list[Recipe]:
        """What is indexed, in the order it was first added."""
        rows = self._rows("SELECT id, key, spec FROM recipes ORDER BY id")
        return [Recipe(row[0], row[1], FeatureSpec.from_json(json.loads(row[2]))) for row in rows]

    def find_recipe(self, spec: FeatureSpec) -> Recipe | None:
        """The recipe of a spec; None if it is not indexed."""
        row = self._row("SELECT id, key FROM recipes WHERE key = ?", recipe_key(spec))
        return None if row is None else Recipe(row[0], row[1], spec)

    def add_recipe(self, spec: FeatureSpec) -> Recipe:
        """The recipe of a spec, which is made if there is none."""
        values = recipe_key(spec), json.dumps(spec.to_json())
        self._run("INSERT OR IGNORE INTO recipes (key, spec) VALUES (?, ?)", *values)
        found = self.find_recipe(spec)
        assert found is not None
        return found

    def remove_recipe(self, recipe_id: int) -> None:
        """Remove a recipe with its entries."""
        self._run("DELETE FROM entries WHERE recipe_id = ?", recipe_id)
        self._run("DELETE FROM recipes WHERE id = ?", recipe_id)

    # Contents and files

    def contents(self) -> dict[int, Content]:
        """All contents by id."""
        rows = self._rows("SELECT id, content, address, duration_s FROM contents ORDER BY id")
        return {int(row[0]): Content(int(row[0]), row[1], row[2], row[3]) for row in rows}

    def find_content(self, content: str) -> Content | None:
        """The content of a hash."""
        row = self._row("SELECT id, content, address, duration_s FROM contents WHERE content = ?", content)
        return None if row is None else Content(int(row[0]), row[1], row[2], row[3])

    def add_content(self, content: str, address: str, duration_s: float) -> int:
        """The id of a content, which is made if there is none."""
        self._run(
            "INSERT OR IGNORE INTO contents (content, address, duration_s) VALUES (?, ?, ?)",
            content,
            address,
            duration_s,
        )
        return int(self._rows("SELECT id FROM contents WHERE content = ?", content)[0][0])

    def files(self) -> dict[Path, File]:
        """All files by path."""
        rows = self._rows("SELECT * FROM files ORDER BY path")
        found = (File(_path(row[0]), row[1], FileState(*row[2:5]), bool(row[5])) for row in rows)
        return {file.path: file for file in found}

    def put_file(self, file: File) -> None:
        """Note what a file holds, replacing what was noted of the path."""
        self._run(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
            os.fsencode(file.path),
            file.content_id,
            *astuple(file.state),
            file.settled,
        )

    def failures(self) -> dict[Path, FileState]:
        """Files that could not be read, and their state then."""
        rows = self._rows("SELECT * FROM failures ORDER BY path")
        return {_path(row[0]): FileState(*row[1:4]) for row in rows}

    def put_failures(self, failures: Mapping[Path, FileState]) -> None:
        """Note files that cannot be read."""
        rows = [(os.fsencode(path), *astuple(state)) for path, state in failures.items()]
        self._many("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", rows)

    def remove_failures(self, paths: Iterable[Path]) -> None:
        """Forget files that could not be read."""
        self._many("DELETE FROM failures WHERE path = ?", [(os.fsencode(path),) for path in paths])

    def remove_files(self, paths: Iterable[Path]) -> None:
        """Forget files."""
        self._many("DELETE FROM files WHERE path = ?", [(os.fsencode(path),) for path in paths])

    def remove_unheld(self) -> dict[int, NDArray[np.int64]]:
        """Remove contents that no file holds, with their entries; returns the ids of their vectors by recipe."""
        unheld = "NOT IN (SELECT content_id FROM files)"
        rows = self._rows(f"SELECT recipe_id, first_id, count FROM entries WHERE content_id {unheld}")
        if rows:
            self._run(f"DELETE FROM entries WHERE content_id {unheld}")
        self._run(f"DELETE FROM contents WHERE id {unheld}")
        freed: dict[int, list[NDArray[np.int64]]] = {}
        for recipe_id, first_id, count in rows:
            freed.setdefault(recipe_id, []).append(np.arange(first_id, first_id + count, dtype=np.int64))
        return {recipe_id: np.concatenate(ids) for recipe_id, ids in freed.items()}

    # Entries

    def entries(self, recipe_id: int) -> Entries:
        """Those of a recipe."""
        rows = self._rows(
            "SELECT content_id, first_id, count FROM entries WHERE recipe_id = ? ORDER BY first_id, count",
            recipe_id,
        )
        columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        return Entries(columns[0], columns[1], columns[2])

    def add_entry(self, recipe_id: int, content_id: int, first_id: int, count: int) -> None:
        """Note the vectors of a content."""
        self._run("INSERT INTO entries VALUES (?, ?, ?, ?)", recipe_id, content_id, first_id, count)

    def remove_entries(self, recipe_id: int, content_ids: Iterable[int]) -> None:
        """Forget the vectors of contents."""
        self._many(
            "DELETE FROM entries WHERE recipe_id = ? AND content_id = ?",
            [(recipe_id, content_id) for content_id in content_ids],
        )

    def reserve_ids(self, count: int) -> int:
        """Take ids that nobody has had; returns the first."""
        first = int(self.fact(_NEXT_ID) or 0)
        self.note(_NEXT_ID, str(first + count))
        return first

    @property
    def is_unfinished(self) -> bool:
        """Whether a writer may have ended between its vectors and its entries."""
        return self.fact(_UNFINISHED) == "1"

    def mark_unfinished(self, unfinished: bool) -> None:
        """Note that vectors are about to be written, or that they and the entries agree."""
        self.note(_UNFINISHED, str(int(unfinished)))

    def has_entry(self, recipe_id: int, content_id: int) -> bool:
        """Whether a content has vectors of a recipe."""
        found = self._row(
            "SELECT 1 FROM entries WHERE recipe_id = ? AND content_id = ?", recipe_id, content_id
        )
        return found is not None

    def give_back_space(self) -> None:
        """Return what removed rows took to the file system; outside of transactions."""
        with self._errors():
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _run(self, statement: str, *values: object) -> int:
        with self._errors():
            return self._connection.execute(statement, values).rowcount

    def _many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._errors():
            self._connection.executemany(statement, rows)

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._connection.execute(statement, values).fetchall()

    def _row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        with self._errors():
            row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
            return row


def _path(value: bytes) -> Path:
    return Path(os.fsdecode(value))
