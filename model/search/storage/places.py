"""Where libraries are: folders of index files, named or anywhere, on this machine or in object storage."""

from __future__ import annotations

import os
import re
from pathlib import Path

from extractors.errors import UsageError
from extractors.files.user_folders import vtg_data
from extractors.places import Address, Place, place_of
from model.search.storage.access import LibraryIndex
from model.search.storage.index import Index

DEFAULT_LIBRARY = "default"
"""The name of the library that is meant if none is named."""

_NAME = re.compile(r"\w[\w .-]*")


def library_place(place: str | Place | None = None) -> Place:
    """Where a library is.

    Args:
        place: an address in object storage, or as for `library_folder`.

    Raises:
        UsageError: if it is neither.
    """
    if isinstance(place, str) and isinstance(found := place_of(place), Address):
        return found
    return place if isinstance(place, Address) else library_folder(place)


def index_at(place: Place) -> LibraryIndex:
    """The files of the library at a place.

    Raises:
        UsageError: if it is an address that cannot be used.
        StorageError: if there are no credentials for it.
    """
    if not isinstance(place, Address):
        return Index(place)
    from model.search.storage.shared import SharedIndex

    return SharedIndex(place)


def library_folder(place: str | Path | None = None) -> Path:
    """The folder of a library.

    Args:
        place: a `Path`, or text with a separator in it, is a folder; other text is the name of a library among the
            user's data; None is the default library.

    Raises:
        UsageError: if it is neither.
    """
    if isinstance(place, Path):
        return place
    name = DEFAULT_LIBRARY if place is None else place
    if (
        name in (".", "..")
        or name.startswith("~")
        or any(mark in name for mark in (os.sep, os.altsep) if mark)
    ):
        return Path(name).expanduser()
    if not _NAME.fullmatch(name):
        raise UsageError(f"--library {name}: is neither a name of letters and digits nor a folder")
    return vtg_data() / "libraries" / name
