"""HTML: one file to open in a browser, with the video, its curves and its moments, that fetches nothing but the video.

Whatever comes from outside, queries and names of files, is text in the page, never markup; and by its own policy the
page runs the one script that `report.html` holds.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from extractors.errors import UsageError, VtgError
from model.grounding.results import to_document
from vtg_cli.drawing.curve import COLOURS, evenly_spaced, lanes, peak, score_range, time_ticks
from vtg_cli.drawing.playback import is_played_somewhere
from vtg_cli.terminal.console import one_line
from vtg_cli.terminal.progress import damage
from vtg_cli.terminal.timecode import timecode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.grounding.results import GroundingResult

SUFFIXES = (".html", ".htm")
"""Endings of the files that can be written."""

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
_CURVE_HEIGHT, _LANE_HEIGHT, _AXIS_HEIGHT = 150, 20, 20  # pixels
_STEPS = 2000  # a curve is drawn with no more than this, whatever its length
_UNITS = 10_000  # units of a drawing across
_BLOCK = 3 << 18  # bytes; a multiple of three, so that base64 goes on without a break


def check_report(report: Path, video: Path, *, embed: bool) -> None:
    """Refuse a report that could not be written, before anything is looked for.

    Raises:
        UsageError: if the ending of the file is not HTML's, it is the video itself, or the video cannot be embedded, as
            it is too large or no browser plays its format.
    """
    if report.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--html {report}: its name has to end in {' or '.join(SUFFIXES)}")
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
            f"--embed: {video} has {size_mb:.0f} MB, and browsers open reports with {EMBED_LIMIT_MB} MB of video at "
            "most; leave --embed out, and the report plays the video from where it lies"
        )


def write_report(results: Sequence[GroundingResult], report: Path, *, embed: bool = False) -> None:
    """Write the results for one video as a page to open in a browser.

    Args:
        results: the answers to at least one query on one video.
        report: the file, which appears whole or not at all.
        embed: put the video into the file; otherwise the page plays it from where it lies, as seen from the report.

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
    pictures = [_jpeg(thumbnail) for thumbnail in thumbnails]
    page = _page(
        results,
        strip=list(zip(strip_s, pictures, strict=False)),
        pictures=dict(zip(pictured, pictures[_STRIP:], strict=True)),
        source="" if embed else _address(video, report),
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
        raise VtgError(f"{report}: cannot be written ({error.strerror or error})") from error


_PACKED = "\0"  # where an embedded video comes; no text of a page can hold it


def _page(
    results: Sequence[GroundingResult],
    *,
    strip: Sequence[tuple[float, str]],
    pictures: dict[tuple[int, int], str],
    source: str,
) -> str:
    template = resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
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
        "policy": _policy(template, "'self' file:" if source else "blob:"),
        "title": _text(name),
        "summary": _text(
            f"{timecode(first.duration_s)} · {first.model} on {' + '.join(first.features)} features"
        ),
        "damage": f"\n<p>{_text(f'This video is {damage(first.damaged_s)}.')}</p>" if first.damaged_s else "",
        "source": f' src="{escape(source)}"' if source else f' data-type="{kind}"',
        "trouble": _text(trouble),
        "duration": f"{first.duration_s:.3f}",
        "legend": "\n".join(_key(number, result) for number, result in enumerate(results)),
        "chart": "\n".join(_chart(results)),
        "strip": "\n".join(f'<img src="{data}" alt="at {timecode(time_s)}">' for time_s, data in strip),
        "answers": "\n".join(_answer(number, result, pictures) for number, result in enumerate(results)),
        "data": _json(results),
        "packed": _PACKED,
    }
    # In one go, so that what is put in is not looked through for more places.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], template)


def _policy(template: str, media: str) -> str:
    """What the page may load: its one script, its one style sheet, pictures inside of it, and the video."""
    hashes = {}
    for tag in ("script", "style"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[0]
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        f"img-src data:; media-src {media}; base-uri 'none'; form-action 'none'"
    )


def _text(text: str) -> str:
    return escape(one_line(text))


