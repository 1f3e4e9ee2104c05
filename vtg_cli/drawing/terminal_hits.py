"""The answers of a search in the terminal: the moments of many videos in one table."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.text import Text

from model.search.results import Hit, SearchResult
from vtg_cli.drawing.terminal_curve import glyphs_for
from vtg_cli.terminal.console import answering, out, printable
from vtg_cli.terminal.table import print_table
from vtg_cli.terminal.timecode import timecode
from vtg_cli.terminal.verdict import search_verdict

_HEADINGS = ("#", "start", "end", "score", "")


def show_hits(results: Sequence[SearchResult], *, by_video: bool) -> None:
    """Print the hits of each query.

    Args:
        results: of a search.
        by_video: one table for each video instead of one for all.
    """
    if sys.stdout is None:
        return
    if isinstance(sys.stdout, TextIOWrapper):
        # Queries and names of files may hold letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = out()
    quotes = glyphs_for(console.encoding).quotes
    with answering():
        for result in results:
            query = f"{quotes[0]}{printable(result.query)}{quotes[1]}"
            console.print(Text(query, style="bold"), soft_wrap=True)
            for sentence in (search_verdict(result), *(f"hint: {hint}" for hint in result.hints)):
                if sentence:
                    console.print(Text(sentence, style="yellow"))
            ranked = list(enumerate(result.hits, start=1))
            if by_video:
                _print_videos(console, ranked, quotes)
            elif ranked:
                headings = (*_HEADINGS, "video", *_headings_of_words(result.hits))
                rows = [
                    (*_cells(rank, hit), shown_path(hit.video), *_words(hit, quotes))[: len(headings)]
                    for rank, hit in ranked
                ]
                print_table(headings, rows, right=(0, 1, 2, 3))
            console.print()


def _print_videos(console: Console, ranked: Sequence[tuple[int, Hit]], quotes: str) -> None:
    first = {hit.video: rank for rank, hit in reversed(ranked)}
    in_order = sorted(ranked, key=lambda one: (first[one[1].video], one[0]))
    for video, hits in groupby(in_order, key=lambda one: one[1].video):
        console.print(Text(printable(shown_path(video))), soft_wrap=True)
        headings = (*_HEADINGS, *_headings_of_words([hit for _, hit in ranked]))
        rows = [(*_cells(rank, hit), *_words(hit, quotes))[: len(headings)] for rank, hit in hits]
        print_table(headings, rows, right=(0, 1, 2, 3), indent=2)


def shown_path(path: Path) -> str:
    """A path as people type it: from the current folder if it is in it."""
    try:
        return str(path.relative_to(os.getcwd()))  # noqa: PTH109 - a folder that has gone raises for both
    except (ValueError, OSError):
        return str(path)


def _headings_of_words(hits: Sequence[Hit]) -> tuple[str, ...]:
    """Those of `_words`: none if all hits were found by their pictures alone."""
    return ("in", "words") if any(hit.quote for hit in hits) else ()


def _words(hit: Hit, quotes: str) -> tuple[str, ...]:
    """Where a hit was found, and its words."""
    if hit.quote is None:
        return "pictures", ""
    stream = printable(hit.quote.stream)
    words = f"{quotes[0]}{printable(hit.quote.text)}{quotes[1]}"
    return f"pictures, {stream}" if hit.is_seen else stream, words


def _cells(rank: int, hit: Hit) -> tuple[str, ...]:
    clear = {True: "clear", False: "", None: ""}[hit.clear_match]
    return str(rank), timecode(hit.start_s), timecode(hit.end_s), f"{hit.score:.2f}", clear
