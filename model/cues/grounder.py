"""CueGrounder: find where something is said or written in a video."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors.cache.blobs import Blobs
from extractors.cache.store import FeatureCache
from extractors.cues.cue import Source, Transcript
from extractors.cues.screen_text import known_screen, read_screen, screen_state
from extractors.cues.sidecars import Listings, digest_sidecars
from extractors.cues.speech.weights import SpeechModel
from extractors.cues.speech_text import known_speech, read_speech, speech_state
from extractors.cues.subtitles import RECIPE as SUBTITLES_RECIPE
from extractors.cues.subtitles import (
    may_have_subtitles,
    read_subtitles,
    subtitles_at_hand,
    subtitles_state,
)
from extractors.encoders.lite.minilm import TEXT_SPEC, MiniLMTextEncoder
from extractors.extraction.queries import encode_queries, pooled_phrases
from extractors.files.identity import Identity
from model.cues.joining import join
from model.cues.matching import CLEAR_FROM, best_passages, curve, passage_scores
from model.cues.outlines import RECIPE as OUTLINES_RECIPE
from model.cues.outlines import Outline, Question
from model.cues.passages import Passages
from model.cues.words import WordIndex
from model.grounding.grounder import check_request
from model.grounding.results import CUES, GroundingResult, Moment, Quote, Saliency

_MOST_MEANINGS = 30_000  # different texts, more than people say in a day; five minutes of work
_TOO_MANY = (
    f"more than {_MOST_MEANINGS:,} different texts are searched by their words only, not by their meaning"
)
_UNHEARD = "no speech in it can be transcribed"
_NOTHING = json.dumps([[], ""])  # the state of a video without subtitle files next to it and without speech
_CLIP_LENGTH_S = 1.0
NO_MATCH = 0.02
"""A passage with a lower score has none of the query's words and an unrelated meaning: it is no moment."""


