"""The subprocess of `subprocess_reader`: decodes the videos that it is asked for."""

from __future__ import annotations

from contextlib import suppress

from extractors.decoding import ffmpeg_log, pulse
from extractors.decoding.decode import DecodeRequest, decode
from extractors.errors import VideoError
from extractors.subprocesses import worker
from extractors.subprocesses.wire import Alive, Failed


def main() -> None:
    """Serve requests until there are no more."""
    ffmpeg_log.keep()
    channel = worker.begin()
    pulse.on_beat(lambda: channel.send(Alive()))
    with suppress(BrokenPipeError):  # the parent has ended
        for request in channel.requests(DecodeRequest):
            serve(request, channel)


def serve(request: DecodeRequest, channel: worker.Channel) -> None:
    """Send the events of a video, or why it failed."""
    try:
        for event in decode(request):
            channel.send(event)
            del event
    except VideoError as error:
        channel.send(Failed(error))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Where a file makes the decoders' own assumptions fail.
        reason = str(error).strip().partition("\n")[0]
        text = f"cannot be decoded ({type(error).__name__}: {reason[:120]})"
        channel.send(Failed(VideoError(request.path, text)))


if __name__ == "__main__":
    main()
