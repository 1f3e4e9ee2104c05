"""What is said in the sound of a video."""

from __future__ import annotations

from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.cues.cue import CueStream, Transcript
from extractors.cues.kept import read_once, recall
from extractors.cues.speech.transcriber import TRANSCRIBER_ID
from extractors.cues.speech.voice import VOICE_ID
from extractors.cues.speech.weights import SpeechModel, find_speech_model
from extractors.cues.subprocess_reader import Progress
from extractors.files.identity import Identity

_RECIPE = f"{TRANSCRIBER_ID} {VOICE_ID}"


def read_speech(
    video: Path, cache: FeatureCache, model: SpeechModel | None = None, *, on_second: Progress | None = None
) -> Transcript:
    """Transcribe the speech of a video, once; it is kept in the cache by the content of the video.

    It is transcribed in a subprocess. A cue is a sentence, or a part of a long one.

    Args:
        video: the file.
        cache: where cues are kept.
        model: what transcribes; cues of other weights are replaced. If None, cues of any weights will do, and without
            any, the choice is that of `find_speech_model`.
        on_second: called with how many seconds of sound are done, and how many there are; not if the cache has them.

    Raises:
        VideoError: if the video cannot be read.
        UsageError, WeightsMissing, WeightsInvalid: as `find_speech_model`, and if the weights cannot be loaded.
        CacheError: if the cache cannot be read or written.
    """
    if model is None:
        if (known := known_speech(video, cache)) is not None:
            return known
        model = find_speech_model()
    duration_s, streams = read_once(
        video,
        "speech",
        cache,
        recipe=_RECIPE,
        made_by=model.identity,
        weights=model.folder,
        on_progress=on_second,
    )
    return _transcript(video, duration_s, streams)


def known_speech(video: Path, cache: FeatureCache) -> Transcript | None:
    """What the cache has of the speech of a video, with whichever weights it was transcribed; None if it has nothing.

    Raises:
        VideoError: if the video cannot be read.
        CacheError: if the cache cannot be read.
    """
    known = recall(video, "speech", cache, recipe=_RECIPE)
    return None if known is None else _transcript(video, *known)


def speech_state(identity: Identity, cache: FeatureCache) -> str:
    """A name of what the cache has of the speech of a video, which changes if that does; empty if it has nothing.

    Raises:
        CacheError: if the cache cannot be read.
    """
    return cache.documents("speech", _RECIPE).state(identity)


def _transcript(video: Path, duration_s: float, streams: list[CueStream]) -> Transcript:
    heard = tuple(stream for stream in streams if stream.cues)
    notes = tuple(f"{video}, speech: {note}" for stream in heard for note in stream.notes)
    lack = next((note for stream in streams for note in stream.notes), "") if not heard else ""
    return Transcript(str(video), duration_s, heard, notes, source="speech", lack=lack)
