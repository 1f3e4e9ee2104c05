"""Decoding in a subprocess, so that a hostile file can crash or hang only that subprocess.

The subprocess starts with the first video and decodes one video after another. If it crashes, the video is read again
without decord, whose FFmpeg is old. If that crashes too, or the decoder makes no progress for too long, the video fails
and the next one gets a new subprocess.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors import child
from extractors.decoding import damage
from extractors.decoding.clip_reader import CHUNK_S, ClipChunk, Decoder, VideoInfo
from extractors.decoding.grid import Sampling
from extractors.errors import VideoError

STALL_S = 120.0
"""Seconds without a sign of progress after which a video is given up: a chunk of 4K video takes far less."""

_END_S = 2.0
_MAX_HEADER_BYTES = 1 << 20
_MAX_ARRAY_BYTES = 1 << 32


class DecoderCrash(VideoError):
    """The subprocess ended, or sent something other than a message.

    Attributes:
        how: signal or exit code.
    """

    def __init__(self, path: Path, how: str) -> None:
        super().__init__(path, f"the decoder crashed ({how}); the file is damaged or hostile")
        self.how = how

    def __reduce__(self) -> tuple[type[DecoderCrash], tuple[Path, str]]:
        return type(self), (self.path, self.how)


class DecodeProcess:
    """Opens videos in a subprocess. Use it in a `with` block, from one thread.

    Args:
        stall_s: seconds without progress after which a video is given up.
        command: what the subprocess runs; this package's worker by default.
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
        """End the subprocess in any state."""
        process, self._process = self._process, None
        if process is not None:
            child.end(process)

    def abort(self) -> None:
        """End the subprocess for good, from another thread; the one that waits for it gets a VideoError."""
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
        """Ask the subprocess to decode a video; starts it if necessary.

        Raises:
            VideoError: after `abort`.
        """
        if not self._aborted and (self._process is None or self._process.poll() is not None):
            self.stop()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self._process
        if self._aborted or process is None:  # possibly while the subprocess was being started
            self.stop()
            raise VideoError(path, "not decoded, because the run was stopped")
        line = {
            "path": str(path),
            "samplings": [sampling.__dict__ for sampling in samplings],
            "chunk_s": chunks_s[0],
            "first_chunk_s": chunks_s[1],
            "decoder": decoder,
        }
        assert process.stdin is not None, "it was asked for"
        try:
            process.stdin.write(json.dumps(line).encode() + b"\n")
            process.stdin.flush()
        except OSError:  # it has just ended; `receive` finds out how
            pass

    def receive(self, path: Path) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """The next message about a video, header and arrays.

        Raises:
            DecoderCrash: if the subprocess ends or sends no message.
            VideoError: if it makes no progress.
        """
        process = self._process
        assert process is not None, "a request comes first"
        stalled = threading.Event()

        def give_up() -> None:
            stalled.set()
            process.kill()

        timer = threading.Timer(min(self._stall_s, threading.TIMEOUT_MAX), give_up)
        timer.daemon = True
        timer.start()
        try:
            return _read_message(process)
        except (EOFError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, EOFError):  # it is ending: wait for its exit code
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_S)
            self.stop()
            if stalled.is_set():
                reason = f"the decoder made no progress for {self._stall_s:g} s and was stopped"
                raise VideoError(path, reason) from error
            raise DecoderCrash(path, _describe(process.returncode)) from error
        finally:
            timer.cancel()


class IsolatedReader:
    """The clips of a video that a subprocess decodes; made by `DecodeProcess.open`.

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
        self._samplings = samplings
        self._chunks_s = chunks_s
        self._decoder = decoder
        self._ended = False
        self.damaged_s: tuple[damage.Segment, ...] = ()
        try:
            header = self._open()
            note = ""
        except DecoderCrash as crash:
            header = self._open_without_decord(crash)
            note = f"read with PyAV: decord crashed on it ({crash.how})"
        with self._understanding():
            info = VideoInfo(**{**header["info"], "path": path})
            self.info = replace(info, note=note) if note else info
            self.clip_counts = tuple(int(count) for count in header["clip_counts"])

    def __iter__(self) -> Iterator[ClipChunk]:
        done = ahead = 0  # chunks that were yielded; those of them that are still to come once more
        while not self._ended:
            try:
                header, arrays = self._receive()
            except DecoderCrash as crash:
                self._open_without_decord(crash)
                ahead = done
                continue
            with self._understanding():
                if header["kind"] == "ended":
                    self.damaged_s = damage.from_json(header["damaged_s"])
                    self._ended = True
                    return
                chunk = ClipChunk(
                    start_clip=tuple(header["start_clip"]), frames=arrays[0], rows=tuple(arrays[1:])
                )
            del arrays
            if ahead:
                ahead -= 1
            else:
                done += 1
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
        if not self._ended:  # it would continue decoding frames that are not needed
            self._process.stop()

    def _open(self) -> dict[str, Any]:
        self._ended = False
        self._process.request(self._path, self._samplings, self._chunks_s, self._decoder)
        return self._receive()[0]

    def _open_without_decord(self, crash: DecoderCrash) -> dict[str, Any]:
        """Start from the beginning with PyAV alone, if decord may have been what crashed."""
        if self._decoder != "auto":
            raise crash
        self._decoder = "pyav"
        return self._open()

    @contextmanager
    def _understanding(self) -> Iterator[None]:
        """Treat an invalid message as the work of a file that has taken the process over."""
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            self._ended = True
            self._process.stop()
            raise VideoError(
                self._path, "the decoder sent invalid data; the file is damaged or hostile"
            ) from error

    def _receive(self) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """The next message that is more than a sign of progress."""
        kind = "reading"
        while kind == "reading":
            try:
                header, arrays = self._process.receive(self._path)
            except VideoError:
                self._ended = True
                raise
            with self._understanding():
                kind = header["kind"]
        if kind == "failed":
            self._ended = True
            with self._understanding():
                reason = str(header["reason"])
            raise VideoError(self._path, reason)
        return header, arrays


def _worker_command() -> list[str]:
    # With this process's own search path: not that of the folder it happens to be started in.
    code = f"import sys; sys.path[:] = {sys.path!r}; from extractors.decoding.subprocess_main import main; main()"
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
