"""The lists of hits that searches have begun, kept for a while so that they can go on where they ended."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from extractors.errors import VtgError
from model.cues.grounder import CueGrounder
from model.search.filters import Filters
from model.search.library import Library as SearchLibrary
from model.search.ranking import Grounded
from model.search.results import Hit, SearchResult
from vtg_cli.serve.library.library import Video
from vtg_cli.serve.wanted import MOST_HITS, Wanted

_FEWEST_VIDEOS = 50  # that are looked into for a part of a list
_VIDEOS_A_HIT = 3

_MOST_LISTS = 32
_MOST_BYTES = 128 << 20  # of what was grounded for all lists
_KEPT_S = 1800.0  # since a list was last asked for


class NotKept(VtgError):
    """A search cannot go on, because what was found so far is not there."""


class HitList:
    """The hits of a search, as far as anybody has asked for them.

    A longer list needs more videos to be looked into. What these hold is added at the end, though some of it may rank
    before hits that have been given away already.

    Attributes:
        wanted: the search.
        hits: with their videos.
        result: of the library, when it was last searched.
        can_grow: whether there may be more.
        grounded: what the videos that were looked into hold.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.hits: list[tuple[Video, Hit]] = []
        self.result = SearchResult(wanted.query, (), None, 0, 0)
        self.can_grow = True
        self.grounded = Grounded()
        self._asked = 0
        self._listed: set[tuple[str, float, float]] = set()

    def grow(self, library: SearchLibrary, offered: Mapping[Path, Video], count: int) -> None:
        """Add hits: `count` of them if the likeliest videos that were not looked into yet hold so many.

        Args:
            library: is searched.
            offered: the videos that may be found.
            count: hits.

        Raises:
            VtgError: as `Library.search`.
        """
        self._asked = min(self._asked + count, MOST_HITS)
        seen = self.result.looked_into + len(self.result.stale)
        (self.result,) = library.search(
            self.wanted.query,
            top_k=self._asked,
            per_video=self.wanted.per_video,
            threshold=self.wanted.threshold,
            only_clear=self.wanted.only_clear,
            filters=Filters(among=tuple(offered)),
            most_videos=seen + max(_FEWEST_VIDEOS, _VIDEOS_A_HIT * count),
            grounded=self.grounded,
            cues=CueGrounder.for_server(library.grounder.cache),
        )
        for hit in self.result.hits:
            video = offered[hit.video]
            key = video.id, hit.start_s, hit.end_s
            if key not in self._listed:
                self._listed.add(key)
                self.hits.append((video, hit))
        is_complete = self.result.looked_into + len(self.result.stale) >= self.result.videos
        is_full = len(self.result.hits) == self._asked
        self.can_grow = self._asked < MOST_HITS and (is_full or not is_complete)


class HitLists:
    """The lists that can go on: those used last, as long and as many as memory allows. For one thread."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, tuple[HitList, float]] = OrderedDict()

    def keep(self, hits: HitList, start: int) -> str:
        """The cursor of the part of a list that begins at an index."""
        name = next((name for name, (kept, _) in self._lists.items() if kept is hits), secrets.token_hex(16))
        self._lists[name] = hits, time.monotonic()
        self._lists.move_to_end(name)
        self._tidy()
        return f"{name}.{start}"

    def find(self, cursor: str) -> tuple[HitList, int]:
        """A list, and the index at which a part begins.

        Raises:
            NotKept: if the list is not there (any more), or the cursor is none that `keep` gave.
        """
        self._tidy()
        name, _, start = cursor.partition(".")
        if (
            name in self._lists
            and start.isascii()
            and start.isdecimal()
            and len(start) <= len(str(MOST_HITS))
        ):
            hits, _ = self._lists[name]
            if int(start) <= len(hits.hits):
                return hits, int(start)
        raise NotKept("this search is no longer kept; search again")

    def _tidy(self) -> None:
        """Drop what is too old, and the oldest of what is too much."""
        size = sum(hits.grounded.size_bytes for hits, _ in self._lists.values())
        now_s = time.monotonic()
        for name, (hits, used_s) in list(self._lists.items()):
            if len(self._lists) > _MOST_LISTS or size > _MOST_BYTES or now_s - used_s > _KEPT_S:
                del self._lists[name]
                size -= hits.grounded.size_bytes
