"""Passages: the parts of a transcript that can be an answer: single cues, and pairs of successive cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from extractors.cues.cue import Cue, CueStream, Source

_LONGEST_PAUSE_S = 2.0  # within a sentence


@dataclass(frozen=True)
class Passages:
    """The P passages of a transcript of N cues.

    Attributes:
        cues: (N,), the cues of all streams, stream by stream.
        first, last: (P,), the first and last cue of each passage; they are the same if a passage is one cue.
        start_s, end_s: (P,), seconds from the start of the video.
    """

    cues: tuple[Cue, ...]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    @classmethod
    def of(cls, streams: Sequence[CueStream]) -> Passages:
        """Make passages. Sentences may continue in the next cue; texts on the screen do not."""
        cues = tuple(cue for stream in streams for cue in stream.cues)
        pairs = [
            at
            for at, (cue, following) in enumerate(pairwise(cues))
            if cue.source != "screen"
            and cue.stream == following.stream
            and following.start_s - cue.end_s <= _LONGEST_PAUSE_S
        ]
        alone, paired = np.arange(len(cues)), np.array(pairs, dtype=np.int64)
        first, last = np.append(alone, paired), np.append(alone, paired + 1)
        start_s, end_s = (np.array([cue.start_s for cue in cues]), np.array([cue.end_s for cue in cues]))
        return cls(cues, first, last, start_s[first], np.maximum(end_s[first], end_s[last]))

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """(N,), the text of each cue on one line."""
        return tuple(cue.line for cue in self.cues)

    def text(self, passage: int) -> str:
        """Return the text of a passage on one line."""
        return " ".join(self.lines[int(self.first[passage]) : int(self.last[passage]) + 1])

    def source(self, passage: int) -> Source:
        """Return the source that a passage was read from."""
        return self.cues[int(self.first[passage])].source

    def stream(self, passage: int) -> str:
        """Return the name of the stream that a passage is from."""
        return self.cues[int(self.first[passage])].stream
