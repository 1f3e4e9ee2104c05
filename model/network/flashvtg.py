"""FlashVTG: the wiring of figure 2, top to bottom.

B samples, L clips, T words, P points, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import TEF_DIM, ModelConfig
from model.network.alignment import AlignmentHead
from model.network.existence import ExistenceHead
from model.network.fast.layers import speed_up
from model.network.fusion import FeatureFusion, VideoEmbedding
from model.network.highlight import HighlightHead
from model.network.layering import BoundaryHead, TemporalFeatureLayering, level_points
from model.network.refinement import AdaptiveScoreRefinement


@dataclass(frozen=True)
class NegativeOutput:
    """Videos under the query of the next sample of the batch.

    Attributes:
        index: (R,) samples whose neighbour is about another video.
        saliency: (R, L).
        engagement: (R, L).
    """

    index: Tensor
    saliency: Tensor
    engagement: Tensor


@dataclass(frozen=True)
class AbsentPairs:
    """Videos and queries about what these do not show, N of each, as `FlashVTG.forward` reads them."""

    video: Tensor
    video_mask: Tensor
    text: Tensor
    text_mask: Tensor

    def to(self, device: torch.device) -> AbsentPairs:
        """The same on another device."""
        return AbsentPairs(
            *(getattr(self, entry.name).to(device, non_blocking=True) for entry in fields(self))
        )


@dataclass(frozen=True)
class FlashVTGOutput:
    """The network's output for a batch.

    Attributes:
        saliency: (B, L) logits of how salient each clip is.
        engagement: (B, L) share of each clip's attention that falls on words, in [0, 1].
        logits: (B, P) logits of each point's confidence.
        offsets: (B, P, 2) distances to start and end, in strides of the point.
        points: (P, 4) position, range low, range high, stride; in clips.
        point_mask: (B, P) points that cover valid clips alone.
        video_mask: (B, L) valid clips.
        clips: (B, L, D) rectified fused clips, zero where padded.
        query: (B, D) the pooled query.
        negatives: the second pass, if it was asked for.
        existence: (B,) logits of the probability that a video shows what its query asks for; None without the head.
        pairs: (B, B) such logits of each video (row) under each query (column), if the second pass was asked for.
        absent: (N,) such logits of the absent pairs that were given.
        alignment: (B, L) logits of which clips belong to the moment; None without the alignment head.
    """

    saliency: Tensor
    engagement: Tensor
    logits: Tensor
    offsets: Tensor
    points: Tensor
    point_mask: Tensor
    video_mask: Tensor
    clips: Tensor
    query: Tensor
    negatives: NegativeOutput | None = None
    existence: Tensor | None = None
    pairs: Tensor | None = None
    absent: Tensor | None = None
    alignment: Tensor | None = None


class FlashVTG(nn.Module):
    """Moments and highlights of a video that match a query.

    Every sample of a batch gets what it would get alone: padding is masked everywhere it could be felt.

    Args:
        config: its sizes.
        fast: run the layers as `model.network.fast` has them instead of as they are written; results are equal.

    Source: Cao et al., FlashVTG: Feature Layering and Adaptive Score Handling Network for Video Temporal
    Grounding, WACV 2025; where the released code differs from the paper, the code is followed.
    """

    def __init__(self, config: ModelConfig, *, fast: bool = True) -> None:
        super().__init__()
        self.config = config
        self.fusion = FeatureFusion(config)
        self.highlight = HighlightHead(config)
        self.layering = TemporalFeatureLayering(config)
        self.refinement = AdaptiveScoreRefinement(config)
        self.boundaries = BoundaryHead(config)
        # Last, so that the weights of the others stay the same.
        self.existence = ExistenceHead(config) if config.existence else None
        self.alignment = AlignmentHead(config) if config.alignment_dim else None
        if fast:
            speed_up(self)

    def forward(
        self,
        video: Tensor,
        video_mask: Tensor,
        text: Tensor,
        text_mask: Tensor,
        *,
        negatives: Tensor | None = None,
        absent: AbsentPairs | None = None,
    ) -> FlashVTGOutput:
        """Run the network.

        Args:
            video: (B, L, D_v + 2) clips, normalised as configured, with the temporal endpoint feature behind
                (`fusion.append_tef`).
            video_mask: (B, L) true (or 1) for valid clips, which come first.
            text: (B, T, D_t) tokens.
            text_mask: (B, T) true (or 1) for valid tokens, which come first.
                Video or text may also be a batch of one, which then meets every sample of the other and is
                projected once.
            negatives: (R,) indices of samples to run again under the next sample's query.
            absent: further pairs for the existence head, which a network without it leaves out.

        Returns:
            Everything the decoding and the losses read.

        Raises:
            ValueError: if video or text have other channels than the model reads.

        Source: figure 2.
        """
        output = self.ground(self.embed(video, video_mask), text, text_mask, negatives=negatives)
        if absent is None or self.existence is None:
            return output
        directions = self.existence.clip_directions(_rows(absent.video), absent.video_mask.bool())
        asked = self.existence.query_directions(absent.text, absent.text_mask.bool())
        return replace(output, absent=self.existence(directions, asked, absent.video_mask.bool()))

    def embed(self, video: Tensor, video_mask: Tensor) -> VideoEmbedding:
        """The part of `forward` that knows the videos alone; arguments and errors as there."""
        _require_channels("video", video, self.config.video_dim + TEF_DIM)
        mask = video_mask.bool()
        embedded = self.fusion.encode_video(video, mask)
        if self.existence is not None:
            embedded = replace(embedded, directions=self.existence.clip_directions(_rows(video), mask))
        if self.alignment is not None:
            embedded = replace(embedded, aligned=self.alignment.clip_directions(_rows(video), mask))
        return embedded

    def match(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """(B, Q) logits of the existence head for every video under every query; arguments as for `forward`.

        Raises:
            ValueError: if the network has no such head.
        """
        if self.existence is None:
            raise ValueError("model.existence is off: there is no head that matches videos with queries")
        asked = self.existence.query_directions(text, text_mask.bool())
        mask = video_mask.bool()
        return self.existence.pairs(self.existence.clip_directions(_rows(video), mask), asked, mask)

    def ground(
        self, video: VideoEmbedding, text: Tensor, text_mask: Tensor, *, negatives: Tensor | None = None
    ) -> FlashVTGOutput:
        """The rest of `forward`; arguments and errors as there."""
        _require_channels("text", text, self.config.text_dim)
        batch = max(len(video.clips), len(text))

        query = self.fusion.encode_query(text, text_mask.bool()).expand(
            batch
        )  # words (B, T, D), dummies (B, N, D)
        embedded = video.expand(batch)  # clips, positions (B, L, D)

        both_videos, both_queries = embedded, query
        if negatives is not None:  # both passes in one
            both_videos = embedded.append(negatives)  # B + R
            both_queries = query.append((negatives + 1) % batch)
        alignment = None
        if self.alignment is not None:
            assert both_videos.aligned is not None
            directions = self.alignment.query_directions(text, text_mask.bool()).expand(batch, -1)  # (B, E)
            if negatives is not None:
                directions = torch.cat([directions, directions[(negatives + 1) % batch]])
            aligned = self.alignment(both_videos.aligned, directions, both_videos.mask)
            both_videos = replace(both_videos, clips=both_videos.clips + aligned.channels)
            alignment = aligned.logits[:batch]
        fused, engagement = self.fusion(both_videos, both_queries)  # (B + R, L, D), (B + R, L)
        saliency = self.highlight(fused, both_videos.mask)  # (B + R, L)

        video_mask = embedded.mask  # (B, L)
        clips = F.relu(fused[:batch]) * video_mask[..., None]  # (B, L, D)
        pyramid = self.layering(clips, video_mask)  # features (B, P, D)
        logits = self.refinement(pyramid)  # (B, P)
        offsets = self.boundaries(pyramid)  # (B, P, 2)

        existence = pairs = None
        if self.existence is not None:
            assert embedded.directions is not None
            asked = self.existence.query_directions(text, text_mask.bool()).expand(batch, -1)  # (B, D)
            existence = self.existence(embedded.directions, asked, video_mask)  # (B,)
            if negatives is not None:
                pairs = self.existence.pairs(embedded.directions, asked, video_mask)  # (B, B)

        return FlashVTGOutput(
            saliency=saliency[:batch],
            engagement=engagement[:batch],
            logits=logits,
            offsets=offsets,
            points=level_points(pyramid),
            point_mask=pyramid.mask,
            video_mask=video_mask,
            clips=clips,
            query=self.fusion.pool_query(query),
            negatives=None
            if negatives is None
            else NegativeOutput(negatives, saliency[batch:], engagement[batch:]),
            existence=existence,
            pairs=pairs,
            alignment=alignment,
        )


def _rows(video: Tensor) -> Tensor:
    """Clips without the temporal endpoint feature."""
    return video[..., :-TEF_DIM]


def _require_channels(what: str, rows: Tensor, dim: int) -> None:
    if rows.shape[-1] != dim:
        more = f": {dim - TEF_DIM} of features and {TEF_DIM} of the temporal endpoint feature (append_tef)"
        raise ValueError(
            f"{what} has {rows.shape[-1]} channels, the model reads {dim}{more if what == 'video' else ''}"
        )
