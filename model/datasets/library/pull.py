"""Adds datasets: annotations and archives by download, and archives that a person downloaded by unpacking.

An archive never decides where files go. Its regular files are read one after another, and those in a folder known to
hold features are kept. No file is put in place before the whole archive has been read.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from extractors.errors import UsageError, reason_of
from extractors.files.atomic import atomic_write
from extractors.weights.download import DownloadError, Progress, fetch_first
from extractors.weights.store import is_offline, sha256
from model.dataset_entry import AnnotationFile, DatasetInfo, FeatureArchive
from model.datasets.archives import DAMAGED, Entry, Refused, entries
from model.datasets.library.catalogue import (
    DatasetError,
    by_hand,
    find_annotations,
    find_features,
    own_feature_folder,
    stream_of_folder,
)

MAX_UNPACKED_BYTES = 200 * 10**9
"""Archives that hold more are refused; the largest published one is 33 GB packed."""

_PROBE_S = 5.0  # a machine without a network learns so at once, not after every retry of every file
_LONGEST_NAME = 4096  # characters, of the longest path that a system opens
_MOST_FOLDERS = 1000  # that are counted, to be named if they are unknown
_BLOCK_BYTES = 1 << 20
_FEATURE_SUFFIXES = frozenset({".npz", ".npy", ".pt"})
_STAGING = ".unpack-"
_DRIVE = re.compile(r"[A-Za-z]:")


def pull_annotations(
    info: DatasetInfo,
    item: AnnotationFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    offline: bool = False,
) -> Path:
    """Download a file of annotations into the dataset's folder; one that is there is left alone.

    An interrupted download resumes, and the file gets its name only if it is the published one.

    Args:
        info: the dataset.
        item: the file.
        folder: of the dataset.
        progress: called with (bytes here, bytes in all or None).
        offline: open no connection.

    Returns:
        The file.

    Raises:
        DatasetError: if it cannot be fetched, or what came is not what was asked for.
    """
    if (here := find_annotations(item.file, folder)) is not None:
        return here
    target = folder / item.file
    wanted = _Wanted(item.file, item.urls, item.size_bytes, item.sha256)
    instead = f"download {item.urls[0]} elsewhere and put it at {target}"
    with _owned(folder):
        if target.is_file():  # another process was faster
            return target
        part = target.with_name(f".{target.name}.part")
        _download(wanted, part, instead, progress, offline)
        if not item.sha256 and (problem := _rows_problem(part, item.rows)):
            part.unlink()
            raise DatasetError(f"{item.file}: {problem}; {instead}")
        part.replace(target)
    return target


def pull_archive(
    info: DatasetInfo,
    archive: FeatureArchive,
    folder: Path,
    *,
    progress: Progress | None = None,
    offline: bool = False,
) -> tuple[Path, ...]:
    """Download an archive, unpack its features into the dataset's folder, and remove it; nothing if they are there.

    Args, errors: as for `pull_annotations`; also raises DatasetError for an archive that only a person can download.

    Returns:
        The folders of its streams.
    """
    if not archive.url:
        raise DatasetError(f"{info.title}: {by_hand(info, archive, folder)}")
    wanted = _Wanted(archive.name, (archive.url,), archive.size_bytes, archive.sha256)
    target = folder / archive.name
    with _owned(folder):
        here = [find_features(info, stream, folder) for stream in archive.streams]
        if all(here):
            return tuple(path for path in here if path is not None)
        if not target.is_file():
            part = target.with_name(f".{target.name}.part")
            instead = by_hand(info, archive, folder)
            _download(wanted, part, instead, progress, offline)
            part.replace(target)
        placed = _unpack(info, target, folder, _only_stream(archive), MAX_UNPACKED_BYTES, None)
        target.unlink()
    return placed


def add_file(
    info: DatasetInfo,
    file: str | Path,
    folder: Path,
    *,
    stream: str | None = None,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Add a downloaded file: an archive of features, or a published annotations file.

    Args:
        info: the dataset.
        file: an archive (tar or zip, compressed or not), or a file named as in the catalogue.
        folder: of the dataset.
        stream: see `add_archive`.
        progress: of an archive, called with (bytes unpacked, None).

    Returns:
        What is there now: folders of features, or the file of annotations.

    Raises:
        UsageError: if there is no such file, or it is a folder.
        DatasetError: if it is damaged, refused, or holds nothing of the dataset.
    """
    source = Path(file)
    item = next((item for item in info.annotations if item.file == source.name), None)
    if item is None or not source.is_file():
        return add_archive(info, source, folder, stream=stream, progress=progress)
    wanted = _Wanted(item.file, item.urls, item.size_bytes, item.sha256)
    if problem := _problem(wanted, source) or _rows_problem(source, item.rows):
        raise DatasetError(f"{source}: {problem}")
    with _owned(folder):
        target = find_annotations(item.file, folder) or folder / item.file
        if not (target.exists() and source.samefile(target)):
            with source.open("rb") as origin, atomic_write(target) as copy:
                shutil.copyfileobj(origin, copy, _BLOCK_BYTES)
    return (target,)


