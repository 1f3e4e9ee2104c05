"""Excerpts of any number of videos in one file, whatever their sizes and frame rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from extractors.errors import UsageError
from vtg_cli.cutting.cutter import VideoCutter
from vtg_cli.cutting.encoding import encode
from vtg_cli.cutting.source import Excerpt, Source, Span
from vtg_cli.cutting.streams import AudioStream, FittedVideo, StreamFormat, VideoStream
from vtg_cli.cutting.targets import ENCODED_CONTAINERS, check_target, writing

_TICK_S = Fraction(1, 120_000)  # frames of all usual rates last whole numbers of these


@dataclass(frozen=True)
class Joined:
    """What a file came to hold that was joined from several videos.

    Attributes:
        spans: start and end in seconds of each excerpt, in its own video.
        note: what is not as in the videos, in words; empty if nothing is.
    """

    spans: tuple[Span, ...]
    note: str = ""

    @property
    def length_s(self) -> float:
        """Seconds of it all."""
        return sum(end_s - start_s for start_s, end_s in self.spans)


def join(target: str | Path, parts: Sequence[tuple[str | Path, Span]]) -> Joined:
    """Write excerpts of any number of videos to one file, one after another in the order given, encoded again.

    Of one video, the file has all that `VideoCutter.cut` keeps. Of several, it has the size of the largest, upright and
    with square pixels; others are made as large as fits, with black beside them where their shape is another. Frames
    keep their times, whatever the rates; sound is the main one of each, silence where there is none.

    Args:
        target: the file, which appears whole or not at all; its ending says the format.
        parts: videos, and start and end in seconds from the start of each.

    Raises:
        UsageError, VideoError, VtgError: as `VideoCutter.cut`.
    """
    target = Path(target)
    if not parts:
        raise UsageError(f"{target}: there is no span to join")
    cutters: dict[str, VideoCutter] = {}
    for path, _ in parts:
        if str(path) not in cutters:
            cutters[str(path)] = VideoCutter(path)
    if len(cutters) == 1:
        (cutter,) = cutters.values()
        return Joined(cutter.cut(target, [span for _, span in parts]), cutter.loss)
    excerpts = [(cutters[str(path)].source, cutters[str(path)].source.excerpt(span)) for path, span in parts]
    sources = [cutter.source for cutter in cutters.values()]
    for source in sources:
        check_target(target, ENCODED_CONTAINERS, source.path)
    with writing(target, sources[0].path) as output:
        _encode_parts(output, excerpts, sources)
    note = next((cutter.loss for cutter in cutters.values() if cutter.loss), "")
    if len({source.format.is_hdr for source in sources}) > 1:
        note = f"{target}: joins HDR and other videos, whose colours are not fitted to one another"
    return Joined(tuple(source.seconds(excerpt) for source, excerpt in excerpts), note)


def _encode_parts(output: Any, excerpts: Sequence[tuple[Source, Excerpt]], sources: Sequence[Source]) -> None:
    shape = StreamFormat.for_all([source.format for source in sources])
    video = VideoStream(output, shape, _TICK_S)
    fitted = {source: FittedVideo(video, shape, source.format) for source in sources}
    contexts = [source.sound[1] for source in sources if source.sound]
    sound = None
    if contexts:
        rates = {context.sample_rate for context in contexts}
        channels = max(context.channels for context in contexts)
        sound = AudioStream(output, channels=channels, **({"rate": rates.pop()} if len(rates) == 1 else {}))
    at_s = Fraction(0)
    for source, excerpt in excerpts:
        sounds = {source.sound[0]: sound} if sound and source.sound else {}
        end_s = encode(source, excerpt, at_s, fitted[source], sounds)
        if sound and not sounds:
            sound.begin(Fraction(0), at_s, end_s)
            sound.end()
        at_s = end_s
    video.finish()
    if sound:
        sound.finish()
