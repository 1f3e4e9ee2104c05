"""A trained FlashVTG as a `Grounder` uses it: cached features in, moments and saliency out, many pairs a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extractors.base import FeatureSpec, TextFeatures
from model.checkpoint import Checkpoint
from model.decoding import predict
from model.encoded import Answer, EncodedVideo
from model.fusion import append_tef
from model.rows import clip_rows, pad_rows, token_rows
from model.zeroshot import find_moments

_BATCH = 64


class TrainedModel:
    """Answers with a FlashVTG checkpoint.

    Moments are given as the network regresses them: rounding to the clip grid and cutting at 150 s belong to the
    benchmarks. A model of a dataset without moments (TVSum, YouTube Highlights) gives the stretches that stand out of
    its saliency.

    Args:
        checkpoint: the model and what it reads.
        name: how results name it.
        device: where it runs.
    """

    def __init__(self, checkpoint: Checkpoint, *, name: str, device: torch.device) -> None:
        config = checkpoint.config
        self.name = name
        self.features = tuple(feature.name for feature in config.data.video_features)
        self.clip_length_s = config.data.clip_length_s
        self._checkpoint = checkpoint
        self._device = device
        self._network = checkpoint.build_model().to(device)
        self._config = replace(
            config, decoding=replace(config.decoding, round_to_clips=False, max_end_s=None)
        )

    @property
    def text_features(self) -> str:
        """Name of the tokens it reads, for instance `clip_text`."""
        return self._checkpoint.text_features.name

    def require_video_features(self, specs: Sequence[FeatureSpec]) -> None:
        """Refuse encoders whose rows are not what the model was trained on.

        How rows are normalised is the model's own affair: they are stored as the encoders give them.

        Raises:
            FeatureMismatch: naming both sides.
        """
        ours = {spec.name: spec.normalization for spec in self._checkpoint.video_features}
        given = [replace(spec, normalization=ours.get(spec.name, spec.normalization)) for spec in specs]
        self._checkpoint.require_features(given, self._checkpoint.text_features)

    def require_text_features(self, spec: FeatureSpec) -> None:
        """Refuse a text encoder likewise; the name that a text feature has in a dataset is not its encoder's."""
        ours = self._checkpoint.text_features
        given = replace(spec, name=ours.name, normalization=ours.normalization)
        self._checkpoint.require_features(self._checkpoint.video_features, given)

    def answer(
        self, videos: Sequence[EncodedVideo], queries: Sequence[TextFeatures], *, top_k: int
    ) -> list[Answer]:
        """Ground queries in videos, pair by pair; one video or one query stands for all.

        Args:
            videos: as many as there are queries, or one.
            queries: as many as there are videos, or one.
            top_k: moments a pair at most.

        Returns:
            an answer a pair, in order.
        """
        count = max(len(videos), len(queries))
        answers: list[Answer] = []
        for start in range(0, count, _BATCH):
            some_videos = videos if len(videos) == 1 else videos[start : start + _BATCH]
            some_queries = queries if len(queries) == 1 else queries[start : start + _BATCH]
            answers += self._answer_batch(some_videos, some_queries, top_k)
        return answers

    def _answer_batch(
        self, videos: Sequence[EncodedVideo], queries: Sequence[TextFeatures], top_k: int
    ) -> list[Answer]:
        rows, row_mask = pad_rows([self._video_rows(video) for video in videos])  # (B, L, D_v)
        tokens, token_mask = pad_rows([self._tokens(query) for query in queries])  # (B, T, D_t)
        predictions = predict(
            self._network,
            append_tef(rows, row_mask).to(self._device),
            row_mask.to(self._device),
            tokens.to(self._device),
            token_mask.to(self._device),
            config=self._config,
            durations_s=[video.duration_s for video in videos],
        )
        durations = [video.duration_s for video in videos] * (len(predictions) if len(videos) == 1 else 1)
        return [
            self._answer(prediction.moments.numpy(), prediction.saliency.numpy(), duration_s, top_k)
            for prediction, duration_s in zip(predictions, durations, strict=True)
        ]

    def _answer(self, moments: NDArray[Any], saliency: NDArray[Any], duration_s: float, top_k: int) -> Answer:
        if not self._config.data.annotates_moments:
            shares = 1 / (1 + np.exp(-saliency.astype(np.float64)))
            found = find_moments(shares, clip_length_s=self.clip_length_s, duration_s=duration_s, top_k=top_k)
            return found, saliency
        # Suppressed moments have the score 0, and some regress to nothing.
        shown = moments[(moments[:, 2] > 0) & (moments[:, 1] > moments[:, 0])]
        return shown[:top_k], saliency

    def _video_rows(self, video: EncodedVideo) -> Tensor:
        data = replace(self._config.data, max_clips=None)
        return clip_rows([video.features[spec.name] for spec in data.video_features], data)  # (L, D_v)

    def _tokens(self, query: TextFeatures) -> Tensor:
        return token_rows(query.tokens, self._config.data)
