"""What is written on the screen of a video, read in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from extractors.cues.cue import CueStream
from extractors.cues.screen.lines import LineTracker
from extractors.cues.screen.pictures import CLIP_LENGTH_S, ChangeDetector, picture_count, read_pictures
from extractors.cues.screen.recogniser import Recogniser
from extractors.decoding import pulse
from extractors.decoding.container.timeline import read_timeline


def read_screen_text(
    path: Path, on_picture: Callable[[int, int], None] = lambda done, count: None
) -> tuple[float, list[CueStream]]:
    """Read the text on the screen, of one picture for each clip; only pictures that differ are looked at.

    Args:
        path: the video file.
        on_picture: called after each picture with how many are done, and how many there are.

    Returns:
        the length of the video in seconds, and a stream with a cue for each line; none if there is no text.

    Raises:
        VideoError: if the video cannot be read.
        WeightsMissing, WeightsInvalid: as `Recogniser`.
    """
    timeline = read_timeline(path)
    recogniser = Recogniser()
    detector = ChangeDetector()
    tracker = LineTracker(CLIP_LENGTH_S)
    count = picture_count(timeline)
    for number, picture in enumerate(read_pictures(timeline), start=1):
        if detector.differs(picture):
            tracker.next(recogniser.read(picture))
        else:
            tracker.same()
        pulse.beat()
        on_picture(number, count)
    stream = tracker.finish(timeline.end_s)
    return timeline.end_s, [stream] if stream.cues else []
