"""All facts about one kind of features. The entry is the `FEATURE` of its encoders' folder, or the `FAMILY` of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from extractors.encoders.base import EncoderOptions, TextEncoder, VideoEncoder


@dataclass(frozen=True)
class Feature:
    """One kind of features: the entry with all facts about its encoders.

    Code is named as `package.module:name`, which is imported when it is first used, or given as the object itself.

    Attributes:
        name: its name for `--features`.
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
        most_tokens: of a query, marks of its start and end included; longer queries are cut. None if nothing is cut.
        aligned_with_text: whether rows of videos can be compared with the pooled rows of queries.
        preferred: whether `--features auto` takes it where it can be had; counts for features of vtg itself.
        fallback: whether `--features auto` takes it where no preferred one can be had; likewise, and of just one.
        weights: name of its weights, as `vtg weights list` shows it; empty if it brings its own.
        write_random_weights: writes such a file, filled with random numbers, into a folder; returns its path.
        check_weights: says what is wrong with the weights here, an empty text if they are the published ones; takes an
            `EncoderOptions`.
        class_embeddings: gives (K, dim) rows, one for each class, if its encoder is a classifier. A row of a video is
            their mean, weighted by the classes' probabilities.
        class_words: gives the indices of the classes that stand for each word, in lower case and the singular.
        concepts: gives names of what people ask for, which any features can be asked about; of one feature.
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
    most_tokens: int | None = None
    aligned_with_text: bool = False
    preferred: bool = False
    fallback: bool = False
    weights: str = ""
    write_random_weights: str | Callable[[Path], Path] | None = None
    check_weights: str | Callable[[EncoderOptions], str] | None = None
    class_embeddings: str | Callable[[], NDArray[np.float32]] | None = None
    class_words: str | Callable[[], Mapping[str, tuple[int, ...]]] | None = None
    concepts: str | Callable[[], tuple[str, ...]] | None = None


@dataclass(frozen=True)
class FeatureFamily:
    """Features whose names begin alike, and whose entries are made when they are asked for.

    Attributes:
        prefix: what their names begin with, before a colon.
        form: of their names, for people.
        row: what one row holds, for people.
        network: what makes it, for people.
        download: the names of their weights, for people.
        good_for: what they can tell, for people.
        feature: gives the entry of a name; raises UsageError for one that is unknown.
    """

    prefix: str
    form: str
    row: str
    network: str
    download: str
    good_for: str
    feature: str | Callable[[str], Feature]
