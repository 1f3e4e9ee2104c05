"""The subprocess of `sandbox`: probes videos, draws thumbnails, writes results in the formats there are."""

from __future__ import annotations

import io
import math
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from extractors.errors import VtgError, reason_of
from extractors.subprocesses import worker
from extractors.subprocesses.wire import Failed
from extractors.videos.facts import VideoInfo
from model.grounding.results import GroundingResult

TIMEOUT_S = 60.0
"""Seconds a task may take."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Pictures:
    """JPEGs, in the order they were asked for."""

    jpegs: tuple[bytes, ...]


@dataclass(frozen=True)
class Document:
    """Results in a format."""

    data: bytes


ANSWERS = (VideoInfo, Pictures, Document)


@dataclass(frozen=True)
class Task(ABC, Generic[_Answer]):
    """Something to do with a file that may be hostile.

    Attributes:
        limit_s: seconds it may take.
    """

    limit_s: float = field(default=TIMEOUT_S, kw_only=True)

    @abstractmethod
    def run(self) -> _Answer:
        """Do it.

        Raises:
            VtgError: if the file is at fault.
        """


@dataclass(frozen=True)
class Probe(Task[VideoInfo]):
    """Find out what a video holds."""

    path: Path

    def run(self) -> VideoInfo:
        """What it holds."""
        from extractors.decoding.clip_reader import probe

        return probe(self.path)


@dataclass(frozen=True)
class DrawThumbnails(Task[Pictures]):
    """Draw what a video shows at a few instants.

    Attributes:
        path: the video.
        instants_s: seconds from its start.
        height: pixels to decode to.
        largest: pixels of either side at most.
    """

    path: Path
    instants_s: tuple[float, ...]
    height: int
    largest: int

    def run(self) -> Pictures:
        """A picture for each instant."""
        from PIL import Image

        from extractors.decoding.thumbnails import read_thumbnails

        jpegs = []
        for picture in read_thumbnails(self.path, self.instants_s, height=self.height):
            image = Image.fromarray(picture)
            image.thumbnail((self.largest, self.largest))
            jpeg = io.BytesIO()
            image.save(jpeg, "JPEG", quality=80)
            jpegs.append(jpeg.getvalue())
        return Pictures(tuple(jpegs))


@dataclass(frozen=True)
class Export(Task[Document]):
    """Write results in a format.

    Attributes:
        results: what to write.
        form: name of the format.
        path: the video, where a format counts its frames.
        name: what the video is called to people.
        rename: whether timelines have that name in place of the path.
        all_moments: whether formats that cannot mark them hold moments that do not clearly match, too.
    """

    results: tuple[GroundingResult, ...]
    form: str
    path: Path
    name: str
    rename: bool
    all_moments: bool

    def run(self) -> Document:
        """The file's content."""
        from vtg_cli.writers.formats import findings, require_format, write_output

        form = require_format(self.form)
        video = str(self.path) if form.counts_frames else self.name
        answers = [replace(result, video=video) for result in self.results]
        with tempfile.TemporaryDirectory(prefix="vtg-export-") as folder:
            target = Path(folder, "results")
            try:
                write_output(
                    findings(answers, all_moments=self.all_moments or form.marks_unclear), str(target), form
                )
            except VtgError as error:
                raise VtgError(str(error).replace(str(self.path), self.name)) from error
            data = target.read_bytes()
        if form.counts_frames and self.rename:
            data = _renamed(data.decode(), form.quote, self.path, self.name).encode()
        return Document(data)


def _renamed(text: str, quoted: Callable[[str], str], path: Path, name: str) -> str:
    """The text with a file's name in place of its path; an upload's own name is 32 digits, like nothing else."""
    from urllib.parse import quote

    text = text.replace(path.resolve().as_uri(), quote(name))
    return text.replace(path.name, quoted(name)) if path.name != name else text


TASKS: tuple[type[Task[Any]], ...] = (Probe, DrawThumbnails, Export)


def main() -> None:
    """Serve requests until there are no more."""
    channel = worker.begin()
    with suppress(BrokenPipeError):  # the parent has ended
        for task in channel.requests(*TASKS):
            channel.send(_answer(task))


def _answer(task: Task[Any]) -> Any:
    if hasattr(signal, "alarm"):  # not on Windows
        # The parent stops what takes too long; where it was killed and this process lives on, an alarm does.
        signal.alarm(math.ceil(task.limit_s) + 1)
    try:
        return task.run()
    except VtgError as error:
        return Failed(error)
    except MemoryError:
        return Failed(VtgError("out of memory while reading it"))
    except OSError as error:
        return Failed(VtgError(f"cannot be read: {reason_of(error)}"))
    finally:
        if hasattr(signal, "alarm"):
            signal.alarm(0)


if __name__ == "__main__":
    main()