def _json(results: Sequence[GroundingResult]) -> str:
    """The JSON document in a form that cannot end the element it stands in."""
    text = json.dumps(to_document(results), allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _address(video: Path, report: Path) -> str:
    """Where the video lies, as seen from the report."""
    try:
        # Not with links resolved: browsers go up and down by the names in the address.
        relative = Path(os.path.relpath(video, report.parent))
    except ValueError:  # on another drive
        return video.resolve().as_uri()
    # With the folder named, a colon in a file's name does not look like the end of a scheme.
    return "./" + quote(os.fsencode(relative.as_posix()))


def _base64(video: Path) -> Iterator[bytes]:
    try:
        with video.open("rb") as file:
            while block := file.read(_BLOCK):
                yield base64.b64encode(block)
    except OSError as error:
        raise VtgError(f"{video}: cannot be read ({error.strerror or error})") from error


def _pictured(results: Sequence[GroundingResult]) -> dict[tuple[int, int], float]:
    """Numbers of query and rank of the moments that get a thumbnail, and seconds of where they match best."""
    moments = [
        (rank, number, peak(result.saliency, moment)[0] if result.saliency.scores else moment.start_s)
        for number, result in enumerate(results)
        for rank, moment in enumerate(result.moments, start=1)
    ]
    return {(number, rank): time_s for rank, number, time_s in sorted(moments)[:_MOST_PICTURES]}


def _jpeg(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _colour(number: int) -> str:
    return f"q{number % len(COLOURS) + 1}"


def _key(number: int, result: GroundingResult) -> str:
    return (
        f'<button type="button" class="{_colour(number)}" data-query="{number}" aria-pressed="true">'
        f"<bdi>{_text(result.query)}</bdi></button>"
    )


def _answer(number: int, result: GroundingResult, pictures: dict[tuple[int, int], str]) -> str:
    rows = []
    for rank, moment in enumerate(result.moments, start=1):
        picture = pictures.get((number, rank))
        image = f'<img src="{picture}" alt="">' if picture else ""
        rows.append(
            f'<li><button type="button" class="moment" data-query="{number}" data-rank="{rank}" '
            f'data-start="{moment.start_s:.3f}" data-end="{moment.end_s:.3f}">{image}<b>{rank}</b>'
            f"<span>{timecode(moment.start_s)} – {timecode(moment.end_s)}</span>"
            f'<span class="score">{moment.score:.2f}</span></button></li>'
        )
    moments = (
        f"<ol>{''.join(rows)}</ol>"
        if rows
        else '<p class="hint">no moment scores as high as the threshold</p>'
    )
    return (
        f'<section class="{_colour(number)}" data-query="{number}"><h2><bdi>{_text(result.query)}</bdi></h2>'
        f"{moments}</section>"
    )


def _chart(results: Sequence[GroundingResult]) -> Iterator[str]:
    """Curves over one another, under them the moments of each query, and a time axis; it stretches with the page.

    Places across are shares of the width, so that text and lines keep their size.
    """
    duration_s = results[0].duration_s
    bottom = _CURVE_HEIGHT + 3
    rows = [lanes(result.moments, duration_s) for result in results]
    tops = []
    for of_query in rows:
        tops.append([bottom + row * _LANE_HEIGHT for row in of_query])
        bottom += (max(of_query, default=0) + 1) * _LANE_HEIGHT

    def across(time_s: float) -> str:
        return f"{100 * min(max(time_s / duration_s, 0.0), 1.0):.4f}%"

    yield f'<svg width="100%" height="{bottom + _AXIS_HEIGHT}" aria-hidden="true">'
    for number, result in enumerate(results):
        yield f'<g class="{_colour(number)}" data-query="{number}">'
        # Best last, so that it lies on top where more overlap than there are lanes.
        for rank, moment in reversed(list(enumerate(result.moments, start=1))):
            place = f'x="{across(moment.start_s)}" width="{across(moment.length_s)}"'
            start = f'data-rank="{rank}" data-start="{moment.start_s:.3f}"'
            best = " best" if rank == 1 else ""
            top = tops[number][rank - 1]
            yield f'<rect class="band" {place} y="0" height="{_CURVE_HEIGHT}"/>'
            yield f'<rect class="bar{best}" {place} y="{top}" height="{_LANE_HEIGHT - 4}" rx="3" {start}/>'
            yield (
                f'<text class="rank{" on" if best else ""}" x="{across(moment.start_s)}" dx="4" '
                f'y="{top + _LANE_HEIGHT - 8}">{rank}</text>'
            )
        yield f'<svg width="100%" height="{_CURVE_HEIGHT}" viewBox="0 0 {_UNITS} 1000" preserveAspectRatio="none">'
        dash = min(number // len(COLOURS), 2)
        yield f'<path class="curve dash{dash}" d="{_path(result)}"/></svg></g>'
    for start_s, end_s in results[0].damaged_s:
        place = f'x="{across(start_s)}" width="{across(end_s - start_s)}"'
        yield f'<rect class="damage" {place} y="{_CURVE_HEIGHT - 5}" height="5"/>'
    yield f'<line class="axis" x1="0" x2="100%" y1="{_CURVE_HEIGHT}" y2="{_CURVE_HEIGHT}"/>'
    for time_s, text in time_ticks(duration_s, 5):
        anchor = "start" if time_s == 0 else "end" if time_s > 0.95 * duration_s else "middle"
        yield (
            f'<text class="tick" x="{across(time_s)}" y="{bottom + _AXIS_HEIGHT - 5}" text-anchor="{anchor}">'
            f"{text}</text>"
        )
    yield f'<line id="playhead" x1="0%" x2="0%" y1="0" y2="{bottom}"/>'
    yield "</svg>"


def _path(result: GroundingResult) -> str:
    """The curve, a step a clip; of a long one the highest of several clips."""
    scores, length_s = result.saliency.scores, result.saliency.clip_length_s
    low, high = score_range(scores)
    stride = -(-len(scores) // _STEPS) or 1
    steps = []
    for at in range(0, len(scores), stride):
        share = (max(scores[at : at + stride]) - low) / (high - low) if high > low else 0.0
        end = min((at + stride) * length_s / result.duration_s, 1.0)
        steps.append(f"V{1000 - round(990 * share)}H{round(_UNITS * end)}")
    return f"M0 1000{''.join(steps)}V1000"
