"""SlowFast 8x8 R50, the `slowfast` features: one row per clip, from 32 of its frames.

An encoder is cheap to create: its network is built when the first clip has to be encoded.

Source: Feichtenhofer et al., SlowFast Networks for Video Recognition; the features published with HERO and
Moment-DETR and read by FlashVTG.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.encoders.base import EncoderOptions
from extractors.encoders.slowfast import FEATURE
from extractors.encoders.torch_encoder import TorchVideoEncoder
from extractors.files.identity import file_identity

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SLOW_DIM, FAST_DIM = 2048, 256
_BATCH = {"cpu": 1, "cuda": 16, "mps": 4}  # on a CPU more than one leave its caches and cost more a clip


class SlowFastEncoder(TorchVideoEncoder):
    """SlowFast without its classifier: rows of the slow pathway, then of the fast one.

    Args:
        weights: the file its network is read from, of any published form.
        options: clip length, device and precision; the rest follows from the file.
    """

    def __init__(self, weights: Path, options: EncoderOptions) -> None:
        super().__init__(
            FEATURE,
            options,
            order=(f"slow:{SLOW_DIM}", f"fast:{FAST_DIM}"),
            weights_id=f"{FEATURE.weights}:{file_identity(weights)}",
            batch_sizes=_BATCH,
            sampling="slowfast",
        )
        self._weights = weights

    def _build(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        from extractors.encoders.slowfast.network import SlowFastTrunk

        return SlowFastTrunk(self._weights, device, dtype)
