"""What is written on the screen of a video, read in this process."""

from __future__ import annotations

from pathlib import Path

from extractors.cues.cue import CueStream
from extractors.cues.screen.lines import LineTracker
from extractors.cues.screen.pictures import CLIP_LENGTH_S, ChangeDetector, read_pictures
from extractors.cues.screen.recogniser import Recogniser
from extractors.decoding import pulse
from extractors.decoding.container.timeline import read_timeline


def read_screen_text(path: Path) -> tuple[float, list[CueStream]]:
    """Read the text on the screen, of one picture for each clip; only pictures that differ are looked at.

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
    for picture in read_pictures(timeline):
        if detector.differs(picture):
            tracker.next(recogniser.read(picture))
        else:
            tracker.same()
        pulse.beat()
    stream = tracker.finish(timeline.end_s)
    return timeline.end_s, [stream] if stream.cues else []
