"""Saving a vector index: which segments there will be, their codes, and the manifest that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from model.search.vectors.codes import Codec, Coded, can_be_coded, joined, samples_for
from model.search.vectors.files import (
    BLOCK_ROWS,
    Blob,
    Manifest,
    Segment,
    SegmentFacts,
    State,
    VectorIndexError,
    open_segment,
    read_manifest,
    write_blob,
    write_manifest,
    write_segment,
)

SEGMENT_ROWS = 1 << 18
"""Most rows of a segment. A removal rewrites the segments that it touches."""

EXACT_ROWS = 1 << 17
"""Most rows of an index without codes."""

_CODED_ROWS = 1 << 14  # a smaller segment is not worth a file of codes
_GROWTH = 4  # of the index, after which the codec is trained again


class Writer:
    """Writes the state that follows another one.

    Args:
        folder: of the index.
        state: the last one.
    """

    def __init__(self, folder: Path, state: State) -> None:
        self._folder, self._state = folder, state
        self._names = count()

    def write(self, segments: Sequence[Segment]) -> list[Segment]:
        """Move rows from memory to files, which are not in the index before they are saved.

        Raises:
            VectorIndexError: as for `save`.
        """
        self._require_current()
        return [
            open_segment(
                self._folder, write_segment(self._folder, self._name(), parts), self._state.manifest.dim
            )
            for parts in _grouped(segments)
        ]

    def needs_codec(self, rows: int) -> bool:
        """Whether a save of a number of rows makes codes where there are none, or has to make all of them again."""
        old = self._state.manifest
        return rows > max(EXACT_ROWS, _GROWTH * old.trained_on) and can_be_coded(old.dim)

    def save(self, segments: Sequence[Segment]) -> None:
        """Make the rows of segments the index.

        Raises:
            VectorIndexError: if another process has saved since the state was opened, or a file cannot be written.
        """
        self._require_current()
        old = self._state.manifest
        codec, blob, trained_on = self._codec_for(segments)
        facts = [self._written(parts, codec, is_new=blob != old.codec) for parts in _plan(segments)]
        write_manifest(self._folder, Manifest(old.dim, old.generation + 1, tuple(facts), blob, trained_on))

    def _codec_for(self, segments: Sequence[Segment]) -> tuple[Codec | None, Blob | None, int]:
        """The codec for some rows, its file, and how many rows there were when it was made."""
        old = self._state.manifest
        rows = sum(map(len, segments))
        if not self.needs_codec(rows):
            data = self._state.codec
            return None if data is None else Codec.from_bytes(data.read()), old.codec, old.trained_on
        chosen = np.sort(np.random.default_rng(0).choice(rows, samples_for(rows), replace=False))
        sample, start = [], 0
        for segment in segments:
            mine = chosen[(chosen >= start) & (chosen < start + len(segment))] - start
            sample.append(segment.rows[np.flatnonzero(segment.alive)[mine]])
            segment.release()
            start += len(segment)
        codec = Codec.train(np.concatenate(sample), rows)
        return codec, write_blob(self._folder, f"{self._name()}.codec", codec.to_bytes()), rows

    def _written(self, parts: Sequence[Segment], codec: Codec | None, *, is_new: bool) -> SegmentFacts:
        """Write a segment of parts, where it is not one of them, and its codes, where it has none of the codec."""
        facts = parts[0].facts
        if len(parts) > 1 or facts is None or not parts[0].is_whole:
            facts = write_segment(self._folder, self._name(), parts)
        elif facts.codes is not None and not is_new:
            return facts
        if codec is None or facts.count < _CODED_ROWS:
            return replace(facts, codes=None)
        codes = joined([_coded(part, codec, is_new=is_new) for part in parts])
        order = np.argsort(np.concatenate([part.ids[part.alive] for part in parts]), kind="stable")
        data = codes.at(order).to_bytes()
        return replace(facts, codes=write_blob(self._folder, f"{self._name()}.codes", data))

    def _name(self) -> str:
        return f"{self._state.manifest.generation + 1:08d}-{next(self._names)}"

    def _require_current(self) -> None:
        if read_manifest(self._folder, self._state.manifest.dim) != self._state.manifest:
            raise VectorIndexError(f"{self._folder}: another process has changed the index; open it again")


def _coded(part: Segment, codec: Codec, *, is_new: bool) -> Coded:
    """The codes of the rows of a segment that are not removed; its own if the codec is not new."""
    at = np.flatnonzero(part.alive)
    if part.codes is not None and not is_new:
        return codec.coded(part.codes.read(), len(part.ids)).at(at)
    blocks = [at[start : start + BLOCK_ROWS] for start in range(0, len(at), BLOCK_ROWS)]
    coded = joined([codec.encode(part.rows[block]) for block in blocks])
    part.release()
    return coded


def _plan(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments to be, each as those that it is made of."""
    kept, small = [], []
    for segment in segments:
        if segment.is_whole and segment.facts is not None:
            kept.append(segment)
        elif len(segment):
            small.append(segment)
    # A row is then copied no more often than its segment doubles, and not at all once that is large.
    kept.sort(key=len)
    while kept and small and len(kept[0]) <= min(2 * sum(map(len, small)), SEGMENT_ROWS // 2):
        small.append(kept.pop(0))
    return [*([segment] for segment in kept), *_grouped(small)]


def _grouped(segments: Sequence[Segment]) -> list[list[Segment]]:
    groups: list[list[Segment]] = []
    room = 0
    for segment in segments:
        if len(segment) > room:
            groups.append([])
            room = SEGMENT_ROWS
        groups[-1].append(segment)
        room -= len(segment)
    return groups
