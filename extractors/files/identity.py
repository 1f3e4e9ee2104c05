"""The content of a file as a short name: equal for all copies, whatever their names and folders.

`file_identity` samples a file in milliseconds, which is enough for weights: two files differ nearly everywhere or not
at all. Videos are edited in place and downloaded in pieces, so `VideoIdentity` hashes every byte. It does so once: it
stores the hash with the file's size and times, and does not read the file again while these stay the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from extractors.errors import VideoError
from extractors.files.atomic import atomic_write
from extractors.files.regular import open_regular

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK_BYTES = 64 * 1024
BLOCKS = 32
"""Files of more than `BLOCKS * BLOCK_BYTES` (2 MiB) are sampled in this many blocks, ends included."""

SAMPLE_BYTES = 4 * 1024
SAMPLES = 1024
"""Videos of more than `SAMPLES * SAMPLE_BYTES` (4 MiB) are sampled in this many places, ends included."""

_READ_BYTES = 1 << 20
_SETTLED_NS = 2_000_000_000  # file systems count time in steps of up to 2 s
_ADDRESS = re.compile(r"[0-9a-f]{32}")
_CONTENT = re.compile(r"[0-9a-f]{64}")


def file_identity(path: str | Path) -> str:
    """Name a file by samples of its content, in milliseconds whatever its size.

    Small files are hashed whole. Of larger ones, the size and `BLOCKS` evenly spaced blocks are hashed. That tells
    files of weights apart, but is no proof against a forged one; artefacts carry a SHA-256 for that.

    Args:
        path: the file. Its name, its place and its time stamps play no part.

    Returns:
        32 hexadecimal digits.

    Raises:
        OSError: if the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return content_identity(os.fstat(file.fileno()).st_size, _reader(file))


def content_identity(size: int, read: Callable[[int, int], bytes]) -> str:
    """Name a content as `file_identity` names a file that holds it.

    Args:
        size: its bytes.
        read: given an offset and a number of bytes, those bytes of it.
    """
    return _sampled(size, read, BLOCKS, BLOCK_BYTES)


def new_content_hash() -> _Hash:
    """A hash that, fed with all bytes of a file in order, ends as the file's `VideoIdentity.content`."""
    return hashlib.sha256()


def read_content(file: BinaryIO, *, before_each_block: Callable[[], None] | None = None) -> str:
    """Hash what is left of an open file.

    Args:
        file: open for reading; without a buffer it is faster.
        before_each_block: called every few milliseconds; what it raises ends the reading.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: if the file cannot be read.
    """
    digest = new_content_hash()
    buffer = memoryview(bytearray(_READ_BYTES))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        if before_each_block is not None:
            before_each_block()
        digest.update(buffer[:count])
    return digest.hexdigest()


