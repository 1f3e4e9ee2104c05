"""The two protocols of frozen encoders, how they are built, and all that vtg knows about one kind of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.decoding.grid import Sampling
from extractors.features import FeatureSpec, TextFeatures


class VideoEncoder(Protocol):
    """A frozen network that turns the frames of a clip into one row."""

    @property
    def spec(self) -> FeatureSpec:
        """What its rows are."""
        ...

    @property
    def sampling(self) -> Sampling:
        """Which frames of the video it wants."""
        ...

    @property
    def batch_size(self) -> int:
        """The best number of clips per call of `encode` on the encoder's device."""
        ...

    @property
    def shares_batches(self) -> bool:
        """Whether a batch may hold clips of several videos.

        It fills batches where many videos are short. But kernels round differently for batches of other sizes, so that
        the last bits of a row would depend on which videos happen to come together.
        """
        ...

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode clips.

        Args:
            clips: (B, F, 224, 224, 3) RGB, F frames per clip as `sampling` asks.

        Returns:
            (B, dim) features, not normalised.
        """
        ...


class TextEncoder(Protocol):
    """A frozen network that turns sentences into token rows and one pooled row."""

    @property
    def spec(self) -> FeatureSpec:
        """What the token rows are; `clip_length_s` is 0."""
        ...

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries; one result a query, in order."""
        ...


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is to be built.

    Attributes:
        clip_length_s: seconds per clip, the inverse of the sampling rate in FPS.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        weights: paths that replace the named artefacts, by feature name.
        offline: never open a connection.
        on_download: called with bytes done and bytes in all (None if unknown) while weights are fetched.
    """

    clip_length_s: float = 2.0
    device: str = "auto"
    precision: str = "auto"
    weights: Mapping[str, Path] | None = None
    offline: bool = False
    on_download: Callable[[int, int | None], None] | None = None

    def weights_path(self, name: str) -> Path | None:
        """The path given for a feature's weights, if any."""
        return None if self.weights is None else self.weights.get(name)


@dataclass(frozen=True)
class Feature:
    """One kind of features: the entry that everything about its encoders is read from.

    Code is named as `package.module:name`, which is imported when it is first used, or given as the object itself.

    Attributes:
        name: what `--features` calls it.
        row: what one row holds, for people.
        dim: length of a row.
        network: what makes it, for people.
        video_encoder: gives its `VideoEncoder`; called with the file of weights, if the feature has named ones, and an
            `EncoderOptions`. None if it is text alone.
        text_encoder: likewise its `TextEncoder`; None if it has none.
        frames_per_clip: frames that a row is made of.
        fps: clips per second unless told otherwise.
        good_for: what it can tell, for people.
        note: what to tell a person who gets answers from it alone.
        aligned_with_text: whether rows of videos can be compared with the pooled rows of queries.
        preferred: whether `--features auto` takes it where it can be had; counts for features of vtg itself.
        fallback: whether `--features auto` takes it where no preferred one can be had; likewise, and of just one.
        weights: name of its weights, as `vtg weights list` shows it; empty if it brings its own.
        write_random_weights: writes such a file, filled with random numbers, into a folder; returns its path.
        check_weights: says what is wrong with the weights here, an empty text if they are the published ones; takes an
            `EncoderOptions`.
        class_embeddings: gives (K, dim) rows, those of the classes that it tells apart, if it is a classifier.
    """

    name: str
    row: str
    dim: int
    network: str
    video_encoder: str | Callable[..., VideoEncoder] | None = None
    text_encoder: str | Callable[..., TextEncoder] | None = None
    frames_per_clip: int = 1
    fps: float = 0.5
    good_for: str = ""
    note: str = ""
    aligned_with_text: bool = False
    preferred: bool = False
    fallback: bool = False
    weights: str = ""
    write_random_weights: str | Callable[[Path], Path] | None = None
    check_weights: str | Callable[[EncoderOptions], str] | None = None
    class_embeddings: str | Callable[[], NDArray[np.float32]] | None = None
