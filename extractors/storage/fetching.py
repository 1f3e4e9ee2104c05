"""Downloads: in blocks, resumed after a fault, checked for their size and for a change meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

from extractors.files.atomic import write_failure
from extractors.files.identity import new_content_hash
from extractors.places import Address
from extractors.storage.faults import ShortRead, StorageError, fault_of
from extractors.storage.filesystems import filesystem_of, path_of
from extractors.storage.listing import ObjectState, state_of
from extractors.storage.retrying import Attempts

BLOCK_BYTES = 8 << 20
"""Bytes of a request; what a fault can cost."""


def fetch(address: Address, state: ObjectState, target: Path, stop: threading.Event | None = None) -> str:
    """Download an object.

    Args:
        address: the object.
        state: what `state_of` told of it.
        target: the file to write. If the download fails, what came of it is left for the caller to delete.
        stop: once it is set, the download ends.

    Returns:
        The content's hash, as of a `VideoIdentity`.

    Raises:
        StorageError: if it cannot be read, changes meanwhile, or there is no room for it here.
    """
    digest = new_content_hash()
    try:
        with target.open("wb") as file:
            for block in _Blocks(address, state, stop):
                digest.update(block)
                file.write(block)
    except OSError as error:
        raise not_kept(address, error) from error
    if state_of(address, stop) != state:
        raise _changed(address)
    return digest.hexdigest()


def not_kept(address: Address, error: OSError) -> StorageError:
    """The error of an object that finds no place on this machine."""
    reason = f"cannot be kept on this machine ({write_failure(error)}); VTG_SCRATCH may name another folder"
    return StorageError(address, reason)


class _Blocks:
    """Iterates over the blocks of an object."""

    def __init__(self, address: Address, state: ObjectState, stop: threading.Event | None) -> None:
        self._address = address
        self._state = state
        self._stop = stop
        self._attempts = Attempts(address, stop)
        self._filesystem, self._path = filesystem_of(address), path_of(address)
        self._done = 0

    def __iter__(self) -> _Blocks:
        return self

    def __next__(self) -> bytes:
        if self._done == self._state.size:
            raise StopIteration
        end = min(self._done + BLOCK_BYTES, self._state.size)
        while True:
            self._attempts.require_wanted()
            try:
                block: bytes = self._filesystem.cat_file(self._path, start=self._done, end=end)
                if len(block) != end - self._done:
                    raise ShortRead
            except Exception as error:
                if not fault_of(error).is_transient and state_of(self._address, self._stop) != self._state:
                    raise _changed(self._address) from error
                self._attempts.failed(error)
            else:
                self._attempts.got_on()
                self._done = end
                return block


def _changed(address: Address) -> StorageError:
    return StorageError(address, "changed while it was read; extract it again when it is complete")
