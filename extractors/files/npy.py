"""Headers of NumPy arrays in untrusted files: accepted only if the file is long enough for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np


class Unbacked(ValueError):
    """An array claims more numbers than its file holds."""


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read the header of a `.npy` file, and leave the file where the numbers begin.

    Returns:
        the array's shape, whether it is stored column by column, and the type of its values.

    Raises:
        ValueError: if there is no such header.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(file)
    return shape, columns_first, dtype


def require_backed(shape: Sequence[int], item_bytes: int, available: int) -> None:
    """Refuse an array that is larger than its bytes in the file, before memory is allocated for it.

    Args:
        shape: of the array, as claimed.
        item_bytes: of each value.
        available: bytes that there are.

    Raises:
        Unbacked: if it is larger, or has no possible shape.
    """
    size = item_bytes
    for length in shape:
        size *= length
    if min(shape, default=0) < 0 or size > available:
        raise Unbacked(f"claims an array of shape {list(shape)}, which does not fit into the file")
