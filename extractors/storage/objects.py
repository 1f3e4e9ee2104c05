"""Small objects as bytes; what is written appears whole under its name, or not at all."""

from __future__ import annotations

import threading
from contextlib import suppress

from extractors.places import Address
from extractors.storage.faults import ObjectMissing
from extractors.storage.filesystems import filesystem_of, path_of, require_usable
from extractors.storage.retrying import retried


def read_object(address: Address, stop: threading.Event | None = None) -> bytes | None:
    """The bytes of an object; None if it is not there.

    Raises:
        UsageError: if the address cannot be used.
        StorageError: if it cannot be read, or there is no such bucket.
    """
    require_usable(address)
    filesystem, path = filesystem_of(address), path_of(address)
    try:
        data: bytes = retried(address, lambda: filesystem.cat_file(path), stop)
    except ObjectMissing:
        return None
    return data


def create(address: Address, data: bytes) -> bool:
    """Write an object unless there is one of its name; of several writers at a time, one succeeds.

    Returns:
        whether the object there now was written by this call.

    Raises:
        UsageError: if the address cannot be used.
        StorageError: if it cannot be written.
    """
    require_usable(address)
    filesystem, path = filesystem_of(address), path_of(address)

    def request() -> bool:
        try:
            filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    # An earlier request may have succeeded though its answer was lost.
    return retried(address, request, writing=True) or read_object(address) == data


def remove(address: Address) -> None:
    """Remove an object, if it is there.

    Raises:
        UsageError: if the address cannot be used.
        StorageError: if it cannot be removed.
    """
    require_usable(address)
    filesystem, path = filesystem_of(address), path_of(address)
    with suppress(ObjectMissing):
        retried(address, lambda: filesystem.rm_file(path), writing=True)


def publish(address: Address, data: bytes, stop: threading.Event | None = None) -> None:
    """Write an object, replacing the one that is there.

    It is sent as one request, or in parts that the last request puts together, so that a reader sees the old object or
    the new one, never a part; a writer that is killed leaves the old one.

    Raises:
        UsageError: if the address cannot be used.
        StorageError: if it cannot be written.
    """
    require_usable(address)
    filesystem, path = filesystem_of(address), path_of(address)
    retried(address, lambda: filesystem.pipe_file(path, data), stop, writing=True)
