"""Features in the published layout, `<folder>/<name>_features/<video>.npz`, on this machine or in object storage.

The files are entries of the cache, byte for byte. In object storage, `<folder>/.files` also remembers which content
each video had, by the state that the storage tells of it, so that a later run, of whatever machine, downloads it only
if something is missing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from extractors.cache.entry import read_file
from extractors.cache.features import CachedFeatures, entry_of, features_of
from extractors.cache.object_records import content_in, record_name, record_of
from extractors.errors import CacheError, NameTaken
from extractors.features import FeatureSpec, folder_name
from extractors.files.atomic import atomic_write, write_failure
from extractors.files.identity import Identity, KnownContent, file_identity
from extractors.places import Address, Place
from extractors.storage.faults import StorageError
from extractors.storage.listing import ObjectState
from extractors.storage.objects import publish, read_object

_FILES = ".files"
_KEPT = "the features are in the cache, and the same command continues"


@dataclass(frozen=True)
class PublishedFeatures:
    """The files of a folder in the published layout.

    Attributes:
        folder: where they are; made when something is first written.
    """

    folder: Place

    def place(self, video: Place, spec: FeatureSpec) -> Place:
        """Where the features of a video are. Its id is its name without the suffix, as in the datasets."""
        return self.folder / f"{folder_name(spec.name)}_features" / f"{video.stem}.npz"

    def load(self, video: Place, spec: FeatureSpec, identity: Identity) -> CachedFeatures | None:
        """Read the features of a video.

        Returns:
            The features; None if there are none, or they are damaged, or of another content or recipe.

        Raises:
            VideoError: if the video has to be read and cannot be.
            CacheError: if the folder cannot be read.
        """
        data = _read(self.place(video, spec))
        return None if data is None else features_of(data, spec, identity.address, identity.content, video)

    def write(
        self,
        video: Place,
        entries: Mapping[FeatureSpec, bytes],
        identity: Identity,
        *,
        stop: threading.Event | None = None,
    ) -> list[Place]:
        """Write entries of a video. Files that hold the same already are left alone.

        Args:
            video: where the video is.
            entries: the bytes of the cache's entries, by recipe.
            identity: of the video.
            stop: once it is set, requests that failed are not repeated.

        Returns:
            The files, in the order of `entries`.

        Raises:
            NameTaken: if a file of the same id holds those of another video or recipe.
            CacheError: if the folder cannot be written.
        """
        written = []
        for spec, data in entries.items():
            target = self.place(video, spec)
            there = _read(target, stop)
            if there is not None and not _is_of_video(there, spec, identity, video):
                raise NameTaken(
                    f"{target} holds features of another video or recipe than {video}; "
                    "rename the video or export to another folder"
                )
            if there != data:
                _write(target, data, stop)
            written.append(target)
        return written

    def recall(self, video: Address, state: ObjectState) -> KnownContent | None:
        """The content of an object in a state, if it is remembered here."""
        if not isinstance(self.folder, Address):
            return None
        data = _read(self.folder / _FILES / record_name(video))
        return None if data is None else content_in(data, state)

    def remember(self, video: Address, state: ObjectState, content: KnownContent) -> None:
        """Remember the content of an object in a state; without effect where that is not to be."""
        if isinstance(self.folder, Address) and (data := record_of(state, content)):
            with suppress(CacheError):  # costs another download
                _write(self.folder / _FILES / record_name(video), data)


def _read(place: Place, stop: threading.Event | None = None) -> bytes | None:
    try:
        if isinstance(place, Address):
            return read_object(place, stop)
        return read_file(place)
    except StorageError as error:
        raise CacheError(str(error)) from error
    except OSError as error:
        raise CacheError(f"cannot read {place} ({error.strerror}); name another folder") from error


def _write(place: Place, data: bytes, stop: threading.Event | None = None) -> None:
    try:
        if isinstance(place, Address):
            publish(place, data, stop)
            return
        with atomic_write(place) as file:
            file.write(data)
    except StorageError as error:
        raise CacheError(f"cannot write {error}; {_KEPT}") from error
    except OSError as error:
        raise CacheError(f"cannot write {place} ({write_failure(error)}); {_KEPT}") from error


def _is_of_video(data: bytes, spec: FeatureSpec, identity: Identity, video: Place) -> bool:
    """Whether exported features are of this video and recipe, or of what the video was before it was edited."""
    if entry_of(data, spec, identity.address) is not None:
        return True
    if isinstance(video, Path):
        # What earlier versions exported bears the name they knew the video by.
        with suppress(OSError):
            return entry_of(data, spec, file_identity(video)) is not None
    return False
