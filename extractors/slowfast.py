"""SlowFast 8x8 R50, the `slowfast` features: one row a clip, from 32 of its frames.

An encoder is cheap to make: its network is built when the first clip has to be encoded.

Source: Feichtenhofer et al., SlowFast Networks for Video Recognition; the features published with HERO and
Moment-DETR and read by FlashVTG.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from extractors.base import FRAME_SIZE, EncoderOptions, FeatureSpec
from extractors.clips import Sampling
from extractors.identity import file_identity
from extractors.weights import resolve

if TYPE_CHECKING:
    import torch

    from extractors.slowfast_trunk import SlowFastTrunk

ARTEFACT = "slowfast-r50-8x8"
SLOW_DIM, FAST_DIM = 2048, 256
DIM = SLOW_DIM + FAST_DIM
FRAMES_PER_CLIP = 32
_BATCH = {"cpu": 1, "cuda": 16, "mps": 4}  # on a CPU more than one leave its caches and cost more a clip


def load_video_encoder(options: EncoderOptions) -> SlowFastEncoder:
    """Make the encoder of clips.

    Raises:
        WeightsMissing: if its weights are neither here nor reachable.
        WeightsInvalid: if a download is damaged.
    """
    weights = resolve(
        ARTEFACT,
        path=options.weights_path("slowfast"),
        offline=options.offline,
        progress=options.on_download,
    )
    return SlowFastEncoder(weights, options)


class SlowFastEncoder:
    """SlowFast without its classifier; a `VideoEncoder`.

    Args:
        weights: the file its network is read from, of any published form.
        options: clip length, device and precision; the rest is settled by the file.
    """

    def __init__(self, weights: Path, options: EncoderOptions) -> None:
        self._weights = weights
        self._options = options
        self._spec = FeatureSpec(
            name="slowfast",
            dim=DIM,
            clip_length_s=options.clip_length_s,
            order=(f"slow:{SLOW_DIM}", f"fast:{FAST_DIM}"),
            weights_id=f"{ARTEFACT}:{file_identity(weights)}",
        )

    @property
    def spec(self) -> FeatureSpec:
        """What its rows are: the slow pathway's features, then the fast one's, not normalised."""
        return self._spec

    @property
    def sampling(self) -> Sampling:
        """The 32 frames of each clip the published features read."""
        return Sampling("slowfast", self._spec.clip_length_s)

    @property
    def batch_size(self) -> int:
        """Clips a forward pass takes at once on its device."""
        return _BATCH[self._device.type]

    @property
    def shares_batches(self) -> bool:
        """On GPUs, where a batch that is not full costs as much as one that is."""
        return self._device.type == "cuda"

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode clips; longer inputs than `batch_size` are cut into batches.

        Args:
            clips: (B, 32, 224, 224, 3) RGB.

        Returns:
            (B, 2304) features, not normalised.

        Raises:
            ValueError: if the shape is another.
            WeightsInvalid: on the first call, if the weights are damaged or of another architecture.
            UsageError: on the first call, if the device or precision is not there.
        """
        import torch

        expected = (FRAMES_PER_CLIP, FRAME_SIZE, FRAME_SIZE, 3)
        if clips.dtype != np.uint8 or clips.shape[1:] != expected:
            raise ValueError(f"clips are {clips.dtype} {clips.shape}; expected uint8 (B, {expected})")
        rows = np.empty((len(clips), DIM), np.float32)
        for first in range(0, len(clips), self.batch_size):
            batch = np.require(clips[first : first + self.batch_size], requirements=["C", "W"])
            rows[first : first + len(batch)] = self._trunk(torch.from_numpy(batch)).cpu().numpy()
        return rows

    @cached_property
    def _device(self) -> torch.device:
        from extractors.device import resolve_device

        return resolve_device(self._options.device)

    @cached_property
    def _trunk(self) -> SlowFastTrunk:
        from extractors.device import resolve_precision
        from extractors.slowfast_trunk import SlowFastTrunk

        return SlowFastTrunk(
            self._weights, self._device, resolve_precision(self._options.precision, self._device)
        )
