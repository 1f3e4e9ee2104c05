"""The stream of features that can be compared with text without any training."""

from __future__ import annotations

from dataclasses import dataclass

from extractors.encoders.registry import find_feature
from extractors.errors import UsageError
from model.config import Config


@dataclass(frozen=True)
class TeacherStream:
    """A stream of features by name, and its place among a configuration's.

    Attributes:
        name: of the feature.
        index: of the stream.
        first: the first of its columns in a joined row.
        dim: how many there are.
    """

    name: str
    index: int
    first: int
    dim: int


def teacher_stream(config: Config) -> TeacherStream | None:
    """The first stream whose encoder has a text encoder for the same space; None if there is none."""
    first = 0
    for index, spec in enumerate(config.data.video_features):
        feature = find_feature(spec.name)
        if feature is not None and feature.aligned_with_text and feature.dim == spec.dim:
            return TeacherStream(spec.name, index, first, spec.dim)
        first += spec.dim
    return None


def require_teacher(config: Config) -> TeacherStream:
    """The same; raises UsageError if there is none."""
    stream = teacher_stream(config)
    if stream is None:
        names = ", ".join(spec.name for spec in config.data.video_features)
        raise UsageError(
            f"--pretrain: {config.name} reads {names}, which cannot be compared with text; it needs features such as "
            "clip or lite"
        )
    return stream
