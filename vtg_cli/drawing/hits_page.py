"""HTML: the moments of a search in one page to open in a browser, whichever of the videos they are in.

A click on a moment plays it. The page fetches nothing but the videos, from where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VideoError, VtgError, reason_of
from vtg_cli.drawing.page import FROM_FILE, SUFFIXES, address_of, filled, jpeg, text_in_page
from vtg_cli.terminal.console import counted, one_line
from vtg_cli.terminal.timecode import timecode
from vtg_cli.terminal.verdict import search_verdict

if TYPE_CHECKING:
    from model.grounding.results import Quote
    from model.search.results import Hit, SearchResult

_COLOURS = 6
_LEAD_S = 1.0  # into a moment, where its picture is taken: its first frame may still show what was before

Pictures = Mapping[tuple[Path, float], str]
"""Addresses of pictures, by video and start of the moment."""


def check_hits_page(page: Path) -> None:
    """Raise UsageError if the ending of a page is not HTML's."""
    if page.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--html {page}: its name must end in {' or '.join(SUFFIXES)}")


def write_hits_page(results: Sequence[SearchResult], page: Path) -> None:
    """Write the hits of a search as a page to open in a browser.

    Args:
        results: of at least one query.
        page: the file, which appears whole or not at all; it plays the videos from where they lie, as seen from there.

    Raises:
        UsageError: as `check_hits_page`.
        VtgError: if the file cannot be written.
    """
    from extractors.files.atomic import atomic_write

    check_hits_page(page)
    hits = [hit for result in results for hit in result.hits]
    pictures = _pictures(hits)
    videos = len({hit.video for hit in hits})
    searched = counted(max(result.videos for result in results), "video")
    text = filled(
        "hits.html",
        script="hits.js",
        styles=("style.css", "report.css", "hits.css"),
        media=FROM_FILE,
        values={
            "title": text_in_page(", ".join(result.query for result in results)),
            "summary": text_in_page(
                f"{counted(len(hits), 'moment')} in {counted(videos, 'video')}, of {searched} searched"
            ),
            "answers": "\n".join(
                _answer(number, result, page, pictures) for number, result in enumerate(results)
            ),
        },
    )
    try:
        with atomic_write(page) as file:
            # Names of files need not be text; what is not comes out as escapes.
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise VtgError(f"{page}: cannot be written ({reason_of(error)})") from error


def _answer(number: int, result: SearchResult, page: Path, pictures: Pictures) -> str:
    verdict = search_verdict(result)
    note = f'<p class="note">{text_in_page(verdict)}</p>' if verdict else ""
    items = "\n".join(_item(rank, hit, page, pictures) for rank, hit in enumerate(result.hits, start=1))
    hits = f"<ol>\n{items}\n</ol>" if items else ""
    query = f"<h3><bdi>{text_in_page(result.query)}</bdi></h3>"
    return f'<section class="answer q{number % _COLOURS + 1}">{query}{note}{hits}</section>'


def _item(rank: int, hit: Hit, page: Path, pictures: Pictures) -> str:
    unclear = hit.clear_match is False
    name = text_in_page(hit.video.name)
    data = {
        "source": address_of(hit.video, page),
        "name": one_line(hit.video.name),
        "start": f"{hit.start_s:.3f}",
        "end": f"{hit.end_s:.3f}",
        "duration": f"{hit.duration_s:.3f}",
        "score": f"{hit.score:.4f}",
    }
    attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
    picture = pictures.get((hit.video, hit.start_s))
    image = f'src="{picture}"' if picture else 'class="missing"'
    quote = "" if hit.quote is None else _quote(hit.quote, is_seen=hit.is_seen)
    when = f"{timecode(hit.start_s)} – {timecode(hit.end_s)}"
    return (
        f'<li><button type="button" class="moment{" unclear" if unclear else ""}" tabindex="-1" {attributes}>'
        f'<span class="rank-number"><span class="unseen">Moment </span>{rank}</span>'
        f'<img {image} alt="" width="84" height="47"><span class="name" title="{name}"><bdi>{name}</bdi></span>'
        f'<span class="when">{when}<span class="length">{hit.end_s - hit.start_s:.1f} s</span></span>'
        f'<span class="score"><span class="meter"><span class="fill"></span></span>'
        f'<span class="unseen">{" no clear match, score " if unclear else " score "}</span>{hit.score:.2f}</span>'
        f"{quote}</button></li>"
    )


def _quote(quote: Quote, *, is_seen: bool) -> str:
    where = f"pictures, {quote.stream}" if is_seen else quote.stream
    return f'<span class="quote"><bdi>{text_in_page(where)}</bdi>: <bdi>“{text_in_page(quote.text)}”</bdi></span>'


def _pictures(hits: Sequence[Hit]) -> dict[tuple[Path, float], str]:
    """A picture for each moment; none for those of videos that cannot be read any more."""
    from extractors.decoding.thumbnails import read_thumbnails

    pictures = {}
    for video, starts in _starts(hits):
        with suppress(VideoError):
            instants = [min(start_s + _LEAD_S, (start_s + end_s) / 2) for start_s, end_s in starts]
            for (start_s, _), picture in zip(starts, read_thumbnails(video, instants), strict=True):
                pictures[video, start_s] = jpeg(picture)
    return pictures


def _starts(hits: Sequence[Hit]) -> Iterator[tuple[Path, list[tuple[float, float]]]]:
    """The videos, and the spans of the moments in each."""
    spans: dict[Path, dict[tuple[float, float], None]] = {}
    for hit in hits:
        spans.setdefault(hit.video, {})[hit.start_s, hit.end_s] = None
    return ((video, list(of_video)) for video, of_video in spans.items())
