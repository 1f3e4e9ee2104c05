"""Finished videos on their way to the output: to a folder at once, to object storage beside what is computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from extractors.cache.features import CachedFeatures
from extractors.cache.published import PublishedFeatures
from extractors.cache.store import FeatureCache
from extractors.errors import CacheError, NameTaken, VideoError
from extractors.extraction.decode_ahead import LookedUp
from extractors.features import FeatureSpec
from extractors.places import Address, Place
from extractors.videos.events import Status

_AT_ONCE = 8  # videos; a request takes long, and little of anything else


@dataclass(frozen=True)
class Stored:
    """A video whose features are in the cache, or were found in the output.

    Attributes:
        source: what was looked up.
        status: how it will be reported.
        features: by name.
    """

    source: LookedUp
    status: Status
    features: Mapping[str, CachedFeatures]


class Publisher:
    """Copies the features of videos to the output. Use it in a `with` block.

    Args:
        output: a folder, here or in object storage; None for no output.
        specs: the features.
        cache: where they are.
    """

    def __init__(self, output: Place | None, specs: Sequence[FeatureSpec], cache: FeatureCache) -> None:
        self._output = None if output is None else PublishedFeatures(output)
        self._specs = specs
        self._cache = cache
        self._line: list[tuple[Stored, Future[None]]] = []
        self._stop = threading.Event()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *exception: object) -> None:
        # An upload that nobody waits for any more is made whole or not at all.
        self._stop.set()

    def add(self, video: Stored) -> Iterator[tuple[Stored, VideoError | None]]:
        """Publish a video; yields those that are thereby published, with what went wrong.

        Raises:
            CacheError: if the output cannot be written.
        """
        done: Future[None] = Future()
        if self._output is None:
            done.set_result(None)
        elif isinstance(self._output.folder, Address):
            upload = (self._output, video.source, done)
            threading.Thread(target=self._publish, args=upload, name="vtg-upload", daemon=True).start()
        else:
            self._publish(self._output, video.source, done)
        self._line.append((video, done))
        yield from self.published(waiting=_AT_ONCE - 1)

    def published(self, *, waiting: int) -> Iterator[tuple[Stored, VideoError | None]]:
        """The videos that are published by now; waits until no more than a number of others are not.

        Raises:
            CacheError: if the output cannot be written.
        """
        while True:
            ready = [video for video in self._line if video[1].done()]
            for one in ready:
                self._line.remove(one)
                error = one[1].exception()
                if error is not None and not isinstance(error, VideoError):
                    raise error
                yield one[0], error
            if len(self._line) <= waiting:
                return
            if not ready:
                wait([done for _, done in self._line], return_when=FIRST_COMPLETED)

    def _publish(self, output: PublishedFeatures, source: LookedUp, done: Future[None]) -> None:
        try:
            output.write(source.path, self._entries(source), source.identity, stop=self._stop)
        except NameTaken as error:
            reason = f"its features are in the cache, but not in {output.folder}: {error}"
            done.set_exception(VideoError(source.path, reason))
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def _entries(self, source: LookedUp) -> dict[FeatureSpec, bytes]:
        entries = {}
        for spec in self._specs:
            if spec.name not in source.published:
                data = self._cache.entry(source.identity.address, spec)
                if data is None:
                    raise CacheError(
                        f"the '{spec.name}' features of {source.path} left the cache; extract them again"
                    )
                entries[spec] = data
        return entries
