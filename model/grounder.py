"""Grounder: encode a video once, ground any number of queries in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.base import TextEncoder, TextFeatures, VideoEncoder
from extractors.cache import FeatureCache
from extractors.errors import UsageError
from extractors.pipeline import Event, encode_video
from extractors.queries import encode_queries, pooled_phrases
from extractors.registry import load_text_encoder
from model import zeroshot
from model.moments import GroundingResult, make_result
from model.resolution import plan_features

Answer = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]
"""Moments (K, 3) as start in seconds, end in seconds, score, best first; and saliency (N,)."""


@dataclass(frozen=True)
class EncodedVideo:
    """A video as a model sees it.

    Attributes:
        path: the file.
        duration_s: its length in seconds.
        features: by name, (N, dim) float32, a row a clip.
    """

    path: Path
    duration_s: float
    features: Mapping[str, NDArray[np.float32]]


class GroundingModel(Protocol):
    """What turns encoded videos and queries into moments."""

    @property
    def name(self) -> str:
        """How results name it."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """The video features it reads, in order."""
        ...

    @property
    def clip_length_s(self) -> float:
        """Seconds a clip of those features."""
        ...

    def answer(self, video: EncodedVideo, queries: Sequence[TextFeatures], *, top_k: int) -> list[Answer]:
        """Ground every query in a video; one answer a query, in order."""
        ...


class Grounder:
    """Finds the moments of a video that match a sentence.

        grounder = Grounder.load()
        video = grounder.encode("kitchen.mp4")           # slow once, cached
        for result in grounder.ground(video, ["man opens fridge", "pouring milk"]): ...

    Made by `Grounder.load`.

    Attributes:
        notes: what the user should know about the answers, a sentence each.
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
    ) -> None:
        self._model = model
        self._video_encoders = tuple(video_encoders)
        self._text_encoder = text_encoder
        self._cache = cache
        self._on_event = on_event
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
        on_event: Callable[[Event], None] | None = None,
        on_download: Callable[[int, int | None], None] | None = None,
    ) -> Grounder:
        """Choose a model and its features; nothing heavy is loaded before it is needed.

        Args:
            model: `auto` or `zero-shot`.
            features: `auto`, or names with commas between, for instance `clip,slowfast`.
            fps: clips per second, 0.5 to 2; None for the features' own rate.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            precision: of the encoders: `auto`, `fp32`, `bf16` or `fp16`.
            weights: paths that replace the named weights, by feature name.
            cache: the feature cache or its folder; the user's own by default.
            offline: never open a connection.
            on_event: called as a video is extracted, as for `extractors.pipeline.extract_features`.
            on_download: called with bytes done and in all while weights are fetched.

        Raises:
            UsageError: if a name is unknown or a value is out of range.
            WeightsMissing: if named features have weights that are neither here nor reachable.
        """
        if model not in ("auto", zeroshot.NAME):
            raise UsageError(f"unknown model '{model}'; known are auto, {zeroshot.NAME}")
        plan = plan_features(
            features,
            wanted=("clip",),
            fps=fps,
            device=device,
            precision=precision,
            weights=weights,
            offline=offline,
            on_download=on_download,
        )
        store = cache if isinstance(cache, FeatureCache) else FeatureCache(cache)
        feature = _aligned_feature(plan.names)
        text_encoder = load_text_encoder(feature, plan.options[feature])
        return cls(
            ZeroShot(
                feature,
                plan.options[feature].clip_length_s,
                lambda phrases: pooled_phrases(phrases, text_encoder, store),
            ),
            plan.video_encoders(),
            text_encoder,
            store,
            notes=plan.notes,
            on_event=on_event,
        )

    @property
    def model(self) -> GroundingModel:
        """The model that answers."""
        return self._model

    def encode(self, path: str | Path) -> EncodedVideo:
        """Extract a video's features, or read them from the cache.

        Raises:
            VideoError: if the video cannot be read.
            WeightsMissing, WeightsInvalid: if it has to be extracted and an encoder cannot be loaded.
            CacheError: if the cache cannot be read or written.
        """
        cached = encode_video(path, self._video_encoders, self._cache, on_event=self._on_event)
        info = next(iter(cached.values())).info
        return EncodedVideo(
            Path(path), info.duration_s, {name: entry.features for name, entry in cached.items()}
        )

    def ground(
        self,
        video: EncodedVideo | str | Path,
        queries: str | Sequence[str],
        *,
        top_k: int = 5,
        threshold: float = 0.0,
    ) -> list[GroundingResult]:
        """Find the moments that match each query.

        Args:
            video: what `encode` returned, or a path to encode first.
            queries: a sentence, or any number of them.
            top_k: moments a query at most.
            threshold: moments that score less are left out.

        Returns:
            one result a query, in order; its moments best first.

        Raises:
            UsageError: if a query is empty or `top_k` is less than 1.
        """
        queries = [queries] if isinstance(queries, str) else list(queries)
        _check_request(queries, top_k)
        if not isinstance(video, EncodedVideo):
            video = self.encode(video)
        texts = encode_queries(queries, self._text_encoder, self._cache)
        return [
            make_result(
                video=video.path,
                query=query,
                model=self._model.name,
                features=self._model.features,
                duration_s=video.duration_s,
                moments=moments[moments[:, 2] >= threshold],
                saliency=saliency,
                clip_length_s=self._model.clip_length_s,
            )
            for query, (moments, saliency) in zip(
                queries, self._model.answer(video, texts, top_k=top_k), strict=True
            )
        ]


class ZeroShot:
    """`model.zeroshot` over one feature whose rows lie in its text encoder's space.

    Args:
        feature: name of that feature.
        clip_length_s: seconds a clip.
        embed_phrases: gives the (M, E) pooled rows of M phrases.
    """

    def __init__(
        self,
        feature: str,
        clip_length_s: float,
        embed_phrases: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> None:
        self.name = zeroshot.NAME
        self.features = (feature,)
        self.clip_length_s = clip_length_s
        self._embed_phrases = embed_phrases

    def answer(self, video: EncodedVideo, queries: Sequence[TextFeatures], *, top_k: int) -> list[Answer]:
        """Ground every query in a video; see `model.zeroshot` for how."""
        rows = video.features[self.features[0]]
        background = self._embed_phrases(zeroshot.background_phrases())
        answers: list[Answer] = []
        for query in queries:
            saliency = zeroshot.saliency_curve(rows, query.pooled, background)
            moments = zeroshot.find_moments(
                saliency, clip_length_s=self.clip_length_s, duration_s=video.duration_s, top_k=top_k
            )
            answers.append((moments, saliency))
        return answers


def _aligned_feature(names: Sequence[str]) -> str:
    for name in names:
        if name in ("clip", "lite"):
            return name
    raise UsageError(
        f"features {','.join(names)} cannot be compared with text; zero-shot grounding needs clip or lite among them"
    )


def _check_request(queries: Sequence[str], top_k: int) -> None:
    if not queries or not all(query.strip() for query in queries):
        raise UsageError("a query is empty; say in words what to look for")
    if top_k < 1:
        raise UsageError(f"--top-k {top_k}: at least 1 moment has to be asked for")
