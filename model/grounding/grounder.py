"""Grounder: encode a video once, ground any number of queries in it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path

import numpy as np

from extractors.cache.features import CachedFeatures
from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions, TextEncoder, VideoEncoder
from extractors.encoders.registry import find_feature
from extractors.errors import UsageError, VideoError, WeightsInvalid
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import encode_videos
from extractors.extraction.queries import encode_queries
from extractors.features import TextFeatures
from extractors.places import Place, place_of
from extractors.videos.events import Event
from extractors.videos.facts import VideoFacts
from model.grounding.encoded import Answer, EncodedVideo, GroundingModel
from model.grounding.hints import query_hints
from model.grounding.parts import load_parts
from model.grounding.results import GroundingResult, make_result


class Grounder:
    """Finds the moments of a video that match a sentence.

        grounder = Grounder.load()
        video = grounder.encode("kitchen.mp4")           # slow once, cached
        for result in grounder.ground(video, ["man opens fridge", "pouring milk"]): ...

    Created by `Grounder.load`.

    Attributes:
        notes: what the user should know about the answers, one sentence per note.
    """

    def __init__(
        self,
        model: GroundingModel,
        video_encoders: Sequence[VideoEncoder],
        text_encoder: TextEncoder,
        cache: FeatureCache,
        *,
        notes: Sequence[str] = (),
        on_event: Callable[[Event], None] | None = None,
        extraction: ExtractionOptions = ExtractionOptions(),
    ) -> None:
        self._model = model
        self._video_encoders = tuple(video_encoders)
        self._text_encoder = text_encoder
        self._cache = cache
        self._on_event = on_event
        self._extraction = extraction
        self._last_texts: tuple[tuple[str, ...], list[TextFeatures]] = ((), [])
        self.notes = tuple(notes)

    @classmethod
    def load(
        cls,
        model: str = "auto",
        *,
        features: str = "auto",
        fps: float | None = None,
        device: str = "auto",
        precision: str = "auto",
        weights: Mapping[str, str | Path] | None = None,
        cache: FeatureCache | str | Path | None = None,
        offline: bool = False,
        extraction: ExtractionOptions = ExtractionOptions(),
        on_event: Callable[[Event], None] | None = None,
        on_download: Callable[[int, int | None], None] | None = None,
    ) -> Grounder:
        """Choose a model and its features; encoders are loaded only when they are needed.

        Args:
            model: a trained model by name (`flashvtg-qvhl`), by path or by the folder of its run; `zero-shot`; or
                `auto`: the best installed model whose features are available, else zero-shot.
            features: `auto`, or names separated by commas, for instance `clip,slowfast`.
            fps: clips per second, 0.5 to 2; None for the rate of the model or of the features.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            precision: of the encoders: `auto`, `fp32`, `bf16` or `fp16`.
            weights: paths of weights to use instead of the installed ones, by feature name.
            cache: the feature cache or its folder; the user's default cache if None.
            offline: never open a connection.
            extraction: how videos are decoded; with `stall_s=None` they are decoded in this process.
            on_event: called during extraction, as for `extractors.extraction.pipeline.extract_features`.
            on_download: called with the bytes done and the total while weights are downloaded.

        Raises:
            UsageError: if a name is unknown or a value is out of range.
            WeightsMissing: if weights of named features are neither installed nor reachable.
            WeightsInvalid: if the model's file is damaged.
            FeatureMismatch: if the model reads other features than the given ones.
        """
        options = EncoderOptions(
            device=device,
            precision=precision,
            weights={name: Path(path) for name, path in (weights or {}).items()},
            offline=offline,
            on_download=on_download,
        )
        store = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
        parts = load_parts(model, features, fps, options, store)
        return cls(
            parts.model,
            parts.video_encoders,
            parts.text_encoder,
            store,
            notes=parts.notes,
            on_event=on_event,
            extraction=extraction,
        )

    @property
    def model(self) -> GroundingModel:
        """The grounding model."""
        return self._model

    @property
    def video_encoders(self) -> tuple[VideoEncoder, ...]:
        """One per feature that the model reads, in order."""
        return self._video_encoders

    @property
    def text_encoder(self) -> TextEncoder:
        """The encoder of the queries."""
        return self._text_encoder

    @property
    def cache(self) -> FeatureCache:
        """The feature cache."""
        return self._cache

    @property
    def extraction(self) -> ExtractionOptions:
        """How videos are decoded."""
        return self._extraction

    def encode(self, path: str | Place) -> EncodedVideo:
        """Extract a video's features, or read them from the cache.

        Args:
            path: the file, or the address of an object in object storage (`s3://bucket/video.mp4`).

        Raises:
            VideoError: if the video cannot be read.
            WeightsMissing, WeightsInvalid: if it has to be extracted and an encoder cannot be loaded.
            CacheError: if the cache cannot be read or written.
        """
        with closing(self.encode_each([path])) as encoded:
            video = next(encoded)
        if isinstance(video, VideoError):
            raise video
        return video

    def encode_each(self, paths: Sequence[str | Place]) -> Generator[EncodedVideo | VideoError, None, None]:
        """Extract the features of videos one after the other, or read them from the cache.

        The next video is decoded while the caller works on the current one, and one subprocess decodes them
        all, so many short videos take less time than with `encode`. Closing the generator stops the decoding.

        Yields:
            for each video, in order, what `encode` returns, or the VideoError it raises.

        Raises:
            WeightsMissing, WeightsInvalid, CacheError: as for `encode`.
        """
        with closing(
            encode_videos(paths, self._video_encoders, self._cache, self._extraction, on_event=self._on_event)
        ) as encoded:
            for path, features in zip(paths, encoded, strict=True):
                yield features if isinstance(features, VideoError) else _encoded(place_of(path), features)

    def ground(
        self,
        video: EncodedVideo | str | Place,
        queries: str | Sequence[str],
        *,
        top_k: int = 5,
        threshold: float = 0.0,
    ) -> list[GroundingResult]:
        """Find the moments that match each query.

        Args:
            video: the result of `encode`, or a path to encode first.
            queries: one sentence, or any number of them.
            top_k: maximum moments per query.
            threshold: moments with a lower score are left out.

        Returns:
            one result per query, in order; its moments best first.

        Raises:
            UsageError: if a query is empty or `top_k` is less than 1.
            WeightsInvalid: if the model's answer contains NaN or infinity.
        """
        queries = [queries] if isinstance(queries, str) else list(queries)
        check_request(queries, top_k)
        return self._ground([video], queries, top_k, threshold)

    def ground_videos(
        self,
        videos: Sequence[EncodedVideo | str | Place],
        query: str,
        *,
        top_k: int = 5,
        threshold: float = 0.0,
    ) -> list[GroundingResult]:
        """Find the moments of many videos that match one query; arguments and errors as for `ground`.

        Returns:
            one result per video, in order.
        """
        check_request([query], top_k)
        return self._ground(videos, [query], top_k, threshold) if videos else []

    def _ground(
        self,
        videos: Sequence[EncodedVideo | str | Place],
        queries: Sequence[str],
        top_k: int,
        threshold: float,
    ) -> list[GroundingResult]:
        """Ground every query in the only video, or the only query in every video."""
        encoded = self._encoded(videos)
        texts = self._texts(queries)
        answers = self._model.answer(encoded, texts, top_k=top_k)
        feature = find_feature(self._text_encoder.spec.name)
        most_tokens = None if feature is None else feature.most_tokens
        hints = [
            query_hints(query, len(text.tokens), most_tokens)
            for query, text in zip(queries, texts, strict=True)
        ]
        return [
            self._result(video, query, answer, threshold, hints=of_query)
            for (video, (query, of_query)), answer in zip(
                product(encoded, zip(queries, hints, strict=True)), answers, strict=True
            )
        ]

    def _texts(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries. The last features are kept: a search uses the same queries for many videos."""
        asked, texts = self._last_texts
        if asked != tuple(queries):
            texts = encode_queries(queries, self._text_encoder, self._cache)
            self._last_texts = tuple(queries), texts
        return texts

    def _encoded(self, videos: Sequence[EncodedVideo | str | Place]) -> list[EncodedVideo]:
        paths = [video for video in videos if not isinstance(video, EncodedVideo)]
        encoded: list[EncodedVideo] = []
        with closing(self.encode_each(paths)) as made:
            for video in videos:
                one = video if isinstance(video, EncodedVideo) else next(made)
                if isinstance(one, VideoError):
                    raise one
                encoded.append(one)
        return encoded

    def _result(
        self, video: EncodedVideo, query: str, answer: Answer, threshold: float, *, hints: tuple[str, ...]
    ) -> GroundingResult:
        moments, saliency = answer
        if not (np.isfinite(moments).all() and np.isfinite(saliency).all()):
            raise WeightsInvalid(
                f"{self._model.name}: answers “{query}” with what is not a number; its weights are damaged, or their "
                "training failed"
            )
        return make_result(
            video=video.path,
            query=query,
            model=self._model.name,
            features=self._model.features,
            duration_s=video.duration_s,
            moments=moments,
            saliency=saliency,
            clip_length_s=self._model.clip_length_s,
            facts=video.facts,
            threshold=threshold,
            clear_from=self._model.clear_from,
            blind_spot=self._model.blind_spot(query),
            hints=hints,
        )


