"""Outlines of transcripts: in a fraction of a millisecond, they bound how well a video can match a query.

A video's outline gives the score of its best moment in `CueGrounder.ground`, or a higher score if the video
may contain the query as a phrase. So among thousands of videos, only those with the best outlines have to be
searched.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.cues.matching import scores_without_phrase, word_share
from model.cues.passages import Passages
from model.cues.words import WordIndex, is_unspaced, sought_words, term_of, word_weights, words

RECIPE = "1"
"""Version of outlines; raised whenever the same transcript would give a different outline."""

_HEAD = struct.Struct("<I")
_SIGN_AND_HALF = np.int32(-(1 << 31) | (1 << 28) - 1)  # mask of the half-precision bits in single precision
_UP, _UP_AGAIN = np.float32(2.0**100), np.float32(2.0**12)


@dataclass(frozen=True)
class Question:
    """A query, prepared for many outlines.

    Attributes:
        terms: the word stems to look for; None if one of the words has several stems.
        phrase: its words in order, with a space before and after each; without spaces if its script has none.
        is_unspaced: whether its script has no spaces.
        pooled: (E,), the sentence embedding.
    """

    terms: tuple[str, ...] | None
    phrase: str
    is_unspaced: bool
    pooled: NDArray[np.float32]

    @classmethod
    def of(cls, query: str, pooled: NDArray[np.float32]) -> Question:
        """Prepare a query."""
        terms = [term_of(word) for word in sought_words(query)]
        spoken = words(query)
        unspaced = is_unspaced(query)
        return cls(
            None if None in terms else tuple(term for term in terms if term is not None),
            "".join(spoken) if unspaced else f" {' '.join(spoken)} " if spoken else "",
            unspaced,
            pooled,
        )


@dataclass(frozen=True)
class Outline:
    """The outline of a transcript with N cues and P passages.

    Attributes:
        duration_s: length of the video in seconds.
        notes: as in `Transcript`.
        first, last: (P,), the first and last cue of each passage.
        terms: word stems in any order, each with a line feed before and after it.
        starts: (T + 1,), where the cues of each stem begin in `places`, and the end of the last.
        places: cues that contain a stem, stem by stem.
        spoken: all words in order, with a space before and after each.
        meanings: (N, E) embeddings of the cues in half precision; None if there are too many.
    """

    duration_s: float
    notes: tuple[str, ...]
    first: NDArray[np.int32]
    last: NDArray[np.int32]
    terms: bytes
    starts: NDArray[np.int32]
    places: NDArray[np.int32]
    spoken: str
    meanings: NDArray[np.float16] | None

    @classmethod
    def of(
        cls,
        duration_s: float,
        notes: Sequence[str],
        passages: Passages,
        meanings: NDArray[np.float32] | None,
    ) -> Outline:
        """Make the outline of a transcript.

        Args:
            duration_s, notes: as for the attributes.
            passages: the passages of all its streams.
            meanings: (N, E) embeddings of the cues, in values of half precision; None if there are too many.
        """
        by_term = WordIndex(passages.lines).terms() if passages.lines else {}
        counts = [len(places) for places in by_term.values()]
        return cls(
            duration_s,
            tuple(notes),
            passages.first.astype(np.int32),
            passages.last.astype(np.int32),
            "".join(["\n", *(f"{term}\n" for term in by_term)]).encode(),
            np.cumsum([0, *counts]).astype(np.int32),
            np.concatenate([np.zeros(0, np.int32), *by_term.values()]).astype(np.int32),
            "".join([" ", *(f"{word} " for word in words(" ".join(passages.lines)))]),
            None if meanings is None else meanings.astype(np.float16),
        )

    @property
    def count(self) -> int:
        """Number of cues."""
        return int(self.last.max(initial=-1)) + 1

    def best_score(self, question: Question) -> float:
        """Return the best moment's score, or a higher one if the words may include the query verbatim."""
        if not self.count:
            return 0.0
        if question.terms is None or self._may_hold(question):
            return 1.0
        found = np.zeros((len(question.terms), self.count), dtype=bool)
        for row, term in enumerate(question.terms):
            found[row, self._places(term)] = True
        cosines = np.zeros(self.count) if self.meanings is None else self._cosines(question.pooled)
        share = word_share(found, word_weights(found), self.first, self.last)
        scores = scores_without_phrase(share, self.first, self.last, cosines)
        return float(scores.max())

    def _may_hold(self, question: Question) -> bool:
        if not question.phrase:
            return False
        return question.phrase in (self.spoken.replace(" ", "") if question.is_unspaced else self.spoken)

    def _cosines(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self.meanings is not None, "asked before"
        # NumPy's own conversion from half to single precision takes six times as long. Half-precision bits
        # moved to their positions in single precision are the same numbers times 2 ** -112, and scaling by
        # powers of two is exact.
        bits = self.meanings.view(np.int16).astype(np.int32)
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _SIGN_AND_HALF, out=bits)
        cosines: NDArray[np.float32] = (bits.view(np.float32) @ (pooled * _UP)) * _UP_AGAIN
        return cosines

    def _places(self, term: str) -> NDArray[np.int32]:
        at = self.terms.find(f"\n{term}\n".encode())
        if at < 0:
            return self.places[:0]
        number = self.terms.count(b"\n", 0, at)
        return self.places[self.starts[number] : self.starts[number + 1]]

    def to_bytes(self) -> bytes:
        """Serialize the outline for storage."""
        texts = [self.terms, self.spoken.encode("utf-8", "surrogatepass")]
        arrays = [self.first, self.last, self.starts, self.places]
        size = 0 if self.meanings is None else self.meanings.shape[1]
        head = json.dumps(
            {
                "duration_s": self.duration_s,
                "notes": self.notes,
                "arrays": [len(array) for array in arrays],
                "texts": [len(text) for text in texts],
                "size": size,
            }
        ).encode()
        meanings = b"" if self.meanings is None else self.meanings.tobytes()
        return b"".join([
            _HEAD.pack(len(head)), head, *(array.tobytes() for array in arrays), meanings, *texts
        ])  # fmt: skip

    @classmethod
    def from_bytes(cls, data: memoryview) -> Outline:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError, LookupError, TypeError, struct.error: if it is something else.
        """
        (length,) = _HEAD.unpack_from(data)
        at = _HEAD.size + length
        head = json.loads(bytes(data[_HEAD.size : at]))
        arrays = []
        for count in head["arrays"]:
            arrays.append(np.frombuffer(data, np.int32, count, at))
            at += 4 * count
        first, last, starts, places = arrays
        meanings = None
        if size := head["size"]:
            count = int(last.max(initial=-1)) + 1
            meanings = np.frombuffer(data, np.float16, count * size, at).reshape(count, size)
            at += 2 * count * size
        texts = []
        for count in head["texts"]:
            texts.append(bytes(data[at : at + count]))
            at += count
        return cls(
            float(head["duration_s"]),
            tuple(map(str, head["notes"])),
            first,
            last,
            texts[0],
            starts,
            places,
            texts[1].decode("utf-8", "surrogatepass"),
            meanings,
        )
