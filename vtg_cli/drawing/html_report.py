"""HTML: one file to open in a browser, with the video, its curves and its moments, that fetches nothing but the video.

It is the page of `vtg serve` around the JSON document of the answers: the same scripts draw the curves, list the
moments and play the video. Whatever comes from outside, queries, words and names of files, is text in the page, never
markup; and by its own policy the page runs one script only.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VtgError, reason_of
from model.grounding.results import to_document
from vtg_cli.drawing.cue_tracks import cue_tracks
from vtg_cli.drawing.curve import evenly_spaced, peak
from vtg_cli.drawing.page import FROM_FILE, SUFFIXES, address_of, filled, jpeg, json_in_page, text_in_page
from vtg_cli.drawing.playback import is_played_somewhere
from vtg_cli.terminal.console import one_line
from vtg_cli.terminal.timecode import timecode
from vtg_cli.terminal.verdict import basis

if TYPE_CHECKING:
    from extractors.cues.cue import Transcript
    from model.grounding.results import GroundingResult

EMBED_LIMIT_MB = 100
"""The size in megabytes of the largest video that is put into a report; the text it becomes is a third longer."""

_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",  # browsers play what they know of it under this name only
    ".webm": "video/webm",
    ".mkv": "video/webm",
    ".ogv": "video/ogg",
}
_STRIP, _MOST_PICTURES = 10, 24  # thumbnails under the curve, and of moments
_BLOCK = 3 << 18  # bytes; a multiple of three, so that base64 continues without padding


def check_report(report: Path, video: Path, *, embed: bool) -> None:
    """Refuse a report that cannot be written, before any work begins.

    Raises:
        UsageError: if the ending of the file is not HTML's, it is the video itself, or the video cannot be embedded, as
            it is too large or no browser plays its format.
    """
    if report.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--html {report}: its name must end in {' or '.join(SUFFIXES)}")
    with suppress(OSError):
        if report.samefile(video):
            raise UsageError(f"--html {report}: is the video itself; give the report another name")
    if embed and not is_played_somewhere(video):
        raise UsageError(
            f"--embed: browsers do not play {video.suffix or 'a file without an ending'}; make an MP4 of {video} "
            "first, or leave --embed out for a page without the video"
        )
    size_mb = 0.0
    with suppress(OSError):
        size_mb = video.stat().st_size / 1e6
    if embed and size_mb > EMBED_LIMIT_MB:
        raise UsageError(
            f"--embed: {video} has {size_mb:.0f} MB, but browsers open reports with at most {EMBED_LIMIT_MB} MB of "
            "video; leave --embed out, and the report plays the video from its folder"
        )


def write_report(
    results: Sequence[GroundingResult],
    report: Path,
    *,
    embed: bool = False,
    words: Sequence[Transcript] = (),
) -> None:
    """Write the results for one video as a page to open in a browser.

    Args:
        results: the answers to at least one query on one video.
        report: the file, which appears whole or not at all.
        embed: put the video into the file; otherwise the page plays it from where it lies, as seen from the report.
        words: what is said and written in the video; shown as tracks.

    Raises:
        UsageError: as `check_report`.
        VideoError: if no thumbnail can be read from the video.
        VtgError: if the file cannot be written.
    """
    from extractors.decoding.thumbnails import read_thumbnails
    from extractors.files.atomic import atomic_write

    video = Path(results[0].video)
    check_report(report, video, embed=embed)
    strip_s = evenly_spaced(results[0].duration_s, _STRIP)
    pictured = _pictured(results)
    thumbnails = read_thumbnails(video, [*strip_s, *pictured.values()])
    pictures = [jpeg(thumbnail) for thumbnail in thumbnails]
    page = _page(
        results,
        strip=list(zip(strip_s, pictures, strict=False)),
        pictures=dict(zip(pictured, pictures[_STRIP:], strict=True)),
        source="" if embed else address_of(video, report),
        words=words,
    )
    before, after = page.split(_PACKED)
    try:
        with atomic_write(report) as file:
            # Names of files need not be text; what is not comes out as escapes.
            file.write(before.encode("utf-8", "backslashreplace"))
            if embed:
                file.write(b'<script type="text/plain" id="packed">')
                file.writelines(_base64(video))
                file.write(b"</script>")
            file.write(after.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise VtgError(f"{report}: cannot be written ({reason_of(error)})") from error


_PACKED = "\0"  # where an embedded video comes; no text of a page can hold it


def _page(
    results: Sequence[GroundingResult],
    *,
    strip: Sequence[tuple[float, str]],
    pictures: dict[tuple[int, int], str],
    source: str,
    words: Sequence[Transcript],
) -> str:
    first = results[0]
    name = Path(one_line(first.video)).name
    kind = _TYPES.get(Path(first.video).suffix.lower(), "")
    trouble = f"This browser cannot play {name}: "
    if source:
        trouble += (
            f"the report looks for it at {one_line(first.video)}, as seen from its own folder at {source}; "
        )
        trouble += "either it is not there, or browsers do not play its format."
    else:
        trouble += "browsers do not play its format."
    values = {
        "title": text_in_page(name),
        "summary": text_in_page(
            f"{timecode(first.duration_s)} · {', '.join(dict.fromkeys(map(basis, results)))}"
        ),
        "damage": "".join(
            f'\n<p class="note">{text_in_page(f"This video is {text}.")}</p>'
            for text in first.facts.warnings()
        ),
        "source": f' src="{escape(source)}"' if source else f' data-type="{kind}"',
        "trouble": text_in_page(trouble),
        "strip": "\n".join(f'<img src="{data}" alt="at {timecode(time_s)}">' for time_s, data in strip),
        "data": json_in_page(to_document(results)),
        "pictures": json_in_page(
            [
                [pictures.get((number, rank)) for rank in range(1, len(result.moments) + 1)]
                for number, result in enumerate(results)
            ]
        ),
        "tracks": json_in_page(cue_tracks(words)),
        "packed": _PACKED,
    }
    return filled(
        "report.html",
        script="report.js",
        styles=("style.css", "report.css"),
        media=FROM_FILE if source else "blob:",
        values=values,
    )


def _base64(video: Path) -> Iterator[bytes]:
    try:
        with video.open("rb") as file:
            while block := file.read(_BLOCK):
                yield base64.b64encode(block)
    except OSError as error:
        raise VtgError(f"{video}: cannot be read ({reason_of(error)})") from error


def _pictured(results: Sequence[GroundingResult]) -> dict[tuple[int, int], float]:
    """Numbers of query and rank of the moments that get a thumbnail, and seconds of where they match best."""
    moments = [
        (rank, number, peak(result.saliency, moment)[0] if result.saliency.scores else moment.start_s)
        for number, result in enumerate(results)
        for rank, moment in enumerate(result.moments, start=1)
    ]
    return {(number, rank): time_s for rank, number, time_s in sorted(moments)[:_MOST_PICTURES]}