def _encoded(path: Place, features: Mapping[str, CachedFeatures]) -> EncodedVideo:
    return EncodedVideo(
        path,
        next(iter(features.values())).info.duration_s,
        {name: entry.features for name, entry in features.items()},
        VideoFacts.join(entry.facts for entry in features.values()),
    )


def check_queries(queries: Sequence[str]) -> None:
    """Raise UsageError if there is no query, or if one is empty or not text."""
    if not queries or not all(query.strip() for query in queries):
        raise UsageError("a query is empty; describe what to look for")
    for query in queries:
        try:
            query.encode()
        except UnicodeEncodeError:  # bytes of a command line, or half of a character in JSON
            raise UsageError(f"the query {query!r} is not text: it cannot be written as UTF-8") from None


def require_clear_scores(model: GroundingModel) -> None:
    """Raise UsageError, as for `--only-clear`, if scores of the model only rank moments."""
    if model.clear_from is None:
        raise UsageError(
            f"--only-clear: the scores of {model.name} rank moments, but do not show whether a video matches the "
            "query at all; use --threshold, or --model zero-shot"
        )


def check_request(queries: Sequence[str], top_k: int) -> None:
    """Raise UsageError if a query is not usable, or fewer than one moment is requested."""
    check_queries(queries)
    if top_k < 1:
        raise UsageError(f"--top-k {top_k}: must be at least 1")
