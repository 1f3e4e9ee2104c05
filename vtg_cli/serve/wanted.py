"""What searches in all videos look for, and in which of them."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from vtg_cli.serve.library.library import Video

MOST_HITS = 10_000
"""Of one search."""


@dataclass(frozen=True)
class Wanted:
    """What to look for, and in which videos.

    Attributes:
        query: the sentence.
        top_k: maximum hits.
        per_video: maximum hits of one video.
        threshold: hits that score less are left out.
        only_clear: whether to leave out hits that do not clearly match.
        name: words that the names of the videos contain, or a pattern with `*`; upper and lower case are the same.
        folder: the folder in which they are, or in its subfolders, as `Video.folder` names it; empty for any.
        longer_than_s: their length in seconds, at least.
    """

    query: str
    top_k: int = 50
    per_video: int = 3
    threshold: float = 0.0
    only_clear: bool = False
    name: str = ""
    folder: str = ""
    longer_than_s: float = 0.0

    def allows(self, video: Video) -> bool:
        """Whether a video is one of those to search."""
        if video.duration_s < self.longer_than_s:
            return False
        if self.folder and not f"{video.folder}/".startswith(f"{self.folder}/"):
            return False
        name, wanted = video.name.casefold(), self.name.casefold().strip()
        if "*" in wanted:
            return fnmatch.fnmatchcase(name, wanted)
        return all(word in name for word in wanted.split())