def add_archive(
    info: DatasetInfo,
    file: str | Path,
    folder: Path,
    *,
    stream: str | None = None,
    limit_bytes: int = MAX_UNPACKED_BYTES,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Unpack the features of an archive into the dataset's folder; the archive stays where it is.

    Files whose folder is known (`clip_features`, `vid_clip`, ...) go to that stream's folder, `clip_features` where
    there is none yet; everything else is skipped. The archive is read as untrusted: one that holds links, devices,
    or names that lead outside is refused as a whole.

    Args:
        info: the dataset.
        file: tar or zip, compressed or not.
        folder: of the dataset.
        stream: where the files of an unknown folder belong, for an archive that holds one stream.
        limit_bytes: the archive is refused if it holds more than this.
        progress: called with (bytes unpacked, None).

    Returns:
        The folders that were added to.

    Raises:
        UsageError: if there is no such file, or it is a folder.
        DatasetError: if it is damaged, refused, or holds no features of the dataset.
    """
    source = Path(file)
    if source.is_dir():
        raise UsageError(
            f"{source} is a folder; name it, or the folder that contains it, with --data instead"
        )
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    known = next((archive for archive in info.archives if archive.name == source.name), None)
    if known is not None:
        if problem := _problem(_Wanted(known.name, (), known.size_bytes, known.sha256), source):
            raise DatasetError(f"{source}: {problem}")
        stream = stream or _only_stream(known)
    with _owned(folder):
        return _unpack(info, source, folder, stream, limit_bytes, progress)


@dataclass(frozen=True)
class _Wanted:
    """A published file, and what it is recognised by."""

    name: str
    urls: tuple[str, ...]
    size_bytes: int | None
    sha256: str


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Lock a dataset's folder against other processes that would write into it."""
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for leftover in folder.glob(f"{_STAGING}*"):  # of a killed process: the lock was free
                shutil.rmtree(leftover, ignore_errors=True)
            yield
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written to ({reason_of(error)})") from error


def _download(
    wanted: _Wanted,
    part: Path,
    instead: str,
    progress: Progress | None,
    offline: bool,
) -> None:
    """Fetch a file into `part` from the first link that gives the published one."""
    if offline or is_offline():
        raise DatasetError(
            f"{wanted.name} is not on this machine, and connections are switched off; {instead}"
        )
    try:
        fetch_first(
            wanted.urls,
            part,
            progress=progress,
            can_verify=bool(wanted.sha256),
            probe_s=_PROBE_S,
            problem=partial(_problem, wanted),
        )
    except DownloadError as error:
        raise DatasetError(f"{wanted.name} could not be downloaded: {error}. Else {instead}") from error


def _problem(wanted: _Wanted, path: Path) -> str | None:
    size = path.stat().st_size
    if wanted.size_bytes is not None and size != wanted.size_bytes:
        return f"{size} bytes, while the published {wanted.name} has {wanted.size_bytes}"
    if wanted.sha256 and sha256(path) != wanted.sha256:
        return f"not the published {wanted.name}, whose SHA-256 is {wanted.sha256[:12]}..."
    return None


def _rows_problem(path: Path, rows: int) -> str | None:
    try:
        lines = [line for line in path.read_text("utf-8").split("\n") if line.strip()]
        whole = all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        whole = False
    if not whole:
        return "not one JSON object per line"
    return None if len(lines) == rows else f"{len(lines)} annotations, while the published file has {rows}"


def _only_stream(archive: FeatureArchive) -> str | None:
    return archive.streams[0] if len(archive.streams) == 1 else None


# Archives.


def _unpack(
    info: DatasetInfo,
    source: Path,
    folder: Path,
    stream: str | None,
    limit_bytes: int,
    progress: Progress | None,
) -> tuple[Path, ...]:
    """Read a whole archive into a separate folder, then move the streams into place."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
    try:
        staged = _Staged(info, staging, stream, limit_bytes, progress)
        try:
            for entry in entries(source):
                staged.take(entry)
        except Refused as error:
            raise DatasetError(f"{source}: refused, {error}; nothing of it was unpacked") from error
        except DAMAGED as error:
            raise DatasetError(
                f"{source}: damaged, cut off, or not an archive ({error or type(error).__name__})"
            ) from error
        if not staged.counts:
            raise DatasetError(f"{source}: {staged.nothing_found()}")
        return tuple(_move_into_place(info, name, staging / name, folder) for name in staged.counts)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Staged:
    """What was taken from an archive so far.

    Attributes:
        counts: files taken for each stream.
    """

    def __init__(
        self,
        info: DatasetInfo,
        staging: Path,
        stream: str | None,
        limit_bytes: int,
        progress: Progress | None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._info = info
        self._staging = staging
        self._stream = stream
        self._limit_bytes = limit_bytes
        self._progress = progress
        self._bytes = 0
        self._unknown: Counter[str] = Counter()

    def take(self, entry: Entry) -> None:
        """Copy an entry if it is a feature file of a known place."""
        parts = _safe_parts(entry.name)
        self._count(entry.size_bytes)
        name = parts[-1]
        if Path(name).suffix not in _FEATURE_SUFFIXES or name.startswith("._"):  # left behind by macOS
            return
        stream = stream_of_folder(self._info, parts[:-1]) or self._adopt("/".join(parts[:-1]))
        if stream is None:
            return
        target = self._staging / stream / name
        target.parent.mkdir(exist_ok=True)
        copied = 0
        with entry.open() as origin, target.open("wb") as copy:
            while block := origin.read(_BLOCK_BYTES):
                copied += len(block)
                if copied > entry.size_bytes:
                    raise Refused(f"'{entry.name}' is larger than the archive states")
                copy.write(block)
        if copied != entry.size_bytes:
            raise EOFError(f"'{entry.name}' ends early")
        self.counts[stream] += 1
        if self._progress is not None:
            self._progress(self._bytes, None)

    def _count(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if size_bytes < 0 or self._bytes > self._limit_bytes:
            raise Refused(f"it unpacks to more than {self._limit_bytes / 1e9:g} GB")

    def _adopt(self, folder: str) -> str | None:
        """The stream that files of an unknown folder belong to: the one asked for, if it is the only such folder."""
        if folder in self._unknown or len(self._unknown) < _MOST_FOLDERS:
            self._unknown[folder] += 1
        if self._stream is None:
            return None
        if len(self._unknown) > 1:
            raise Refused(
                f"'{self._stream}' features lie in one folder, while it has {' and '.join(sorted(self._unknown))}"
            )
        return self._stream

    def nothing_found(self) -> str:
        """Why nothing was taken."""
        if not self._unknown:
            return "holds no feature files (.npz, .npy, .pt)"
        folders = ", ".join(f"'{name or '.'}'" for name, _ in self._unknown.most_common(4))
        known = ", ".join(names[0] for names in self._info.features.values())
        return (
            f"its feature files lie in {folders}, which is none of {known}; "
            f"name what they are with --stream ({', '.join(self._info.features)})"
        )


def _move_into_place(info: DatasetInfo, stream: str, staged: Path, folder: Path) -> Path:
    """Move a staged folder into place, file by file if the folder exists."""
    target = find_features(info, stream, folder) or folder / own_feature_folder(stream)
    if target.exists():
        for path in staged.iterdir():
            path.replace(target / path.name)
    else:
        staged.rename(target)
    return target


def _safe_parts(name: str) -> tuple[str, ...]:
    """Components of a name inside an archive.

    Raises:
        Refused: if it leads outside on any system.
    """
    if len(name) > _LONGEST_NAME:
        raise Refused(f"it has a name of {len(name)} characters")
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part != ".")
    if not parts or any(part in ("", "..") or "\0" in part or _DRIVE.match(part) for part in parts):
        raise Refused(f"'{name}' leads outside")
    return parts
