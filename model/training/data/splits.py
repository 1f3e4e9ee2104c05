"""Training and evaluation splits: annotations and the source of their features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.errors import UsageError
from extractors.features import FeatureSpec
from extractors.videos.events import Event
from model.config import Config
from model.datasets.annotations import Annotation, read_annotations, select_domain
from model.datasets.fit import require_fit
from model.datasets.grounding import GroundingDataset
from model.datasets.library.catalogue import missing_data_message
from model.datasets.sources import TextSource, VideoSource
from model.training.data.inputs import (
    DataMissing,
    Inputs,
    annotation_file,
    data_folder,
    file_of_split,
    negatives_file,
)
from model.training.data.split_features import SplitFeatures

_HELD_OUT = 10  # every tenth of the user's videos is held out by default


@dataclass(frozen=True)
class Split:
    """Annotations and the source of their features.

    Attributes:
        annotations: the queries that have all their features.
        videos: source of the rows of their videos.
        texts: source of the rows of their queries.
        video_specs: specifications of the video rows, in order.
        text_spec: specification of the text rows.
        left_out: names of videos and queries that were left out because features are missing.
        origin: where the annotations come from, as text for the user.
    """

    annotations: tuple[Annotation, ...]
    videos: VideoSource
    texts: TextSource
    video_specs: tuple[FeatureSpec, ...]
    text_spec: FeatureSpec
    left_out: tuple[str, ...] = ()
    origin: str = ""

    def dataset(self, config: Config, *, labelled: bool, first_index: int = 0) -> GroundingDataset:
        """Return the split as samples; `first_index` as for `GroundingDataset`."""
        return GroundingDataset(
            self.annotations, self.videos, self.texts, config, labelled=labelled, first_index=first_index
        )

    def of_domain(self, domain: str) -> Split:
        """Return the part of one domain; raise AnnotationError if there is none."""
        return replace(self, annotations=tuple(select_domain(self.annotations, domain)))


def training_splits(
    config: Config,
    inputs: Inputs,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Split, Split]:
    """Return the training split and the evaluation split of a configuration.

    Args:
        config: the experiment.
        inputs: where its data is.
        cache: cache of extracted features; the user's own by default.
        options: options of the encoders, if features are extracted.
        on_event: called with the events of extraction.

    Raises:
        DataMissing: if annotations or features are missing.
        AnnotationError: if a file cannot be used.
    """
    if inputs.train is not None:
        train = read_annotations(inputs.train, config.data.dataset)
        if inputs.evaluate is not None:
            held_out = read_annotations(inputs.evaluate, config.data.dataset)
        else:
            train, held_out = _hold_out(train, inputs.train)
    else:
        folder = data_folder(config, inputs)
        message = "" if inputs.videos is not None else missing_data_message(config, folder)
        if message:
            raise DataMissing(message)
        train, held_out = (
            read_annotations(annotation_file(config, folder, name), config.data.dataset)
            for name in (config.data.train_annotations, config.data.eval_annotations)
        )
    # Both at once, so that features are located once and encoders are loaded once.
    both = _with_features([*train, *held_out], config, inputs, cache, options, on_event)
    chosen = {id(annotation) for annotation in both.annotations}
    splits = [
        replace(both, annotations=tuple(a for a in some if id(a) in chosen)) for some in (train, held_out)
    ]
    for split, verb in zip(splits, ("train on", "score on"), strict=True):
        if not split.annotations:
            raise DataMissing(f"there is no query to {verb} with all its features")
    return splits[0], splits[1]


def held_out_splits(split: Split, source: Path) -> tuple[Split, Split]:
    """Hold every tenth video out of a split; return the rest and the held-out part.

    Args:
        split: all annotations.
        source: where it comes from, for messages.

    Raises:
        UsageError: if there are too few videos to hold one out.
    """
    train, held_out = _hold_out(list(split.annotations), source)
    return replace(split, annotations=tuple(train)), replace(split, annotations=tuple(held_out))


def evaluation_split(
    config: Config,
    inputs: Inputs,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Split:
    """Return the split that a configuration is scored on; arguments and errors as for `training_splits`.

    Its queries are those of `evaluation_annotations`.
    """
    annotations, origin = evaluation_annotations(config, inputs)
    split = _with_features(annotations, config, inputs, cache, options, on_event)
    if not split.annotations:
        raise DataMissing("there is no query to score on with all its features")
    return replace(split, origin=origin)


def negative_split(
    config: Config,
    inputs: Inputs,
    file: Path,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Split:
    """Return queries about things that their videos do not show.

    Other arguments and errors as for `training_splits`.

    Args:
        file: annotations without `relevant_windows`.

    Raises:
        UsageError: if the dataset has no moments, so that its models cannot predict whether one exists.
    """
    if not config.data.annotates_moments:
        raise UsageError(f"--negatives: models of {config.data.dataset} find no moments; leave it out")
    annotations = read_annotations(file, config.data.dataset, negatives=True)
    split = _with_features(annotations, config, inputs, cache, options, on_event, published=False)
    if not split.annotations:
        raise DataMissing(f"{file}: no query has all its features")
    return replace(split, origin=str(file))


def training_negatives(
    config: Config,
    inputs: Inputs,
    scored: Split,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Split | None:
    """Return the negatives from the file that `training.negatives` names; None if it names none.

    Args:
        scored: the split on which the checkpoint is chosen; negatives about its videos are left out.
        config, inputs, cache, options, on_event: as for `training_splits`.

    Raises:
        UsageError: if there is no such file.
        DataMissing: if nothing in it can be used for training.
        AnnotationError: if it cannot be used.
    """
    file = negatives_file(config, inputs)
    if file is None:
        return None
    split = negative_split(config, inputs, file, cache=cache, options=options, on_event=on_event)
    held_out = {annotation.vid for annotation in scored.annotations}
    learnt = tuple(annotation for annotation in split.annotations if annotation.vid not in held_out)
    if not learnt:
        raise DataMissing(f"{file}: all its queries are about videos that are scored on")
    return replace(split, annotations=learnt)


def evaluation_annotations(config: Config, inputs: Inputs) -> tuple[list[Annotation], str]:
    """Return the queries that a configuration is scored on, and where they come from, as text for the user.

    `inputs.evaluate` may be a file, the name of one in the dataset's folder, or the name of a published split (`val`).
    Without it, the queries are those of the videos held out of `inputs.train`; without that, those of the
    configuration's own split.

    Raises:
        DataMissing: if there is no such file.
        AnnotationError: if it cannot be used.
    """
    if inputs.evaluate is None and inputs.train is not None:
        annotations = read_annotations(inputs.train, config.data.dataset)
        return _hold_out(annotations, inputs.train)[1], f"the videos held out of {inputs.train}"
    folder = data_folder(config, inputs)
    file = inputs.evaluate
    if file is None:
        file = annotation_file(config, folder, config.data.eval_annotations)
    elif not file.is_file():
        file = annotation_file(config, folder, file_of_split(config, str(file), folder))
    return read_annotations(file, config.data.dataset), str(file)


def _hold_out(annotations: list[Annotation], path: Path) -> tuple[list[Annotation], list[Annotation]]:
    """Hold out about every tenth video, and at least one.

    A video is chosen by a hash of its id, so the choice does not depend on the other videos in the file.
    """
    videos = {a.vid for a in annotations}
    held_out = {vid for vid in videos if _hash(vid) % _HELD_OUT == 0} or {min(videos, key=_hash)}
    train = [a for a in annotations if a.vid not in held_out]
    rest = [a for a in annotations if a.vid in held_out]
    if not train:
        raise UsageError(f"{path}: too few videos to hold one out; name a file to score on with --eval")
    return train, rest


def _hash(vid: str) -> int:
    return int.from_bytes(hashlib.blake2b(vid.encode(), digest_size=8).digest(), "big")


def _with_features(
    annotations: list[Annotation],
    config: Config,
    inputs: Inputs,
    cache: FeatureCache | None,
    options: EncoderOptions | None,
    on_event: Callable[[Event], None] | None,
    *,
    published: bool = True,
) -> Split:
    features = SplitFeatures(config, inputs, cache, options, on_event)
    videos, video_specs = features.videos(annotation.vid for annotation in annotations)
    lacking_videos = set(videos.missing([annotation.vid for annotation in annotations]))
    there = [annotation for annotation in annotations if annotation.vid not in lacking_videos]
    texts, text_spec, lacking_texts = features.texts(there, published=published)
    left_out = (*sorted(lacking_videos), *lacking_texts)
    if left_out and not inputs.skip_missing:
        raise DataMissing(features.problem(sorted(lacking_videos), lacking_texts, videos))
    lacking = set(lacking_texts)
    chosen = tuple(a for a in there if f"qid{a.qid}" not in lacking)
    require_fit(chosen, videos, config.data)
    # Rows whose width differs from the configuration's are reported before training starts. Published files
    # are all alike, so one is checked.
    if config.data.info.is_own:
        for annotation in chosen:
            texts.load(annotation)
    elif chosen:
        videos.load(chosen[0].vid)
        texts.load(chosen[0])
    return Split(chosen, videos, texts, video_specs, text_spec, left_out)
