"""Archives that claim more than they hold are refused in little memory; intact ones are read correctly."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.datasets.archives import DAMAGED, Refused, entries

LARGE = 64 << 20
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def read(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.open().read() for entry in entries(path)}


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(fields: dict[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A header of pax fields."""
    lines = b""
    for key, value in fields.items():
        body = f" {key}={value}\n".encode()
        length = len(body) + len(str(len(body)))
        length = len(body) + len(str(length))
        lines += f"{length}".encode() + body
    return header(kind, len(lines)) + lines + bytes(-len(lines) % 512)


def write(path: Path, parts: Iterator[bytes] | list[bytes]) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
    return path


def sound(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


# --- sound ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_order_and_long_names(tmp_path: Path, packer: str, form: int) -> None:
    names = [
        "a.npz",
        "ü/b.npz" if form != tarfile.USTAR_FORMAT else "u/b.npz",
        f"{'long/' * 25}c.npz",
        "d.npz",
    ]
    files = {name: os.urandom(size) for name, size in zip(names, (0, 511, 512, 300_000), strict=True)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        folder = tarfile.TarInfo("u")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path = tmp_path / "a.tar"
    path.write_bytes(PACKERS[packer](buffer.getvalue()))
    assert read(path) == files
    assert [entry.size_bytes for entry in entries(path)] == [0, 511, 512, 300_000]  # none of them read
    assert list(read(path)) == names


@pytest.mark.parametrize("packer", ["gz", "bz2", "xz"])
def test_multi_stream_archive(tmp_path: Path, packer: str) -> None:
    content = sound(a=os.urandom(100_000), b=bytes(100_000))
    path = tmp_path / "a.tar"
    path.write_bytes(b"".join(PACKERS[packer](part) for part in (content[:777], b"", content[777:])))
    assert list(read(path)) == ["a", "b"]


def test_padding_after_xz(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.xz"
    path.write_bytes(lzma.compress(sound(a=b"1")) + bytes(512))
    assert read(path) == {"a": b"1"}


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
@pytest.mark.parametrize("place", ["first", "later"])
def test_a_large_header_takes_no_memory(tmp_path: Path, kind: bytes, place: str) -> None:
    before = [] if place == "first" else [sound(a=b"1")[:1024]]
    block = bytes(1 << 20)
    path = write(tmp_path / "a.tar.gz", [*before, header(kind, LARGE), *[block] * (LARGE >> 20), bytes(1024)])
    with little_memory(), pytest.raises(Refused, match="takes more than 1 MB"):
        read(path)


def test_a_header_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", [header(tarfile.XHDTYPE, 1 << 42), bytes(1024)])
    with little_memory(), pytest.raises(Refused, match="takes more than 1 MB"):
        read(path)


def test_headers_for_all_files_do_not_add_up(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        for number in range(100):
            yield pax({f"comment{number}": "x" * 900_000}, tarfile.XGLTYPE)
            yield header(tarfile.REGTYPE, 0, f"{number}.npz")
        yield bytes(1024)

    path = write(tmp_path / "a.tar.gz", parts())
    with little_memory():
        assert sum(1 for _ in entries(path)) == 100


def test_a_chain_of_headers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar.gz", [pax({"comment": "x"}) * 100_000, bytes(1024)])
    with little_memory(), pytest.raises((Refused, *DAMAGED)):
        read(path)


def test_many_files_take_no_memory(tmp_path: Path) -> None:
    one = header(tarfile.REGTYPE, 0, "a.npz")
    path = write(tmp_path / "a.tar.gz", [*[one * 1000] * 30, bytes(1024)])
    with little_memory():
        assert sum(1 for _ in entries(path)) == 30_000


def test_folders_without_end_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.datasets.archives.MAX_ENTRIES", 100)
    path = write(tmp_path / "a.tar.gz", [header(tarfile.DIRTYPE, 0) * 101, bytes(1024)])
    with pytest.raises(Refused, match="more than 100 files and folders"):
        read(path)


def test_sparse_map_takes_no_memory(tmp_path: Path) -> None:
    fields = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "a.npz",
        "GNU.sparse.realsize": "1",
    }
    block = b"0\n" * (1 << 19)
    start = [pax(fields), header(tarfile.REGTYPE, LARGE)]
    path = write(tmp_path / "a.tar.gz", [*start, b"100000000\n" + block[10:], *[block] * 63, bytes(1024)])
    with little_memory(), pytest.raises(Refused, match="takes more than 1 MB"):
        read(path)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.npz")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:398], block[398:410] = b"00000000000\0", b"00000000000\0"
    block[483:495] = b"77777777777\0"  # 8 GiB once it is laid out
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    path = write(tmp_path / "a.tar.gz", [bytes(block), bytes(1024)])
    with pytest.raises(Refused, match="is a sparse file"):
        read(path)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    content = bytearray(sound(a=b"1", b=b"2"))
    content[1024 + 3] ^= 255  # in the header of the second file
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(EOFError, match="its end is missing"):
        read(path)


def test_damaged_bzip2(tmp_path: Path) -> None:
    packed = bytearray(bz2.compress(sound(a=os.urandom(3_000_000))))
    packed[len(packed) // 2] ^= 255
    path = tmp_path / "a.tar.bz2"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="Invalid data"):
        read(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_an_xz_file_that_is_cut_off_is_damaged(tmp_path: Path, share: float) -> None:
    packed = lzma.compress(sound(a=os.urandom(300_000)))
    path = tmp_path / "a.tar.xz"
    path.write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(DAMAGED):
        read(path)


def test_an_xz_file_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}]
    packed = bytearray(lzma.compress(sound(a=b"1"), filters=filters))
    at = packed.index(b"\x21\x01", 12) + 2  # the size of the dictionary, in the header of the first block
    packed[at] = 37  # 1.5 GiB
    end = 12 + 4 * (packed[12] + 1)
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(packed[12 : end - 4]))
    path = tmp_path / "a.tar.xz"
    path.write_bytes(packed)
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        read(path)


# --- zip ------------------------------------------------------------------------------------------


def test_zip_with_a_large_table(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npz", b"1")
    content = path.read_bytes()
    end = content.rindex(b"PK\5\6")
    size, start = struct.unpack("<II", content[end + 12 : end + 20])
    with path.open("wb") as file:
        file.write(content[:start])
        file.seek(1 << 30)  # a hole: nothing of it lies on the disk
        file.write(content[start : start + size])
        where = file.tell()
        tail = bytearray(content[end:])
        tail[12:20] = struct.pack("<II", where - start, start)
        file.write(tail)
    with little_memory(), pytest.raises(Refused, match="takes more than 64 MB"):
        read(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_that_cannot_be_streamed(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npz", bytes(LARGE))
    with little_memory(), pytest.raises(Refused, match="by another way than deflate"):
        read(path)


def test_deflate_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npz", bytes(LARGE))
    with little_memory():
        for entry in entries(path):
            with entry.open() as file:
                assert sum(len(block) for block in iter(lambda file=file: file.read(1 << 20), b"")) == LARGE
