"""A trained FlashVTG for `Grounder`: from cached features to moments and saliency, many pairs per batch."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extractors.compute.onednn import can_pack_linear
from extractors.features import FeatureSpec, TextFeatures
from model.checkpoints.checkpoint import Checkpoint
from model.decoding import Prediction, decode, suppress_overlaps
from model.grounding.encoded import Answer, EncodedVideo
from model.grounding.windows import Window, blend_curves, merge_moments, split_windows
from model.grounding.zeroshot.method import find_moments
from model.network.fast.packed import pack
from model.network.fusion import VideoEmbedding
from model.rows import append_tef, clip_rows, pad_rows, token_rows

_BATCH = 64
_MERGED = 500  # moments of a long video that are compared with each other


@dataclass(frozen=True)
class _PreparedVideo:
    """The network's representation of a video that does not depend on a query.

    Attributes:
        windows: windows that cover the video; one if it is no longer than the training videos.
        batches: the windows in order, projected and with positions added.
    """

    windows: tuple[Window, ...]
    batches: tuple[VideoEmbedding, ...]


class TrainedModel:
    """A grounding model that runs a FlashVTG checkpoint.

    Videos longer than the training videos are grounded in overlapping windows. Moments are returned as the
    network regresses them: rounding to the clip grid and cutting at 150 s are part of the benchmarks only. If
    existence was learned well enough for a threshold, the score of the best moment is the probability that
    the video shows what the query asks for, and the other scores are scaled in proportion. A model of a
    dataset without moments (TVSum, YouTube Highlights) returns the spans that stand out in its saliency.

    Args:
        checkpoint: the model and the features it reads.
        name: its name in results.
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
        if can_pack_linear(device, torch.float32):
            pack(self._network)
        self._last: tuple[weakref.ref[EncodedVideo], _PreparedVideo] | None = None
        self._window_clips = _window_clips(checkpoint)
        self._config = replace(
            config, decoding=replace(config.decoding, round_to_clips=False, max_end_s=None)
        )

    @property
    def text_features(self) -> str:
        """Name of the text features it reads, for instance `clip_text`."""
        return self._checkpoint.text_features.name

    @property
    def clear_from(self) -> float | None:
        """The threshold chosen in training; None if existence was not learned well enough for one."""
        return self._checkpoint.clear_from if self._checkpoint.config.model.existence else None

    def blind_spot(self, query: str) -> None:
        """Return None: the blind spots of trained models are not known."""
        return

    def require_video_features(self, specs: Sequence[FeatureSpec]) -> None:
        """Check that encoders make the features that the model was trained on.

        Normalization is not compared: the encoders' rows are stored as they are, and the model does its own.

        Raises:
            FeatureMismatch: if they do not; the message names both sides.
        """
        ours = {spec.name: spec.normalization for spec in self._checkpoint.video_features}
        given = [replace(spec, normalization=ours.get(spec.name, spec.normalization)) for spec in specs]
        self._checkpoint.require_features(given, self._checkpoint.text_features)

    def require_text_features(self, spec: FeatureSpec) -> None:
        """Check a text encoder likewise; names differ between datasets and encoders, so they are ignored."""
        ours = self._checkpoint.text_features
        given = replace(spec, name=ours.name, normalization=ours.normalization)
        self._checkpoint.require_features(self._checkpoint.video_features, given)

    def answer(
        self, videos: Sequence[EncodedVideo], queries: Sequence[TextFeatures], *, top_k: int
    ) -> list[Answer]:
        """Ground queries in videos, pair by pair; a single video or query is paired with all others.

        Args:
            videos: as many as there are queries, or one.
            queries: as many as there are videos, or one.
            top_k: maximum moments per pair.

        Returns:
            one answer per pair, in order.
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
        tokens = [token_rows(query.tokens, self._config.data) for query in queries]  # (T, D_t) each
        if len(videos) == 1:
            return self._answer_about(videos[0], tokens, top_k)
        rows = [self._video_rows(video) for video in videos]  # (L, D_v) each
        if any(self._is_long(clips) for clips in rows):
            return [
                self._answer_about(videos[v], [tokens[q]], top_k)[0]
                for v, q in zip(*_pairs(len(rows), len(tokens)), strict=True)
            ]
        durations = [video.duration_s for video in videos]
        predictions = self._predict(self._embed(rows), tokens, durations)
        return [
            self._answer_from(prediction, duration_s, top_k)
            for prediction, duration_s in zip(predictions, durations, strict=True)
        ]

    def _answer_about(self, video: EncodedVideo, tokens: Sequence[Tensor], top_k: int) -> list[Answer]:
        """Ground any number of queries in one video."""
        prepared = self._prepared(video)
        if len(prepared.windows) > 1:
            return [self._answer_in_windows(prepared, video.duration_s, words, top_k) for words in tokens]
        predictions = self._predict(prepared.batches[0], tokens, [video.duration_s])
        return [self._answer_from(prediction, video.duration_s, top_k) for prediction in predictions]

    def _answer_in_windows(
        self, video: _PreparedVideo, duration_s: float, tokens: Tensor, top_k: int
    ) -> Answer:
        """Ground one query in a video that is longer than the training videos, window by window."""
        windows = video.windows
        lengths_s = [
            min(window.end * self.clip_length_s, duration_s) - window.start * self.clip_length_s
            for window in windows
        ]
        predictions: list[Prediction] = []
        for batch in video.batches:
            some = lengths_s[len(predictions) : len(predictions) + len(batch.clips)]
            predictions += self._predict(batch, [tokens], some)
        saliency = blend_curves([prediction.saliency.numpy() for prediction in predictions], windows)
        found = [_shown(prediction.moments.numpy()) for prediction in predictions]
        merged = merge_moments(found, windows, clip_length_s=self.clip_length_s)[:_MERGED]
        if len(merged):
            decoding = self._config.decoding
            merged = (
                suppress_overlaps(
                    torch.from_numpy(merged)[None], threshold=decoding.nms_threshold, kind=decoding.nms
                )[0].numpy()
                if decoding.nms != "none"
                else merged
            )
        existence = [prediction.existence for prediction in predictions if prediction.existence is not None]
        return self._answer(merged, saliency, max(existence, default=None), duration_s, top_k)

    def _prepared(self, video: EncodedVideo) -> _PreparedVideo:
        """Compute what does not depend on a query; the result is kept for the next query."""
        if self._last is not None and self._last[0]() is video:
            return self._last[1]
        clips = self._video_rows(video)  # (L, D_v)
        longest = self._window_clips if self._window_clips is not None else len(clips)
        windows = split_windows(len(clips), longest)
        batches = [
            self._embed([clips[window.start : window.end] for window in windows[start : start + _BATCH]])
            for start in range(0, len(windows), _BATCH)
        ]
        prepared = _PreparedVideo(tuple(windows), tuple(batches))
        self._last = (weakref.ref(video), prepared)
        return prepared

    def _is_long(self, clips: Tensor) -> bool:
        return self._window_clips is not None and len(clips) > self._window_clips

    @torch.inference_mode()
    def _embed(self, rows: Sequence[Tensor]) -> VideoEmbedding:
        video, video_mask = pad_rows(rows)  # (B, L, D_v)
        return self._network.embed(
            append_tef(video, video_mask).to(self._device), video_mask.to(self._device)
        )

    @torch.inference_mode()
    def _predict(
        self, video: VideoEmbedding, tokens: Sequence[Tensor], durations_s: Sequence[float]
    ) -> list[Prediction]:
        text, text_mask = pad_rows(tokens)  # (B, T, D_t)
        output = self._network.ground(video, text.to(self._device), text_mask.to(self._device))
        return decode(
            output,
            self._config.decoding,
            clip_length_s=self._config.data.clip_length_s,
            durations_s=durations_s,
        )

    def _answer_from(self, prediction: Prediction, duration_s: float, top_k: int) -> Answer:
        moments, saliency = prediction.moments.numpy(), prediction.saliency.numpy()
        return self._answer(moments, saliency, prediction.existence, duration_s, top_k)

    def _answer(
        self,
        moments: NDArray[Any],
        saliency: NDArray[Any],
        existence: float | None,
        duration_s: float,
        top_k: int,
    ) -> Answer:
        if not self._config.data.annotates_moments:
            shares = 1 / (1 + np.exp(-saliency.astype(np.float64)))
            found = find_moments(shares, clip_length_s=self.clip_length_s, duration_s=duration_s, top_k=top_k)
            return found, saliency
        shown = _shown(moments)[:top_k]
        if existence is None or self.clear_from is None:
            return shown, saliency
        return _scaled(shown, existence), saliency

    def _video_rows(self, video: EncodedVideo) -> Tensor:
        data = replace(self._config.data, max_clips=None)
        return clip_rows([video.features[spec.name] for spec in data.video_features], data)  # (L, D_v)


def _pairs(videos: int, queries: int) -> tuple[list[int], list[int]]:
    """Return the indices of the video and the query of each pair; a single one is paired with all others."""
    count = max(videos, queries)
    return [i % videos for i in range(count)], [i % queries for i in range(count)]


def _shown(moments: NDArray[Any]) -> NDArray[Any]:
    """Drop suppressed moments, whose score is 0, and moments without length."""
    shown: NDArray[Any] = moments[(moments[:, 2] > 0) & (moments[:, 1] > moments[:, 0])]
    return shown


def _scaled(moments: NDArray[Any], existence: float) -> NDArray[np.float64]:
    """Scale scores so that the best is the probability that a moment exists; ratios between them are kept."""
    scaled = moments.astype(np.float64)
    if len(scaled):
        scaled[:, 2] = scaled[:, 2] / scaled[0, 2] * existence
    return scaled


def _window_clips(checkpoint: Checkpoint) -> int | None:
    """Return the number of clips of the longest training videos; None if unknown."""
    data = checkpoint.config.data
    longest = data.window_clips or data.max_clips or checkpoint.provenance.get("longest_clips")
    return None if longest is None else max(int(longest), 2)
