"""Searches in all offered videos at once, with the index of a library."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from extractors.errors import VtgError
from model.search.filters import Filters
from model.search.library import Library as SearchLibrary
from model.search.results import Hit, SearchResult
from vtg_cli.serve.jobs import QueueFull
from vtg_cli.serve.library.library import Library, Video
from vtg_cli.terminal.console import counted
from vtg_cli.terminal.verdict import search_verdict

MOST_HITS = 10_000
"""Of one search."""

_MOST_WAITING = 32
_FEW_HITS = 100
_VIDEOS_A_HIT = 3  # for so many, a search looks into more or less every video anyway


class CannotSearch(VtgError):
    """The library cannot be searched, or not in this way."""


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


@dataclass(frozen=True)
class Found:
    """The answer to a search.

    Attributes:
        result: as the library gives it.
        hits: the videos of its hits, and the hits.
        has_more: whether a larger `top_k` may bring more.
        notes: what the user should know about this answer, one sentence per note.
        model_notes: what holds for every answer of the model.
        missing: offered videos that the index should hold, but whose files or features are no longer those it knows.
    """

    result: SearchResult
    hits: tuple[tuple[Video, Hit], ...] = ()
    has_more: bool = False
    notes: tuple[str, ...] = ()
    model_notes: tuple[str, ...] = ()
    missing: tuple[Video, ...] = ()

    def first(self, top_k: int) -> Found:
        """The same with so many hits at most."""
        return replace(self, hits=self.hits[:top_k], has_more=self.has_more or len(self.hits) > top_k)


class LibrarySearch:
    """Searches, one at a time on a separate thread; to be used from one event loop.

    Args:
        offered: the videos to search.
        open_library: opens the library that has their index, for this object alone.
    """

    def __init__(self, offered: Library, open_library: Callable[[], SearchLibrary]) -> None:
        self._offered = offered
        self._library = open_library()
        self._thread = ThreadPoolExecutor(1, "vtg-search")
        self._waiting: set[Future[Found]] = set()
        self._whole: tuple[Wanted, Found] | None = None  # of the last search that was made for all hits

    async def find(self, wanted: Wanted) -> Found:
        """Search the offered videos that the index holds.

        Raises:
            QueueFull: if too many searches wait.
            CannotSearch: if the index or the model cannot be used, or the model cannot tell clear matches.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise QueueFull(f"{len(self._waiting)} searches are waiting already; try again later")
        try:
            future = self._thread.submit(self._find, wanted)
        except RuntimeError as error:
            raise CannotSearch("the server is stopping") from error
        self._waiting.add(future)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        finally:
            self._waiting.discard(future)

    def close(self, timeout_s: float) -> bool:
        """Take no more searches.

        Args:
            timeout_s: seconds to wait for the one under way.

        Returns:
            whether it has ended.
        """
        self._thread.shutdown(wait=False, cancel_futures=True)
        _, running = wait(set(self._waiting), timeout_s)
        if not running:
            self._library.close()
        return not running

    def _find(self, wanted: Wanted) -> Found:
        """Look for hits; a request for more of the search before takes them from the same ranking."""
        if self._whole is not None:
            before, whole = self._whole
            if wanted.top_k > before.top_k and replace(wanted, top_k=before.top_k) == before:
                return whole.first(wanted.top_k)
        self._whole = None
        if wanted.top_k <= _FEW_HITS or _VIDEOS_A_HIT * wanted.top_k < len(self._offered.videos()):
            return self._search(wanted)
        whole = self._search(replace(wanted, top_k=MOST_HITS))
        self._whole = wanted, whole
        return whole.first(wanted.top_k)

    def _search(self, wanted: Wanted) -> Found:
        offered = {video.path: video for video in self._offered.videos() if wanted.allows(video)}
        filters = Filters(among=tuple(offered))
        try:
            if not offered or not self._library.videos(filters):
                why = (
                    "None of these videos is in the library yet." if offered else "No video fits the filters."
                )
                return Found(SearchResult(wanted.query, (), None, 0, 0), notes=(why,))
            grounder = self._library.grounder
            if wanted.only_clear and grounder.model.clear_from is None:
                raise CannotSearch(
                    f"the scores of {grounder.model.name} rank moments, but do not tell which match clearly; "
                    "search for all matches"
                )
            (result,) = self._library.search(
                wanted.query,
                top_k=wanted.top_k,
                per_video=wanted.per_video,
                threshold=wanted.threshold,
                only_clear=wanted.only_clear,
                filters=filters,
            )
        except CannotSearch:
            raise
        except VtgError as error:
            raise CannotSearch(str(error)) from error
        is_complete = result.looked_into + len(result.stale) >= result.videos
        return Found(
            result,
            hits=tuple((offered[hit.video], hit) for hit in result.hits),
            has_more=wanted.top_k < MOST_HITS and (len(result.hits) == wanted.top_k or not is_complete),
            notes=tuple(_notes(result)),
            model_notes=tuple(note[:1].upper() + note[1:] for note in grounder.notes),
            missing=tuple(offered[path] for path in result.stale),
        )


def _notes(result: SearchResult) -> list[str]:
    """What a person should know about an answer."""
    notes = [
        *filter(None, [search_verdict(result)]),
        *(f"{hint[:1].upper()}{hint[1:]}." for hint in result.hints),
    ]
    if result.stale:
        notes.append(
            f"{counted(len(result.stale), 'likely video')} left out: changed or gone since added to the library."
        )
    return notes
