"""The outputs of `vtg search`: tables, a document and a page of all hits, and the files that `vtg ground` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VtgError
from vtg_cli.commands.outputs import PLACEHOLDER, Outputs
from vtg_cli.parsing.values import is_same_file
from vtg_cli.terminal.console import answering, error_line, note, print_json

if TYPE_CHECKING:
    from model.search.results import SearchResult


class HitOutputs:
    """Where the hits of a search go.

    Args:
        outputs: what was asked for. An --html without a place for the name of a video is one page of all hits.
        by_video: whether tables are grouped by video.
    """

    def __init__(self, outputs: Outputs, *, by_video: bool) -> None:
        from vtg_cli.writers.formats import STDOUT

        self._by_video = by_video
        self._as_document = outputs.json
        self._as_tables = all(name != STDOUT for name, _ in outputs.files)
        is_of_all = outputs.html is not None and PLACEHOLDER not in str(outputs.html)
        self._page = outputs.html if is_of_all else None
        self._files = replace(outputs, json=False, html=None if is_of_all else outputs.html)

    def check(self) -> None:
        """Refuse outputs that cannot be written whatever is found; raises UsageError."""
        from vtg_cli.drawing.hits_page import check_hits_page

        if self._page is not None:
            check_hits_page(self._page)
            if self._files.embed:
                raise UsageError(f"--embed: needs one page per video: --html '{PLACEHOLDER}.html'")
        self._files.check([])

    def deliver(self, found: Sequence[SearchResult]) -> bool:
        """Print and write the hits; what cannot be written is reported, and the rest is written.

        Returns:
            whether all was written.

        Raises:
            UsageError: if a file can hold one video only and there are several, or is one of the videos.
        """
        from model.search.results import to_document
        from vtg_cli.drawing.terminal_hits import show_hits

        answers = [answer for result in found for answer in result.answers]
        videos = [Path(video) for video in dict.fromkeys(answer.video for answer in answers)]
        self._files.check(videos)
        if self._page is not None and any(is_same_file(self._page, video) for video in videos):
            raise UsageError(f"--html {self._page}: is one of the videos; give the page another name")
        if self._as_document:
            with answering():
                print_json(to_document(found))
        elif self._as_tables:
            show_hits(found, by_video=self._by_video)
        written = self._page is None or self._write_page(found, self._page)
        return (not answers or self._files.deliver(answers)) and written

    @staticmethod
    def _write_page(found: Sequence[SearchResult], page: Path) -> bool:
        from vtg_cli.drawing.hits_page import write_hits_page

        try:
            write_hits_page(found, page)
        except VtgError as error:
            error_line(str(error))
            return False
        note(f"{page}: written; open it in a browser")
        return True