@dataclass(frozen=True)
class FileState:
    """What the file system knows of a file's content.

    Attributes:
        size: bytes.
        modified_ns: when it was last written to, which programs may set.
        changed_ns: when it was last written to, renamed or otherwise changed, which programs cannot set. (On Windows,
            when it was created.)
    """

    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, file: BinaryIO) -> FileState:
        """The state of an open file."""
        return cls.from_status(os.fstat(file.fileno()))

    @classmethod
    def from_status(cls, status: os.stat_result) -> FileState:
        """The state of a file that was looked at."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def is_of(self, path: Path) -> bool:
        """Whether a file is there and in this state."""
        try:
            return FileState.from_status(path.stat()) == self
        except (OSError, ValueError):
            return False

    def is_settled(self, since_ns: int) -> bool:
        """Whether a file in this state, seen at a time, cannot be written to again and keep the state.

        Args:
            since_ns: the time it was seen, in nanoseconds of `time.time_ns`.
        """
        last_ns = self.modified_ns if os.name == "nt" else self.changed_ns
        return since_ns - last_ns >= _SETTLED_NS

    def is_as_long_and_old_as(self, other: FileState) -> bool:
        """Whether nothing was written between the two states, as far as they show."""
        return (self.size, self.modified_ns) == (other.size, other.modified_ns)


class Identity(Protocol):
    """The identity of a content, wherever it lies."""

    @property
    def address(self) -> str:
        """32 hexadecimal digits from its size and samples."""
        ...

    def content(self) -> str:
        """The hash of every byte, 64 hexadecimal digits."""
        ...


@dataclass(frozen=True)
class KnownContent:
    """The identity of a content that need not be read.

    Attributes:
        address, digest: those of the `VideoIdentity` of a file that holds it.
    """

    address: str
    digest: str

    def content(self) -> str:
        """The hash of every byte."""
        return self.digest

    def to_json(self) -> dict[str, str]:
        """As it is written down."""
        return {"address": self.address, "content": self.digest}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> KnownContent:
        """As it was written down.

        Raises:
            ValueError, KeyError, TypeError: if it is not that.
        """
        address, content = record["address"], record["content"]
        if not (_ADDRESS.fullmatch(address) and _CONTENT.fullmatch(content)):
            raise ValueError("not an identity")
        return cls(address, content)


class VideoIdentity:
    """What a video file held when this was made.

    Making one takes milliseconds; `content` may have to read the whole file, once for each state of the file.

    Args:
        path: the video file.
        records: folder in which hashes of whole files are remembered, one small file a path. Processes may share it.
        stop: where it is set, reading ends.
        content: the hash of every byte, if it is known from writing the file.

    Attributes:
        path: the video file.
        address: 32 hexadecimal digits from the file's size and samples. Equal for files of equal content; the converse
            is nearly always true, and only `content` decides.
        state: size and times of the file then.

    Raises:
        VideoError: if the file cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        records: Path | None = None,
        *,
        stop: threading.Event | None = None,
        content: str = "",
    ) -> None:
        self.path = Path(path)
        self._stop = stop
        self._given_up = False
        self._turn = threading.Lock()
        self._record = None if records is None else records / f"{_place(self.path)}.json"
        with open_regular(self.path, buffering=0) as file:
            self.state = FileState.of(file)
            self.address, self._content = self._recall() or (_address(file, self.state.size), content)

    def content(self) -> str:
        """The hash of every byte, 64 hexadecimal digits; reads the file unless that is known.

        Raises:
            VideoError: if the file cannot be read, or is not as it was when this was made.
        """
        with self._turn:
            self._content = self._content or self._hash()
            return self._content

    def read_ahead(self) -> None:
        """Start to read the file in a thread, beside something else that takes long; `content` then waits for it."""
        if not self._content:
            threading.Thread(target=self._read_ahead, name="vtg-identity", daemon=True).start()

    def give_up(self) -> None:
        """End what `read_ahead` started: `content` will not be needed."""
        self._given_up = True

    def confirm(self) -> None:
        """Make sure that the file still holds what it held when this was made.

        Raises:
            VideoError: if it does not, or cannot be read.
        """
        self.content()
        with open_regular(self.path, buffering=0) as file:
            state = FileState.of(file)
            if not state.is_as_long_and_old_as(self.state) or _address(file, state.size) != self.address:
                raise self._changed()

    def _read_ahead(self) -> None:
        with suppress(VideoError):  # content() raises it again for its caller
            self.content()

    def _hash(self) -> str:
        start_ns = time.time_ns()
        with open_regular(self.path, buffering=0) as file:
            if not FileState.of(file).is_as_long_and_old_as(self.state):
                raise self._changed()
            content = read_content(file, before_each_block=self._require_wanted)
            state = FileState.of(file)
        if not state.is_as_long_and_old_as(self.state):
            raise self._changed()
        # A file that is written to again within a step of the file system's clock keeps its times.
        if state == self.state and state.is_settled(start_ns):
            self._remember(content)
        return content

    def _require_wanted(self) -> None:
        if self._given_up or (self._stop is not None and self._stop.is_set()):
            raise VideoError(self.path, "was not read to its end, because it is no longer needed")

    def _changed(self) -> VideoError:
        return VideoError(self.path, "changed while it was read; extract it again when it is complete")

    def _recall(self) -> tuple[str, str] | None:
        """Address and content of the file, if it has not changed since they were remembered."""
        if self._record is None:
            return None
        try:
            record = json.loads(self._record.read_bytes())
            known = KnownContent.from_json(record)
            same = record["state"] == asdict(self.state)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return (known.address, known.digest) if same else None

    def _remember(self, content: str) -> None:
        if self._record is None:
            return
        record = {**KnownContent(self.address, content).to_json(), "state": asdict(self.state)}
        # A place that cannot be written costs another reading.
        with suppress(OSError), atomic_write(self._record, durable=False) as file:
            file.write(json.dumps(record).encode())


def _place(path: Path) -> str:
    """A name for where a file lies, of which nothing can be read."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=16).hexdigest()


def _address(file: BinaryIO, size: int) -> str:
    return _sampled(size, _reader(file), SAMPLES, SAMPLE_BYTES)


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    def read(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    return read


def _sampled(size: int, read: Callable[[int, int], bytes], blocks: int, block_bytes: int) -> str:
    digest = hashlib.blake2b(f"{size}:".encode(), digest_size=16)
    if size <= blocks * block_bytes:
        digest.update(read(0, size))
    else:
        for block in range(blocks):
            digest.update(read(block * (size - block_bytes) // (blocks - 1), block_bytes))
    return digest.hexdigest()
