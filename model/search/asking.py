"""The best hits of many videos by their words: the most promising are asked, until no other can have a better one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from extractors.cues.cue import Source
from extractors.errors import VideoError
from extractors.places import Place
from model.cues.grounder import NO_MATCH, CueGrounder
from model.cues.matching import CLEAR_FROM
from model.cues.outlines import Outline, Question
from model.grounding.results import GroundingResult
from model.search.ranking import Request, answers_of, by_rank, hits_in
from model.search.results import Hit, SearchResult

_EVIDENCE = 1.0  # of every video, as all of them are asked


@dataclass
class BestHits:
    """The best hits for a query so far, and the answers that they are from.

    Attributes:
        query: what is looked for.
        request: what is asked for.
        outlined: of each video with words, minus the score that its best moment has at most, and its path.
        hits: best first.
        found: the answers of the videos with hits, each with its evidence.
        is_clear: whether a video clearly matches.
    """

    query: str
    request: Request
    outlined: list[tuple[float, Path]] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    found: list[tuple[GroundingResult, float]] = field(default_factory=list)
    is_clear: bool = False

    def consider(self, video: Path, outline: Outline, question: Question) -> None:
        """Take in a video with words, to be asked later; `question` is the query, made ready."""
        self.outlined.append((-outline.best_score(question), video))

    def ask(self, grounder: CueGrounder, source: Source) -> dict[Place, VideoError]:
        """Ask videos, the most promising first, until no other one can have a better hit.

        Args:
            grounder: asks them.
            source: which of their words, as of `CueGrounder.read`.

        Returns:
            why videos cannot be read, although their outlines could be.
        """
        failures = {}
        for score, video in sorted(self.outlined):
            if self._is_settled(-score, video):
                break
            try:
                transcript = grounder.read(video, source)
            except VideoError as error:
                failures[error.path] = error
                continue
            (answer,) = grounder.ground(transcript, self.query, top_k=self.request.per_video)
            self._add(answer)
        return failures

    def result(self, source: Source, videos: int, silent: int) -> SearchResult:
        """The answer to the query.

        Args:
            source: which words were asked.
            videos: how many were asked.
            silent: how many of them have no words.
        """
        return SearchResult(
            query=self.query,
            hits=tuple(self.hits),
            clear_match=self.is_clear if videos else None,
            videos=videos,
            looked_into=videos - silent,
            answers=tuple(answers_of(self.found, self.hits)),
            hints=tuple(dict.fromkeys(hint for answer, _ in self.found for hint in answer.hints)),
            quoted=source,
        )

    def _is_settled(self, score: float, video: Path) -> bool:
        """Whether neither a video nor any that is less promising can change the answer.

        Args:
            score: what its best moment has at most.
            video: its path; videos of equal scores come in the order of their paths.
        """
        if len(self.hits) < self.request.top_k:
            wanted = max(self.request.threshold, CLEAR_FROM if self.request.only_clear else NO_MATCH)
            return score < (wanted if self.is_clear else min(wanted, CLEAR_FROM))
        last = self.hits[-1]
        return (-last.score, last.video) < (-score, video)

    def _add(self, answer: GroundingResult) -> None:
        self.is_clear = self.is_clear or answer.clear_match is True
        found = [*self.found, (answer, _EVIDENCE)]
        self.hits = sorted(hits_in(found, self.request), key=by_rank)[: self.request.top_k]
        kept = {str(hit.video) for hit in self.hits}
        self.found = [one for one in found if one[0].video in kept]
