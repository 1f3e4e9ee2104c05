"""Moments as video files: one cut per moment, or the best joined into one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VtgError
from vtg_cli.parsing.values import is_same_file
from vtg_cli.terminal.console import err, note, verbosity

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult, Moment
    from vtg_cli.cutting.source import Span

_QUERY_LENGTH = 40  # characters of a query in the name of its clips
_QUERY_BYTES, _STEM_BYTES = 80, 150  # file systems count bytes; a name has 255 at most
_CLIP_SUFFIX = ".mp4"
_COPY_SUFFIX = ".mkv"  # holds whatever a source may


def check_request(clips: Path | None, supercut: Path | None, *, padding_s: float, copy: bool) -> None:
    """Refuse cuts that cannot be made, before any work begins.

    Raises:
        UsageError: if options exclude each other or a target cannot be written.
    """
    from vtg_cli.cutting.targets import ENCODED_CONTAINERS

    if copy and clips is None:
        raise UsageError("--copy: needs --clips")
    if padding_s and clips is None and supercut is None:
        raise UsageError("--padding: needs --clips or --supercut")
    if clips is not None and clips.exists() and not clips.is_dir():
        raise UsageError(f"--clips {clips}: is a file; name a folder for the clips")
    if supercut is None:
        return
    if supercut.suffix.lower() not in ENCODED_CONTAINERS:
        raise UsageError(f"--supercut {supercut}: its name must end in {', '.join(ENCODED_CONTAINERS)}")


class Stems:
    """The first part of the names of a video's files, unique among the videos of a folder.

    It is the video's own name, with its ending where another one has the same, and cut off where it is very long.
    """

    def __init__(self) -> None:
        self._holders: dict[str, Path] = {}

    def of(self, video: Path) -> str:
        """The stem for a video; always the same for the same one."""
        numbered = (f"{_cut_off(video.stem, _STEM_BYTES - 6)}-{number}" for number in count(2))
        for stem in chain([video.stem, video.name], numbered):
            short = _cut_off(stem, _STEM_BYTES)
            # File systems may take upper and lower case for the same.
            if self._holders.setdefault(short.casefold(), video) == video:
                return short
        raise AssertionError("numbers do not end")


def cut_clips(
    results: Sequence[GroundingResult],
    folder: Path,
    *,
    stem: str | None = None,
    padding_s: float = 0.0,
    copy: bool = False,
    spared: Sequence[Path] = (),
) -> list[Path]:
    """Cut every moment of results for one video into a separate file: VIDEO_QUERY_RANK.mp4.

    Args:
        folder: where to; made if missing.
        stem: what the files' names begin with, as `Stems` gives it; the video's own name if None.
        padding_s: seconds added on either side, as far as the video goes.
        copy: cut at key frames and copy, into the source's own format; else exactly, encoded again.
        spared: files that no clip may replace, as they are still needed.

    Raises:
        VideoError: if the video cannot be decoded or copied.
        VtgError: if a clip cannot be written.
    """
    from extractors.files.atomic import remove_abandoned
    from vtg_cli.cutting.cutter import VideoCutter
    from vtg_cli.cutting.targets import CONTAINERS

    moments = sum(len(result.moments) for result in results)
    if not moments:
        return []
    video = Path(results[0].video)
    cutter = VideoCutter(video)
    suffix = _CLIP_SUFFIX
    if copy:
        suffix = video.suffix.lower() if video.suffix.lower() in CONTAINERS else _COPY_SUFFIX
    stem = stem or Stems().of(video)
    remove_abandoned(folder, f"{stem}_")
    written: list[Path] = []
    with _working("cutting clips"):
        for result, query in zip(results, _query_names(results), strict=True):
            for rank, moment in enumerate(result.moments, start=1):
                target = folder / f"{stem}_{query}_{rank:02d}{suffix}"
                if any(is_same_file(target, other) for other in spared):
                    raise VtgError(
                        f"{target}: not written, because it is one of the videos; name another folder"
                    )
                span = _padded(moment, padding_s, result.duration_s)
                if copy:
                    cutter.copy(target, span)
                else:
                    cutter.cut(target, [span])
                written.append(target)
    if cutter.loss and not copy:
        note(cutter.loss)
    return written


def join_moments(results: Sequence[GroundingResult], target: Path, *, padding_s: float = 0.0) -> float:
    """Join the moments of results into one file: video by video, in order of time, and where they overlap, once.

    Args:
        results: for one video or several, which come in the order of their first results.
        target: the file; its ending says the format.
        padding_s: seconds added on either side of each, as far as the video goes.

    Returns:
        its length in seconds.

    Raises:
        VideoError: if a video cannot be decoded.
        VtgError: if there are no moments, or the file cannot be written.
    """
    from extractors.files.atomic import remove_abandoned
    from vtg_cli.cutting.join import join

    spans: dict[str, list[Span]] = {}
    for result in results:
        padded = [_padded(moment, padding_s, result.duration_s) for moment in result.moments]
        spans.setdefault(result.video, []).extend(padded)
    parts = [(Path(video), span) for video, wanted in spans.items() for span in _merged(wanted)]
    if not parts:
        raise VtgError(f"{target}: not written, because no moment reaches --threshold")
    remove_abandoned(target.parent, target.name)
    with _working("joining moments"):
        joined = join(target, parts)
    if joined.note:
        note(joined.note)
    return joined.length_s


def _query_names(results: Sequence[GroundingResult]) -> list[str]:
    """The part of a cut's name that stands for its query, unique among queries."""
    names: list[str] = []
    for number, result in enumerate(results, start=1):
        words = "".join(c if c.isalnum() else " " for c in result.query.lower()).split()
        name = _cut_off("-".join(words)[:_QUERY_LENGTH], _QUERY_BYTES).strip("-") or f"query{number}"
        names.append(f"{name}-{number}" if name in names else name)
    return names


def _cut_off(name: str, most_bytes: int) -> str:
    """The longest beginning of a name that fits into a number of bytes on disk."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name


def _padded(moment: Moment, padding_s: float, duration_s: float) -> Span:
    start_s = max(min(moment.start_s, duration_s) - padding_s, 0.0)
    return start_s, max(min(moment.end_s + padding_s, duration_s), start_s + 0.001)


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start_s, end_s in sorted(spans):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_s))
        else:
            merged.append((start_s, end_s))
    return merged


@contextmanager
def _working(text: str) -> Iterator[None]:
    console = err()
    if verbosity.quiet or not console.is_terminal:
        yield
        return
    # The usual one is made of dots of braille.
    with console.status(text, spinner="dots" if console.encoding.startswith("utf") else "line"):
        yield
