"""The files of an untrusted archive, one after another, in memory that does not grow with what the archive claims.

`tarfile` and `zipfile` read the parts before and between files in one piece, whatever size the archive claims. Here
these parts have a limit, and an archive that exceeds it is refused.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

MAX_ENTRIES = 5_000_000

_HEADER_BYTES = 1 << 20  # of a file in a tar: names, and maps of sparse files
_TABLE_BYTES = 64 << 20  # of contents, at the end of a zip: some 500,000 files
_XZ_BYTES = 256 << 20  # of memory to unpack; `xz -9` takes 65 MiB
_READ_BYTES = 1 << 16

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted zip
)
"""What reading an archive raises where it is damaged."""


class Refused(Exception):
    """An untrusted archive."""


@dataclass(frozen=True)
class Entry:
    """A regular file of an archive.

    Attributes:
        name: as the archive says; it may lead anywhere.
        size_bytes: as the archive says.
        open: gives its bytes, until the next entry is asked for.
    """

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]


def entries(source: Path) -> Iterator[Entry]:
    """The regular files of a tar or zip, in its order.

    Args:
        source: the archive; a tar may be compressed by gzip, bzip2 or xz.

    Raises:
        Refused: if it holds anything but files and folders, or takes too much to read.
        OSError: if it cannot be read.
        Exception: one of `DAMAGED`, if it is damaged or none.
    """
    read = _zip_entries if _is_zip(source) else _tar_entries
    for number, entry in enumerate(read(source)):
        if number >= MAX_ENTRIES:
            raise Refused(f"it holds more than {MAX_ENTRIES} files and folders")
        if entry is not None:
            yield entry


def _is_zip(source: Path) -> bool:
    """By its first bytes: from its end, a tar of `.npz` files looks like a zip."""
    with source.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _zip_entries(source: Path) -> Iterator[Entry | None]:
    """Files; None for each folder."""
    with source.open("rb") as file:
        bounded = _Bounded(file)
        with bounded.to(_TABLE_BYTES):
            archive = zipfile.ZipFile(bounded)  # type: ignore[call-overload]
        with archive:
            for info in archive.infolist():
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise Refused(f"'{info.filename}' is a link or a device")
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    # zipfile unpacks them in pieces that have no upper limit.
                    raise Refused(
                        f"'{info.filename}' is compressed by another way than deflate; pack it again"
                    )
                is_folder = info.filename.endswith("/")  # not is_dir(): it trips over an empty name
                yield None if is_folder else Entry(info.filename, info.file_size, partial(archive.open, info))


def _tar_entries(source: Path) -> Iterator[Entry | None]:
    """Files; None for each folder."""
    with _unpacked(source) as stream:
        bounded = _Bounded(stream)
        with bounded.to(_HEADER_BYTES):
            tar = tarfile.open(fileobj=bounded, mode="r:")  # type: ignore[call-overload] # noqa: SIM115
        with closing(tar):
            while True:
                with bounded.to(_HEADER_BYTES):
                    member = tar.next()
                if member is None:
                    break
                # What tarfile would keep of every file, and of headers that are for all files to come.
                tar.members.clear()
                tar.pax_headers.clear()
                if not (member.isreg() or member.isdir()):
                    raise Refused(f"'{member.name}' is a link or a device")
                if member.issparse():
                    raise Refused(f"'{member.name}' is a sparse file; pack it again without --sparse")
                yield (
                    None
                    if member.isdir()
                    else Entry(member.name, member.size, partial(_open_member, tar, member))
                )
        if bounded.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes any header it cannot read for the end
            raise EOFError("its end is missing")


def _open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None, "it is a regular file"
    return file


@contextmanager
def _unpacked(source: Path) -> Iterator[BinaryIO]:
    """The bytes of a tar that may be compressed, recognised by its first bytes."""
    with source.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif head.startswith(b"BZh"):
            with bz2.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif head == b"\xfd7zXZ\0":
            yield _Xz(file)  # type: ignore[misc]
        else:
            yield file


class _Bounded:
    """A file of which, for a while, no more than so many bytes may be read.

    Attributes:
        last: what was read last.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._limit = 0
        self._left: int | None = None
        self.last = b""

    @contextmanager
    def to(self, limit_bytes: int) -> Iterator[None]:
        """Within the block, allow so many bytes.

        Raises:
            Refused: if more are asked for.
        """
        self._left = self._limit = limit_bytes
        try:
            yield
        finally:
            self._left = None

    def read(self, size: int = -1) -> bytes:
        if self._left is not None and size > self._left:
            raise self._refusal()
        self.last = self._read(size) if size >= 0 else b"".join(iter(partial(self._read, _READ_BYTES), b""))
        return self.last

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            if error.errno is None:  # what bz2 raises on damaged bytes
                raise ValueError(str(error)) from error
            raise
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise self._refusal()
        return data

    def _refusal(self) -> Refused:
        return Refused(f"what describes a file, or all of them, takes more than {self._limit >> 20} MB")

    def seek(self, offset: int, origin: int = 0, /) -> int:
        return self._file.seek(offset, origin)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()


class _Xz:
    """The bytes of an xz file, forwards only, unpacked in bounded memory: such a file may ask for 4 GiB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._blocks = self._unpack()
        self._block = b""

    def read(self, size: int) -> bytes:
        """So many bytes, or as many as there are left."""
        parts = []
        while size > 0:
            if not self._block:
                self._block = next(self._blocks, b"")
                if not self._block:
                    break
            part, self._block = self._block[:size], self._block[size:]
            parts.append(part)
            size -= len(part)
            self._position += len(part)
        return b"".join(parts)

    def seek(self, offset: int, origin: int = 0, /) -> int:
        """Go forwards; raises ValueError if that would be backwards."""
        if origin != 0 or offset < self._position:
            raise ValueError("it is not in order")
        while self._position < offset and self.read(min(offset - self._position, _READ_BYTES)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def _unpack(self) -> Iterator[bytes]:
        packed = self._file.read(_READ_BYTES)
        is_first = True
        while packed:  # several in a row are one file
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)
            try:
                unpacked = unpacker.decompress(packed, _READ_BYTES)
            except lzma.LZMAError:
                if is_first:
                    raise
                return  # what follows is padding
            is_first = False
            while not unpacker.eof:
                if unpacked:
                    yield unpacked
                packed = self._file.read(_READ_BYTES) if unpacker.needs_input else b""
                if unpacker.needs_input and not packed:
                    raise EOFError("it is cut off")
                unpacked = unpacker.decompress(packed, _READ_BYTES)
            if unpacked:
                yield unpacked
            packed = unpacker.unused_data or self._file.read(_READ_BYTES)
