"""Decoding in a process of its own: what native decoders do to themselves on a hostile file, they do not do to us.

The process is started with the first video and serves one after another. If it crashes, or says nothing for too long,
the video it was at is reported, and the next one gets a new process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors import child
from extractors.clips import Sampling
from extractors.errors import VideoError
from extractors.video import CHUNK_S, ClipChunk, Decoder, VideoInfo

STALL_S = 120.0
"""Seconds without a sign of progress after which a video is given up: a chunk of 4K video takes far less."""

_END_S = 2.0
_MAX_HEADER_BYTES = 1 << 20
_MAX_ARRAY_BYTES = 1 << 32


class DecodeProcess:
    """Opens videos in a child process. Use it in a `with` block, from one thread.

    Args:
        stall_s: seconds without progress after which a video is given up.
        command: what the child runs; this package's worker by default.
    """

    def __init__(self, *, stall_s: float = STALL_S, command: Sequence[str] | None = None) -> None:
        self._stall_s = stall_s
        self._command = list(command) if command is not None else _worker_command()
        self._process: subprocess.Popen[bytes] | None = None
        self._aborted = False

    def __enter__(self) -> DecodeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def open(
        self,
        path: str | Path,
        samplings: Sequence[Sampling],
        *,
        chunk_s: float = CHUNK_S,
        first_chunk_s: float | None = None,
        decoder: Decoder = "auto",
    ) -> IsolatedReader:
        """Open a video, as `ClipReader` does.

        Raises:
            VideoError: if it cannot be read, or the decoder crashed or hung over it.
        """
        return IsolatedReader(self, Path(path), samplings, (chunk_s, first_chunk_s), decoder)

    def stop(self) -> None:
        """End the child, whatever it is at."""
        process, self._process = self._process, None
        if process is not None:
            child.end(process)

    def abort(self) -> None:
        """End the child from another thread, for good; the one that waits for it gets a VideoError."""
        self._aborted = True
        process = self._process
        if process is not None:
            process.kill()

    def request(
        self,
        path: Path,
        samplings: Sequence[Sampling],
        chunks_s: tuple[float, float | None],
        decoder: Decoder,
    ) -> None:
        """Tell the child, started if need be, to decode a video.

        Raises:
            VideoError: after `abort`.
        """
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        if self._aborted:  # be it while the child was being started
            self.stop()
            raise VideoError(path, "not decoded, as the run was ended")
        line = {
            "path": str(path),
            "samplings": [sampling.__dict__ for sampling in samplings],
            "chunk_s": chunks_s[0],
            "first_chunk_s": chunks_s[1],
            "decoder": decoder,
        }
        assert self._process.stdin is not None, "it was asked for"
        try:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has just ended; what it says, or does not say, tells why
            pass

    def receive(self, path: Path) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """The next message about a video, header and arrays.

        Raises:
            VideoError: if the child crashes or hangs instead.
        """
        process = self._process
        assert process is not None, "a request comes first"
        stalled = threading.Event()

        def give_up() -> None:
            stalled.set()
            process.kill()

        timer = threading.Timer(self._stall_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            return _read_message(process)
        except (EOFError, ValueError, KeyError, TypeError) as error:
            self._process = None
            if isinstance(error, EOFError):  # it is ending: let it say how
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_S)
            process.kill()
            code = process.wait()
            if stalled.is_set():
                reason = f"the decoder made no progress for {self._stall_s:g} s and was stopped"
            else:
                reason = f"the decoder crashed ({_describe(code)}); the file is damaged or hostile"
            raise VideoError(path, reason) from error
        finally:
            timer.cancel()


class IsolatedReader:
    """The clips of a video that a child process decodes; made by `DecodeProcess.open`.

    Attributes:
        info: what the file holds.
        clip_counts: for each sampling, the number of clips of the whole video.
        damaged_s: as of `ClipReader`; empty until the end is reached.
    """

    def __init__(
        self,
        process: DecodeProcess,
        path: Path,
        samplings: Sequence[Sampling],
        chunks_s: tuple[float, float | None],
        decoder: Decoder,
    ) -> None:
        self._process = process
        self._path = path
        self._ended = False
        self.damaged_s: tuple[tuple[float, float], ...] = ()
        process.request(path, samplings, chunks_s, decoder)
        header, _ = self._receive()
        with self._understanding():
            self.info = VideoInfo(**{**header["info"], "path": path})
            self.clip_counts = tuple(int(count) for count in header["clip_counts"])

    def __iter__(self) -> Iterator[ClipChunk]:
        while not self._ended:
            header, arrays = self._receive()
            with self._understanding():
                if header["kind"] == "ended":
                    self.damaged_s = tuple((float(start), float(end)) for start, end in header["damaged_s"])
                    self._ended = True
                    return
                chunk = ClipChunk(
                    start_clip=tuple(header["start_clip"]), frames=arrays[0], rows=tuple(arrays[1:])
                )
            del arrays
            yield chunk
            del chunk

    def __enter__(self) -> IsolatedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._ended:  # it would go on decoding what nobody wants
            self._process.stop()

    @contextmanager
    def _understanding(self) -> Iterator[None]:
        """Take what makes no sense for what it is: the word of a process that a file has taken over."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            self._ended = True
            self._process.stop()
            raise VideoError(
                self._path, "the decoder answered with nonsense; the file is damaged or hostile"
            ) from error

    def _receive(self) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        try:
            header, arrays = self._process.receive(self._path)
        except VideoError:
            self._ended = True
            raise
        with self._understanding():
            if header["kind"] == "failed":
                self._ended = True
                raise VideoError(self._path, str(header["reason"]))
        return header, arrays


def _worker_command() -> list[str]:
    # With this process's own search path: not that of the folder it happens to be started in.
    code = f"import sys; sys.path[:] = {sys.path!r}; from extractors.decode_worker import main; main()"
    return [sys.executable, "-c", code]


def _read_message(process: subprocess.Popen[bytes]) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    pipe = process.stdout
    assert pipe is not None, "it was asked for"
    length = int.from_bytes(_read(pipe, bytearray(4)), "little")
    if not 0 < length <= _MAX_HEADER_BYTES:
        raise ValueError("not a message")
    header = json.loads(bytes(_read(pipe, bytearray(length))))
    arrays: list[NDArray[Any]] = []
    for dtype, *shape in header["arrays"]:
        if dtype not in ("|u1", "<i8") or np.prod(shape, dtype=np.float64) * 8 > _MAX_ARRAY_BYTES:
            raise ValueError("not an array of frames")
        array: NDArray[Any] = np.empty(shape, dtype)
        if array.size:
            _read(pipe, array.data.cast("B"))
        arrays.append(array)
    return header, arrays


def _read(pipe: Any, buffer: Any) -> Any:
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = pipe.readinto(view[done:])
        if not count:
            raise EOFError
        done += count
    return buffer


def _describe(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
