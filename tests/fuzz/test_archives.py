"""Archives with any content: nothing leaves the folder, only plain feature files arrive, nothing overflows."""

from __future__ import annotations

import io
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extractors.errors import VtgError
from model.dataset_entry import dataset_info
from model.datasets.library.pull import add_archive
from tests.fuzz.cases import SEEDS, fuzz, nothing_runs
from tests.hostile import mutate

TACOS = dataset_info("tacos")
LIMIT_BYTES = 100_000
KINDS = ("file", "folder", "symlink", "hardlink", "pipe", "device")


@dataclass(frozen=True)
class Member:
    """What an archive holds.

    Attributes:
        name: the path that it names.
        kind: one of `KINDS`.
        size: of its content in bytes.
        target: what a link leads to.
    """

    name: str
    kind: str = "file"
    size: int = 40
    target: str = "../../outside"


parts = st.sampled_from(
    ["..", ".", "", "clip_features", "slowfast_features", "a", "C:", "~", "con", "\\..\\..",
     "a\\..\\b", "\0",
     "é\u202e", "new\nline", "x" * 250, "..npz", ".hidden"]
) | st.text(max_size=5)  # fmt: skip
member_names = st.builds(
    lambda start, middle, end: start + "/".join(middle) + end,
    st.sampled_from(["", "", "/", "//", "C:\\", "./", "../"]),
    st.lists(parts, min_size=1, max_size=4),
    st.sampled_from(["", ".npz", ".npy", ".pt", ".py", "/", ".npz/.."]),
) | st.sampled_from(["clip_features/a.npz", "clip_features/b.npz", "slowfast_features/a.npy"])
members = st.lists(
    st.builds(
        Member,
        name=member_names,
        kind=st.sampled_from(("file", "file", "file", *KINDS)),
        size=st.sampled_from([0, 1, 40, 5_000, 60_000, 200_000]),
        target=st.sampled_from(["../../outside", "/etc/passwd", "b.npz", "clip_features", "."]),
    ),
    max_size=5,
)

_TYPES = {
    "folder": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "device": tarfile.CHRTYPE,
}
_MODES = {"folder": stat.S_IFDIR, "symlink": stat.S_IFLNK, "pipe": stat.S_IFIFO, "device": stat.S_IFCHR}


def pack(held: list[Member], form: str) -> bytes:
    """The archive as `tar`, `tar.gz`, `tar.xz`, `zip` or `stored` (a zip that is not compressed)."""
    buffer = io.BytesIO()
    if form in ("zip", "stored"):
        packing = zipfile.ZIP_DEFLATED if form == "zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            for member in held:
                info = zipfile.ZipInfo(member.name.replace("\0", "") or "a")
                info.filename = member.name
                info.external_attr = (_MODES.get(member.kind, stat.S_IFREG) | 0o644) << 16
                archive.writestr(
                    info, member.target if member.kind == "symlink" else bytes(member.size), packing
                )
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode=f"w:{form.partition('.')[2]}", errors="surrogatepass") as tar:
        for member in held:
            info = tarfile.TarInfo(member.name)
            info.type = _TYPES.get(member.kind, tarfile.REGTYPE)
            info.linkname = member.target if "link" in member.kind else ""
            info.size = member.size if member.kind == "file" else 0
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    (folder / "outside").mkdir()
    (folder / "outside" / "mine.npz").write_bytes(b"mine")
    return folder


def add(work: Path, content: bytes, *, stream: str | None = None) -> None:
    """Bring an archive into an empty data folder; whatever it holds, that is all that changes."""
    source, folder = work / "archive", work / "data"
    shutil.rmtree(folder, ignore_errors=True)
    source.write_bytes(content)
    try:
        with nothing_runs():
            placed = add_archive(TACOS, source, folder, stream=stream, limit_bytes=LIMIT_BYTES)
    except VtgError as error:
        assert str(source) in str(error) or str(folder) in str(error)
        placed = ()
    assert {path.name for path in work.iterdir()} <= {"archive", "data", "outside"}
    assert [path.name for path in (work / "outside").iterdir()] == ["mine.npz"]
    assert (work / "outside" / "mine.npz").read_bytes() == b"mine"
    files = [path for path in folder.rglob("*") if not path.is_dir() and path.name != ".lock"]
    for path in files:
        assert stat.S_ISREG(path.lstat().st_mode), path
        assert path.suffix in (".npz", ".npy", ".pt")
        assert path.parent in placed
        assert path.parent.parent == folder
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES
    assert not list(folder.glob(".unpack-*"))


forms = st.sampled_from(["tar", "tar.gz", "tar.xz", "zip", "stored"])


@fuzz
@given(held=members, form=forms, stream=st.sampled_from([None, "clip"]))
@example(held=[Member("clip_features/../../outside/mine.npz")], form="tar", stream=None)
@example(held=[Member("/tmp/clip_features/a.npz")], form="zip", stream=None)
@example(held=[Member("clip_features", "symlink"), Member("clip_features/mine.npz")], form="tar", stream=None)
@example(held=[Member("clip_features", "symlink"), Member("clip_features/mine.npz")], form="zip", stream=None)
@example(held=[Member("clip_features/a.npz", "hardlink", target="/etc/passwd")], form="tar.gz", stream=None)
@example(held=[Member("clip_features/a.npz", size=200_000)], form="tar.xz", stream=None)
@example(held=[Member("")], form="zip", stream=None)
@example(held=[Member("clip_features/\0.npz")], form="tar", stream=None)
@example(held=[Member(f"clip_features/{'x' * 300}.npz")], form="tar", stream=None)
@example(held=[Member("clip_features/\ud800.npz")], form="tar", stream=None)
def test_members(work: Path, held: list[Member], form: str, stream: str | None) -> None:
    try:
        content = pack(held, form)
    except (ValueError, UnicodeError):  # not even an archive can hold it
        return
    add(work, content, stream=stream)


def _feature(dim: int) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, features=np.ones((4, dim), np.float16))
    return buffer.getvalue()


def _whole(form: str) -> bytes:
    return pack(
        [Member("tacos/clip_features/a.npz"), Member("tacos/slowfast_features/b.npz", size=900)], form
    )


WHOLE = {form: _whole(form) for form in ("tar", "tar.gz", "tar.xz", "zip", "stored")}


@fuzz
@given(form=st.sampled_from(sorted(WHOLE)), seed=SEEDS)
def test_mutations(work: Path, form: str, seed: int) -> None:
    add(work, mutate(WHOLE[form], random.Random(seed), head=len(WHOLE[form])))


@fuzz
@given(
    place=st.sampled_from(["file_size", "compress_size", "header_offset"]),
    value=st.sampled_from([0, 1, 39, 41, 1 << 20, 0xFFFFFFFE, 0xFFFFFFFF]) | st.integers(0, 2000),
    form=st.sampled_from(["zip", "stored"]),
)
def test_sizes_that_are_not_true(work: Path, place: str, value: int, form: str) -> None:
    """What a zip's table of contents says of its first member, changed."""
    content = bytearray(WHOLE[form])
    entry = content.index(b"PK\x01\x02")
    offset = entry + {"compress_size": 20, "file_size": 24, "header_offset": 42}[place]
    content[offset : offset + 4] = struct.pack("<I", value)
    add(work, bytes(content))
