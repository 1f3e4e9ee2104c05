"""Subtitle files beside a video, found by their names: `talk.srt` and `talk.en.srt` belong to `talk.mp4`."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from extractors.cues.cue import CueStream
from extractors.cues.subtitle_file import SUFFIXES, read_subtitle_file
from extractors.errors import VideoError

_MOST_FILES = 50
# As vtg writes the moments that it found into subtitles: a query and a score.
_MOMENT = re.compile(r".* \([01]\.\d\d\)(?:\n.*)?")
# `en`, `pt-BR`, `es-419`, `English`, and what may follow, as in `en.forced`.
_LANGUAGE = re.compile(r"[A-Za-z]{2,20}(?:[-_][A-Za-z0-9]{2,8}){0,3}(?:\.[A-Za-z]{2,12}){0,2}")


def find_sidecars(video: Path, *, follow_links: bool = True) -> list[tuple[Path, str]]:
    """The subtitle files of a video, and the languages that their names give.

    Files without a language come first, then the others by name. Of a file name such as `talk.en.forced.srt`, the
    language is `en.forced`. A file with exactly the name of another file, such as `talk.day.srt` beside `talk.day.mp4`,
    belongs to that one.

    Args:
        video: the file.
        follow_links: whether a link can be a subtitle file, wherever it leads.

    Returns:
        at most 50; none if the folder cannot be listed.
    """
    stem, language_at = video.stem.casefold(), len(video.stem) + 1
    found, others = [], set()
    with suppress(OSError), os.scandir(video.parent) as entries:
        for entry in entries:
            # Folders can be large, and this is done for each video in them.
            if not entry.name.casefold().startswith(stem):
                continue
            path = Path(entry.path)
            name = path.stem.casefold()
            if entry.is_symlink() and not follow_links:
                continue
            if path.suffix.lower() not in SUFFIXES:
                others.add(name)
            elif name == stem:
                found.append((path, ""))
            elif name.startswith(f"{stem}.") and _LANGUAGE.fullmatch(path.stem, language_at):
                found.append((path, path.stem[language_at:]))
    own = [(path, language) for path, language in found if not language or path.stem.casefold() not in others]
    return sorted(own, key=lambda one: (one[1], one[0].name))[:_MOST_FILES]


def read_sidecars(video: Path, *, follow_links: bool = True) -> tuple[list[CueStream], list[str]]:
    """Read the subtitle files of a video; arguments as of `find_sidecars`.

    Returns:
        those that can be read, and why others cannot be, one sentence each.
    """
    streams, failures = [], []
    for path, language in find_sidecars(video, follow_links=follow_links):
        try:
            stream = read_subtitle_file(path, language=language)
        except VideoError as error:
            failures.append(str(error))
            continue
        if all(_MOMENT.fullmatch(cue.text) for cue in stream.cues):
            failures.append(f"{path}: holds moments that vtg found, which are no subtitles, and is left out")
        else:
            streams.append(stream)
    return streams, failures
