"""Annotated queries with their features, as the samples and batches that FlashVTG is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from model.config import Config, TrainingConfig
from model.datasets.annotations import Annotation, AnnotationError
from model.datasets.labels import ClipLabels, clip_labels
from model.datasets.mixing import mix_content
from model.datasets.sources import Array, TextSource, VideoSource
from model.datasets.stretching import stretch_time
from model.losses import Targets
from model.rows import append_tef, clip_rows, pad_rows, token_rows

_KEEP_BYTES = 4 << 30
_MIXING, _STRETCHING = 2, 3  # streams of random numbers, apart from those that draw labels


@dataclass(frozen=True)
class Sample:
    """One query in one video.

    Attributes:
        annotation: what it is; its duration is always known.
        video: (L, D_v) normalised clips.
        text: (T, D_t) normalised tokens.
        labels: of the clips; None where nothing is to be learnt.
    """

    annotation: Annotation
    video: Tensor
    text: Tensor
    labels: ClipLabels | None


@dataclass(frozen=True)
class Batch:
    """Padded samples.

    Attributes:
        video: (B, L, D_v + 2) clips with the temporal endpoint feature behind.
        video_mask: (B, L) true for valid clips.
        text: (B, T, D_t) tokens.
        text_mask: (B, T) true for valid tokens.
        targets: what should be said; None where nothing is to be learnt.
        annotations: of the samples.
    """

    video: Tensor
    video_mask: Tensor
    text: Tensor
    text_mask: Tensor
    targets: Targets | None
    annotations: tuple[Annotation, ...]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same on another device."""
        video, video_mask, text, text_mask = (
            tensor.to(device, non_blocking=non_blocking)
            for tensor in (self.video, self.video_mask, self.text, self.text_mask)
        )
        targets = None if self.targets is None else self.targets.to(device)
        return Batch(video, video_mask, text, text_mask, targets, self.annotations)


