"""A Grounder for commands that run for long: what a video does to its decoder ends neither them nor other videos."""

from __future__ import annotations

from pathlib import Path

from extractors.errors import VideoError
from extractors.isolation import STALL_S
from extractors.pipeline import extract_features
from model import Grounder
from model.encoded import EncodedVideo


class IsolatedGrounder(Grounder):
    """Decodes each video in a process of its own, which may crash, or hang and be given up."""

    def encode(self, path: str | Path) -> EncodedVideo:
        """Extract a video's features, or read them from the cache; errors as for `Grounder.encode`."""
        report = extract_features(
            [path], self._video_encoders, self._cache, on_event=self._on_event, stall_s=STALL_S
        )
        (result,) = report.results
        if result.status == "failed":
            raise VideoError(path, result.reason.removeprefix(f"{path}: "))
        return super().encode(path)  # now from the cache