class CueGrounder:
    """Finds the moments of a video in which something is said or written, by words and by meaning.

        grounder = CueGrounder()
        talk = grounder.read("talk.mp4")
        for result in grounder.ground(talk, ["the budget", "where she thanks the team"]):
            print(result.moments[0].quote)

    Args:
        cache: the feature cache or its folder, which stores the text tracks of videos and the embeddings of
            cues; the user's default cache if None.
        follow_links: whether a symbolic link to anywhere can be the subtitle file of the video next to it.
    """

    def __init__(self, cache: FeatureCache | str | Path | None = None, *, follow_links: bool = True) -> None:
        self._follow_links = follow_links
        self._cache = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
        self._encoder = MiniLMTextEncoder()
        self._last_asked: tuple[tuple[str, ...], list[NDArray[np.float32]]] = ((), [])

    @classmethod
    def for_server(cls, cache: FeatureCache) -> CueGrounder:
        """Return a grounder that does not follow links next to a video.

        Such links may lead to files that a server must not expose.
        """
        return cls(cache, follow_links=False)

    def read(
        self,
        video: str | Path,
        source: Source = "subtitles",
        *,
        speech: SpeechModel | bool = False,
        on_picture: Callable[[int, int], None] | None = None,
        on_second: Callable[[int, int], None] | None = None,
    ) -> Transcript:
        """Read what is said in a video, or the text on its screen.

        Args:
            video: the file.
            source: `subtitles`, as `extractors.cues.subtitles.read_subtitles`, together with speech; `speech`
                alone, as `extractors.cues.speech_text.read_speech`; or `screen`, as
                `extractors.cues.screen_text.read_screen`.
            speech: for subtitles, whether to transcribe speech, or the weights for it, as from
                `find_speech_model`. If false, only speech that was transcribed before is included.
            on_picture: for the screen: called with the number of pictures done and the total.
            on_second: for speech: called with the number of seconds of sound done and the total.

        Raises:
            VideoError: if the video cannot be read.
            UsageError, WeightsMissing, WeightsInvalid: if the screen reader or the transcriber is missing.
            CacheError: if the cache cannot be read or written.
        """
        video = Path(video)
        if source == "screen":
            return read_screen(video, self._cache, on_picture=on_picture)
        weights = speech if isinstance(speech, SpeechModel) else None
        if source == "speech":
            return read_speech(video, self._cache, weights, on_second=on_second)
        subtitles = read_subtitles(video, self._cache, follow_links=self._follow_links)
        heard = (
            read_speech(video, self._cache, weights, on_second=on_second)
            if speech
            else known_speech(video, self._cache)
        )
        if heard is None:
            return subtitles
        joined = subtitles.joined(heard)
        return (
            joined
            if joined.streams
            else replace(joined, lack=f"has no subtitles, and {heard.lack or _UNHEARD}")
        )

    def at_hand(self, video: str | Path) -> tuple[Transcript, ...]:
        """Return the transcripts that cost nothing: subtitles, and speech and screen text read before.

        Args:
            video: the file. If it has no subtitles, this takes about a millisecond.

        Returns:
            a transcript of what is said and one of what is written, without those that have no cues.

        Raises:
            VideoError, CacheError: as for `read`.
        """
        path = Path(video)
        subtitles = subtitles_at_hand(path, self._cache, follow_links=self._follow_links)
        heard = known_speech(path, self._cache)
        said = subtitles.joined(heard) if subtitles and heard else subtitles or heard
        written = known_screen(path, self._cache)
        return tuple(transcript for transcript in (said, written) if transcript and transcript.streams)

    def join(
        self,
        results: Sequence[GroundingResult],
        words: Sequence[Transcript],
        *,
        top_k: int = 5,
        threshold: float = 0.0,
        on_cues: Callable[[int, int], None] | None = None,
    ) -> list[GroundingResult]:
        """Join answers from pictures with what is said or written.

            words = cue_grounder.at_hand("talk.mp4")
            results = cue_grounder.join(grounder.ground(video, queries), words)

        Args:
            results: results of `Grounder.ground` for one video, without a threshold.
            words: transcripts of the same video, as from `at_hand`. Without any, the answers do not change.
            top_k: maximum moments per query.
            threshold: moments with a lower score are left out.
            on_cues: as for `ground`.

        Returns:
            one joined result per result, in order, as `model.cues.joining.join` makes it.

        Raises:
            UsageError, WeightsMissing, WeightsInvalid, CacheError: as for `ground`.
        """
        queries = [result.query for result in results]
        quoted = [self.ground(transcript, queries, top_k=top_k, on_cues=on_cues) for transcript in words]
        return [
            join(result, [of_source[number] for of_source in quoted], top_k=top_k, threshold=threshold)
            for number, result in enumerate(results)
        ]

    def ground(
        self,
        video: Transcript | str | Path,
        queries: str | Sequence[str],
        *,
        top_k: int = 5,
        threshold: float = 0.0,
        on_cues: Callable[[int, int], None] | None = None,
    ) -> list[GroundingResult]:
        """Find the moments in which each query is said or written.

        Args:
            video: the result of `read`, or a path whose subtitles are read first.
            queries: a word, a phrase or a sentence, or any number of them.
            top_k: maximum moments per query.
            threshold: moments with a lower score are left out.
            on_cues: called with the number of cues encoded so far and the total, unless the cache has all.

        Returns:
            one result per query, in order. Each moment is a cue or two successive cues, with a quote. A video
            without cues has no moments.

        Raises:
            UsageError: if a query is empty or `top_k` is less than 1.
            WeightsMissing, WeightsInvalid: if the text encoder cannot be loaded.
            VideoError, CacheError: as for `read`.
        """
        queries = [queries] if isinstance(queries, str) else list(queries)
        check_request(queries, top_k)
        transcript = video if isinstance(video, Transcript) else self.read(video)
        passages = Passages.of(transcript.streams)
        lines = passages.lines
        if not lines:
            return [
                self._result(transcript, query, passages, np.zeros(0), top_k, threshold) for query in queries
            ]
        index = WordIndex(lines)
        meanings = self._meanings(lines, on_cues)
        results = []
        for query, pooled in zip(queries, self._asked(queries), strict=True):
            cosines = np.zeros(len(lines)) if meanings is None else meanings @ pooled
            scores = passage_scores(query, passages, index, cosines)
            results.append(self._result(transcript, query, passages, scores, top_k, threshold))
        return (
            results if meanings is not None else [replace(result, hints=(_TOO_MANY,)) for result in results]
        )

    def outline(self, video: Path, listings: Listings | None = None, source: Source = "subtitles") -> Outline:
        """Return the outline of what `read` returns for a video; it is made once and stored in the cache.

        Args:
            video: the file.
            listings: listings of folders that do not need to be listed again to find files next to the video.
            source: `subtitles` or `screen`, as for `read`.

        Raises:
            VideoError, UsageError, WeightsMissing, WeightsInvalid, CacheError: as for `read` and `ground`.
        """
        identity = self._cache.identify(video)
        state = self._state(video, identity, source, listings)
        key = _key(video, identity, source, state)
        known = self.kept_outline(key)
        if known is not None:
            return known
        transcript = self.read(video, source)
        passages = Passages.of(transcript.streams)
        meanings = self._meanings(passages.lines) if passages.lines else None
        outline = Outline.of(transcript.duration_s, transcript.notes, passages, meanings)
        if self._state(video, identity, source, None) == state:  # else the words changed during reading
            self._outlines.store(key, outline.to_bytes())
        return outline

    def knows_screen(self, video: Path) -> bool:
        """Check whether the text on the screen was read before.

        Raises:
            VideoError, CacheError: if the video or the cache cannot be read.
        """
        return bool(screen_state(self._cache.identify(video), self._cache))

    def outline_key(
        self, video: Path, identity: Identity, source: Source, listings: Listings | None = None
    ) -> str:
        """Return the key of a video's outline for `kept_outline`; empty if none of its words are known.

        Words are known if there are subtitle files next to the video, or if the words were read before. The
        video itself is not read.

        Args:
            video: the file.
            identity: identity of its content.
            source, listings: as for `outline`.

        Raises:
            CacheError: if the cache cannot be read.
        """
        state = self._state(video, identity, source, listings)
        if state in ("", _NOTHING) and not (source == "subtitles" and subtitles_state(identity, self._cache)):
            return ""
        return _key(video, identity, source, state)

    def kept_outline(self, key: str) -> Outline | None:
        """Return the outline for a key from `outline_key`; None if it has not been made yet."""
        blob = self._outlines.load(key)
        if blob is not None:
            with suppress(ValueError, LookupError, TypeError, struct.error):
                return Outline.from_bytes(blob)
        return None

    def prepare(
        self,
        video: Path,
        listings: Listings | None = None,
        *,
        screen: bool = False,
        speech: SpeechModel | bool = False,
    ) -> None:
        """Make the outlines of the available words, so that searches in many videos find them.

        Args:
            video: the file.
            listings: as for `outline`.
            screen: whether to read the text on the screen first, unless that was done before.
            speech: whether to transcribe the speech first, likewise, or the weights for it.

        Raises:
            VideoError, UsageError, WeightsMissing, WeightsInvalid, CacheError: as for `read`.
        """
        if speech:
            self.read(video, "speech", speech=speech)
        has_subtitles = may_have_subtitles(
            video, self._cache, follow_links=self._follow_links, listings=listings
        )
        if has_subtitles or speech_state(self._cache.identify(video), self._cache):
            self.outline(video, listings)
        if screen or self.knows_screen(video):
            self.outline(video, source="screen")

    def _state(self, video: Path, identity: Identity, source: Source, listings: Listings | None) -> str:
        """Return a text that changes if the known words from outside the video file change."""
        if source == "screen":
            return screen_state(identity, self._cache)
        sidecars = digest_sidecars(video, follow_links=self._follow_links, listings=listings)
        return json.dumps([sidecars, speech_state(identity, self._cache)])

    @cached_property
    def _outlines(self) -> Blobs:
        return self._cache.blobs("outlines", f"{OUTLINES_RECIPE} {SUBTITLES_RECIPE} {TEXT_SPEC.weights_id}")

    def questions(self, queries: Sequence[str]) -> list[Question]:
        """Prepare queries for outlines; errors as for `ground`."""
        return [
            Question.of(query, pooled) for query, pooled in zip(queries, self._asked(queries), strict=True)
        ]

    def _asked(self, queries: Sequence[str]) -> list[NDArray[np.float32]]:
        """Embed queries. The last embeddings are kept: the same queries are often used for many videos."""
        known, pooled = self._last_asked
        if known != tuple(queries):
            pooled = [text.pooled for text in encode_queries(queries, self._encoder, self._cache)]
            self._last_asked = (tuple(queries), pooled)
        return pooled

    def _meanings(
        self, lines: Sequence[str], on_cues: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32] | None:
        """Return (N, E) embeddings of lines, each distinct line encoded once; None if there are too many."""
        places = {line: place for place, line in enumerate(dict.fromkeys(lines))}
        if len(places) > _MOST_MEANINGS:
            return None
        rows = pooled_phrases(list(places), self._encoder, self._cache, on_phrases=on_cues)
        return rows[[places[line] for line in lines]]

    @staticmethod
    def _result(
        transcript: Transcript,
        query: str,
        passages: Passages,
        scores: NDArray[np.float64],
        top_k: int,
        threshold: float,
    ) -> GroundingResult:
        best = best_passages(scores, passages, most=top_k, least=NO_MATCH)
        clips = curve(scores, passages, duration_s=transcript.duration_s, clip_length_s=_CLIP_LENGTH_S)
        return GroundingResult(
            video=transcript.video,
            query=query,
            model=CUES,
            features=tuple(dict.fromkeys(stream.source for stream in transcript.streams))
            or (transcript.source,),
            duration_s=transcript.duration_s,
            moments=tuple(
                Moment(
                    float(passages.start_s[passage]),
                    float(passages.end_s[passage]),
                    float(scores[passage]),
                    Quote(passages.source(passage), passages.stream(passage), passages.text(passage)),
                )
                for passage in best
                if scores[passage] >= threshold
            ),
            saliency=Saliency(_CLIP_LENGTH_S, tuple(map(float, clips))),
            clear_from=CLEAR_FROM,
            match_score=float(scores[best[0]]) if best else None,
        )


def _key(video: Path, identity: Identity, source: Source, state: str) -> str:
    # The notes of an outline contain the path of the video, so a copy of the video has another key.
    return json.dumps([str(video), identity.address, identity.content(), source, state])
