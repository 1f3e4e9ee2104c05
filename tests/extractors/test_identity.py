from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.identity import BLOCK_BYTES, BLOCKS, file_identity


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return file_identity(path)


@pytest.mark.parametrize("size", [0, 1, BLOCKS * BLOCK_BYTES, 5 * BLOCKS * BLOCK_BYTES + 17])
def test_name_place_and_time_play_no_part(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    identity = write(tmp_path / "a.mp4", content)
    (tmp_path / "sub").mkdir()
    assert write(tmp_path / "sub" / "b.mkv", content) == identity
    os.utime(tmp_path / "a.mp4", (1, 1))
    assert file_identity(str(tmp_path / "a.mp4")) == identity
    assert len(identity) == 32
    assert set(identity) <= set("0123456789abcdef")


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_a_small_file_changes_it(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = data.draw(st.binary(min_size=1, max_size=300))
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("identity") / "file"
    assert write(path, content) != write(path, bytes(changed))


@pytest.mark.parametrize("position", [0, BLOCK_BYTES - 1, -BLOCK_BYTES, -1])
def test_a_changed_head_or_tail_of_a_large_file_changes_it(position: int, tmp_path: Path) -> None:
    content = bytearray(os.urandom(4 * BLOCKS * BLOCK_BYTES))
    identity = write(tmp_path / "file", content)
    content[position] ^= 1
    assert write(tmp_path / "file", content) != identity


def test_a_longer_file_with_the_same_bytes_is_another(tmp_path: Path) -> None:
    assert write(tmp_path / "a", bytes(10)) != write(tmp_path / "b", bytes(11))
    large = 4 * BLOCKS * BLOCK_BYTES
    assert write(tmp_path / "a", bytes(large)) != write(tmp_path / "b", bytes(large + 1))


def test_a_changed_stretch_anywhere_in_a_large_file_changes_it(tmp_path: Path) -> None:
    size = 4 * BLOCKS * BLOCK_BYTES
    content = bytearray(size)
    identity = write(tmp_path / "file", content)
    for first in range(0, size - size // 16, size // 16):
        changed = content.copy()
        changed[first : first + size // 16] = b"\x01" * (size // 16)
        assert write(tmp_path / "file", changed) != identity


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_identity(tmp_path / "nowhere")
