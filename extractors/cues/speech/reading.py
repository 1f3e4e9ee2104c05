"""What is said in the sound of a video, transcribed in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from extractors.cues.cue import MOST_CUES, Cue, CueStream, in_order
from extractors.cues.speech.sentences import STREAM, cues_of
from extractors.cues.speech.sound import Sound, has_sound, read_sound
from extractors.cues.speech.transcriber import Transcriber
from extractors.cues.speech.voice import VoiceDetector, speech_in
from extractors.decoding import pulse
from extractors.decoding.container.timeline import Timeline, read_timeline

NO_SOUND = "has no audio track"


def transcribe(
    path: Path,
    weights: Path,
    on_second: Callable[[int, int], None] = lambda done, count: None,
    *,
    from_s: float = 0.0,
    language: str = "",
    on_heard: Callable[[tuple[Cue, ...], float, str], None] = lambda cues, until_s, language: None,
) -> tuple[float, list[CueStream]]:
    """Transcribe the speech in the main audio track; silence is skipped.

    Args:
        path: the video file.
        weights: as of `SpeechModel.folder`.
        on_second: called every few seconds of sound with how many are done, and how many there are.
        from_s: where to begin, in seconds from the start of the video.
        language: of the speech; empty to find it out.
        on_heard: called with successive cues, up to where they go, and the language so far.

    Returns:
        the length of the video in seconds, and one stream with a cue for each sentence. If there is none, a note of the
        stream may say why.

    Raises:
        VideoError: if the video cannot be read.
        WeightsMissing, WeightsInvalid: as `Transcriber` and `VoiceDetector`.
    """
    timeline = read_timeline(path)
    detector, transcriber = VoiceDetector(), Transcriber(weights, language)
    if not has_sound(timeline):
        return timeline.end_s, [CueStream(STREAM, "speech", notes=(NO_SOUND,))]
    cues: list[Cue] = []
    for stretch in speech_in(_told(timeline, from_s, on_second), detector):
        heard = cues_of(list(transcriber.words(stretch)), timeline.end_s)
        cues += heard
        on_heard(tuple(heard), stretch.end_s, transcriber.language)
        pulse.beat()
        if len(cues) >= MOST_CUES:
            break
    notes = (f"only its first {MOST_CUES:,} sentences are kept",) if len(cues) > MOST_CUES else ()
    kept = in_order(cues[:MOST_CUES])
    return timeline.end_s, [CueStream(STREAM, "speech", transcriber.language, kept, notes)]


def _told(timeline: Timeline, from_s: float, on_second: Callable[[int, int], None]) -> Iterator[Sound]:
    """The sound of a video from some time on, with a word on each block that is done."""
    for block in read_sound(timeline, from_s):
        yield block
        on_second(max(round(block.start_s), 0), round(timeline.end_s))
