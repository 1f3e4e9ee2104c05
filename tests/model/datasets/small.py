"""Small datasets: released configurations with short rows, and folders of features to fill by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.config import Config, load_config, override_config
from model.datasets.annotations import Annotation, parse_annotation
from model.datasets.features import TEXT_KEY, VIDEO_KEY, FeatureFolder
from model.datasets.grounding import GroundingDataset
from model.datasets.sources import FolderTexts, FolderVideos

VIDEO_DIMS = (3, 2)
TEXT_DIM = 4


def small_config(released: str, *overrides: str) -> Config:
    """A released configuration on short rows, with as small a network as can be."""
    config = load_config(released)
    streams = tuple(
        replace(stream, dim=dim) for stream, dim in zip(config.data.video_features, VIDEO_DIMS, strict=False)
    )
    data = replace(
        config.data,
        video_features=streams,
        text_features=replace(config.data.text_features, dim=TEXT_DIM),
    )
    model = replace(
        config.model,
        video_dim=data.video_dim,
        text_dim=TEXT_DIM,
        hidden_dim=16,
        heads=2,
        feedforward_dim=16,
        dummies=2,
        dummy_layers=1,
        cross_attention_layers=1,
        encoder_layers=1,
    )
    return override_config(replace(config, data=data, model=model), overrides)


def annotation(dataset: str, **fields: Any) -> Annotation:
    """A line of a dataset; what is not given is made up."""
    row: dict[str, Any] = {"qid": 1, "vid": "v", "query": "a dog runs", "duration": 10, **fields}
    return parse_annotation(row, dataset)


def qvhighlights(scores: dict[int, Sequence[int]], **fields: Any) -> Annotation:
    """A line of QVHighlights; `scores` are those of three annotators by clip."""
    fields = {"relevant_windows": [[2 * min(scores), 2 * max(scores) + 2]], **fields}
    return annotation(
        "qvhighlights", relevant_clip_ids=list(scores), saliency_scores=list(scores.values()), **fields
    )


class Folders:
    """Feature folders of a configuration, and the dataset that reads them."""

    def __init__(self, root: Path, config: Config) -> None:
        self.config = config
        self.streams = [root / f"{stream.name}_features" for stream in config.data.video_features]
        self.text = root / f"{config.data.text_features.name}_features"
        for folder in (*self.streams, self.text):
            folder.mkdir(parents=True, exist_ok=True)

    def put_video(self, vid: str, *streams: ArrayLike) -> None:
        """Write the rows of a video, an array a stream."""
        for folder, rows in zip(self.streams, streams, strict=True):
            np.savez(folder / f"{vid}.npz", **{VIDEO_KEY: np.asarray(rows)})

    def put_text(self, stem: str, tokens: ArrayLike) -> None:
        """Write the tokens of a query under a name."""
        np.savez(self.text / f"{stem}.npz", **{TEXT_KEY: np.asarray(tokens)})

    def put_random(self, annotations: Sequence[Annotation], clips: Sequence[int], seed: int = 0) -> None:
        """Write random rows for queries whose videos have so many clips."""
        rng = np.random.default_rng(seed)
        for line, count in zip(annotations, clips, strict=True):
            self.put_video(
                line.vid, *(random_rows(rng, count, s.dim) for s in self.config.data.video_features)
            )
            self.put_text(f"qid{line.qid}", random_rows(rng, 3 + count % 4, TEXT_DIM))

    def dataset(self, annotations: Sequence[Annotation], **options: Any) -> GroundingDataset:
        """The queries with their features."""
        data = self.config.data
        videos = FolderVideos(
            [
                FeatureFolder(path, spec.name, spec.dim)
                for path, spec in zip(self.streams, data.video_features, strict=True)
            ]
        )
        spec = data.text_features
        texts = FolderTexts(FeatureFolder(self.text, spec.name, spec.dim, key=TEXT_KEY))
        return GroundingDataset(annotations, videos, texts, self.config, **options)


def random_rows(rng: np.random.Generator, count: int, dim: int) -> NDArray[np.float32]:
    """(count, dim) normal numbers."""
    return rng.standard_normal((count, dim), dtype=np.float32)
