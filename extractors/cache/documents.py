"""Documents about videos in the cache, as JSON: what was read from a video that is no row of numbers.

    <root>/<name>-<digest of the recipe>/documents/<content of the video>.json

As for features, a renamed or copied video is found again, another recipe makes another document, and a document counts
as missing if it is damaged or made from a video that differs in a single byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from extractors.errors import CacheError
from extractors.files.atomic import atomic_write, write_failure
from extractors.files.identity import Identity

DOCUMENTS = "documents"
"""The folder of the documents of a recipe."""

_LARGEST = 1 << 30
_SUM_DIGITS = 32


class Documents:
    """The documents of one kind; made by `FeatureCache.documents`.

    Args:
        root: folder of the cache.
        name: of the kind of documents.
        recipe: version of how they are made.
        on_write_error: called where a document cannot be kept; it may raise the error.
    """

    def __init__(
        self, root: Path, name: str, recipe: str, *, on_write_error: Callable[[CacheError], None]
    ) -> None:
        digest = hashlib.blake2b(f"{name} {recipe}".encode(), digest_size=8).hexdigest()
        self._folder = root / f"{name}-{digest}" / DOCUMENTS
        self._on_write_error = on_write_error

    @property
    def is_empty(self) -> bool:
        """Whether there is no document of any video, as far as a look at the folder tells."""
        return not self._folder.is_dir()

    def load(self, identity: Identity) -> Any | None:
        """The document of a video. If there is one, the whole video may have to be read.

        Returns:
            what was stored; None if there is nothing that can be trusted.

        Raises:
            VideoError: if the video cannot be read.
            CacheError: if the cache cannot be read.
        """
        path = self._path(identity)
        try:
            data = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(f"cannot read {path} ({error.strerror})") from error
        checksum, _, text = data.partition(b"\n")
        if checksum != _checksum(text):
            return None
        try:
            record = json.loads(text)
            is_of_video = record["content"] == identity.content()
            return record["document"] if is_of_video else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def state(self, identity: Identity) -> str:
        """A name of the document of a video, which changes if the document does; empty if there is none.

        Raises:
            CacheError: if the cache cannot be read.
        """
        path = self._path(identity)
        try:
            with path.open("rb") as file:
                return file.readline(_SUM_DIGITS + 1).strip().decode("ascii", "replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise CacheError(f"cannot read {path} ({error.strerror})") from error

    def store(self, identity: Identity, document: Any) -> None:
        """Keep a document of plain JSON types, in the place of one that is there.

        Raises:
            VideoError: if the video cannot be read.
            CacheError: if the cache cannot be written.
        """
        text = json.dumps({"content": identity.content(), "document": document}).encode()
        path = self._path(identity)
        try:
            with atomic_write(path, durable=False) as file:
                file.write(_checksum(text) + b"\n" + text)
        except OSError as error:
            self._on_write_error(CacheError(f"cannot write {path} ({write_failure(error)})"))

    def forget(self, identity: Identity) -> None:
        """Remove the document of a video, if there is one and it can be removed.

        Raises:
            VideoError: if the video cannot be read.
        """
        with suppress(OSError):
            self._path(identity).unlink()

    def _path(self, identity: Identity) -> Path:
        return self._folder / f"{identity.address}.json"


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_SUM_DIGITS // 2).hexdigest().encode()
