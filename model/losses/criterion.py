"""All losses of section 3.6, weighted and added up."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model.config import Config
from model.losses.alignment import alignment_loss
from model.losses.assignment import assign_points
from model.losses.clip_aware import clip_aware_loss
from model.losses.existence import existence_loss
from model.losses.focal import focal_loss, quality_focal_loss, saliency_classification_loss
from model.losses.nce import sampled_nce_loss
from model.losses.regression import offset_iou, offset_loss
from model.losses.saliency import saliency_loss
from model.network.flashvtg import FlashVTGOutput


@dataclass(frozen=True)
class Targets:
    """The targets of a batch.

    Attributes:
        saliency: (B, L) float labels in 0 … 12, 0 where padded.
        positive_clips: (B, N) indices of clips that should be more salient …
        negative_clips: (B, N) … than these.
        windows_s: (B, W, 2) every annotated moment in seconds, padded with infinity; None where the dataset
            has none.
    """

    saliency: Tensor
    positive_clips: Tensor
    negative_clips: Tensor
    windows_s: Tensor | None = None

    def to(self, device: torch.device | str) -> Targets:
        """The same on another device."""
        values = (getattr(self, entry.name) for entry in fields(self))
        return Targets(*(None if value is None else value.to(device) for value in values))  # type: ignore[arg-type]


@dataclass(frozen=True)
class LossTerms:
    """The terms before weighting, and their weighted sum; scalars.

    Attributes:
        total: what is minimised.
        classification, nce, saliency, clip_aware, regression: the terms; 0 where the configuration has none.
        existence, alignment: likewise; None where the network has no head for it.
    """

    total: Tensor
    classification: Tensor
    nce: Tensor
    saliency: Tensor
    clip_aware: Tensor
    regression: Tensor
    existence: Tensor | None = None
    alignment: Tensor | None = None


class Criterion:
    """The training objective of a configuration.

    Raises:
        ValueError: on a call without moments where the configuration is trained on moments.
    """

    def __init__(self, config: Config) -> None:
        self._config = config.loss
        self._clip_length_s = config.data.clip_length_s
        # The Clip-Aware Score Loss is a part of Adaptive Score Refinement and goes with it.
        self._clip_aware = config.model.score_refinement

    def __call__(self, output: FlashVTGOutput, targets: Targets, foreign: Tensor | None = None) -> LossTerms:
        """Compare outputs with targets; in float32, whatever precision the network ran in.

        Args:
            output: of the network.
            targets: of the batch.
            foreign: (B, B) bool, the pairs of a video and a query that are negatives of the existence head.
        """
        with torch.autocast(output.saliency.device.type, enabled=False):
            return self._terms(output, targets, foreign)

    def _terms(self, output: FlashVTGOutput, targets: Targets, foreign: Tensor | None) -> LossTerms:
        config, mask = self._config, output.video_mask
        clip_logits = output.logits[:, : mask.shape[1]]  # the points of stride 1 are the clips
        zero = output.logits.new_zeros(())

        regression = zero
        if config.classification == "saliency":
            classification = saliency_classification_loss(clip_logits, targets.saliency, mask)
        else:
            if targets.windows_s is None:
                raise ValueError("the configuration is trained on moments, but the targets have no windows_s")
            assigned = assign_points(
                output.points, targets.windows_s * (1 / self._clip_length_s), radius=config.sample_radius
            )
            positive = assigned.positive & output.point_mask
            if config.classification == "quality":
                quality = offset_iou(output.offsets.detach(), assigned.offsets.clamp(min=0))
                classification = quality_focal_loss(output.logits, quality, positive, output.point_mask)
            else:
                classification = focal_loss(output.logits, positive, output.point_mask)
            regression = offset_loss(output.offsets, assigned.offsets, positive)

        nce = sampled_nce_loss(
            output.clips.float(),
            output.query.float(),
            targets.positive_clips[:, 0],
            targets.saliency,
            mask,
            temperature=config.nce_temperature,
            over_batch=config.nce_over_batch,
        )
        saliency = saliency_loss(
            output, targets.saliency, targets.positive_clips, targets.negative_clips, config
        )
        clip_aware = clip_aware_loss(clip_logits, targets.saliency, mask) if self._clip_aware else zero
        existence = None
        if output.existence is not None:
            existence = _existence(output.existence, output.pairs, foreign, output.absent)
        total = (
            config.regression_weight * regression
            + config.classification_weight * classification
            + config.nce_weight * nce
            + config.saliency_weight * saliency
            + config.clip_aware_weight * clip_aware
        )
        if existence is not None:
            total = total + config.existence_weight * existence
        alignment = None
        if output.alignment is not None:
            alignment = alignment_loss(output.alignment, targets.saliency, mask)
            total = total + config.alignment_weight * alignment
        return LossTerms(total, classification, nce, saliency, clip_aware, regression, existence, alignment)


def _existence(own: Tensor, pairs: Tensor | None, foreign: Tensor | None, absent: Tensor | None) -> Tensor:
    others = own[:0] if pairs is None or foreign is None else pairs[foreign]
    if len(others) == 0 and absent is None:  # several processes wait for the gradients of all parameters
        return 0 * own.sum()
    return existence_loss(own.float(), others.float(), None if absent is None else absent.float())
