"""Stored feature rows as the network reads them: normalised, streams concatenated, padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.config import DataConfig

_NORM_EPS = 1e-5


def clip_rows(streams: Sequence[NDArray[np.floating[Any]]], config: DataConfig) -> Tensor:
    """Join the streams of a video.

    Args:
        streams: (L_i, D_i) rows of each configured stream, in the configured order.
        config: how each is normalised, and how many clips are kept at most.

    Returns:
        (L, D_v) float32: each stream normalised by itself, cut to the shortest.
    """
    count = min(len(stream) for stream in streams)
    if config.max_clips is not None:
        count = min(count, config.max_clips)
    return _joined([stream[:count] for stream in streams], config)


def token_rows(tokens: NDArray[np.floating[Any]], config: DataConfig) -> Tensor:
    """(T', D_t) stored tokens → (T, D_t) float32, cut and normalised as configured."""
    return torch.from_numpy(_normalized(tokens[: config.max_words], config.text_features.normalization))


def normalized_again(rows: Tensor, config: DataConfig) -> Tensor:
    """(L, D_v) joined rows that were changed, with each stream normalised as by `clip_rows`."""
    ends = np.cumsum([spec.dim for spec in config.video_features])
    return _joined(np.split(rows.numpy(), ends[:-1], axis=1), config)


def pad_rows(rows: Sequence[Tensor], multiple: int = 1) -> tuple[Tensor, Tensor]:
    """[(L_i, D)] → (B, L, D) with zeros behind, and (B, L) true where there is a row; L is a multiple."""
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    padded = torch.nn.functional.pad(padded, (0, 0, 0, -padded.shape[1] % multiple))
    lengths = torch.tensor([len(row) for row in rows])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def _joined(streams: Sequence[NDArray[np.floating[Any]]], config: DataConfig) -> Tensor:
    parts = [
        _normalized(stream, spec.normalization)
        for stream, spec in zip(streams, config.video_features, strict=True)
    ]
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))


def _normalized(rows: NDArray[np.floating[Any]], normalization: str) -> NDArray[np.float32]:
    rows = rows.astype(np.float32)
    if normalization == "none":
        return rows
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    rows /= norms + _NORM_EPS
    return rows


def append_tef(video: Tensor, video_mask: Tensor) -> Tensor:
    """Append the temporal endpoint feature: where each clip starts and ends, as shares of the video.

    The network does not do this by itself: only the caller knows whether the clips are all of the video.

    Args:
        video: (B, L, D_v) normalised features.
        video_mask: (B, L) true (or 1) for valid clips, which come first.

    Returns:
        (B, L, D_v + 2), the feature being zero where padded.
    """
    valid = video_mask.bool()
    count = valid.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    start = torch.arange(video.shape[1], device=video.device) / count  # (B, L)
    tef = torch.stack([start, start + 1 / count], dim=-1) * valid[..., None]
    return torch.cat([video, tef.to(video.dtype)], dim=-1)
