"""Zero-shot grounding, scored on annotations like a trained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import video_feature
from extractors.errors import UsageError
from extractors.extraction.queries import encode_queries
from extractors.videos.events import Event
from model.dataset_entry import OWN
from model.datasets.annotations import Annotation, read_annotations
from model.datasets.features import FeatureFolder
from model.datasets.fit import duration_differs
from model.datasets.sources import FolderVideos, VideoSource
from model.grounding.choice import automatic_features
from model.grounding.encoded import EncodedVideo
from model.grounding.parts import Parts, load_parts
from model.grounding.zeroshot.method import NAME
from model.metrics.existence import Asked, Existence, existence
from model.metrics.moment_retrieval import MAX_WINDOWS
from model.metrics.report import evaluate
from model.training.data.inputs import DataMissing, Inputs
from model.training.data.split_features import extracted_videos, own_feature_folder

_Row = dict[str, Any]


@dataclass(frozen=True)
class ZeroShotScores:
    """Scores of zero-shot grounding.

    Attributes:
        rows: one prediction per query in the benchmarks' form.
        metrics: percentages by the metrics' published names.
        existence: existence metrics with the negatives; None without negatives.
        features: names of the features that were read.
        left_out: names of videos that were left out because features are missing.
    """

    rows: list[_Row]
    metrics: dict[str, float]
    existence: Existence | None
    features: str
    left_out: tuple[str, ...]


def evaluate_zero_shot(
    inputs: Inputs,
    *,
    negatives: Path | None = None,
    fps: float | None = None,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> ZeroShotScores:
    """Ground annotations without a trained model, and score the answers.

    Args:
        inputs: `evaluate` names the annotations. Features are extracted from the videos in `videos`, or read
            from a folder such as `clip_features` in `data` or next to the annotations.
        negatives: annotations whose queries are about things that their videos do not show.
        fps: clips per second; None for the rate of the features.
        cache: cache of extracted features; the user's own by default.
        options: options of the encoders.
        on_event: called with the events of extraction.

    Raises:
        UsageError: if no annotations are named, or the rows have another rate.
        DataMissing: if features are missing.
        AnnotationError: if a file cannot be used.
    """
    if inputs.evaluate is None:
        raise UsageError(
            f"--checkpoint {NAME} was trained on nothing: name what to score with --annotations FILE"
        )
    annotations = read_annotations(inputs.evaluate, OWN)
    absent = [] if negatives is None else read_annotations(negatives, OWN, negatives=True)
    cache, options = cache or FeatureCache(), options or EncoderOptions()
    parts, videos = _parts([*annotations, *absent], inputs, fps, cache, options, on_event)
    lacking = set(videos.missing([annotation.vid for annotation in (*annotations, *absent)]))
    if lacking and not inputs.skip_missing:
        raise DataMissing(
            f"{len(lacking)} of the videos have no features ({', '.join(sorted(lacking)[:3])}); bring them, or leave "
            "their queries out with --skip-missing"
        )
    annotations = [annotation for annotation in annotations if annotation.vid not in lacking]
    absent = [annotation for annotation in absent if annotation.vid not in lacking]
    if not annotations or (negatives is not None and not absent):
        raise DataMissing("there is no query to score on with all its features")
    rows, asked = _ground(annotations, videos, parts, cache)
    truth = [{"qid": annotation.qid, "relevant_windows": annotation.windows_s} for annotation in annotations]
    found = None
    if absent:
        found = existence(asked, _ground(absent, videos, parts, cache)[1], parts.model.clear_from)
    return ZeroShotScores(
        rows,
        dict(evaluate(rows, truth).brief),
        found,
        ", ".join(parts.model.features),
        tuple(sorted(lacking)),
    )


def _parts(
    annotations: Sequence[Annotation],
    inputs: Inputs,
    fps: float | None,
    cache: FeatureCache,
    options: EncoderOptions,
    on_event: Callable[[Event], None] | None,
) -> tuple[Parts, VideoSource]:
    """Return the zero-shot model with its encoders, and the source of the rows that it reads."""
    if inputs.videos is not None:
        parts = load_parts(NAME, "auto", fps, options, cache)
        encoders = [encoder for encoder in parts.video_encoders if encoder.spec.name in parts.model.features]
        vids = [annotation.vid for annotation in annotations]
        return parts, extracted_videos(vids, inputs.videos, encoders, cache, on_event=on_event)
    assert inputs.evaluate is not None
    folder = inputs.data or inputs.evaluate.parent
    aligned = [name for name in automatic_features() if video_feature(name).aligned_with_text]
    for name in aligned:
        place = own_feature_folder(name, folder)
        if place is not None:
            source = FolderVideos([FeatureFolder(place, name, video_feature(name).dim)])
            return load_parts(NAME, name, fps, options, cache), source
    known = " or ".join(f"{name}_features" for name in aligned)
    raise DataMissing(
        f"{folder}: there is no folder {known}; name the folder that holds one with --data, or a folder of videos with "
        "--videos"
    )


def _ground(
    annotations: Sequence[Annotation], videos: VideoSource, parts: Parts, cache: FeatureCache
) -> tuple[list[_Row], Asked]:
    """Return predictions in the order of the annotations, and their match scores."""
    model = parts.model
    texts = encode_queries([annotation.query for annotation in annotations], parts.text_encoder, cache)
    rows: dict[int, _Row] = {}
    scores = np.zeros(len(annotations))
    places: dict[str, list[int]] = {}
    for place, annotation in enumerate(annotations):
        places.setdefault(annotation.vid, []).append(place)
    for vid, some in places.items():
        (stream,) = videos.load(vid)
        video = EncodedVideo(
            Path(vid),
            _duration_s(annotations[some[0]], videos.length_s(vid), len(stream), model.clip_length_s),
            {model.features[0]: stream.astype(np.float32)},
        )
        answers = model.answer([video], [texts[place] for place in some], top_k=MAX_WINDOWS)
        for place, (moments, _) in zip(some, answers, strict=True):
            annotation = annotations[place]
            scores[place] = moments[0, 2] if len(moments) else 0.0
            rows[place] = {
                "qid": annotation.qid,
                "query": annotation.query,
                "vid": vid,
                "pred_relevant_windows": moments.astype(np.float64).round(4).tolist(),
            }
    pooled = np.array([text.pooled for text in texts], dtype=np.float64)
    return [rows[place] for place in range(len(annotations))], Asked(
        scores, pooled, [annotation.vid for annotation in annotations]
    )


def _duration_s(annotation: Annotation, length_s: float | None, rows: int, clip_length_s: float) -> float:
    """Return the length of a video; raise UsageError if its rows have another rate than assumed."""
    rows_s = rows * clip_length_s
    known_s = length_s if length_s is not None else annotation.duration_s
    if math.isnan(known_s):
        return rows_s
    if duration_differs(known_s, rows_s, clip_length_s):
        raise UsageError(
            f"{annotation.vid}: its rows would last {rows_s:g} s, but the video lasts {known_s:g} s; set the clips per "
            "second of the rows with --fps"
        )
    return known_s
