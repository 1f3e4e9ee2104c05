"""The offered videos: those in the user's folders, which are only read, and uploaded ones.

A request names a video by its id, and ids are looked up in a dictionary, so no part of a request becomes a path. An
upload is two files in the library's folder, both named by its id: the video, and a record with its name and details.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from extractors.errors import UsageError, VideoError, VtgError, reason_of
from extractors.extraction.collect import VIDEO_SUFFIXES
from extractors.files.atomic import atomic_write
from extractors.files.identity import read_content
from vtg_cli.serve.library import upload_folder
from vtg_cli.serve.library.upload_folder import ID_BYTES, RECORD, upload_id
from vtg_cli.serve.sandbox import Sandbox, WorkFailed
from vtg_cli.serve.sandbox_worker import Probe
from vtg_cli.terminal.console import one_line

_LONGEST_NAME = 120  # characters; with an ending and escapes it still fits a header and a file system


class NotThere(VtgError):
    """There is no such video, or its file has gone."""


class NotUploaded(VtgError):
    """The video is the user's own, and is not deleted."""


@dataclass(frozen=True)
class Video:
    """A video of the library.

    Attributes:
        id: what requests call it by.
        name: what people call it; one line of text.
        path: the file, without links in it.
        content: hash of all its bytes, as they were uploaded; empty where it is not known.
        size_bytes: size of the file.
        duration_s: length in seconds.
        fps: average frame rate.
        width, height: pixels of a frame as displayed.
        uploaded: whether it came through the server, and may be deleted through it.
        folder: where it lies, from the folder on that the user named, with slashes; empty for uploads and files that
            were named one by one.
    """

    id: str
    name: str
    path: Path
    content: str
    size_bytes: int
    duration_s: float
    fps: float
    width: int
    height: int
    uploaded: bool
    folder: str = ""

    def open_file(self) -> BinaryIO:
        """Open the file, which is still the one that was found.

        Raises:
            NotThere: if it has gone, or something else has taken its place: a link in any part of its path, a pipe.
        """
        try:
            # A pipe would be waited for until somebody writes to it.
            descriptor = os.open(
                self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            )
        except OSError as error:
            raise NotThere(f"{self.name}: the file has gone") from error
        # Asked after opening, so that what was checked is what is read.
        if os.path.realpath(self.path) != str(self.path) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotThere(f"{self.name}: the file has gone; something else is in its place")
        return os.fdopen(descriptor, "rb")

    def check_file(self) -> None:
        """Make sure that the file is still the one that was found; raises as `open_file`."""
        self.open_file().close()


