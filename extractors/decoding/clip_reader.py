"""Video files in, the frames that encoders ask for out: one pass, bounded memory, errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.frames import Framing
from extractors.decoding.grid import Sampling, clip_count, frame_indices, sample_times
from extractors.errors import VideoError
from extractors.videos.facts import ClipChunk, Segment, VideoFacts, VideoInfo, join_segments

Decoder = Literal["auto", "decord", "pyav"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)

_MOST_CLIPS = 1_000_000  # eleven days and a half of clips of a second
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class DecodingOptions:
    """How videos are decoded.

    Attributes:
        decoder: `auto` takes decord where it is exact and as fast as PyAV, and PyAV elsewhere; a name forces that
            decoder.
        chunk_s: seconds of video that are decoded at a time; a chunk holds at least one clip. Two chunks are in memory
            during an extraction, each of 2.4 MB a second with SlowFast.
        first_chunk_s: length of the first chunk, where there should soon be something to encode; each of the next ones
            is twice as long as the one before, up to `chunk_s`. None for `chunk_s`.
    """

    decoder: Decoder = "auto"
    chunk_s: float = 10.0  # less saves little more memory, and no time
    first_chunk_s: float | None = None


def probe(path: str | Path) -> VideoInfo:
    """Measure what a video file holds; raises VideoError like `ClipReader`."""
    with ClipReader(path, ()) as reader:
        return reader.info


class ClipReader:
    """The clips of a video, decoded once for any number of samplings.

    Iterating yields `ClipChunk`s in order of time; one iterator at a time. Memory is bounded by
    `chunk_s`, whatever the length of the video.

    Args:
        path: the video file.
        samplings: which frames are wanted, all of one framing; a chunk serves them all.
        options: how it is decoded.
        num_threads: decoding threads; 0 leaves it to the decoder.

    Attributes:
        info: what the file holds.
        clip_counts: for each sampling, the number of clips of the whole video.

    Raises:
        VideoError: if the file is missing, not a video, has no frames, cannot be decoded, or has more than a
            million clips.
        ValueError: if the samplings differ in framing.
    """

    def __init__(
        self,
        path: str | Path,
        samplings: Sequence[Sampling],
        options: DecodingOptions = DecodingOptions(),
        *,
        num_threads: int = 0,
    ) -> None:
        from extractors.decoding.container.timeline import read_timeline
        from extractors.decoding.ffmpeg_log import Listener
        from extractors.decoding.frames import Geometry
        from extractors.decoding.pyav_reader import first_frame_quarter_turns

        framings = {sampling.framing for sampling in samplings}
        if len(framings) > 1:
            raise ValueError(f"one reader gives frames of one framing, not {framings}")
        framing = framings.pop() if framings else Framing()
        self._path = Path(path)
        self._samplings = tuple(samplings)
        self._damaged_s: list[Segment] = []
        self._options = options
        self._num_threads = num_threads
        listener = Listener(containers=True)
        self._timeline = timeline = read_timeline(self._path)
        self._is_damaged = listener.has_heard
        turns = first_frame_quarter_turns(timeline.file)
        self._geometry = Geometry.fit(timeline.width, timeline.height, quarter_turns=turns, framing=framing)
        for sampling in self._samplings:
            if clip_count(sampling, timeline.end_s) > _MOST_CLIPS:
                days, length_s = timeline.end_s / 86400, sampling.clip_length_s
                raise VideoError(
                    self._path,
                    f"lasts {days:.3g} days, too long for clips of {length_s:g} s; cut it into parts",
                )
        self._clips = tuple(
            frame_indices(sample_times(s, end_s=timeline.end_s, fps=timeline.fps), timeline.timestamps_s)
            for s in self._samplings
        )
        self.clip_counts = tuple(len(clips) for clips in self._clips)
        self._decord, reason = self._open_decord(turns)
        size_shown = (timeline.width, timeline.height)
        width, height = size_shown[::-1] if turns % 2 else size_shown
        self.info = VideoInfo(
            path=self._path,
            duration_s=timeline.end_s,
            fps=timeline.fps,
            width=width,
            height=height,
            frame_count=len(timeline.timestamps_s),
            codec=timeline.codec,
            rotation=turns * 90,
            decoder="pyav" if self._decord is None else "decord",
            note=f"read with {'PyAV' if self._decord is None else 'decord'}: {reason}",
        )

    def _open_decord(self, quarter_turns: int) -> tuple[Any, str]:
        """Decord's reader, or None where PyAV is to be used; and why.

        Raises:
            VideoError: if decord was asked for and cannot read the file.
        """
        from extractors.decoding import decord_reader

        timeline, asked = self._timeline, self._options.decoder
        if asked == "pyav":
            return None, "as asked"
        if asked == "auto":
            if reason := decord_reader.unsuitable(timeline, quarter_turns):
                return None, reason
            if self._is_damaged:
                return None, "its container is damaged"
            wanted = len(np.unique(np.concatenate([clips.ravel() for clips in self._clips or [_NONE]])))
            if decord_reader.is_slower(timeline, wanted):
                # Without numbers: an entry keeps the note, and must not depend on what is extracted beside it.
                return None, "only some of its frames are wanted"
        try:
            reader = decord_reader.open_reader(timeline, self._geometry, num_threads=self._num_threads)
        except VideoError as error:
            if asked == "decord":
                raise
            return None, error.reason
        return reader, "as asked" if asked == "decord" else "nearly all of its frames are wanted"

    def __iter__(self) -> Iterator[ClipChunk]:
        chunks = list(self._chunks())
        wanted = np.unique(np.concatenate([needed for _, needed, _ in chunks])) if chunks else _NONE
        frames = self._frames(wanted)
        held: dict[int, NDArray[np.uint8]] = {}
        position = 0
        for start_clip, needed, clips in chunks:
            while position < len(wanted) and wanted[position] <= needed[-1]:
                held[int(wanted[position])] = next(frames)
                position += 1
            # Clips of the next chunk may need frames that this one has, never earlier ones.
            held = {index: frame for index, frame in held.items() if index >= needed[0]}
            yield ClipChunk(
                start_clip=start_clip,
                frames=np.stack([held[int(index)] for index in needed]),
                rows=tuple(np.searchsorted(needed, indices) for indices in clips),
            )
        next(frames, None)  # damage in the last segment is noted after its last frame

    @property
    def facts(self) -> VideoFacts:
        """What was found out so far; the frames of damaged segments are what the decoder made of them."""
        return VideoFacts(join_segments(self._damaged_s))

    def close(self) -> None:
        """Close the file; iterating afterwards starts from the beginning."""
        self._decord = None

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _chunks(self) -> Iterator[tuple[tuple[int, ...], NDArray[np.int64], tuple[NDArray[np.int64], ...]]]:
        """For each chunk: its first clips, the frames it needs, and the frames of its clips, (N, F) a sampling."""
        for first, last in pairwise(self._borders()):
            clips = tuple(
                indices[start:end] for indices, start, end in zip(self._clips, first, last, strict=True)
            )
            yield first, np.unique(np.concatenate([indices.ravel() for indices in clips])), clips

    def _borders(self) -> Iterator[tuple[int, ...]]:
        """For each chunk its first clips, one for each sampling, and at last the numbers of clips.

        A chunk continues until a frame is needed that is not in it, so there are no more chunks than frames.
        """
        if not self._clips:
            return
        starts_s = _chunk_starts(self._timeline.end_s, self._options)
        spans = len(starts_s)
        lowest = np.full(spans, np.iinfo(np.int64).max)
        highest = np.full(spans, -1)
        first_clips = []  # of each span, (spans + 1,) for each sampling
        for sampling, indices in zip(self._samplings, self._clips, strict=True):
            clip_starts_s = np.arange(len(indices)) * sampling.clip_length_s + 1e-9
            firsts = np.append(np.searchsorted(clip_starts_s, starts_s), len(indices))
            first_clips.append(firsts)
            filled = firsts[1:] > firsts[:-1]
            lowest[filled] = np.minimum(lowest[filled], indices[firsts[:-1][filled], 0])
            highest[filled] = np.maximum(highest[filled], indices[firsts[1:][filled] - 1, -1])
        before = np.append(-1, np.maximum.accumulate(highest)[:-1])
        is_filled = highest >= 0
        begins = np.flatnonzero(is_filled & ((highest > before) | (lowest < before)))
        for span in (*begins, spans):
            yield tuple(int(firsts[span]) for firsts in first_clips)

    def _frames(self, wanted: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        from extractors.decoding import damaged_frames

        self._damaged_s.clear()
        source = damaged_frames.Source(
            self._timeline, self._geometry, self._note_damage, selective=not self._is_damaged
        )
        if self._decord is None:
            return damaged_frames.read_with_pyav(source, wanted, num_threads=self._num_threads)
        return damaged_frames.read_with_decord(
            source, self._decord, wanted, alone=self._options.decoder == "decord"
        )

    def _note_damage(self, start_s: float, end_s: float) -> None:
        self._damaged_s.append((start_s, end_s))


def _chunk_starts(end_s: float, options: DecodingOptions) -> NDArray[np.float64]:
    """Where chunks begin, in seconds."""
    starts, length_s = [0.0], min(options.first_chunk_s or options.chunk_s, options.chunk_s)
    while starts[-1] < end_s:
        starts.append(starts[-1] + length_s)
        length_s = min(2 * length_s, options.chunk_s)
    return np.array(starts)
