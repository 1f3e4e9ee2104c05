"""Decoding in a subprocess, so that a hostile file can crash or hang only that subprocess.

The subprocess starts with the first video and decodes one video after another. If it crashes, the video is read again
without decord, whose FFmpeg is old. If that crashes too, or the decoder makes no progress for too long, the video fails
and the next one gets a new subprocess.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from extractors.decoding.decode import DecodeRequest
from extractors.errors import VideoError, VtgError
from extractors.places import Place
from extractors.subprocesses import wire
from extractors.subprocesses.parent import Subprocess, SubprocessEnded, SubprocessStalled, python_command
from extractors.videos.events import ClipsDecoded, DecoderEvent, VideoDecoded, VideoStarted

STALL_S = 120.0
"""Seconds without a sign of progress after which a video is given up: a chunk of 4K video takes far less."""


class DecoderCrash(VideoError):
    """The subprocess ended, or sent something other than a message.

    Attributes:
        how: signal or exit code.
    """

    def __init__(self, path: str | Place, how: str) -> None:
        super().__init__(path, f"the decoder crashed ({how}); the file is damaged or hostile")
        self.how = how

    def __reduce__(self) -> tuple[type[DecoderCrash], tuple[Place, str]]:
        return type(self), (self.path, self.how)


class DecodeProcess:
    """Decodes videos in a subprocess. Use it in a `with` block, from one thread.

    Args:
        stall_s: seconds without progress after which a video is given up.
        command: what the subprocess runs; this package's worker by default.
    """

    def __init__(self, *, stall_s: float = STALL_S, command: Sequence[str] | None = None) -> None:
        self._stall_s = stall_s
        self._command = _worker_command() if command is None else command
        self._process: Subprocess | None = None
        self._aborted = False

    def __enter__(self) -> DecodeProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def decode(self, request: DecodeRequest) -> Generator[DecoderEvent, None, None]:
        """Decode a video, as `extractors.decoding.decode.decode`; closing the generator early ends the subprocess.

        Raises:
            VideoError: if it cannot be read, or the decoder crashed or hung over it.
        """
        note = ""
        started = False
        done = 0  # chunks that were yielded
        while True:
            repeated = done
            try:
                with closing(self._attempt(request)) as events:
                    for event in events:
                        if isinstance(event, VideoStarted):
                            if not started:
                                yield replace(event, info=replace(event.info, note=note or event.info.note))
                            started = True
                        elif isinstance(event, ClipsDecoded) and repeated:
                            repeated -= 1
                        else:
                            done += isinstance(event, ClipsDecoded)
                            yield event
                        del event  # its frames are the consumer's alone while the next ones are decoded
                return
            except DecoderCrash as crash:
                if request.options.decoder != "auto":
                    raise
                # Decord may have been what crashed: start from the beginning with PyAV alone.
                request = replace(request, options=replace(request.options, decoder="pyav"))
                note = f"read with PyAV: decord crashed on it ({crash.how})"

    def stop(self) -> None:
        """End the subprocess in any state."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def abort(self) -> None:
        """End the subprocess for good, from another thread; the one that waits for it gets a VideoError."""
        self._aborted = True
        process = self._process
        if process is not None:
            process.kill()

    def _attempt(self, request: DecodeRequest) -> Generator[DecoderEvent, None, None]:
        process = self._running(request.path)
        process.send(request)
        is_over = False
        try:
            while not is_over:
                event = self._receive(process, request)
                is_over = isinstance(event, VideoDecoded)
                yield event
                del event
        except DecoderCrash:
            raise
        except VideoError:
            is_over = True
            raise
        finally:
            if not is_over:  # it would go on decoding what nobody wants
                self.stop()

    def _running(self, path: Path) -> Subprocess:
        """The subprocess, started if need be."""
        if not self._aborted and (self._process is None or not self._process.is_running):
            self.stop()
            self._process = Subprocess(self._command)
        process = self._process
        if self._aborted or process is None:  # possibly while the subprocess was being started
            self.stop()
            raise VideoError(path, "not decoded, because the run was stopped")
        return process

    def _receive(self, process: Subprocess, request: DecodeRequest) -> DecoderEvent:
        """The next event, of which only what decoding finds out is taken from the subprocess."""
        try:
            event: DecoderEvent = process.receive(
                (VideoStarted, ClipsDecoded, VideoDecoded), timeout_s=self._stall_s
            )
            _require_answer(event, request)
        except SubprocessEnded as error:
            raise DecoderCrash(request.path, error.how) from error
        except SubprocessStalled as error:
            reason = f"the decoder made no progress for {self._stall_s:g} s and was stopped"
            raise VideoError(request.path, reason) from error
        except wire.Nonsense as error:
            self.stop()
            reason = "the decoder sent invalid data; the file is damaged or hostile"
            raise VideoError(request.path, reason) from error
        except VtgError as error:
            reason = error.reason if isinstance(error, VideoError) else str(error)
            raise VideoError(request.path, reason) from error
        if isinstance(event, VideoStarted):
            info = replace(event.info, path=request.path)
            return VideoStarted(request.index, request.path, info, event.clip_counts)
        return replace(event, index=request.index)


def _require_answer(event: DecoderEvent, request: DecodeRequest) -> None:
    """Raise `wire.Nonsense` if an event does not fit what was asked for."""
    if isinstance(event, VideoStarted):
        fits = event.clip_counts.keys() == request.samplings.keys()
    elif isinstance(event, ClipsDecoded):
        chunk = event.chunk
        fits = chunk.frames.ndim == 4 and len(chunk.rows) == len(request.samplings)
        fits = fits and all(
            rows.ndim == 2 and (not rows.size or 0 <= rows.min() <= rows.max() < len(chunk.frames))
            for rows in chunk.rows
        )
    else:
        fits = True
    if not fits:
        raise wire.Nonsense("an answer to another request")


def _worker_command() -> list[str]:
    return python_command("extractors.decoding.subprocess_main")