class Library:
    """The videos, by id. Safe to use from many threads.

    Args:
        folder: where uploads are kept; made if missing.
        uploads: looks at uploads.
        folders: looks at files of the user's folders, which do not wait for uploads.

    Attributes:
        intake: where uploads are taken in, one at a time; those that wait hold no thread that others need.

    Raises:
        UsageError: if the folder cannot be used, holds other things, or another server uses it.
    """

    def __init__(self, folder: Path, *, uploads: Sandbox, folders: Sandbox) -> None:
        from filelock import FileLock, Timeout

        self._uploads = uploads
        self._folders = folders
        self.intake = ThreadPoolExecutor(1, "vtg-intake")
        self._lock = threading.Lock()
        self._videos: dict[str, Video] = {}
        self._served: dict[Path, str] = {}
        self._revision = 0
        self._run = secrets.token_hex(4)
        self._hold = FileLock(folder / upload_folder.LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.folder = folder.resolve()
            upload_folder.take(folder)
            self._hold.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"--library {folder}: another vtg serve keeps its uploads there; stop it, or name another folder"
            ) from error
        except OSError as error:
            raise UsageError(f"--library {folder}: cannot be used ({reason_of(error)})") from error
        upload_folder.remove_temporaries(self.folder)

    def close(self) -> None:
        """Accept nothing more, and release the folder for another server."""
        self.intake.shutdown(cancel_futures=True)
        self._hold.release()

    def videos(self) -> list[Video]:
        """All of them, in order of name."""
        with self._lock:
            return sorted(self._videos.values(), key=lambda video: (video.name, video.id))

    @property
    def revision(self) -> str:
        """A name of the library as it is now: another one after each change, and in each run of the server."""
        return f"{self._run}-{self._revision}"

    def get(self, video_id: str) -> Video:
        """Look a video up.

        Raises:
            NotThere: if there is none of that id.
        """
        with self._lock:
            video = self._videos.get(video_id)
        if video is None:
            raise NotThere("there is no such video; it may have been deleted")
        return video

    def find_duplicate(self, content: str, size_bytes: int) -> Video | None:
        """The video of this content and size, if there is one whose file holds it now, byte for byte."""
        with self._lock:
            alike = [
                video
                for video in self._videos.values()
                if video.size_bytes == size_bytes and video.content in ("", content)
            ]
        return next((video for video in alike if self._holds(video, content)), None)

    def _holds(self, video: Video, content: str) -> bool:
        """Whether a video's file is of a content; it may have been edited or damaged since it was looked at."""
        with suppress(NotThere, OSError), video.open_file() as file:
            return read_content(file) == content
        return False

    def add_served(self, path: Path, folder: str = "") -> Video:
        """Offer a file of the user's.

        Args:
            path: the file, without links in it.
            folder: as of `Video`.

        Raises:
            VideoError: if it is not a video that can be read.
        """
        video = self._examine(path, "", display_name(path.name), uploaded=False)
        # What changes is another video: its pictures, and the searches in it, are not those of the one before.
        state = f"\0{video.size_bytes}-{path.stat().st_mtime_ns}"
        name = os.fsencode(path) + state.encode()
        video_id = hashlib.blake2b(name, digest_size=ID_BYTES).hexdigest()
        video = replace(video, id=video_id, folder=folder)
        with self._lock:
            if self._videos.get(video.id) != video:
                self._drop_served(path)
                self._videos[video.id] = video
                self._served[path] = video.id
                self._revision += 1
        return video

    def drop_served(self, path: Path) -> None:
        """Stop offering a user's file, if it was offered."""
        with self._lock:
            if self._drop_served(path):
                self._revision += 1

    def _drop_served(self, path: Path) -> bool:
        video_id = self._served.pop(path, None)
        return video_id is not None and self._videos.pop(video_id, None) is not None

    def adopt(self, temporary: Path, name: str, content: str) -> tuple[Video, bool]:
        """Take a file of the library's folder in as an upload; on the thread of `intake`.

        Args:
            temporary: a whole file that has reached the disk; it is renamed, or left where its content is here already.
            name: what the uploader called it; any text.
            content: hash of all its bytes, as of `extractors.files.identity`.

        Returns:
            the video, and whether it is new.

        Raises:
            VideoError: if it is not a video that can be read.
            OSError: if it cannot be stored.
        """
        found = self.find_duplicate(content, temporary.stat().st_size)
        if found is not None:
            return found, False
        video_id = secrets.token_hex(ID_BYTES)
        video = self._examine(temporary, video_id, display_name(name), uploaded=True)
        video = replace(video, path=self.folder / f"{video_id}{_suffix(name)}", content=content)
        with self._lock:
            # The record first: a record without a video is swept, so no video is lost without a record.
            self._write_record(video)
            temporary.replace(video.path)
            self._videos[video_id] = video
            self._revision += 1
        return video, True

    def delete(self, video_id: str) -> None:
        """Delete an upload.

        Raises:
            NotThere: if there is no such video.
            NotUploaded: if it is the user's own file.
            OSError: if it cannot be deleted.
        """
        video = self.get(video_id)
        if not video.uploaded:
            raise NotUploaded(
                f"{video.name}: is in one of your own folders, which vtg only reads; delete it there"
            )
        with self._lock:
            video.path.unlink(missing_ok=True)
            self._record(video_id).unlink(missing_ok=True)
            self._videos.pop(video_id, None)
            self._revision += 1

    def restore(self) -> list[str]:
        """Find the uploads of earlier runs, and sweep records without a video; before anything is uploaded.

        Returns:
            notes for the user, one sentence per note.
        """
        notes = []
        held = set()
        for path in sorted(self.folder.iterdir()):
            video_id = upload_id(path.name)
            if video_id is None or path.suffix == RECORD or path.is_symlink() or not path.is_file():
                continue
            held.add(video_id)
            try:
                video = self._read_record(video_id, path) or self._restore_unrecorded(video_id, path)
            except VideoError as error:
                notes.append(f"{path}: left out: {error.reason}")
                continue
            with self._lock:
                self._videos[video.id] = video
        for record in self.folder.glob(f"*{RECORD}"):
            if upload_id(record.name) is not None and record.stem not in held:
                record.unlink(missing_ok=True)
        return notes

    def _restore_unrecorded(self, video_id: str, path: Path) -> Video:
        video = self._examine(path, video_id, f"video{path.suffix}", uploaded=True)
        with suppress(OSError):  # it is written again the next time
            self._write_record(video)
        return video

    def _examine(self, path: Path, video_id: str, name: str, *, uploaded: bool) -> Video:
        try:
            sandbox = self._uploads if uploaded else self._folders
            info = sandbox.call(Probe(path))
        except WorkFailed as error:
            raise VideoError(path, str(error)) from error
        return Video(
            id=video_id,
            name=name,
            path=path,
            content="",
            size_bytes=path.stat().st_size,
            duration_s=info.duration_s,
            fps=info.fps,
            width=info.width,
            height=info.height,
            uploaded=uploaded,
        )

    def _record(self, video_id: str) -> Path:
        return self.folder / f"{video_id}{RECORD}"

    def _write_record(self, video: Video) -> None:
        record = {**asdict(video), "path": video.path.name}
        with atomic_write(self._record(video.id)) as file:
            file.write(json.dumps(record, indent=2).encode())

    def _read_record(self, video_id: str, path: Path) -> Video | None:
        """The upload as it was recorded; None if the record is missing, damaged, or of another file."""
        try:
            fields: dict[str, Any] = json.loads(self._record(video_id).read_bytes())
            video = Video(
                id=video_id,
                name=display_name(str(fields["name"])),
                path=path,
                content=str(fields.get("content", "")),  # which records of earlier versions lack
                size_bytes=path.stat().st_size,
                duration_s=float(fields["duration_s"]),
                fps=float(fields["fps"]),
                width=int(fields["width"]),
                height=int(fields["height"]),
                uploaded=True,
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return video if fields.get("size_bytes") == video.size_bytes else None


def display_name(name: str) -> str:
    """What a video is called to people: the last part of any path, one line, of bounded length, its ending kept."""
    last = one_line(name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    stem, dot, ending = last.rpartition(".")
    if dot and stem and len(ending) <= 8:
        return f"{stem[:_LONGEST_NAME]}.{ending}"
    return last[:_LONGEST_NAME] or "video"


def _suffix(name: str) -> str:
    """The ending a file is stored under: one of a known list, or none."""
    suffix = Path(display_name(name)).suffix.lower()
    return suffix if suffix in VIDEO_SUFFIXES else ""
