"""Videos on their way into a library: extracted where the cache lacks them, then indexed in batches.

Extraction takes long and happens while others write, so several processes can add at once. A batch is written every
few seconds, or every minute if the library is in object storage: a kill costs no extracted features, and of the index
no more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.cache.features import CachedFeatures
from extractors.errors import VideoError
from extractors.extraction.pipeline import extract_each
from extractors.features import FeatureSpec
from extractors.files.identity import FileState
from extractors.places import local_path
from extractors.videos.events import Event, ExtractionReport, RoomWanted, VideoFinished, WorkerLost
from model.grounding.grounder import Grounder
from model.search.candidates import aligned_spec
from model.search.storage.access import LibraryIndex
from model.search.storage.catalogue import File
from model.search.storage.index import NewVideo, Writer
from model.search.storage.segments import segment_vectors
from model.search.storage.stored_rows import Uploads

Listener = Callable[[Event], None]
ExtractAll = Callable[[Sequence[Path], Listener], ExtractionReport]
"""Makes the missing features of videos elsewhere, such as on a cluster; called with a listener for its events."""


class Intake:
    """Adds files to an index.

    Args:
        index: of the library.
        grounder: whose features are indexed.
        listen: called with the events of extraction, and with a `VideoFinished` for every file.
        extract: extracts into the grounder's cache; this process does if there is none.

    Attributes:
        taken: files that were not in the index as they are now.
    """

    def __init__(
        self, index: LibraryIndex, grounder: Grounder, listen: Listener, extract: ExtractAll | None = None
    ) -> None:
        self._index = index
        self._extract = extract
        self._grounder = grounder
        self._listen = listen
        self._specs = [encoder.spec for encoder in grounder.video_encoders]
        self._aligned = aligned_spec(grounder)
        self.taken: list[Path] = []

    def take(self, files: Sequence[Path]) -> list[VideoFinished]:
        """Index what is not in the index as it is now.

        Args:
            files: absolute paths.

        Returns:
            what became of each, in order; `cached` where nothing had to be extracted.

        Raises:
            CacheError, VectorIndexError: if the cache or the index cannot be read or written.
        """
        results: dict[int, VideoFinished] = {}
        known = self._indexed_files()
        new = []
        for index, path in enumerate(files):
            file = known.get(path)
            if file is not None and file.settled and file.is_unchanged():
                results[index] = VideoFinished(index, path, "cached")
                self._listen(results[index])
            else:
                new.append((index, path))

        def finish(event: VideoFinished) -> None:
            results[event.index] = event
            self._listen(event)

        self.taken = [path for _, path in new]
        if new:
            self._add(new, finish)
        return [results[index] for index in range(len(files))]

    def _add(self, files: Sequence[tuple[int, Path]], finish: Callable[[VideoFinished], None]) -> None:
        """Extract files and index each as it is extracted."""
        stored = self._index.rows
        uploads = None if stored is None else stored.uploads()
        batch = _Batch(self._index, uploads)

        def add(event: VideoFinished) -> None:
            done = event if event.status == "failed" else self._indexed(event, batch)
            if done.status == "failed":
                batch.add_failure(local_path(done.path))
            finish(done)

        def hear(event: Event) -> None:
            if isinstance(event, (WorkerLost, RoomWanted)):
                self._listen(event)
                return
            event = replace(event, index=files[event.index][0])
            if isinstance(event, VideoFinished):
                add(event)
            else:
                self._listen(event)

        cache, grounder = self._grounder.cache, self._grounder
        cache.sweep()
        self._adopt([path for _, path in files])
        try:
            if self._extract is not None:
                self._extract([path for _, path in files], hear)
                return
            finished = extract_each(files, grounder.video_encoders, cache, grounder.extraction, self._listen)
            with closing(finished):
                for event, _ in finished:
                    add(event)
        finally:
            try:
                batch.write()
            finally:
                if uploads is not None:
                    uploads.close()

    def _adopt(self, files: Sequence[Path]) -> None:
        """Bring rows into the cache that the library stores, so that they need not be extracted."""
        stored, cache = self._index.rows, self._grounder.cache
        if stored is None:
            return
        there = {spec: stored.addresses(spec) for spec in self._specs}
        for path in files if any(there.values()) else ():
            with suppress(VideoError):  # the extraction tells
                identity = cache.identify(path)
                for spec, addresses in there.items():
                    if identity.address not in addresses or cache.holds(identity.address, spec):
                        continue
                    if entry := stored.load(spec, identity.address):
                        cache.adopt(identity.address, identity.content(), spec, entry, path=path)

    def _indexed(self, event: VideoFinished, batch: _Batch) -> VideoFinished:
        try:
            video = self._new_video(local_path(event.path))
            if batch.uploads is not None:
                for spec in self._specs:
                    entry = self._grounder.cache.entry(video.address, spec)
                    if entry is not None:
                        batch.uploads.add(spec, video.address, entry)
            batch.add(video)
        except VideoError as error:
            return replace(event, status="failed", error=error)
        return event

    def _indexed_files(self) -> dict[Path, File]:
        """The files of the library whose contents have vectors of all recipes, and rows where they are kept."""
        snapshot, stored, cache = self._index.snapshot(), self._index.rows, self._grounder.cache
        complete = set(snapshot.contents)
        for spec in self._specs:
            entries = snapshot.entries_of(spec)
            complete &= set() if entries is None else set(entries.content_ids.tolist())
            addresses = {snapshot.contents[one].address: one for one in complete}
            if stored is None:
                complete = {one for address, one in addresses.items() if cache.holds(address, spec)}
            elif complete:
                complete = {addresses[address] for address in addresses.keys() & stored.addresses(spec)}
        return {file.path: file for content_id in complete for file in snapshot.files.get(content_id, ())}

    def _new_video(self, path: Path) -> NewVideo:
        """A video whose features are in the cache."""
        seen_ns = time.time_ns()
        identity = self._grounder.cache.identify(path)
        loaded: dict[FeatureSpec, CachedFeatures] = {}
        for spec in self._specs:
            entry = self._grounder.cache.load_video(path, spec, identity=identity)
            if entry is None:
                raise VideoError(path, "changed while it was read; add it again when it is complete")
            loaded[spec] = entry
        return NewVideo(
            path=path,
            state=identity.state,
            settled=identity.state.is_settled(seen_ns),
            content=identity.content(),
            address=identity.address,
            duration_s=next(iter(loaded.values())).info.duration_s,
            vectors={spec: self._vectors(spec, entry) for spec, entry in loaded.items()},
        )

    def _vectors(self, spec: FeatureSpec, entry: CachedFeatures) -> NDArray[np.float32]:
        if spec != self._aligned:
            return np.empty((0, spec.dim), dtype=np.float32)
        return segment_vectors(entry.features, spec.clip_length_s)


class _Batch:
    """Videos that are written to the index together."""

    def __init__(self, index: LibraryIndex, uploads: Uploads | None = None) -> None:
        self.uploads = uploads
        self._index = index
        self._videos: list[NewVideo] = []
        self._failures: dict[Path, FileState] = {}
        self._since_s = 0.0

    def add(self, video: NewVideo) -> None:
        """Take a video in; writes all if there are many, or the first has waited long."""
        if not self._videos:
            self._since_s = time.monotonic()
        self._videos.append(video)
        batching = self._index.batching
        if len(self._videos) >= batching.videos or time.monotonic() - self._since_s > batching.wait_s:
            self.write()

    def add_failure(self, path: Path) -> None:
        """Take a file in that could not be read."""
        with suppress(OSError, ValueError):
            self._failures[path] = FileState.from_status(path.stat())

    def write(self) -> None:
        """Write all that wait."""
        if not (self._videos or self._failures):
            return
        if self.uploads is not None:
            self.uploads.wait()

        def put(writer: Writer) -> None:
            if self._videos:
                writer.add(self._videos)
            with writer.catalogue.transaction():
                writer.catalogue.put_failures(self._failures)

        self._index.write(put)
        self._videos, self._failures = [], {}
