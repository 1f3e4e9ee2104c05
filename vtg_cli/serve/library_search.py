"""Searches in all offered videos at once, with the index of a library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from extractors.errors import VtgError
from model.search.library import Library as SearchLibrary
from model.search.results import Hit, SearchResult
from vtg_cli.serve.hit_lists import HitList, HitLists
from vtg_cli.serve.jobs import QueueFull
from vtg_cli.serve.library.library import Library, Video
from vtg_cli.serve.wanted import Wanted
from vtg_cli.terminal.console import counted
from vtg_cli.terminal.verdict import search_verdict

_MOST_WAITING = 32


class CannotSearch(VtgError):
    """The library cannot be searched, or not in this way."""


@dataclass(frozen=True)
class Found:
    """A part of the answer to a search.

    Attributes:
        result: as the library gives it.
        hits: the videos of the hits of this part, and the hits.
        next: the cursor of the part that follows; None if there is none.
        notes: what the user should know about this answer, one sentence per note.
        model_notes: what holds for every answer of the model.
        missing: offered videos that the index should hold, but whose files or features are no longer those it knows.
    """

    result: SearchResult
    hits: tuple[tuple[Video, Hit], ...] = ()
    next: str | None = None
    notes: tuple[str, ...] = ()
    model_notes: tuple[str, ...] = ()
    missing: tuple[Video, ...] = ()


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
        self._lists = HitLists()

    async def find(self, wanted: Wanted) -> Found:
        """Search the offered videos that the index holds.

        Raises:
            QueueFull: if too many searches wait.
            CannotSearch: if the index or the model cannot be used, or the model cannot tell clear matches.
        """
        return await self._in_turn(self._find, wanted)

    async def go_on(self, cursor: str, count: int) -> Found:
        """Find the hits that follow those which came with a cursor. Only videos that no part needed are looked into.

        Args:
            cursor: `Found.next` of a part. The same one again brings the same hits again.
            count: maximum hits.

        Raises:
            NotKept: if there is no such cursor, or its search is no longer kept.
            QueueFull, CannotSearch: as `find`.
        """
        return await self._in_turn(self._go_on, cursor, count)

    async def _in_turn(self, work: Callable[..., Found], *values: object) -> Found:
        if len(self._waiting) >= _MOST_WAITING:
            raise QueueFull(f"{len(self._waiting)} searches are waiting already; try again later")
        try:
            future = self._thread.submit(work, *values)
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
        return self._part(HitList(wanted), 0, wanted.top_k)

    def _go_on(self, cursor: str, count: int) -> Found:
        return self._part(*self._lists.find(cursor), count)

    def _part(self, hits: HitList, start: int, count: int) -> Found:
        """So many hits of a list from an index on; it grows where it is too short."""
        missing: tuple[Video, ...] = ()
        if hits.can_grow and len(hits.hits) < start + count:
            offered = {video.path: video for video in self._offered.videos() if hits.wanted.allows(video)}
            try:
                if not offered:
                    return _nothing(hits.wanted, "No video fits the filters.")
                if self._library.exists:
                    self._check(hits.wanted)
                    hits.grow(self._library, offered, count)
                if not hits.result.videos:
                    return _nothing(hits.wanted, "None of these videos is in the library yet.")
            except CannotSearch:
                raise
            except VtgError as error:
                raise CannotSearch(str(error)) from error
            missing = tuple(offered[path] for path in hits.result.stale)
        part = hits.hits[start : start + count]
        end = start + len(part)
        return Found(
            hits.result,
            hits=tuple(part),
            next=self._lists.keep(hits, end) if hits.can_grow or end < len(hits.hits) else None,
            notes=tuple(_notes(hits.result)),
            model_notes=tuple(note[:1].upper() + note[1:] for note in self._library.grounder.notes),
            missing=missing,
        )

    def _check(self, wanted: Wanted) -> None:
        """Raise CannotSearch if the model cannot tell clear matches that are asked for."""
        model = self._library.grounder.model
        if wanted.only_clear and model.clear_from is None:
            raise CannotSearch(
                f"the scores of {model.name} rank moments, but do not show which match clearly; search for all "
                "matches"
            )


def _nothing(wanted: Wanted, why: str) -> Found:
    return Found(SearchResult(wanted.query, (), None, 0, 0), notes=(why,))


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
    if result.unready:
        notes.append(f"The words of {counted(result.unready, 'video')} were not searched: they are new.")
    return notes
