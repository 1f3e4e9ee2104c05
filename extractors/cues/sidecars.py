"""Subtitle files beside a video, found by their names: `talk.srt` and `talk.en.srt` belong to `talk.mp4`."""

from __future__ import annotations

import bisect
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from extractors.cues.cue import CueStream
from extractors.cues.subtitle_file import MOST_BYTES, SUFFIXES, read_subtitle_file
from extractors.errors import VideoError
from extractors.files.regular import open_regular

_MOST_FILES = 50
# As vtg writes the moments that it found into subtitles: a query and a score.
_MOMENT = re.compile(r".* \([01]\.\d\d\)(?:\n.*)?")
# `en`, `pt-BR`, `es-419`, `English`, and what may follow, as in `en.forced`.
_LANGUAGE = re.compile(r"[A-Za-z]{2,20}(?:[-_][A-Za-z0-9]{2,8}){0,3}(?:\.[A-Za-z]{2,12}){0,2}")


class Listings:
    """The names in folders, each folder listed once: for questions about many videos of the same folders."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[list[str], list[os.DirEntry[str]]]] = {}

    def beginning_with(self, stem: str, folder: Path) -> list[os.DirEntry[str]]:
        """What in a folder has a name that begins with a text in lower case; nothing if it cannot be listed."""
        if folder not in self._known:
            entries = sorted(_listed(folder), key=lambda entry: entry.name.casefold())
            self._known[folder] = [entry.name.casefold() for entry in entries], entries
        names, entries = self._known[folder]
        at = bisect.bisect_left(names, stem)
        end = at
        while end < len(names) and names[end].startswith(stem):
            end += 1
        return entries[at:end]


def find_sidecars(
    video: Path, *, follow_links: bool = True, listings: Listings | None = None
) -> list[tuple[Path, str]]:
    """The subtitle files of a video, and the languages that their names give.

    Files without a language come first, then the others by name. Of a file name such as `talk.en.forced.srt`, the
    language is `en.forced`. A file with exactly the name of another file, such as `talk.day.srt` beside `talk.day.mp4`,
    belongs to that one.

    Args:
        video: the file.
        follow_links: whether a link can be a subtitle file, wherever it leads.
        listings: of folders that need not be listed anew.

    Returns:
        at most 50; none if the folder cannot be listed.
    """
    stem, language_at = video.stem.casefold(), len(video.stem) + 1
    found, others = [], set()
    entries = _listed(video.parent, stem) if listings is None else listings.beginning_with(stem, video.parent)
    for entry in entries:
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


def _listed(folder: Path, stem: str = "") -> list[os.DirEntry[str]]:
    """What in a folder has a name that begins with a text in lower case; nothing if it cannot be listed."""
    with suppress(OSError), os.scandir(folder) as entries:
        # Folders can be large.
        return [entry for entry in entries if entry.name.casefold().startswith(stem)]
    return []


def digest_sidecars(
    video: Path, *, follow_links: bool = True, listings: Listings | None = None
) -> list[tuple[str, str]]:
    """Names and hashes of the subtitle files of a video, which change if what is read of them does.

    Arguments as of `find_sidecars`.
    """
    digests = []
    for path, _ in find_sidecars(video, follow_links=follow_links, listings=listings):
        try:
            with open_regular(path) as file:
                content = hashlib.blake2b(file.read(MOST_BYTES + 1), digest_size=16).hexdigest()
        except VideoError as error:
            content = str(error)
        digests.append((path.name, content))
    return digests


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
