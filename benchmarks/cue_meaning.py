"""How well queries in other words find what is said in made talks.

    python benchmarks/cue_meaning.py

The talks and the queries are in cue_meaning.tsv; queries were written before any answer was seen. In two of the five
talks, sentences run over several subtitles. Of the queries that a talk answers, the number is printed that have a right
cue in their first moment; of those about other things, the number that are called a clear match. Passages are scored as
by `CueGrounder`, and in ways that were tried:

- pairs: two cues that follow each other also have the embedding of their joined text
- windows: a cue also has the embedding of itself with the cues before and after it, which counts nine tenths
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.cues.cue import Cue, CueStream
from extractors.encoders.lite.minilm import MiniLMTextEncoder
from model.cues.matching import CLEAR_FROM, best_passages, scores_without_phrase, word_share
from model.cues.passages import Passages
from model.cues.words import WordIndex

_CUE_S = 2.5
_LEAST = 0.02  # of a moment

Vector = NDArray[np.float32]
Scores = Callable[[str, Vector], NDArray[np.float64]]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    with Path(__file__).with_suffix(".tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    absent = [row["text"] for row in rows if row["set"] == "absent"]
    for name in dict.fromkeys(row["set"] for row in rows if row["set"] != "absent"):
        own = [row for row in rows if row["set"] == name]
        lines = [row["text"] for row in own if row["kind"] == "cue"]
        right = {row["text"]: set(map(int, row["cues"].split(","))) for row in own if row["kind"] == "query"}
        _measure(name, lines, right, absent)


def _measure(name: str, lines: Sequence[str], right: dict[str, set[int]], absent: Sequence[str]) -> None:
    cues = tuple(Cue(at * _CUE_S, (at + 0.9) * _CUE_S, text) for at, text in enumerate(lines))
    passages = Passages.of([CueStream("talk.srt", cues=cues)])
    vectors = dict(zip([*right, *absent], _embedded([*right, *absent]), strict=True))
    for way, score in _ways(lines, passages).items():
        found = false = 0
        for query, vector in vectors.items():
            scores = score(query, vector)
            best = best_passages(scores, passages, most=1, least=_LEAST)
            if query in right:
                spoken = range(passages.first[best[0]], passages.last[best[0]] + 1) if best else ()
                found += not right[query].isdisjoint(spoken)
            else:
                false += bool(best) and bool(scores[best[0]] >= CLEAR_FROM)
        print(
            f"{name}, {way}: {found} of {len(right)} found first, {false} of {len(absent)} others called clear"
        )


def _ways(lines: Sequence[str], passages: Passages) -> dict[str, Scores]:
    """How passages can be scored, by name."""
    count = len(lines)
    index = WordIndex(lines)
    alone = _embedded(lines)
    pairs = _embedded([" ".join(lines[at : at + 2]) for at in range(count)])
    windows = _embedded([" ".join(lines[max(at - 1, 0) : at + 2]) for at in range(count)])
    is_pair = passages.first != passages.last

    def scored(query: str, cosines: NDArray[np.floating]) -> NDArray[np.float64]:
        found, weights = index.matches(query)
        share = word_share(found, weights, passages.first, passages.last)
        return scores_without_phrase(share, passages.first, passages.last, cosines)

    def with_pairs(query: str, vector: Vector) -> NDArray[np.float64]:
        # A pair that is scored as if both of its cues meant what they mean together.
        joined = np.empty(len(is_pair))
        for at in np.flatnonzero(is_pair).tolist():
            first = int(passages.first[at])
            cosines = alone @ vector
            cosines[first : first + 2] = np.maximum(cosines[first : first + 2], pairs[first] @ vector)
            joined[at] = scored(query, cosines)[at]
        return np.where(is_pair, joined, scored(query, alone @ vector))

    return {
        "as it is": lambda query, vector: scored(query, alone @ vector),
        "pairs": with_pairs,
        "windows": lambda query, vector: scored(query, np.maximum(alone @ vector, 0.9 * (windows @ vector))),
    }


def _embedded(texts: Sequence[str]) -> NDArray[np.float32]:
    """(M, E) embeddings."""
    return np.stack([text.pooled for text in MiniLMTextEncoder().encode(texts)])


if __name__ == "__main__":
    main()
