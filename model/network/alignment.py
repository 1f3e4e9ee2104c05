"""The alignment head: which clips of a video are closest to the query. It is an addition to the paper.

Image and text encoders that were trained together have a space in which clips and sentences can be compared at once.
The network has to learn such a comparison from annotated moments alone, of which small sets have few. The head makes it
explicit: one cosine per clip, which each clip carries into the fusion, and which has a loss of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.matching import MatchingSpace

_SCALE = 10.0  # of the cosines in the loss; learnt from here on
_WIDTHS = (1.0, 3.0)  # clips, standard deviations of the Gaussians that smooth the curve
_COSINE = 5.0  # brings plain cosines to the size of standard scores
_LEAST_DEVIATION = 1e-4
_STD = 0.1


@dataclass(frozen=True)
class Alignment:
    """How clips compare with queries.

    Attributes:
        logits: (B, L) of which clips belong to the moment, as the loss reads them.
        channels: (B, L, D) what is added to the clips.
    """

    logits: Tensor
    channels: Tensor


class AlignmentHead(MatchingSpace):
    """Curves of cosines between clips and a query, as channels that clips carry.

    A curve is given as it is, standardised over the video, and smoothed. The direction of a clip may depend on its
    neighbours, too: what somebody does is seen in a stretch of clips rather than in one picture.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.video_dim,
            config.text_dim,
            config.alignment_dim,
            dropout=config.alignment_dropout,
            kernel=config.alignment_kernel,
        )
        self.output = nn.Linear(2 + len(_WIDTHS), config.hidden_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_SCALE)))
        if not self.output.weight.is_meta:
            nn.init.zeros_(self.word_scores.weight)  # the mean of the tokens
            nn.init.normal_(self.output.weight, std=_STD)
            nn.init.zeros_(self.output.bias)

    def forward(self, clips: Tensor, query: Tensor, mask: Tensor) -> Alignment:
        """Compare as many videos as queries.

        Args:
            clips: (B, L, E) from `clip_directions`.
            query: (B, E) from `query_directions`.
            mask: (B, L) bool; padding has no effect.
        """
        with torch.autocast(clips.device.type, enabled=False):
            cosines = (clips @ query[..., None])[..., 0] * mask  # (B, L)
            curve = _standardised(cosines, mask)
            curves = [curve, *(_smoothed(curve, mask, width) for width in _WIDTHS), cosines * _COSINE]
            return Alignment(cosines * self.log_scale.exp(), self.output(torch.stack(curves, dim=-1)))


def _standardised(curve: Tensor, mask: Tensor) -> Tensor:
    """(B, L) with mean 0 and deviation 1 over valid clips, 0 where padded."""
    count = mask.sum(dim=1, keepdim=True)
    around = (curve - curve.sum(dim=1, keepdim=True) / count) * mask
    deviation = (around.square().sum(dim=1, keepdim=True) / count).sqrt()
    return around / (deviation + _LEAST_DEVIATION)


def _smoothed(curve: Tensor, mask: Tensor, width: float) -> Tensor:
    """(B, L) means of valid clips, weighed by a Gaussian."""
    reach = math.ceil(3 * width)
    places = torch.arange(-reach, reach + 1, dtype=curve.dtype, device=curve.device)
    kernel = torch.exp(-0.5 * (places / width).square())[None, None]
    valid = mask.to(curve.dtype)
    values, weights = (
        F.conv1d(row[:, None], kernel, padding=reach)[:, 0] for row in (curve * valid, valid)
    )  # (B, L) each
    return values / weights.clamp(min=_LEAST_DEVIATION)
