"""Where the rows of videos and queries come from: published feature files, or the extractors' cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.encoders.base import TextEncoder
from extractors.extraction.queries import encode_queries
from extractors.features import FeatureSpec
from model.datasets.annotations import Annotation, AnnotationError
from model.datasets.features import FeatureFolder, missing

Array = NDArray[np.floating[Any]]


class VideoSource(Protocol):
    """Rows of videos."""

    def load(self, vid: str) -> list[Array]:
        """(L_i, D_i) rows of each stream, in order."""
        ...

    def missing(self, vids: Sequence[str]) -> list[str]:
        """Those videos that lack a stream."""
        ...

    def length_s(self, vid: str) -> float | None:
        """How long the video itself is; None if only its rows are available."""
        ...


class TextSource(Protocol):
    """Rows of queries."""

    def load(self, annotation: Annotation) -> Array:
        """(T, D) tokens of a query."""
        ...

    def missing(self, annotations: Sequence[Annotation]) -> list[str]:
        """Names of those that lack tokens."""
        ...


class FolderVideos:
    """Videos whose streams lie in folders of feature files."""

    def __init__(self, folders: Sequence[FeatureFolder]) -> None:
        self._folders = tuple(folders)

    def load(self, vid: str) -> list[Array]:
        """Read a video's streams; raises FeatureFileError."""
        return [folder.load(vid) for folder in self._folders]

    def missing(self, vids: Sequence[str]) -> list[str]:
        """Those videos that lack a file in a folder, each once."""
        return missing(self._folders, vids)

    def length_s(self, vid: str) -> float | None:
        """Unknown: files of features hold rows alone."""
        del vid
        return None


class CachedVideos:
    """Videos whose features were extracted into the cache.

    Args:
        cache: where they lie.
        specs: the streams, in order.
        paths: the file of each video, by id.
    """

    def __init__(self, cache: FeatureCache, specs: Sequence[FeatureSpec], paths: Mapping[str, Path]) -> None:
        self._cache = cache
        self._specs = tuple(specs)
        self._paths = paths

    @property
    def paths(self) -> Mapping[str, Path]:
        """The file of each video that has one, by id."""
        return self._paths

    def load(self, vid: str) -> list[Array]:
        """Read a video's streams.

        Raises:
            AnnotationError: if they are not in the cache.
        """
        entries = [self._cache.load_video(self._paths[vid], spec) for spec in self._specs]
        rows: list[Array] = [entry.features for entry in entries if entry is not None]
        if len(rows) < len(entries):
            raise AnnotationError(f"{self._paths[vid]}: its features are not in the cache any more")
        return rows

    def missing(self, vids: Sequence[str]) -> list[str]:
        """Those videos that have no file, or whose features are not in the cache."""
        return [
            vid
            for vid in dict.fromkeys(vids)
            if vid not in self._paths
            or any(self._cache.load_video(self._paths[vid], spec) is None for spec in self._specs)
        ]

    def length_s(self, vid: str) -> float | None:
        """The duration of the video file; None if its features are not in the cache."""
        entry = self._cache.load_video(self._paths[vid], self._specs[0])
        return None if entry is None else entry.info.duration_s


class FolderTexts:
    """Queries in a folder of feature files, named `qid<qid>` or `<qid>`."""

    def __init__(self, folder: FeatureFolder) -> None:
        self._folder = folder

    def load(self, annotation: Annotation) -> Array:
        """Read a query's tokens; raises FeatureFileError."""
        return self._folder.load(*self._stems(annotation))

    def missing(self, annotations: Sequence[Annotation]) -> list[str]:
        """First names of those that have no file."""
        return [
            self._stems(annotation)[0]
            for annotation in annotations
            if all(self._folder.find(stem) is None for stem in self._stems(annotation))
        ]

    @staticmethod
    def _stems(annotation: Annotation) -> tuple[str, str]:
        return f"qid{annotation.qid}", str(annotation.qid)


class EncodedTexts:
    """Queries that a text encoder turns into tokens, all of them at once, through the cache."""

    def __init__(self, queries: Iterable[str], encoder: TextEncoder, cache: FeatureCache) -> None:
        sentences = list(dict.fromkeys(queries))
        encoded = encode_queries(sentences, encoder, cache)
        self._tokens = {
            sentence: features.tokens for sentence, features in zip(sentences, encoded, strict=True)
        }

    def load(self, annotation: Annotation) -> Array:
        """A query's tokens."""
        return self._tokens[annotation.query]

    def missing(self, annotations: Sequence[Annotation]) -> list[str]:
        """Nothing is missing: all requested tokens were made."""
        del annotations
        return []
