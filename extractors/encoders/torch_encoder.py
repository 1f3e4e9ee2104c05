"""What the frozen torch video networks share: built at the first clip, run on batches of a suitable size."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.frames import Framing
from extractors.decoding.grid import Sampling, SamplingKind
from extractors.encoders.base import EncoderOptions
from extractors.encoders.entry import Feature
from extractors.features import FeatureSpec, TextFeatures

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from extractors.compute.cpu_batches import ParallelNetwork
    from extractors.compute.gpu_batches import OverlappedNetwork
    from extractors.compute.overlap import FutureRows

_TEXT_BATCH = 64


def encode_texts(
    tower: Callable[[Sequence[str]], list[tuple[Tensor, Tensor]]], queries: Sequence[str]
) -> list[TextFeatures]:
    """Run a text network over queries in batches.

    Args:
        tower: gives the tokens (T, D) and the pooled row (E,) of each query of a batch.
        queries: any number of sentences.
    """
    encoded: list[TextFeatures] = []
    for first in range(0, len(queries), _TEXT_BATCH):
        for tokens, pooled in tower(queries[first : first + _TEXT_BATCH]):
            encoded.append(TextFeatures(tokens.cpu().numpy(), pooled.cpu().numpy()))
    return encoded


def text_placement(options: EncoderOptions) -> tuple[torch.device, torch.dtype]:
    """The device and precision of a text network; `auto` precision is fp32.

    Raises:
        UsageError: if the device or precision is not there.
    """
    from extractors.compute.device import resolve_device, resolve_precision

    device = resolve_device(options.device)
    precision = "fp32" if options.precision == "auto" else options.precision
    return device, resolve_precision(precision, device)


class TorchVideoEncoder(ABC):
    """A `VideoEncoder` whose network is a function of tensors.

    Args:
        feature: the entry of its features.
        options: clip length, device and precision.
        order: the parts of a row, as in `FeatureSpec`.
        weights_id: identity of the weights, as in `FeatureSpec`.
        batch_sizes: clips per forward pass, by kind of device.
        sampling: which frames of each clip it sees.
        framing: the frames it reads, S pixels wide and high.
    """

    def __init__(
        self,
        feature: Feature,
        options: EncoderOptions,
        *,
        order: tuple[str, ...],
        weights_id: str,
        batch_sizes: Mapping[str, int],
        sampling: SamplingKind = "center_frame",
        framing: Framing = Framing(),
    ) -> None:
        self._options = options
        self._spec = FeatureSpec(
            name=feature.name,
            dim=feature.dim,
            clip_length_s=options.clip_length_s,
            order=order,
            weights_id=weights_id,
        )
        self._sampling = Sampling(sampling, options.clip_length_s, framing)
        self._clip_shape = (feature.frames_per_clip, framing.size, framing.size, 3)
        self._batch_sizes = batch_sizes

    @property
    def spec(self) -> FeatureSpec:
        """What its rows are."""
        return self._spec

    @property
    def sampling(self) -> Sampling:
        """Which frames of the video it wants."""
        return self._sampling

    @property
    def batch_size(self) -> int:
        """Clips a forward pass takes at once on its device."""
        return self._batch_sizes[self._device.type]

    @property
    def shares_batches(self) -> bool:
        """On GPUs, where a batch that is not full costs as much as one that is."""
        return self._device.type == "cuda"

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode clips; longer inputs than `batch_size` are cut into batches.

        Args:
            clips: (B, F, S, S, 3) RGB.

        Returns:
            (B, dim) features, not normalised.

        Raises:
            ValueError: if the shape is another.
            WeightsMissing: on the first call, if the packages that carry the weights are not installed.
            WeightsInvalid: on the first call, if the weights are damaged or of another architecture.
            UsageError: on the first call, if the device or precision is not there.
        """
        sent = [
            self.submit([clips[first : first + self.batch_size]])
            for first in range(0, len(clips), self.batch_size)
        ]
        rows = np.empty((len(clips), self._spec.dim), np.float32)
        for index, pending in enumerate(sent):
            rows[index * self.batch_size : (index + 1) * self.batch_size] = pending.rows()
        return rows

    def load(self) -> None:
        """Build the network; errors as for `encode`."""
        _ = self._network

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
        """Begin to encode a batch, while the batches before it are computed.

        Args:
            parts: clips as for `encode`, to be joined; at most `batch_size` in all. They may be reused at once.

        Returns:
            Its rows, or the promise of them.

        Raises:
            As `encode`.
        """
        for clips in parts:
            if clips.dtype != np.uint8 or clips.shape[1:] != self._clip_shape:
                raise ValueError(
                    f"clips are {clips.dtype} {clips.shape}; expected uint8 (B, {self._clip_shape})"
                )
        return self._network.submit(parts)

    @abstractmethod
    def _build(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """Read the network: (B, F, S, S, 3) bytes in, (B, dim) float32 out."""

    @cached_property
    def _device(self) -> torch.device:
        from extractors.compute.device import resolve_device

        return resolve_device(self._options.device)

    @cached_property
    def _network(self) -> OverlappedNetwork | ParallelNetwork:
        from extractors.compute.device import resolve_precision

        network = self._build(self._device, resolve_precision(self._options.precision, self._device))
        if self._device.type == "cpu":
            import torch

            from extractors.compute.cpu_batches import ParallelNetwork

            def compute(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
                with torch.inference_mode():
                    return network(torch.from_numpy(clips)).numpy()

            return ParallelNetwork(compute, batch_size=self.batch_size)
        from extractors.compute.gpu_batches import OverlappedNetwork

        return OverlappedNetwork(
            choosing_kernels(network) if self._device.type == "cuda" else network,
            self._device,
            clip_shape=self._clip_shape,
            dim=self._spec.dim,
            batch_size=self.batch_size,
        )


def choosing_kernels(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network whose convolutions cuDNN times at the first batch of each size, to take the fastest kernels after that.

    Products of fp32 are not cut to TF32, which keeps three digits: fp32 means all digits.
    """
    import torch

    def run(clips: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            return network(clips)

    return run


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Around imports of libraries that script functions at import, which torch calls deprecated by now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
