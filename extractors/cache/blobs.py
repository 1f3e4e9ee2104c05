"""What is derived from other entries of the cache, as bytes: it saves time, and can be made again at any time.

    <root>/<name>-<digest of the recipe>/documents/<digest of the key>.bin

A blob counts as missing if it is damaged, or of another key or recipe.
"""

from __future__ import annotations

import hashlib
import zlib
from contextlib import suppress
from pathlib import Path

from extractors.cache.documents import DOCUMENTS
from extractors.files.atomic import atomic_write

_SUM_BYTES = 4


class Blobs:
    """The blobs of one kind; made by `FeatureCache.blobs`. Any number of processes may use them.

    Args:
        root: folder of the cache.
        name: of the kind of blobs.
        recipe: version of how they are made.
    """

    def __init__(self, root: Path, name: str, recipe: str) -> None:
        digest = hashlib.blake2b(f"{name} {recipe}".encode(), digest_size=8).hexdigest()
        self._folder = root / f"{name}-{digest}" / DOCUMENTS

    def load(self, key: str) -> memoryview | None:
        """The blob of a key; None if there is none that is whole, or it cannot be read."""
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        whole = memoryview(data)
        return whole[_SUM_BYTES:] if data[:_SUM_BYTES] == _sum(key, whole[_SUM_BYTES:]) else None

    def store(self, key: str, blob: bytes) -> None:
        """Keep a blob; where it cannot be written, it will be made again."""
        with suppress(OSError), atomic_write(self._path(key), durable=False) as file:
            file.write(_sum(key, memoryview(blob)))
            file.write(blob)

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.bin"


def _sum(key: str, blob: memoryview) -> bytes:
    """What tells a whole blob from a damaged one. A file that somebody made on purpose is not told apart."""
    return zlib.crc32(blob, zlib.crc32(key.encode())).to_bytes(_SUM_BYTES, "big")
