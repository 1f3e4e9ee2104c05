"""Several networks that answer as one: their outputs are averaged. It is an addition to the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.flashvtg import AbsentPairs, FlashVTG, FlashVTGOutput
from model.network.fusion import VideoEmbedding


@dataclass(frozen=True)
class AveragedEmbedding(VideoEmbedding):
    """Videos as each of the networks projects them.

    Attributes:
        parts: of each network; the other fields are those of the first.
    """

    parts: tuple[VideoEmbedding, ...] = ()


class AveragedFlashVTG(FlashVTG):
    """Networks of one shape that were trained from different random weights, for inference.

    It costs as much time and memory as its networks together.

    Args:
        config: the networks' sizes; `networks` is how many there are.
        fast: as for `FlashVTG`.
    """

    def __init__(self, config: ModelConfig, *, fast: bool = True) -> None:
        nn.Module.__init__(self)
        self.config = config
        alone = replace(config, networks=1)
        self.networks = nn.ModuleList(FlashVTG(alone, fast=fast) for _ in range(config.networks))

    @property
    def _parts(self) -> Sequence[FlashVTG]:
        return list(self.networks)  # type: ignore[arg-type]

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
        """As `FlashVTG.forward`; raises ValueError for what only training asks for."""
        if absent is not None:
            raise ValueError("averaged networks only answer; train each of them alone")
        return self.ground(self.embed(video, video_mask), text, text_mask, negatives=negatives)

    def embed(self, video: Tensor, video_mask: Tensor) -> AveragedEmbedding:
        """As `FlashVTG.embed`."""
        parts = tuple(network.embed(video, video_mask) for network in self._parts)
        first = {entry.name: getattr(parts[0], entry.name) for entry in fields(VideoEmbedding)}
        return AveragedEmbedding(**first, parts=parts)

    def match(self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """As `FlashVTG.match`."""
        judged = [network.match(video, video_mask, text, text_mask) for network in self._parts]
        return torch.stack(judged).mean(dim=0)

    def ground(
        self, video: VideoEmbedding, text: Tensor, text_mask: Tensor, *, negatives: Tensor | None = None
    ) -> FlashVTGOutput:
        """As `FlashVTG.ground`, of what `embed` gave.

        Logits and saliency are arithmetic means, distances to the boundaries geometric ones. What only the losses read
        is that of the first network.
        """
        if negatives is not None or not isinstance(video, AveragedEmbedding):
            raise ValueError("averaged networks only answer; train each of them alone")
        outputs = [
            network.ground(part, text, text_mask)
            for network, part in zip(self._parts, video.parts, strict=True)
        ]
        existence = [output.existence for output in outputs if output.existence is not None]
        return replace(
            outputs[0],
            saliency=_mean([output.saliency for output in outputs]),
            engagement=_mean([output.engagement for output in outputs]),
            logits=_mean([output.logits for output in outputs]),
            offsets=_mean([output.offsets.log() for output in outputs]).exp(),
            existence=_mean(existence) if existence else None,
        )


def build_network(config: ModelConfig) -> FlashVTG:
    """The network of a configuration, or the networks that it averages."""
    return FlashVTG(config) if config.networks == 1 else AveragedFlashVTG(config)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(dim=0)
