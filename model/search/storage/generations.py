"""The states of a library in object storage, one after another.

    <library>/generations/00000012.json    which files the library has, and the object that holds each
    <library>/objects/00000011-<random>    a file, named by the generation from which its writer started

A record of a generation is only ever created, never replaced: of several machines that start from the same generation,
one creates the next, and the others start again from there. A reader takes the newest record. No object that a record
names changes, so what a reader sees is of one moment.

An object that was made from an older generation than the newest, and is not named by it, belongs to nobody: it is of
the past, or of a writer that was killed or came too late.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from extractors.errors import CacheError
from extractors.files.identity import new_content_hash
from extractors.places import Address
from extractors.storage.faults import StorageError
from extractors.storage.listing import objects_under, states_under
from extractors.storage.objects import create, publish, read_object, remove

KEPT = 100
"""Records that stay, so that a writer that was held up that long still sees that it is late."""

_FORMAT = 1
_RECORD = re.compile(r"(\d{8})\.json")
_OBJECT = re.compile(r"(\d{8})-[0-9a-f]{16}")
_FILE = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")
_ATTEMPTS = 20  # to read a record that is removed meanwhile
_CONNECTIONS = 4


@dataclass(frozen=True)
class StoredFile:
    """A file of a library, in object storage.

    Attributes:
        object: its name among the objects.
        size: bytes.
        content: their hash, as of `VideoIdentity`.
    """

    object: str
    size: int
    content: str


@dataclass(frozen=True)
class Generation:
    """What a library consists of. One that nobody has written to has number 0.

    Attributes:
        number: counts the changes.
        files: by their paths in the folder of a library, with slashes.
        token: no other generation has the same.
    """

    number: int = 0
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    token: str = ""

    @property
    def objects(self) -> set[str]:
        """The names of its objects."""
        return {file.object for file in self.files.values()}


class Generations:
    """The generations of a library.

    Args:
        library: its folder in object storage.
    """

    def __init__(self, library: Address) -> None:
        self._library = library

    def newest(self) -> Generation:
        """What the library consists of now.

        Raises:
            StorageError: if the storage cannot be used.
            CacheError: if the record is damaged or of another version of vtg.
        """
        for _ in range(_ATTEMPTS):
            numbers = self._numbers()
            if not numbers:
                return Generation()
            record = self._record(numbers[-1])
            if (data := read_object(record)) is not None:
                return _generation(record, numbers[-1], data)
        raise CacheError(f"{self._library}: changes all the time; run the same command again later")

    def object(self, file: StoredFile) -> Address:
        """Where a file is."""
        return self._library / "objects" / file.object

    def upload(self, files: Mapping[str, bytes | Path], base: Generation) -> dict[str, StoredFile]:
        """Upload files, which belong to the library once a generation that follows `base` names them.

        Args:
            files: the bytes, or the files here that hold them, by their paths in the library.
            base: the generation that was changed.
        """

        def one(data: bytes | Path) -> StoredFile:
            if isinstance(data, Path):
                data = data.read_bytes()
            digest = new_content_hash()
            digest.update(data)
            stored = StoredFile(f"{base.number:08d}-{secrets.token_hex(8)}", len(data), digest.hexdigest())
            publish(self.object(stored), data)
            return stored

        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return dict(zip(files, pool.map(one, files.values()), strict=True))

    def follow(self, base: Generation, files: Mapping[str, StoredFile]) -> Generation | None:
        """Make files the library, if it still is what it was.

        Args:
            base: what was changed.
            files: all files of the new generation.

        Returns:
            the new generation; None if another writer was faster.

        Raises:
            StorageError: if it cannot be written, or the storage replaces what it was told only to create.
        """
        made = Generation(base.number + 1, files, secrets.token_hex(8))
        record, data = self._record(made.number), _record_of(made)
        if not create(record, data):
            return None
        if base.number == 0 and create(record, _record_of(Generation())):
            remove(record)
            raise StorageError(
                self._library,
                "this storage ignores If-None-Match and overwrites existing objects, so machines "
                "would overwrite each other's changes; keep the library in a folder",
            )
        numbers = self._numbers()
        if numbers[-1] >= made.number + KEPT:  # so late that the record of the faster one is gone
            remove(record)
            return None
        return made

    def sweep(self, newest: Generation) -> None:
        """Remove what belongs to nobody, after `newest` was made.

        Raises:
            StorageError: if something cannot be removed.
        """
        unused = [
            address
            for address in objects_under(self._library / "objects")
            if (match := _OBJECT.fullmatch(address.name))
            and int(match[1]) < newest.number
            and address.name not in newest.objects
        ]
        old = [self._record(number) for number in self._numbers() if number <= newest.number - KEPT]
        try:
            in_parallel(remove, [*unused, *old])
        except StorageError as error:
            raise StorageError(
                self._library, f"was changed, but what it no longer needs cannot be removed: {error.reason}"
            ) from error

    def size_bytes(self) -> int:
        """Bytes of all objects of the library."""
        return sum(state.size for state in states_under(self._library).values())

    def _numbers(self) -> list[int]:
        names = (address.name for address in objects_under(self._library / "generations"))
        return sorted(int(match[1]) for name in names if (match := _RECORD.fullmatch(name)))

    def _record(self, number: int) -> Address:
        return self._library / "generations" / f"{number:08d}.json"


def in_parallel(action: Callable[[Address], object], addresses: Iterable[Address]) -> None:
    """Do something with several objects at once; raises what the first that fails raises."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(action, addresses):
            pass


def _record_of(generation: Generation) -> bytes:
    files = {name: asdict(file) for name, file in generation.files.items()}
    return json.dumps({"format": _FORMAT, "token": generation.token, "files": files}, indent=1).encode()


def _generation(record: Address, number: int, data: bytes) -> Generation:
    try:
        document = json.loads(data)
        version = document["format"]
        if version == _FORMAT:
            files = {
                str(name): StoredFile(str(file["object"]), int(file["size"]), str(file["content"]))
                for name, file in document["files"].items()
            }
            if not all(map(_FILE.fullmatch, files)) or not all(
                _OBJECT.fullmatch(file.object) for file in files.values()
            ):
                raise ValueError  # a name that leads out of the folder
            return Generation(number, files, str(document["token"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CacheError(
            f"{record}: is not a record of a library; remove the library's folder and build it again: vtg index add"
        ) from error
    raise CacheError(
        f"{record}: was made by another version of vtg (format {version}, not {_FORMAT}); update vtg, or name another "
        "place with --library"
    )
