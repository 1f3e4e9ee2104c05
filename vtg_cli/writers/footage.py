"""Videos and moments counted in frames, shared by EDL, OpenTimelineIO and FCPXML."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractors.errors import VtgError
from vtg_cli.terminal.console import one_line
from vtg_cli.terminal.timecode import has_drop_frame, smpte_frame

if TYPE_CHECKING:
    from extractors.decoding.container.timeline import Timeline
    from model.grounding.results import GroundingResult

_RATES = (
    Fraction(24000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(48),
    Fraction(50),
    Fraction(60000, 1001),
    Fraction(60),
    Fraction(120000, 1001),
    Fraction(120),
)
"""Frame rates that editing programs have."""

_SAME_RATE = 0.0004  # 23.976 and 24 are 0.001 apart
_STEADY = 0.05  # share of frames that may come early or late before a frame rate counts as variable


@dataclass(frozen=True)
class Footage:
    """A video file, as an editing program imports it.

    Attributes:
        path: the file, absolute.
        rate: frames per second; of a variable rate, the nearest that editing programs have.
        frame_count: frames at that rate.
        width, height: pixels of a frame as displayed.
        start_frame: timecode of its first frame, in frames; 0 if the file has none.
        drop_frame: whether its timecode is counted in drop-frame.
        audio_channels: channels of its sound; 0 if there is none.
        audio_rate: samples per second; 0 if there is no sound.
    """

    path: Path
    rate: Fraction
    frame_count: int
    width: int
    height: int
    start_frame: int
    drop_frame: bool
    audio_channels: int
    audio_rate: int

    @property
    def name(self) -> str:
        """The file's name on one line."""
        return one_line(self.path.name)

    def frame_at(self, seconds: float) -> int:
        """The frame on screen at a time, counted from the start of the file; its end counts as one more frame."""
        from extractors.decoding.grid import TIE_S

        return min(max(math.floor((seconds + TIE_S) * self.rate), 0), self.frame_count)


@dataclass(frozen=True)
class Select:
    """A moment in frames of its footage.

    Attributes:
        footage: the video.
        first_frame: frames from the start of the file.
        frame_count: at least 1.
        query: the sentence, on one line.
        rank: 1 is the best of its query.
        score: in [0, 1].
        model: what answered.
    """

    footage: Footage
    first_frame: int
    frame_count: int
    query: str
    rank: int
    score: float
    model: str

    @property
    def label(self) -> str:
        """Query, rank and score on one line."""
        return f"{self.query} #{self.rank} ({self.score:.2f})"


def read_footage(path: str | Path) -> Footage:
    """Read how a video is counted.

    Raises:
        VideoError: if it cannot be read.
    """
    from extractors.decoding.container.timeline import open_container, read_timeline
    from extractors.decoding.pyav_reader import first_frame_quarter_turns

    path = Path(path)
    timeline = read_timeline(path)
    turns = first_frame_quarter_turns(timeline.file)
    rate = edit_rate(timeline)
    with open_container(timeline.file) as (container, stream):
        start_frame, drop_frame = _start_timecode(container, stream, rate)
        sound = container.streams.best("audio")
        channels, samples = (
            (sound.codec_context.channels, sound.codec_context.sample_rate) if sound else (0, 0)
        )
    width, height = (timeline.width, timeline.height)[:: -1 if turns % 2 else 1]
    return Footage(
        path=path.resolve(),
        rate=rate,
        frame_count=max(round(timeline.end_s * rate), 1),
        width=width,
        height=height,
        start_frame=start_frame,
        drop_frame=drop_frame,
        audio_channels=channels,
        audio_rate=samples,
    )


def edit_rate(timeline: Timeline) -> Fraction:
    """The frame rate a video is edited at.

    A steady rate is kept, whatever it is; in place of a variable one stands the nearest that editing programs have.
    """
    import numpy as np

    steps_s = np.diff(timeline.timestamps_s)
    fps, steady = timeline.fps, True
    if len(steps_s):
        usual_s = float(np.median(steps_s))
        # Files that count milliseconds have no step quite like another; 2 ms are more than that rounding.
        odd = np.abs(steps_s - usual_s) > max(0.1 * usual_s, 0.002)
        steady = float(odd.mean()) <= _STEADY
        if not steady:
            fps = 1 / usual_s
    nearest = min(_RATES, key=lambda rate: abs(float(rate) / fps - 1))
    if not steady or abs(float(nearest) / fps - 1) < _SAME_RATE:
        return nearest
    return Fraction(fps).limit_denominator(1001)


def selects(results: Iterable[GroundingResult]) -> tuple[list[Footage], list[Select]]:
    """The videos of results, and their moments in the order of the answers.

    Raises:
        VideoError: if a video cannot be read.
    """
    footage: dict[str, Footage] = {}
    chosen = []
    for result in results:
        if result.video not in footage:
            footage[result.video] = read_footage(result.video)
        video = footage[result.video]
        for rank, moment in enumerate(result.moments, start=1):
            first = min(video.frame_at(moment.start_s), video.frame_count - 1)
            count = max(video.frame_at(moment.end_s) - first, 1)
            chosen.append(
                Select(video, first, count, one_line(result.query), rank, moment.score, result.model)
            )
    return list(footage.values()), chosen


def common_rate(footage: list[Footage], program: str) -> Fraction:
    """The one frame rate of all footage.

    Raises:
        VtgError: if there are several.
    """
    rates = sorted({video.rate for video in footage})
    if len(rates) != 1:
        listed = ", ".join(f"{float(rate):.3f}" for rate in rates)
        raise VtgError(
            f"{program} has one frame rate, but these videos have {listed}; write one per video: -o '{{video}}.edl'"
        )
    return rates[0]


def _start_timecode(container: Any, stream: Any, rate: Fraction) -> tuple[int, bool]:
    for metadata in (stream.metadata, container.metadata):
        if "timecode" in metadata:
            try:
                return smpte_frame(metadata["timecode"], rate)
            except ValueError:  # of another rate, or none at all: as good as missing
                continue
    return 0, has_drop_frame(rate)
