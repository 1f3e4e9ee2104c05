"""First weights of the alignment head, which maps sentences to the space of the text encoder.

Names of things and their vectors are pairs, from which a linear map of token rows to the space of the video
features is fitted by ridge regression. So the head starts with what the encoders have already learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import load_text_encoder
from extractors.errors import UsageError, WeightsMissing
from model.config import Config, DataConfig
from model.datasets.annotations import Annotation
from model.datasets.sources import TextSource
from model.rows import clip_rows, token_rows
from model.training.data.inputs import Inputs
from model.training.data.split_features import SplitFeatures
from model.training.data.splits import Split
from model.training.pretraining.concepts import Concepts, read_concepts, with_article
from model.training.pretraining.teacher import TeacherStream, teacher_stream

# Relative to the pairs' mean squares; .01 and .05 rank the clips of training videos slightly worse.
_RIDGE = 0.002


@dataclass(frozen=True)
class AlignmentStart:
    """First weights of the alignment head.

    Attributes:
        weights: values by the names of the network's parameters.
        names: number of names that the map was fitted on.
        origin: where the names come from, as text for the user.
    """

    weights: Mapping[str, Tensor]
    names: int
    origin: str

    def __str__(self) -> str:
        return f"the alignment head begins with {self.names:,} names of {self.origin}"


def alignment_start(
    config: Config,
    inputs: Inputs,
    train: Split,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
) -> AlignmentStart | None:
    """Fit the map.

    Args:
        config: the experiment; its `model.alignment_dim` is above 0.
        inputs: `concepts` are the names.
        train: its mean clip and its mean query become the origin of the space.
        cache: cache of encoded text.
        options: options of the encoders.

    Returns:
        None if no feature can be compared with text, or if the names that come with vtg have no vectors
        because an encoder's weights are not installed. The head then starts with random weights.

    Raises:
        UsageError: if the concepts cannot be used, or their width differs from the head's.
        WeightsMissing: if concepts are named but an encoder's weights are not installed.
    """
    cache, options = cache or FeatureCache(), options or EncoderOptions()
    stream = teacher_stream(config)
    if stream is None:
        if inputs.concepts is not None:
            raise UsageError(f"--concepts: no feature of {config.name} can be compared with text")
        return None
    if config.model.alignment_dim != stream.dim:
        raise UsageError(
            f"model.alignment_dim: is {config.model.alignment_dim}, but '{stream.name}' rows, with which names are "
            f"compared, have {stream.dim} numbers; set it to {stream.dim}"
        )
    try:
        concepts = read_concepts(
            inputs.concepts, stream.name, lambda: load_text_encoder(stream.name, options), cache
        )
        named = _named(concepts)
        texts, _, unmade = SplitFeatures(config, inputs, cache, options, None).texts(named, published=False)
    except WeightsMissing:
        if inputs.concepts is not None:
            raise
        return None
    if unmade:
        raise UsageError(
            f"{config.name} reads '{config.data.text_features.name}' tokens, which vtg cannot make of names"
        )
    weights = _fitted(
        _means(texts, named, config.data),
        concepts.rows,
        _means(train.texts, train.annotations, config.data).mean(axis=0),
        _mean_clip(train, config.data),
        stream,
    )
    if (kernel := config.model.alignment_kernel) > 1:
        # A name describes a single frame, so the weights of neighbouring clips start at zero.
        taps = torch.zeros(*weights["clip_projection.weight"].shape, kernel)
        taps[..., kernel // 2] = weights["clip_projection.weight"]
        weights["clip_projection.weight"] = taps
    origin = "vtg" if inputs.concepts is None else str(inputs.concepts)
    return AlignmentStart(
        {f"alignment.{name}": value for name, value in weights.items()}, len(concepts.names), origin
    )


def _named(concepts: Concepts) -> list[Annotation]:
    """Return the names as queries, so that their tokens are made like those of queries."""
    return [
        Annotation(qid=f"concept-{index}", query=with_article(name), vid="", duration_s=float("nan"))
        for index, name in enumerate(concepts.names)
    ]


def _fitted(
    sentences: NDArray[np.float64],
    vectors: NDArray[np.float32],
    query: NDArray[np.float64],
    clip: NDArray[np.float64],
    stream: TeacherStream,
) -> dict[str, Tensor]:
    """Fit the maps of queries and clips into the teacher's space.

    Args:
        sentences: (N, D_t) mean tokens of the names.
        vectors: (N, E) vectors of the names in the space.
        query: (D_t,) the mean query, which is mapped to 0.
        clip: (D_v,) the mean clip, likewise.
        stream: the columns of a clip that are in the space.
    """
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    given, wanted = sentences - sentences.mean(axis=0), units - units.mean(axis=0)
    squares = given.T @ given + _RIDGE * len(given) * np.eye(given.shape[1])
    fitted = np.linalg.solve(squares, given.T @ wanted)  # (D_t, E)
    columns = np.zeros((stream.dim, len(clip)))
    columns[:, stream.first : stream.first + stream.dim] = np.eye(stream.dim)
    weights = {
        "query_projection.weight": fitted.T,
        "query_projection.bias": -query @ fitted,
        "clip_projection.weight": columns,
        "clip_projection.bias": -columns @ clip,
    }
    return {
        name: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        for name, value in weights.items()
    }


def _means(texts: TextSource, annotations: Sequence[Annotation], data: DataConfig) -> NDArray[np.float64]:
    """Return (N, D_t) the mean token of each query."""
    rows: list[NDArray[Any]] = [
        token_rows(texts.load(annotation), data).numpy().mean(axis=0, dtype=np.float64)
        for annotation in annotations
    ]
    return np.stack(rows)


def _mean_clip(split: Split, data: DataConfig) -> NDArray[np.float64]:
    """Return (D_v,) the mean over videos of their mean clips."""
    total, count = 0.0, 0
    for vid in dict.fromkeys(annotation.vid for annotation in split.annotations):
        total = total + clip_rows(split.videos.load(vid), data).numpy().mean(axis=0, dtype=np.float64)
        count += 1
    mean: NDArray[np.float64] = np.asarray(total) / count
    return mean
