"""A trained FlashVTG as a `Grounder` uses it: cached features in, moments and saliency out, many pairs a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extractors.base import EncoderOptions, FeatureSpec, TextFeatures
from extractors.errors import UsageError
from model.checkpoint import Checkpoint
from model.decoding import predict
from model.encoded import Answer, EncodedVideo
from model.fusion import append_tef
from model.zeroshot import find_moments

_NORM_EPS = 1e-5
_BATCH = 64
_TEXT_SUFFIX = "_text"


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

    def text_encoder(self, options: Mapping[str, EncoderOptions]) -> tuple[str, EncoderOptions]:
        """Name and options of the text encoder whose tokens it reads, of those that go with its video features.

        Raises:
            UsageError: if its text features cannot be made here, only loaded.
        """
        name = self._checkpoint.text_features.name.removesuffix(_TEXT_SUFFIX)
        if name not in options:
            raise UsageError(
                f"{self.name} reads '{self._checkpoint.text_features.name}' queries, which vtg cannot make from "
                "sentences; it can be evaluated on their published features only"
            )
        return name, options[name]

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
        """Refuse a text encoder likewise; text features are named after the video features they go with."""
        ours = self._checkpoint.text_features
        given = replace(spec, name=f"{spec.name}{_TEXT_SUFFIX}", normalization=ours.normalization)
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
        rows, row_mask = _pad([self._video_rows(video) for video in videos])  # (B, L, D_v)
        tokens, token_mask = _pad([self._tokens(query) for query in queries])  # (B, T, D_t)
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
        """(L, D_v): each stream normalised by itself, cut to the shortest, in the model's order."""
        specs = self._config.data.video_features
        streams = [_normalized(video.features[spec.name], spec.normalization) for spec in specs]
        count = min(len(stream) for stream in streams)
        return torch.from_numpy(np.concatenate([stream[:count] for stream in streams], axis=1))

    def _tokens(self, query: TextFeatures) -> Tensor:
        data = self._config.data
        return torch.from_numpy(_normalized(query.tokens[: data.max_words], data.text_features.normalization))


def _normalized(rows: NDArray[np.float32], normalization: str) -> NDArray[np.float32]:
    if normalization == "none":
        return rows.astype(np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    normalized: NDArray[np.float32] = (rows / (norms + _NORM_EPS)).astype(np.float32)
    return normalized


def _pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[(L_i, D)] → (B, L, D) with zeros behind, and (B, L) true where there is a row."""
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]
