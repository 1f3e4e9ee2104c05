"""Videos on their way to the decoder: files as they are, objects once they are downloaded, the next ones meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from extractors.cache.features import CachedFeatures
from extractors.cache.published import PublishedFeatures
from extractors.cache.store import FeatureCache
from extractors.errors import VideoError
from extractors.extraction.options import ExtractionOptions
from extractors.files.identity import Identity, KnownContent, VideoIdentity
from extractors.places import Address, Place
from extractors.storage.faults import StorageError
from extractors.storage.fetching import fetch, not_kept
from extractors.storage.listing import ObjectState, state_of
from extractors.storage.scratch import Scratch

_POLL_S = 0.25


class FileSource:
    """A video on this machine.

    Attributes:
        index: its place in the list of videos.
        place: the file.
        published: what a published folder in object storage has of its features, by name, as far as it was asked.
    """

    def __init__(self, index: int, place: Path, cache: FeatureCache, stop: threading.Event) -> None:
        self.index = index
        self.place: Place = place
        self.published: dict[str, CachedFeatures | None] = {}
        self._path = place
        self._cache = cache
        self._stop = stop
        self._identity: VideoIdentity | None = None

    def look(self) -> VideoIdentity:
        """The identity of what it holds.

        Raises:
            VideoError: if it cannot be read.
        """
        self._identity = self._identity or self._cache.identify(self._path, stop=self._stop)
        return self._identity

    open = look
    """The same, of a file on this machine; decoding reads the file at its path."""

    def named(self, error: VideoError) -> VideoError:
        """An error of reading it, by its own name."""
        return error

    def release(self) -> None:
        """Decoding has ended."""


class ObjectSource:
    """A video in object storage; methods and attributes as of a `FileSource`.

    A thread looks it up. Unless its content is known and nothing is missing for it, the thread also downloads it.
    """

    def __init__(self, index: int, place: Address, turn: int, supply: Supply) -> None:
        self.index = index
        self.place: Place = place
        self.published: dict[str, CachedFeatures | None] = {}
        self._address = place
        self._turn = turn
        self._supply = supply
        self._ready = threading.Event()
        self._state: ObjectState | None = None
        self._identity: Identity | None = None
        self._file: VideoIdentity | None = None
        self._room = 0
        self._error: Exception | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="vtg-download", daemon=True).start()

    def look(self) -> Identity:
        """The identity of what it holds, once that is known.

        Raises:
            VideoError: if it cannot be read.
            UsageError: if the address cannot be used.
            CacheError: if the features that are there cannot be read.
        """
        while not self._ready.wait(_POLL_S):
            if self._supply.stop.is_set():
                raise VideoError(self.place, "is no longer needed")
        if self._error is not None:
            raise self._error
        assert self._identity is not None, "the thread sets it, or the error"
        return self._identity

    def open(self) -> VideoIdentity:
        """The identity of a file on this machine that holds the same; it is downloaded unless it is there.

        Raises:
            VideoError: if it cannot be read.
        """
        self.look()
        if self._file is None:
            assert self._state is not None, "it was looked up"
            self._supply.scratch.take_now(self._state.size)
            try:
                self._download(self._state)
            except StorageError as error:
                raise VideoError(self.place, error.reason) from error
        assert self._file is not None, "it was downloaded"
        return self._file

    def named(self, error: VideoError) -> VideoError:
        """An error of reading the downloaded file, by the name of the object."""
        return VideoError(self.place, error.reason)

    def release(self) -> None:
        """Delete the downloaded file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.path.unlink()
            self._supply.scratch.give_back(self._room)
            self._file = None

    def _run(self) -> None:
        scratch, stop = self._supply.scratch, self._supply.stop
        try:
            self._state = state_of(self._address, stop)
            known = self._supply.recall(self._address, self._state)
            if known is not None and self._supply.is_complete(self, known):
                self._identity = known
            elif scratch.take(self._turn, self._state.size, stop):
                self._download(self._state)
        except StorageError as error:
            self._error = VideoError(self.place, error.reason)
        except VideoError as error:
            self._error = self.named(error)
        except Exception as error:
            self._error = error
        finally:
            scratch.skip(self._turn)
            if self._identity is not None or self._error is not None:
                self._ready.set()

    def _download(self, state: ObjectState) -> None:
        """Download it into room that was taken for it.

        Raises:
            StorageError: if that fails; the room is then given back.
        """
        supply = self._supply
        path = None
        try:
            path = supply.scratch.new_file(_plain(self._address.suffix))
            content = fetch(self._address, state, path, supply.stop)
            file = VideoIdentity(path, stop=supply.stop, content=content)
        except BaseException as error:
            if path is not None:
                with suppress(OSError):
                    path.unlink()
            supply.scratch.give_back(state.size)
            if isinstance(error, OSError):
                raise not_kept(self._address, error) from error
            raise
        supply.remember(self._address, state, KnownContent(file.address, content))
        self._room = state.size
        self._identity = self._file = file


Source = FileSource | ObjectSource


class Supply:
    """Iterates over the sources of videos, in order, and has the next objects downloaded meanwhile.

    Args:
        videos: place in the list and place of each. Of files, one is read when it is asked for; of objects, a few more.
        cache: where the content of files and objects is remembered.
        published: where the features are also written, and the content of objects is also remembered, if anywhere.
        is_complete: whether all features of a video are there; called on the threads that download.
        options: how much room there is for downloads, and how many come before their turn.
        stop: once it is set, downloads end.
    """

    def __init__(
        self,
        videos: Iterable[tuple[int, Place]],
        cache: FeatureCache,
        published: PublishedFeatures | None,
        is_complete: Callable[[Source, Identity], bool],
        options: ExtractionOptions,
        stop: threading.Event,
    ) -> None:
        self.stop = stop
        self.is_complete = is_complete
        self.scratch = Scratch(options.scratch_bytes)
        self._ahead = options.objects_ahead
        self._videos = videos
        self._cache = cache
        self._published = published

    def __iter__(self) -> Iterator[Source]:
        line: deque[Source] = deque()
        turn = 0
        for index, place in self._videos:
            if isinstance(place, Address):
                source = ObjectSource(index, place, turn, self)
                source.start()
                turn += 1
                line.append(source)
            else:
                line.append(FileSource(index, place, self._cache, self.stop))
            while line and (isinstance(line[0], FileSource) or len(line) > self._ahead):
                yield line.popleft()
        yield from line

    def close(self) -> None:
        """Delete what was downloaded; `stop` must be set, or all sources used."""
        self.scratch.close()

    def recall(self, address: Address, state: ObjectState) -> KnownContent | None:
        """The content of an object, if the cache or the published folder remembers it; then both will."""
        known = self._cache.recall(address, state)
        if self._published is not None:
            there = self._published.recall(address, state)
            if known is None and there is not None:
                self._cache.remember(address, state, there)
            elif known is not None and there is None:
                self._published.remember(address, state, known)
            known = known or there
        return known

    def remember(self, address: Address, state: ObjectState, content: KnownContent) -> None:
        """Remember the content of an object."""
        self._cache.remember(address, state, content)
        if self._published is not None:
            self._published.remember(address, state, content)


def _plain(suffix: str) -> str:
    """A suffix as the name of a file here may have it; decoders look at it."""
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 8 else ""
