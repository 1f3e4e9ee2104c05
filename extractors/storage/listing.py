"""What is in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from extractors.places import Address
from extractors.storage.faults import StorageError
from extractors.storage.filesystems import filesystem_of, path_of, require_usable
from extractors.storage.retrying import retried

_ETAGS = ("ETag", "etag", "md5Hash", "generation")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class ObjectState:
    """What the storage tells of an object's content.

    Attributes:
        size: bytes.
        etag: a name that the storage gives each content; empty if it gives none.
        modified: when it was written, as text.
    """

    size: int
    etag: str
    modified: str

    @property
    def names_content(self) -> bool:
        """Whether an object in this state holds what it held in this state before."""
        return bool(self.etag)

    @property
    def modified_s(self) -> float | None:
        """When it was written, in seconds of `time.time` by the clock of the storage; None if that is not told."""
        for read in (float, _time):
            with suppress(ValueError):
                return read(self.modified)
        return None


def state_of(address: Address, stop: threading.Event | None = None) -> ObjectState:
    """Look at an object.

    Raises:
        UsageError: if the address cannot be used.
        StorageError: if the object is not there or may not be seen.
    """
    require_usable(address)
    filesystem, path = filesystem_of(address), path_of(address)
    facts = retried(address, lambda: filesystem.info(path), stop)
    if facts.get("type") == "directory":
        raise StorageError(address, "is a folder; to have all it holds, end its name with /")
    return _state(facts)


def objects_under(folder: Address) -> list[Address]:
    """The addresses that `states_under` finds."""
    return list(states_under(folder))


def states_under(folder: Address) -> dict[Address, ObjectState]:
    """The objects in a folder and its subfolders, without those whose name or folder begins with a dot.

    Returns:
        their states in order of name, those of a folder before those of its subfolders.

    Raises:
        UsageError: if the address cannot be used.
        StorageError: if the bucket is not there or may not be seen.
    """
    require_usable(folder)
    filesystem = filesystem_of(folder)
    root = path_of(Address(folder.scheme, folder.bucket, "")).rstrip("/")
    path = path_of(folder).rstrip("/")
    found: Mapping[str, Any] = retried(folder, lambda: filesystem.find(path, detail=True)) or {}
    states = {}
    for name, facts in found.items():
        inside = name[len(path) :].strip("/")
        is_file = facts.get("type") == "file" and not name.endswith("/")
        # Without a folder, fsspec lists an object that has its name.
        if is_file and inside and not any(part.startswith(".") for part in inside.split("/")):
            states[name[len(root) + 1 :]] = _state(facts)
    return {Address(folder.scheme, folder.bucket, key): states[key] for key in sorted(states, key=_order)}


def _order(key: str) -> tuple[tuple[bool, str], ...]:
    *folders, name = key.split("/")
    return (*((True, folder) for folder in folders), (False, name))


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _state(facts: Mapping[str, Any]) -> ObjectState:
    etag = next((str(facts[name]) for name in _ETAGS if facts.get(name)), "")
    modified = next((facts[name] for name in _TIMES if facts.get(name)), "")
    if isinstance(modified, datetime):
        modified = modified.astimezone(timezone.utc).isoformat()
    return ObjectState(int(facts["size"]), etag.strip('"'), str(modified))
