"""Decoding: offsets to seconds, non-maximum suppression, ranking (section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import Config, DecodingConfig
from model.network.flashvtg import FlashVTG, FlashVTGOutput


@dataclass(frozen=True)
class Prediction:
    """The model's prediction for one video and one query.

    Attributes:
        moments: (N, 3) start in seconds, end in seconds, score; best first. Suppressed ones have the score 0
            and come last: the published metrics still count them.
        saliency: (L,) logits of each clip.
        engagement: (L,) share of each clip's attention that fell on words.
        existence: probability that the video shows what the query asks for; None if the network has no head for it.
    """

    moments: Tensor
    saliency: Tensor
    engagement: Tensor
    existence: float | None = None


@torch.inference_mode()
def predict(
    model: FlashVTG,
    video: Tensor,
    video_mask: Tensor,
    text: Tensor,
    text_mask: Tensor,
    *,
    config: Config,
    durations_s: Sequence[float] | None = None,
) -> list[Prediction]:
    """Ground a padded batch.

    Args:
        model: in evaluation mode.
        video: (B, L, D_v + 2) as the network reads it, or (1, L, D_v + 2): one video under every query.
        video_mask: (B, L) or (1, L) true for valid clips.
        text: (B, T, D_t), or (1, T, D_t): one query over every video.
        text_mask: (B, T) or (1, T) true for valid tokens.
        config: how to decode, and the clip length.
        durations_s: of each video; None: as many clips as are valid.

    Returns:
        A prediction a sample, on the CPU.
    """
    output = model(video, video_mask, text, text_mask)
    return decode(output, config.decoding, clip_length_s=config.data.clip_length_s, durations_s=durations_s)


def decode(
    output: FlashVTGOutput,
    config: DecodingConfig,
    *,
    clip_length_s: float,
    durations_s: Sequence[float] | None = None,
) -> list[Prediction]:
    """Turn outputs of the network into ranked moments in seconds.

    Args:
        output: of a batch.
        config: what to keep and how to suppress.
        clip_length_s: seconds per clip.
        durations_s: of each video, or of the one video; None: as many clips as are valid.

    Returns:
        A prediction a sample, on the CPU.
    """
    clips = output.video_mask.sum(dim=1)  # (B,)
    duration_s = clips * clip_length_s
    if durations_s is not None:
        duration_s = torch.as_tensor(durations_s, dtype=torch.float32, device=clips.device).expand(len(clips))
    moments = decode_moments(
        output.offsets,
        output.logits.sigmoid(),
        output.points,
        output.point_mask,
        clip_length_s=clip_length_s,
        top_k=config.max_moments,
    )
    grid_s = clip_length_s if config.round_to_clips else None
    moments = clamp_moments(moments, duration_s, max_end_s=config.max_end_s, grid_s=grid_s)
    if config.nms != "none":
        moments = suppress_overlaps(moments, threshold=config.nms_threshold, kind=config.nms)
    kept = output.point_mask.sum(dim=1).clamp(max=config.max_moments).tolist()
    lengths = clips.tolist()
    existence: list[float | None] = [None] * len(lengths)
    if output.existence is not None:
        existence = list(output.existence.float().sigmoid().tolist())
    rows = zip(
        moments.float().cpu(),
        output.saliency.float().cpu(),
        output.engagement.float().cpu(),
        kept,
        lengths,
        existence,
        strict=True,
    )
    return [Prediction(m[:count], s[:length], e[:length], found) for m, s, e, count, length, found in rows]


def decode_moments(
    offsets: Tensor,
    scores: Tensor,
    points: Tensor,
    point_mask: Tensor,
    *,
    clip_length_s: float,
    top_k: int,
) -> Tensor:
    """Turn regressed offsets into scored moments.

    Args:
        offsets: (B, P, 2) distances to start and end, in units of each point's stride.
        scores: (B, P) confidence in [0, 1].
        points: (P, 4) position, range low, range high, stride; in clips.
        point_mask: (B, P) true for points that count.
        clip_length_s: seconds per clip.
        top_k: moments kept per sample.

    Returns:
        (B, min(top_k, P), 3) start in seconds, end in seconds, score; best first, those of points that do
        not count behind all others, with the score −1.

    Source: section 3.4, equation 5.
    """
    position, stride = points[:, 0], points[:, 3]
    start = position - offsets[..., 0] * stride  # (B, P)
    end = position + offsets[..., 1] * stride
    seconds = torch.stack([start, end], dim=-1) / (1 / clip_length_s)  # (B, P, 2)
    moments = torch.cat([seconds, torch.where(point_mask, scores, -1.0)[..., None]], dim=-1)
    order = _rank(scores, point_mask)[:, :top_k, None]
    return moments.gather(1, order.expand(-1, -1, 3))


def clamp_moments(
    moments: Tensor, duration_s: Tensor, *, max_end_s: float | None = None, grid_s: float | None = None
) -> Tensor:
    """Keep moments inside their video and round them to a grid.

    Args:
        moments: (B, N, 3) start and end in seconds, score.
        duration_s: (B,) of each video.
        max_end_s: a second limit on both ends, for all videos.
        grid_s: both ends become multiples of this, halves going to the even one; None does not round.

    Returns:
        (B, N, 3); a moment shorter than the grid may come out with length 0.
    """
    limit = duration_s.to(moments.dtype)[:, None, None]
    bounds = torch.minimum(moments[..., :2].clamp(min=0), limit)
    if max_end_s is not None:
        bounds = bounds.clamp(max=max_end_s)
    if grid_s is not None:
        bounds = (bounds / grid_s).round() * grid_s
    return torch.cat([bounds, moments[..., 2:]], dim=-1)


def suppress_overlaps(moments: Tensor, *, threshold: float, kind: str) -> Tensor:
    """Non-maximum suppression.

    Going from the best moment down, every moment still standing takes from the scores of those below it:
    `normal` sets a score to 0 from the threshold on, `linear` multiplies every score by 1 − IoU, and the order
    is updated after each step. Nothing is removed. Moments of length 0 overlap with nothing.

    Args:
        moments: (B, N, 3) start, end, score; scores below 0 mark padding, which neither takes nor gives.
        threshold: IoU from which `normal` suppresses.
        kind: `normal` or `linear`.

    Returns:
        (B, N, 3), best first.

    Raises:
        ValueError: if the kind is another.
    """
    moments = _by_score(moments)
    overlap = _overlaps(moments)
    if kind == "normal":
        survives = _greedy_survivors(overlap >= threshold) | (moments[..., 2] < 0)
        scores = torch.where(survives, moments[..., 2], 0.0)
    elif kind == "linear":
        scores = _faded_scores(moments[..., 2], overlap)
    else:
        raise ValueError(f"kind of suppression is '{kind}'; known are normal, linear")
    return _by_score(torch.cat([moments[..., :2], scores[..., None]], dim=-1))


def _rank(scores: Tensor, mask: Tensor) -> Tensor:
    """(B, P) → (B, P) indices of the points that count, best first, and of the others behind them.

    Samples are sorted by as many points as they have, like with like: among equal scores the order then is the
    one that the released code's sort gives a sample by itself, whatever the batch.
    """
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    scores, counts = scores.gather(1, order), mask.sum(dim=1)
    for count in sorted(set(counts.tolist())):
        rows = (counts == count).nonzero()[:, 0]
        ranked = scores[rows, :count].sort(dim=1, descending=True).indices
        order[rows, :count] = order[rows, :count].gather(1, ranked)
    return order


def _by_score(moments: Tensor) -> Tensor:
    order = moments[..., 2].argsort(dim=1, descending=True, stable=True)  # (B, N)
    return moments.gather(1, order[..., None].expand_as(moments))


def _overlaps(moments: Tensor) -> Tensor:
    """(B, N, 3) → (B, N, N) IoU; 0 where both are empty."""
    start, end = moments[..., 0], moments[..., 1]
    shared = torch.minimum(end[:, :, None], end[:, None]) - torch.maximum(start[:, :, None], start[:, None])
    shared = shared.clamp(min=0)
    length = end - start
    union = length[:, :, None] + length[:, None] - shared
    real = moments[..., 2] >= 0
    return torch.where((union > 0) & real[:, :, None] & real[:, None], shared / union, 0.0)


def _greedy_survivors(conflicts: Tensor) -> Tensor:
    """(B, N, N) → (B, N): who survives when each survivor, in order, strikes out those below it.

    Everyone is taken to survive at first, and is then judged again and again by the survivors of the round
    before. After k rounds the first k ranks are settled; in practice a few rounds settle all of them.
    """
    above = conflicts.triu(diagonal=1)
    survives = conflicts.new_ones(conflicts.shape[:2])
    for _ in range(conflicts.shape[1]):
        judged = ~(above & survives[:, :, None]).any(dim=1)
        if torch.equal(judged, survives):
            break
        survives = judged
    return survives


def _faded_scores(scores: Tensor, overlap: Tensor) -> Tensor:
    """(B, N) scores after each moment, best first, has faded those still behind it."""
    batch = torch.arange(len(scores), device=scores.device)
    scores, waiting = scores.clone(), torch.ones_like(scores, dtype=torch.bool)
    for _ in range(scores.shape[1]):
        best = torch.where(waiting, scores, -torch.inf).argmax(dim=1)  # (B,)
        waiting[batch, best] = False
        scores = torch.where(waiting, scores * (1 - overlap[batch, best]), scores)
    return scores
