"""A library against one that is built now: its files, its contents, and every vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.errors import VideoError
from extractors.features import FeatureSpec
from extractors.files.identity import FileState
from model.grounding.grounder import Grounder
from model.search.candidates import aligned_spec
from model.search.results import Finding
from model.search.roots import Roots, gone, look_at
from model.search.rows import LibraryRows
from model.search.storage.access import LibraryIndex
from model.search.storage.catalogue import NO_ENTRIES, Content, File
from model.search.storage.index import Snapshot
from model.search.storage.segments import segment_vectors
from model.search.vectors.files import VectorsDamaged
from model.search.vectors.vector_index import VectorIndex

_UPDATE = "vtg index update"
_REBUILD = "vtg index update --rebuild"


def verify(
    index: LibraryIndex,
    snapshot: Snapshot,
    grounder: Grounder,
    on_progress: Callable[[int, int], None],
) -> list[Finding]:
    """Compare; arguments and errors as of `Library.verify`."""
    catalogue = index.catalogue()
    findings = list(_files(snapshot, catalogue.roots(), catalogue.failures(), grounder.cache))
    specs = [encoder.spec for encoder in grounder.video_encoders]
    aligned = aligned_spec(grounder)
    rows = LibraryRows.of(index, grounder.cache)
    for spec in specs:
        try:
            vectors = index.vectors(spec) if spec == aligned else None
            if vectors is not None:
                vectors.verify()
            findings += _vectors(snapshot, spec, vectors, rows, on_progress)
        except VectorsDamaged as error:
            findings.append(Finding(f"{error}; {_REBUILD} does both"))
    return findings


def _files(
    snapshot: Snapshot, roots: Roots, failures: Mapping[Path, FileState], cache: FeatureCache
) -> Iterator[Finding]:
    """Files that are new, changed or gone."""
    known = {file.path: file for files in snapshot.files.values() for file in files}
    sight = look_at(roots, known)
    for root in sight.unreachable:
        yield Finding("is not there, or empty; connect its drive, or forget it: vtg index remove", root)
    leaving = set(gone(known.values(), roots, sight, ()))
    for path in sorted(leaving):
        yield Finding(f"has gone; {_UPDATE} removes it", path)
    for path in sight.videos:
        if path not in known:
            if path in failures and failures[path].is_of(path):
                continue  # it could not be read, and is as it was
            yield Finding(f"is not in the library; {_UPDATE} adds it", path)
        elif path not in leaving and not _holds(known[path], snapshot, cache):
            yield Finding(f"has changed; {_UPDATE} takes it in", path)


def _holds(file: File, snapshot: Snapshot, cache: FeatureCache) -> bool:
    """Whether a file still holds its content."""
    if file.settled and file.is_unchanged():
        return True
    try:
        return cache.identify(file.path).content() == snapshot.contents[file.content_id].content
    except VideoError:
        return False


def _vectors(
    snapshot: Snapshot,
    spec: FeatureSpec,
    vectors: VectorIndex | None,
    rows: LibraryRows,
    on_progress: Callable[[int, int], None],
) -> Iterator[Finding]:
    """Contents whose vectors are not those that their cached rows give, and vectors of no content."""
    entries = snapshot.entries_of(spec) or NO_ENTRIES
    ranges = {
        content_id: np.arange(first, first + count, dtype=np.int64)
        for content_id, first, count in zip(
            entries.content_ids.tolist(), entries.first_ids.tolist(), entries.counts.tolist(), strict=True
        )
    }
    for done, (content_id, content) in enumerate(snapshot.contents.items(), start=1):
        path = snapshot.files[content_id][0].path
        what = _difference(content, path, spec, ranges.get(content_id), vectors, rows)
        if what:
            yield Finding(what, path)
        on_progress(done, len(snapshot.contents))
    if vectors is not None and (left := len(np.setdiff1d(vectors.ids, entries.ids(), assume_unique=True))):
        yield Finding(f"{left} vectors are of no video; {_UPDATE} removes them")


def _difference(
    content: Content,
    path: Path,
    spec: FeatureSpec,
    ids: NDArray[np.int64] | None,
    vectors: VectorIndex | None,
    rows: LibraryRows,
) -> str:
    """What is wrong with the vectors of a content; empty if nothing is."""
    if ids is None:
        return f"has no {spec.name} vectors; {_UPDATE} makes them"
    entry = rows.load(content, spec, path)
    if entry is None:
        return f"has no {spec.name} features in the cache; {_UPDATE} makes them again"
    if vectors is None:
        return ""
    try:
        held = vectors.rows(ids)
    except KeyError:
        return f"lacks {spec.name} vectors; {_UPDATE} makes them again"
    expected = segment_vectors(entry.features, spec.clip_length_s).astype(held.dtype)
    return (
        ""
        if np.array_equal(held, expected)
        else f"has other {spec.name} vectors than its rows give; {_REBUILD}"
    )
