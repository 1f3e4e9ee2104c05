"""A training split of pseudo-labels for a folder of unlabelled videos."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions, TextEncoder
from extractors.encoders.registry import load_text_encoder
from extractors.errors import UsageError
from extractors.extraction.collect import collect_videos
from extractors.features import FeatureSpec
from extractors.videos.events import Event
from model.checkpoints.checkpoint import feature_specs
from model.config import Config
from model.dataset_entry import OWN
from model.datasets.annotations import Annotation, parse_annotation, read_annotations
from model.datasets.features import FeatureFolder
from model.datasets.sources import FolderVideos, VideoSource
from model.grounding.encoded import EncodedVideo
from model.training.data.inputs import DataMissing, Inputs
from model.training.data.split_features import SplitFeatures, holds_features, own_feature_folder
from model.training.data.splits import Split
from model.training.pretraining.concepts import read_concepts
from model.training.pretraining.pseudo_labels import pseudo_labels
from model.training.pretraining.teacher import require_teacher


def unlabelled_split(
    config: Config,
    inputs: Inputs,
    *,
    scored: Collection[str] = (),
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Split:
    """Return the pseudo-labels of the folder that `inputs.pretrain` names.

    They are read from `inputs.pseudo_labels` if that is given, and made otherwise.

    Args:
        config: the experiment; one of its video features must be comparable with text.
        inputs: where the videos and the concepts are.
        scored: ids of videos that are scored on, which are left out.
        cache: cache of extracted features; the user's own by default.
        options: options of the encoders, if features are extracted.
        on_event: called with the events of extraction.

    Raises:
        UsageError: if the features cannot be compared with text, or the concepts cannot be used.
        DataMissing: if no video gives a pseudo-label.
        FeatureFileError: if a file of features cannot be read.
        WeightsMissing: if an encoder's weights are not installed.
    """
    assert inputs.pretrain is not None, "unlabelled videos were asked for"
    cache, options = cache or FeatureCache(), options or EncoderOptions()
    features = SplitFeatures(config, replace(inputs, videos=inputs.pretrain), cache, options, on_event)
    left_out: list[str] = []
    if inputs.pseudo_labels is None:
        vids = [vid for vid in unlabelled_vids(config, inputs.pretrain) if vid not in scored]
        videos, specs = _videos(config, inputs.pretrain, features, vids)
        left_out = videos.missing(vids)
        there = [vid for vid in vids if vid not in set(left_out)]
        annotations = _labelled(config, inputs, there, videos, cache, options)
    else:
        annotations = tuple(read_annotations(inputs.pseudo_labels, OWN))
        vids = list(dict.fromkeys(annotation.vid for annotation in annotations))
        videos, specs = _videos(config, inputs.pretrain, features, vids)
        if lacking := videos.missing(vids):
            raise DataMissing(
                f"{inputs.pretrain}: {lacking[0]} has pseudo-labels, but no features; restore its file"
            )
    texts, text_spec, unmade = features.texts(list(annotations), published=False)
    if unmade:
        raise UsageError(
            f"--pretrain: {config.name} reads '{config.data.text_features.name}' tokens, which vtg cannot make of the "
            "sentences of pseudo-labels"
        )
    return Split(annotations, videos, texts, specs, text_spec, tuple(left_out), str(inputs.pretrain))


def unlabelled_vids(config: Config, folder: Path) -> list[str]:
    """Return the ids of the videos in a folder of videos, or of feature files for a configuration."""
    stems = [
        set(FeatureFolder(place, spec.name, spec.dim).stems())
        for spec in config.data.video_features
        if (place := own_feature_folder(spec.name, folder)) is not None
    ]
    if stems:
        return sorted(set.intersection(*stems))
    return sorted({path.stem for path in collect_videos([folder])})


def _videos(
    config: Config, folder: Path, features: SplitFeatures, vids: list[str]
) -> tuple[VideoSource, tuple[FeatureSpec, ...]]:
    """Return the rows of unlabelled videos, from feature files if the folder has any, else from videos."""
    if not holds_features(folder, config.data.video_features):
        return features.videos(vids)
    folders = []
    for spec in config.data.video_features:
        place = own_feature_folder(spec.name, folder)
        if place is None:
            raise DataMissing(
                f"--pretrain {folder}: {config.name} reads '{spec.name}' features, but there is no folder "
                f"{spec.name}_features; bring them, or name a folder of videos"
            )
        folders.append(FeatureFolder(place, spec.name, spec.dim))
    return FolderVideos(folders), feature_specs(config)[0]


def _labelled(
    config: Config,
    inputs: Inputs,
    vids: list[str],
    videos: VideoSource,
    cache: FeatureCache,
    options: EncoderOptions,
) -> tuple[Annotation, ...]:
    teacher = require_teacher(config)
    clip_length_s = config.data.clip_length_s

    def text_encoder() -> TextEncoder:
        return load_text_encoder(teacher.name, options)

    def video_of(vid: str) -> EncodedVideo:
        rows = np.asarray(videos.load(vid)[teacher.index], dtype=np.float32)
        duration_s = videos.length_s(vid) or len(rows) * clip_length_s
        return EncodedVideo(Path(vid), duration_s, {teacher.name: rows})

    concepts = read_concepts(inputs.concepts, teacher.name, text_encoder, cache)
    labels = pseudo_labels(
        concepts.teacher(teacher.name, clip_length_s, text_encoder, cache),
        vids,
        video_of,
        concepts.queries,
        per_video=config.pretraining.labels_per_video,
        templates=config.pretraining.templates,
        seed=config.training.seed,
    )
    if not labels:
        raise DataMissing(f"--pretrain {inputs.pretrain}: no video there gives a moment to learn from")
    rows = (label.row(f"pseudo-{number}") for number, label in enumerate(labels))
    return tuple(parse_annotation(row, OWN) for row in rows)