class GroundingDataset(Dataset[Sample]):
    """Samples by (epoch, index).

    Random choices of a sample depend on the seed, the epoch and the index alone, so they are the same in every process.

    Args:
        annotations: the queries.
        videos: where clips come from.
        texts: where tokens come from.
        config: how rows are normalised and clips are labelled.
        labelled: whether samples carry labels.
        keep_bytes: features stay in memory, as they are stored, up to this size; the rest is read again each epoch.
        first_index: added to an index where random choices depend on it, so that joined datasets choose differently.

    Raises:
        AnnotationError: if samples carry labels and a query has nothing to make them of.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        videos: VideoSource,
        texts: TextSource,
        config: Config,
        *,
        labelled: bool = True,
        keep_bytes: int = _KEEP_BYTES,
        first_index: int = 0,
    ) -> None:
        if labelled and config.data.annotates_moments:
            _require_moments(annotations)
        self.annotations = tuple(annotations)
        self.config = config
        self._videos = _Kept(videos.load, keep_bytes)
        self._texts = texts
        self._tokens: dict[int | str, Array] = {}
        self._labelled = labelled
        self._first_index = first_index

    def __len__(self) -> int:
        return len(self.annotations)

    def longest_clips(self) -> int:
        """Clips of the longest video."""
        return max(min(map(len, self._videos(vid))) for vid in dict.fromkeys(a.vid for a in self.annotations))

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        epoch, index = place
        config, annotation = self.config, self.annotations[index]
        video = clip_rows(self._videos(annotation.vid), config.data)
        if not config.data.annotates_moments and annotation.saliency is not None:
            video = video[: len(annotation.saliency)]  # clips beyond the labels are neither learnt nor scored
        if math.isnan(annotation.duration_s):
            annotation = replace(annotation, duration_s=len(video) * config.data.clip_length_s)
        labels = None
        if self._labelled:
            epoch = epoch if config.training.resample_labels else 0
            video = self._mixed(video, annotation, place)
            video, annotation = self._stretched(video, annotation, place)
            labels = clip_labels(annotation, config.data, len(video), self._draws((epoch, index)))
        return Sample(annotation, video, token_rows(self._text(annotation), config.data), labels)

    def _mixed(self, video: Tensor, annotation: Annotation, place: tuple[int, int]) -> Tensor:
        """The clips, or in some samples of most epochs those with the content of another video around the moment."""
        training, (epoch, _) = self.config.training, place
        if not training.content_mixing or epoch > training.epochs - training.unmixed_epochs:
            return video
        rng = self._draws(place, _MIXING)
        other = self.annotations[int(rng.integers(len(self.annotations)))].vid
        if rng.random() >= training.content_mixing or other == annotation.vid or not annotation.windows_s:
            return video
        data = self.config.data
        return mix_content(
            video,
            annotation.windows_s,
            clip_rows(self._videos(other), data),
            clip_length_s=data.clip_length_s,
            rng=rng,
        )

    def _stretched(
        self, video: Tensor, annotation: Annotation, place: tuple[int, int]
    ) -> tuple[Tensor, Annotation]:
        """The clips and the annotation, in some samples in another time."""
        share = self.config.training.time_stretching
        if not share:
            return video, annotation
        rng = self._draws(place, _STRETCHING)
        if rng.random() >= share:
            return video, annotation
        return stretch_time(video, annotation, self.config.data, rng)

    def _draws(self, place: tuple[int, int], *stream: int) -> np.random.Generator:
        epoch, index = place
        return np.random.default_rng([self.config.training.seed, epoch, self._first_index + index, *stream])

    def _text(self, annotation: Annotation) -> Array:
        if annotation.qid not in self._tokens:
            self._tokens[annotation.qid] = self._texts.load(annotation)
        return self._tokens[annotation.qid]


class JoinedDataset(Dataset[Sample]):
    """The samples of one dataset, and those of another behind them, each with features of its own."""

    def __init__(self, first: GroundingDataset, second: GroundingDataset) -> None:
        self.annotations = (*first.annotations, *second.annotations)
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self.annotations)

    def longest_clips(self) -> int:
        """Clips of the longest video."""
        return max(self._first.longest_clips(), self._second.longest_clips())

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        epoch, index = place
        count = len(self._first)
        return self._first[epoch, index] if index < count else self._second[epoch, index - count]


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Every sample once per epoch, in batches that depend on the seed and the epoch.

    Args:
        durations_s: of the samples' videos, as a measure of their lengths.
        config: batch size, seed, and how strongly samples of similar length are grouped.
        early: of the samples, the last ones that take part in the first epochs only.
        early_epochs: how many epochs these are.

    Attributes:
        epoch: the epoch to come; set by the one who trains.
    """

    def __init__(
        self, durations_s: Sequence[float], config: TrainingConfig, *, early: int = 0, early_epochs: int = 0
    ) -> None:
        self._all_lengths = np.nan_to_num(np.asarray(durations_s))
        self._early = early
        self._early_epochs = early_epochs
        self._groups = config.length_groups
        self._seed = config.seed
        self.batch_size = config.batch_size
        self.drop_last = config.drop_last
        self.epoch = 0

    @property
    def _lengths(self) -> NDArray[Any]:
        """Of the samples of the epoch to come."""
        early = self._early if self.epoch > self._early_epochs else 0
        lengths: NDArray[Any] = self._all_lengths[: len(self._all_lengths) - early]
        return lengths

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng([self._seed, self.epoch])
        order = rng.permutation(len(self._lengths))
        if self._groups > 1:
            order = self._sorted_stretches(order)
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.drop_last and len(batches[-1]) < self.batch_size:
            batches.pop()
        if self._groups > 1:
            rng.shuffle(batches)  # type: ignore[arg-type]
        for batch in batches:
            # Neighbours of one length may be of one video, and a sample borrows its neighbour's query.
            yield [(self.epoch, index) for index in rng.permutation(batch).tolist()]

    def __len__(self) -> int:
        count, rest = divmod(len(self._lengths), self.batch_size)
        return count + (rest > 0 and not self.drop_last)

    def _sorted_stretches(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        size = self._groups * self.batch_size
        stretches = [order[start : start + size] for start in range(0, len(order), size)]
        return np.concatenate([part[np.argsort(self._lengths[part], kind="stable")] for part in stretches])


def collate(samples: Sequence[Sample], multiple: int = 1) -> Batch:
    """Pad samples into a batch, to lengths that are a multiple of a number."""
    video, video_mask = pad_rows([sample.video for sample in samples], multiple)  # (B, L, D_v)
    text, text_mask = pad_rows([sample.text for sample in samples], multiple)  # (B, T, D_t)
    labels = [sample.labels for sample in samples if sample.labels is not None]
    annotations = tuple(sample.annotation for sample in samples)
    return Batch(
        append_tef(video, video_mask),
        video_mask,
        text,
        text_mask,
        _targets(labels, annotations, multiple) if labels else None,
        annotations,
    )


def _require_moments(annotations: Sequence[Annotation]) -> None:
    bare = [annotation for annotation in annotations if not annotation.windows_s]
    if bare:
        raise AnnotationError(
            f"{len(bare)} of {len(annotations)} queries have no moment, the first of them qid {bare[0].qid}: such a "
            "split can be predicted, but not trained on"
        )


def _targets(labels: Sequence[ClipLabels], annotations: Sequence[Annotation], multiple: int) -> Targets:
    saliency, _ = pad_rows([torch.from_numpy(label.saliency)[:, None] for label in labels], multiple)
    most = max(len(annotation.windows_s) for annotation in annotations)
    windows = None
    if most:
        windows = torch.full((len(annotations), most, 2), torch.inf)
        for row, annotation in zip(windows, annotations, strict=True):
            row[: len(annotation.windows_s)] = torch.tensor(annotation.windows_s)
    return Targets(
        saliency[..., 0],
        torch.from_numpy(np.stack([label.positive for label in labels])),
        torch.from_numpy(np.stack([label.negative for label in labels])),
        windows,
    )


class _Kept:
    """A reader that remembers what it read, up to a size."""

    def __init__(self, load: Callable[[str], list[Array]], limit_bytes: int) -> None:
        self._load = load
        self._left_bytes = limit_bytes
        self._kept: dict[str, list[Array]] = {}

    def __call__(self, vid: str) -> list[Array]:
        rows = self._kept.get(vid)
        if rows is None:
            rows = self._load(vid)
            size = sum(stream.nbytes for stream in rows)
            if size <= self._left_bytes:
                self._left_bytes -= size
                self._kept[vid] = [np.asarray(stream) for stream in rows]
        return rows
