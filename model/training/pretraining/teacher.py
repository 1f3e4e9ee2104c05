"""The stream of features that can be compared with text without any training."""

from __future__ import annotations

from dataclasses import dataclass

from extractors.encoders.registry import find_feature
from extractors.errors import UsageError
from model.config import Config


@dataclass(frozen=True)
class TeacherStream:
    """A feature stream, and its position among the streams of a configuration.

    Attributes:
        name: name of the feature.
        index: index of the stream.
        first: its first column in a joined row.
        dim: number of its columns.
    """

    name: str
    index: int
    first: int
    dim: int


def teacher_stream(config: Config) -> TeacherStream | None:
    """Return the first stream whose encoder has a text encoder for the same space; None if there is none."""
    first = 0
    for index, spec in enumerate(config.data.video_features):
        feature = find_feature(spec.name)
        if feature is not None and feature.aligned_with_text and feature.dim == spec.dim:
            return TeacherStream(spec.name, index, first, spec.dim)
        first += spec.dim
    return None


def require_teacher(config: Config) -> TeacherStream:
    """Return the same stream; raise UsageError if there is none."""
    stream = teacher_stream(config)
    if stream is None:
        names = ", ".join(spec.name for spec in config.data.video_features)
        raise UsageError(
            f"--pretrain: {config.name} reads {names}, which cannot be compared with text; it needs features such as "
            "clip or lite"
        )
    return stream
