"""Pickles with any content, including some that would run code: an answer or one clear error, and nothing runs."""

from __future__ import annotations

import io
import pickle
import random
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from extractors.encoders.slowfast.weights import read_slowfast
from extractors.errors import VtgError, WeightsInvalid
from extractors.weights.state_dicts import named_tensors, read_torch
from extractors.weights.tensor_archive import find_tensors, read_tensors
from model.checkpoints import released_file
from model.checkpoints.checkpoint import import_released
from model.datasets.features import FeatureFileError, FeatureFolder
from tests.fuzz.cases import SEEDS, bounded, canary, fuzz, nothing_runs
from tests.hostile import mutate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds its memory by Linux's means")
__all__ = ["bounded"]

HARMLESS = (
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "FloatStorage"),
    ("torch", "Size"),
    ("argparse", "Namespace"),
    ("nncore.utils.config", "CfgNode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
    ("builtins", "bytearray"),
)
HOSTILE = (
    (canary.__module__, canary.__name__),
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("builtins", "exec"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("pickle", "loads"),
    ("torch", "load"),
    ("torch.serialization", "load"),
    ("numpy", "load"),
    ("functools", "partial"),
    ("operator", "methodcaller"),
    ("collections", "OrderedDict.fromkeys"),
    ("argparse", "Namespace.__init__.__globals__"),
    ("model.checkpoints.released_file", "_HARMLESS"),
)

short_text = st.sampled_from(["x", "model", "opt", "epoch", "blobs", "storage", "cpu", "0", "__dict__", "__defaults__",
    "__setstate__", "conv1_w", "<f4", "O8", "latin1", "touch it", "w" * 300]) | st.text(max_size=6)  # fmt: skip


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _global(name: tuple[str, str]) -> bytes:
    return f"c{name[0]}\n{name[1]}\n".encode()


def _stack_global(name: tuple[str, str]) -> bytes:
    return _text(name[0]) + _text(name[1]) + b"\x93"


def _call(name: tuple[str, str], arguments: bytes) -> bytes:
    return _global(name) + arguments + b"R"


def _sized(opcode: bytes, kind: str, size: int, content: bytes) -> bytes:
    return opcode + struct.pack(kind, size) + content


names = st.sampled_from(HARMLESS) | st.sampled_from(HOSTILE)
counts = st.sampled_from([0, 1, 2, 3, 255, 1 << 20, 1 << 30, (1 << 31) - 1, -1, 1 << 40])
opcodes = st.one_of(
    st.sampled_from([b"(", b"t", b"l", b"d", b")", b"]", b"}", b"N", b"\x88", b"\x89", b"0", b"1", b"2", b"a", b"e",
        b"s", b"u", b"R", b"b", b"o", b"\x81", b"\x92", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90", b"\x91", b"\x94",
        b"Q", b"\x97", b"\x98", b"\x93", b"\x80\x02", b"\x80\x05", b"\x82\x01", b"\x84\xff\xff\xff\x7f", b"."]),
    st.builds(_text, short_text),
    st.builds(_global, names),
    st.builds(_stack_global, names),
    st.builds(_call, names, st.sampled_from([b")", b"(t", b"(X\x02\x00\x00\x00idt", b"N\x85", b"K\x00K\x01\x86"])),
    st.builds(lambda name: f"(i{name[0]}\n{name[1]}\n".encode(), names),
    st.builds(lambda value: b"J" + struct.pack("<i", value), st.integers(-(2**31), 2**31 - 1)),
    st.builds(lambda place: b"q" + bytes([place]), st.integers(0, 255)),
    st.builds(lambda place: b"h" + bytes([place]), st.integers(0, 8)),
    st.builds(lambda place: b"r" + struct.pack("<I", place % (1 << 32)), counts),
    st.builds(lambda place: f"p{place}\n".encode(), counts),
    st.builds(lambda value: f"P{value}\n".encode(), st.integers(-5, 5)),
    st.builds(lambda size: _sized(b"\x96", "<Q", size % (1 << 64), b"abc"), counts),
    st.builds(lambda size: _sized(b"\x8e", "<Q", size % (1 << 64), b"abc"), counts),
    st.builds(lambda size: _sized(b"\x8d", "<Q", size % (1 << 64), b"abc"), counts),
    st.builds(lambda size: _sized(b"\x8b", "<i", size % (1 << 31), b"abc"), counts),
    st.builds(lambda size: _sized(b"\x95", "<Q", size % (1 << 64), b""), counts),
    st.builds(lambda value: f"L{value}L\n".encode(), st.integers()),
    st.builds(lambda value: b"G" + struct.pack(">d", value), st.floats()),
)  # fmt: skip
programs = st.builds(
    lambda parts, end: b"".join(parts) + end, st.lists(opcodes, max_size=25), st.sampled_from([b".", b""])
)

# What a released checkpoint holds, with the program in a place where it is read.
WRAPPED: tuple[Callable[[bytes], bytes], ...] = (
    lambda inner: inner,
    lambda inner: b"}" + _text("model") + b"}" + _text("w") + inner + b"ss.",
    lambda inner: b"}" + _text("model") + _call(HARMLESS[0], b")") + b"s" + _text("opt") + inner + b"s.",
    lambda inner: b"}" + _text("model") + _call(HARMLESS[0], b")") + b"s" + _text("opt")
    + _call(("argparse", "Namespace"), b")") + inner + b"bs.",
    lambda inner: b"}" + _text("blobs") + b"}" + _text("conv1_w") + inner + b"ss.",
    lambda inner: b"}" + _text("w") + inner + b"s.",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles")


@pytest.fixture(scope="module", autouse=True)
def _reader_as_it_was(bounded: None) -> Iterator[None]:
    """What a file names is not changed for the files after it."""

    def state() -> list[object]:
        return [
            (
                name,
                getattr(value, "__dict__", None) and dict(vars(value)),
                getattr(value, "__defaults__", None),
            )
            for name, value in released_file._HARMLESS.items()
            if not isinstance(value, type) or value.__module__ == released_file.__name__
        ]

    before = state()
    yield
    assert state() == before


def _archive(program: bytes, *, packed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(24))
    return buffer.getvalue()


def _read_all(path: Path) -> None:
    """Every reader of files that may hold a pickle, on one file."""
    readers: tuple[Callable[[Path], Any], ...] = (
        import_released,
        read_slowfast,
        lambda path: named_tensors(path, read_torch(path), nested_in=("model",)),
        _read_stored,
    )
    for read in readers:
        try:
            with nothing_runs():
                read(path)
        except VtgError as error:
            assert str(path) in str(error)
    features = path.with_name("features.pt")
    features.write_bytes(path.read_bytes())
    try:
        with nothing_runs():
            rows = FeatureFolder(path.parent, "made", 8).load("features")
    except FeatureFileError as error:
        assert "features.pt" in str(error)
    else:
        assert rows.shape[1] == 8


def _read_stored(path: Path) -> None:
    with suppress(ValueError):
        stored = find_tensors(path)
        for tensor in stored.values():
            tensor.read(path).tobytes()
        read_tensors(path, stored, stored)


@fuzz
@given(
    program=programs, where=st.sampled_from(range(len(WRAPPED))), archived=st.booleans(), packed=st.booleans()
)
@example(program=_call(HOSTILE[0], b")") + b".", where=0, archived=False, packed=False)
@example(program=_call(HOSTILE[0], b")") + b".", where=0, archived=True, packed=False)
@example(program=_call(HOSTILE[1], _text("true") + b"\x85") + b".", where=1, archived=True, packed=True)
@example(program=b"(i" + b"os\nsystem\n.", where=0, archived=False, packed=False)
@example(program=b"Nr" + b"\xff\xff\xff\x7f.", where=0, archived=True, packed=False)
@example(program=b"Nr" + b"\xff\xff\xff\x7f.", where=0, archived=False, packed=False)
@example(program=b"Np2147483647\n.", where=0, archived=True, packed=False)
@example(program=_sized(b"\x96", "<Q", 1 << 36, b"abc") + b".", where=0, archived=True, packed=False)
@example(
    program=_call(("builtins", "bytearray"), b"J\xff\xff\xff\x7f\x85") + b".",
    where=0,
    archived=True,
    packed=False,
)
@example(
    program=_global(HARMLESS[1]) + b"N}" + _text("__defaults__") + b"(K\x01tss\x86b.",
    where=1,
    archived=True,
    packed=False,
)
@example(
    program=_global(HARMLESS[1]) + b"}" + _text("seen") + b"K\x01sb.", where=1, archived=True, packed=False
)
@example(program=b"(" * 60 + b"]" * 60, where=2, archived=True, packed=False)
def test_programs(folder: Path, program: bytes, where: int, archived: bool, packed: bool) -> None:
    path = folder / "model_best.ckpt"
    whole = WRAPPED[where](program)
    path.write_bytes(_archive(whole, packed=packed) if archived else whole)
    _read_all(path)


def _released() -> dict[str, bytes]:
    weights = OrderedDict(x=torch.arange(6.0), y=torch.ones(2, 3).half())
    content = {"model": weights, "epoch": 3}
    zipped, legacy, flat = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(content, zipped)
    torch.save(weights, flat)
    torch.save(content, legacy, _use_new_zipfile_serialization=False)
    blobs = {"blobs": {"conv1_w": np.ones((2, 3), np.float32), "lr": 0.1}}
    return {
        "zip": zipped.getvalue(),
        "flat": flat.getvalue(),
        "legacy": legacy.getvalue(),
        "caffe2": pickle.dumps(blobs, protocol=2),
    }


RELEASED = _released()


@fuzz
@given(kind=st.sampled_from(sorted(RELEASED)), seed=SEEDS)
def test_mutations(folder: Path, kind: str, seed: int) -> None:
    path = folder / "model_best.ckpt"
    content = RELEASED[kind]
    path.write_bytes(mutate(content, random.Random(seed), head=len(content)))
    _read_all(path)


sizes = st.lists(st.sampled_from([0, 1, 2, 3, 6, 7, 1 << 20, 1 << 31, 1 << 62, -1]), max_size=4)


@fuzz
@given(
    size=sizes,
    stride=sizes,
    offset=st.sampled_from([0, 1, -1, 1 << 40]),
    claimed=st.sampled_from([0, 6, 1 << 40]),
)
@example(size=[1 << 20, 1 << 20], stride=[0, 0], offset=0, claimed=6)
@example(size=[1 << 31, 1 << 31, 1 << 31], stride=[0, 0, 0], offset=0, claimed=6)
@example(size=[0, 1 << 62], stride=[1, 1], offset=0, claimed=6)
@example(size=[-1], stride=[1], offset=0, claimed=6)
def test_shapes_of_tensors(
    folder: Path, size: list[int], stride: list[int], offset: int, claimed: int
) -> None:
    """A tensor of six numbers that says it is of any size."""

    def number(value: int) -> bytes:
        return f"L{value}L\n".encode()

    def numbers(values: list[int]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = (
        b"("
        + _text("storage")
        + _global(("torch", "FloatStorage"))
        + _text("0")
        + _text("cpu")
        + number(claimed)
    )
    tensor = _call(
        HARMLESS[1], b"(" + storage + b"tQ" + number(offset) + numbers(size) + numbers(stride) + b"\x89}t"
    )
    path = folder / "model_best.ckpt"
    for wrapped in (WRAPPED[1], WRAPPED[-1]):
        path.write_bytes(_archive(wrapped(tensor)))
        _read_all(path)


def test_repeated_block_of_numbers(tmp_path: Path, bounded: None) -> None:
    """A small file of many tensors that share one storage would fill the memory with copies of it."""
    path = tmp_path / "model_best.ckpt"
    shared = torch.zeros(2_000_000)
    torch.save({"model": OrderedDict((f"w{i}", shared) for i in range(300))}, path)
    with pytest.raises(WeightsInvalid, match=r"model_best\.ckpt"):
        import_released(path)


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/data/0"])
def test_a_bomb_is_not_inflated(tmp_path: Path, bounded: None, name: str) -> None:
    path = tmp_path / "model_best.ckpt"
    members = {"archive/data.pkl": WRAPPED[1](b"N"), "archive/data/0": bytes(24), name: bytes(300 << 20)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(WeightsInvalid, match=r"model_best\.ckpt"):
        import_released(path)


@pytest.mark.parametrize("depth", [10, 2_000, 200_000])
def test_nested_options(tmp_path: Path, bounded: None, depth: int) -> None:
    path = tmp_path / "model_best.ckpt"
    nested = b"]" * depth + b"a" * (depth - 1)
    state = b"}" + _text("deep") + nested + b"s"
    program = (
        b"}" + _text("model") + b"}s" + _text("opt") + _call(("argparse", "Namespace"), b")") + state + b"bs."
    )
    path.write_bytes(_archive(program))
    with pytest.raises(WeightsInvalid, match=r"model_best\.ckpt"):
        import_released(path)
    circle = b"}" + _text("deep") + b"]q\x00h\x00as"
    path.write_bytes(_archive(program.replace(state, circle)))
    with pytest.raises(WeightsInvalid, match=r"model_best\.ckpt"):
        import_released(path)


def test_a_part_of_an_archive(folder: Path) -> None:
    """Its table of contents says that it lies on several disks, or that a member is larger than all of it."""
    content = bytearray(RELEASED["zip"])
    end = content.rindex(b"PK\x05\x06")
    for place, value in ((4, 1), (6, 1), (8, 7), (20, 255)):
        (folder / "model_best.ckpt").write_bytes(
            content[: end + place] + bytes([value]) + content[end + place + 1 :]
        )
        _read_all(folder / "model_best.ckpt")
    entry = content.index(b"PK\x01\x02")
    for place in (20, 24, 42):  # sizes and place of the first member
        changed = content[: entry + place] + b"\xf0\xff\xff\x7f" + content[entry + place + 4 :]
        (folder / "model_best.ckpt").write_bytes(changed)
        _read_all(folder / "model_best.ckpt")
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 2)
    (folder / "model_best.ckpt").write_bytes(content[:end] + locator + content[end:])
    _read_all(folder / "model_best.ckpt")
