"""Copies on this machine of the files of a library in object storage: each object is downloaded once.

<VTG_HOME>/library-copies/<library>/objects/     the objects of the newest generation
<VTG_HOME>/library-copies/<library>/folders/     folders that processes use now, with links to the objects
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from extractors.errors import CacheError
from extractors.files.atomic import write_failure
from extractors.files.identity import read_content
from extractors.files.user_folders import vtg_home
from extractors.places import Address
from extractors.storage.faults import ObjectMissing, StorageError
from extractors.storage.fetching import fetch
from extractors.storage.listing import state_of
from extractors.storage.scratch import Scratch
from model.search.storage.catalogue import FILE, Catalogue
from model.search.storage.generations import Generation, Generations, StoredFile, in_parallel
from model.search.vectors.files import MANIFEST

_CATALOGUE = f"{FILE}.zlib"  # it is sent with every change, and is mostly text
_LEVEL = 1


class ObjectUnusable(StorageError):
    """An object of a library is lost or damaged."""


class Copies:
    """The copies of one library.

    Args:
        library: its folder in object storage.
        generations: of the library.
    """

    def __init__(self, library: Address, generations: Generations) -> None:
        name = hashlib.blake2b(library.text.encode(), digest_size=16).hexdigest()
        self.root = vtg_home() / "library-copies" / name
        self._library = library
        self._generations = generations
        self._objects = self.root / "objects"
        self._scratch: Scratch | None = None

    def close(self) -> None:
        """Remove the folders of this process."""
        if self._scratch is not None:
            self._scratch.close()
        self._scratch = None

    def folder(self, generation: Generation) -> tuple[Path, dict[str, ObjectUnusable]]:
        """Make a folder that is a library on this machine, with the files of a generation.

        Args:
            generation: it may be the empty one.

        Returns:
            the folder, and by their names the vectors that are not in it, because their objects are lost or damaged.

        Raises:
            ObjectUnusable: if the catalogue is lost or damaged.
            StorageError: if an object cannot be read.
            CacheError: if the folder cannot be made.
        """
        with self._errors():
            folder = self._new_path()
            folder.mkdir()
            self._objects.mkdir(parents=True, exist_ok=True)
        files = {self._generations.object(file): (name, file) for name, file in generation.files.items()}

        unusable: dict[str, ObjectUnusable] = {}

        def place(address: Address) -> None:
            name, file = files[address]
            try:
                self._place(address, file, folder / name)
            except ObjectUnusable as error:
                if name == _CATALOGUE:
                    raise
                unusable[name] = error
                if name.endswith(MANIFEST):
                    # Without one, they would be no vectors rather than damaged ones.
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).touch()

        try:
            in_parallel(place, files)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder, unusable

    def changes(
        self, folder: Path, base: Generation, catalogue: str, unusable: Collection[str]
    ) -> tuple[dict[str, StoredFile], dict[str, bytes | Path]]:
        """What a folder of a generation holds after it was changed.

        Args:
            folder: where no file is open.
            base: the generation.
            catalogue: the digest of its catalogue.
            unusable: names of its vectors that were not put into the folder.

        Returns:
            the files that are as they were, and the others: bytes, or the files that hold them.
        """
        kept: dict[str, StoredFile] = {}
        new: dict[str, bytes | Path] = {}
        if digest_in(folder) == catalogue:
            kept[_CATALOGUE] = base.files[_CATALOGUE]
        else:
            new[_CATALOGUE] = zlib.compress((folder / FILE).read_bytes(), _LEVEL)
        for path in sorted((folder / "vectors").rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                file = base.files.get(name)
                is_placeholder = name in unusable and not path.stat().st_size
                if file is not None and (is_placeholder or _holds(path, file, self._objects / file.object)):
                    kept[name] = file
                else:
                    new[name] = path
        # Nobody has made them again.
        still = [name for name in unusable if f"{name.rpartition('/')[0]}/{MANIFEST}" in kept]
        kept |= {name: base.files[name] for name in still}
        return kept, new

    def keep(self, folder: Path, files: Mapping[str, StoredFile]) -> None:
        """Keep what was uploaded from a folder, so that it need not be downloaded."""
        with suppress(OSError):
            for name, file in files.items():
                if (path := folder / name).exists():
                    _link(path, self._objects / file.object)

    def trim(self, newest: Generation) -> None:
        """Remove the objects that the newest generation does not need; folders that have them keep them."""
        with suppress(OSError):
            for path in self._objects.iterdir():
                if path.name not in newest.objects:
                    with suppress(OSError):
                        path.unlink()

    def _place(self, address: Address, file: StoredFile, target: Path) -> None:
        """Put a file into a folder."""
        with self._errors():
            copy = self._objects / file.object
            if not copy.exists() or copy.stat().st_size != file.size:
                self._download(address, file, copy)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name != _CATALOGUE:
                _link(copy, target)
                return
            with (target.parent / FILE).open("wb") as catalogue:
                catalogue.write(zlib.decompress(copy.read_bytes()))

    def _download(self, address: Address, file: StoredFile, copy: Path) -> None:
        temporary = self._new_path()
        try:
            if fetch(address, state_of(address), temporary) != file.content:
                raise self._unusable(address, "is damaged")
            temporary.replace(copy)
        except ObjectMissing as error:
            raise self._unusable(address, "is not there any more") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _unusable(self, address: Address, what: str) -> ObjectUnusable:
        advice = (
            f"to make it again on a machine that has the videos: vtg index update --library {self._library}"
        )
        return ObjectUnusable(address, f"{what}; {advice}")

    def _new_path(self) -> Path:
        if self._scratch is None:
            self._scratch = Scratch(root=self.root / "folders")
        return self._scratch.new_file("")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(
                f"{error.filename or self.root}: copies of {self._library} cannot be kept there "
                f"({write_failure(error)}); VTG_HOME may name another folder"
            ) from error


def digest_in(folder: Path) -> str:
    """The digest of the catalogue in a folder; empty if there is none."""
    if not (folder / FILE).exists():
        return ""
    with closing(Catalogue(folder)) as catalogue:
        return catalogue.digest()


def _link(source: Path, target: Path) -> None:
    """Make a file appear under another name, too; it is copied where the file system has no links."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        temporary = target.with_name(f".{secrets.token_hex(8)}")
        shutil.copyfile(source, temporary)
        temporary.replace(target)


def _holds(path: Path, file: StoredFile, copy: Path) -> bool:
    """Whether a file in a folder is still the one that was put there."""
    with suppress(OSError):
        if path.samefile(copy):
            return True
    if path.stat().st_size != file.size:
        return False
    with path.open("rb") as opened:
        return read_content(opened) == file.content
