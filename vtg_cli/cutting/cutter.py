"""Cuts spans out of a video: exactly, by re-encoding, or at key frames, by copying the streams.

Every frame keeps its time, so a variable frame rate is preserved. This uses FFmpeg's libraries inside PyAV and does not
need the FFmpeg program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from extractors.errors import UsageError
from vtg_cli.cutting.copying import copy
from vtg_cli.cutting.encoding import encode_all
from vtg_cli.cutting.source import Source, Span
from vtg_cli.cutting.streams import keeps_deep_colour
from vtg_cli.cutting.targets import CONTAINERS, ENCODED_CONTAINERS, check_target, writing


class VideoCutter:
    """Cuts excerpts out of one video, into any number of files.

        cutter = VideoCutter("talk.mp4")
        cutter.cut("best.mp4", [(62.0, 70.5)])
        cutter.cut("all.mp4", [(62.0, 70.5), (120.0, 131.0)])  # joined, in this order
        cutter.copy("fast.mp4", (62.0, 70.5))  # from the key frame before

    Args:
        path: the video file.

    Attributes:
        source: what is cut.

    Raises:
        VideoError: if it is missing, not a video, or has no frames.
    """

    def __init__(self, path: str | Path) -> None:
        self.source = Source(path)

    @property
    def loss(self) -> str:
        """What an encoded cut loses of the picture here, in words; empty if nothing important."""
        if self.source.format.bits > 8 and not keeps_deep_colour():
            return f"{self.source.path}: has colours of more than 8 bits; cuts have 8, as this PyAV has no HEVC encoder"
        return ""

    def cut(self, target: str | Path, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Write excerpts of the video to a file, one after another in the order given, encoded again.

        An excerpt runs from the frame on screen at its start to the one on screen at its end, which is left out:
        excerpts that meet share no frame.

        Args:
            target: the file, which appears whole or not at all; its ending says the format.
            spans: start and end in seconds from the start of the video.

        Returns:
            start and end in seconds of what each excerpt came to hold.

        Raises:
            UsageError: if there is no span, one is empty or outside of the video, the ending of the target says no
                format that can be written, or the target is the source.
            VideoError: if the source cannot be decoded.
            VtgError: if the target cannot be written.
        """
        if not spans:
            raise UsageError(f"{self.source.path}: there is no span to cut out")
        target = Path(target)
        excerpts = [self.source.excerpt(span) for span in spans]
        check_target(target, ENCODED_CONTAINERS, self.source.path)
        with writing(target, self.source.path) as output:
            encode_all(self.source, output, excerpts)
        return tuple(self.source.seconds(excerpt) for excerpt in excerpts)

    def copy(self, target: str | Path, span: Span) -> Span:
        """Write an excerpt of the video to a file as it is, from the last key frame at or before its start.

        Takes no time to speak of and loses nothing; the end may come a few frames late where frames depend on later
        ones. Arguments and errors as for `cut`.

        Returns:
            start and end in seconds of what the file came to hold.

        Raises:
            VideoError: also if the format of the target cannot hold what is copied.
        """
        target = Path(target)
        wanted = self.source.excerpt(span)
        check_target(target, tuple(CONTAINERS), self.source.path)
        excerpt = self.source.from_key_frame(wanted)
        with writing(target, self.source.path) as output:
            end = copy(self.source, output, excerpt)
        return self.source.seconds(replace(excerpt, end=end))
