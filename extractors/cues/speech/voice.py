"""Where there is speech, by the Silero network inside the package faster-whisper.

Source: Silero Team, "Silero VAD", https://github.com/snakers4/silero-vad; the network is under MIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from extractors.cues.speech.sound import RATE, Sound
from extractors.cues.speech.weights import PACKAGE
from extractors.weights.packaged import packaged_bytes

_NETWORK = (
    "assets/silero_vad_v6.onnx",
    "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2",
)
VOICE_ID = f"silero-v6:{_NETWORK[1][:8]}"
"""Identity of the network: part of the recipe of what is transcribed."""

STEP = 512
"""Samples of which the network says whether they are speech: 32 ms."""

_CONTEXT = 64
_BEGINS_FROM, _ENDS_BELOW = 0.5, 0.35
_STEPS_PER_S = RATE / STEP
_END = round(0.5 * _STEPS_PER_S)  # steps without speech that end it
_LEAST = round(0.2 * _STEPS_PER_S)  # of speech: a click is shorter
_AROUND = round(0.25 * _STEPS_PER_S)  # before and after speech, which begins and ends softly
_LONGEST_SILENCE = round(2.0 * _STEPS_PER_S)  # within a stretch
LONGEST_S = 29.0
"""Length of a stretch in seconds, at most; Whisper hears 30 s at a time."""
_LONGEST = int(LONGEST_S * _STEPS_PER_S)


@dataclass(frozen=True)
class Stretch:
    """Sound that holds speech.

    Attributes:
        start_s: seconds from the start of the video.
        samples: (N,), at most `LONGEST_S` of them.
    """

    start_s: float
    samples: NDArray[np.float32]

    @property
    def end_s(self) -> float:
        """Where it ends, in seconds from the start of the video."""
        return self.start_s + len(self.samples) / RATE


class VoiceDetector:
    """Says how likely each 32 ms of sound are speech. It remembers what came before.

    Raises:
        WeightsMissing: if the package is not installed.
        WeightsInvalid: if its network is not the pinned one.
    """

    def __init__(self) -> None:
        network = packaged_bytes(PACKAGE, *_NETWORK)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self.forget()

    def forget(self) -> None:
        """Begin with other sound."""
        self._hidden = np.zeros((1, 1, 128), np.float32)
        self._cell = np.zeros((1, 1, 128), np.float32)
        self._before = np.zeros(_CONTEXT, np.float32)

    def probabilities(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """How likely each step of 512 samples is speech.

        Args:
            samples: (512 N,), which follow those of the call before.

        Returns:
            (N,) in [0, 1].
        """
        steps = samples.reshape(-1, STEP)
        if not len(steps):
            return np.zeros(0, np.float32)
        contexts = np.concatenate([self._before[None], steps[:-1, -_CONTEXT:]])
        self._before = steps[-1, -_CONTEXT:].copy()
        likely, self._hidden, self._cell = self._session.run(
            None, {"input": np.concatenate([contexts, steps], axis=1), "h": self._hidden, "c": self._cell}
        )
        return np.asarray(likely, np.float32).reshape(-1)


def speech_in(sound: Iterable[Sound], detector: VoiceDetector) -> Iterator[Stretch]:
    """The stretches of sound that hold speech; silence of more than two seconds is left out.

    Longer speech is cut in pauses, or where speech is least likely. Memory does not grow with the length of the sound.
    """
    finder = None
    for block in sound:
        if finder is None or not block.continues:
            if finder is not None:
                yield from finder.finish()
            detector.forget()
            finder = _Finder(block.start_s, detector)
        yield from finder.add(block.samples)
    if finder is not None:
        yield from finder.finish()


class _Finder:
    """Finds speech in sound without gaps. Places are counted in steps from its start.

    Args:
        start_s: of the sound, in seconds from the start of the video.
        detector: which has forgotten what came before.
    """

    def __init__(self, start_s: float, detector: VoiceDetector) -> None:
        self._start_s = start_s
        self._detector = detector
        self._rest = np.zeros(0, np.float32)
        # What may still be part of a stretch, and where it begins.
        self._kept = np.zeros((0, STEP), np.float32)
        self._likely: list[float] = []
        self._kept_from = 0
        # The stretch at work: where it begins, and the end of its last speech; None if there is none.
        self._first: int | None = None
        self._last = 0
        # The speech at work: where it begins, and since when it may be over.
        self._since: int | None = None
        self._quiet_since: int | None = None

    def add(self, samples: NDArray[np.float32]) -> Iterator[Stretch]:
        """Take in what follows."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // STEP * STEP
        self._rest = samples[whole:]
        likely = self._detector.probabilities(samples[:whole])
        at = self._kept_from + len(self._kept)
        self._kept = np.concatenate([self._kept, samples[:whole].reshape(-1, STEP)])
        self._likely += map(float, likely)
        for step, probability in enumerate(likely, start=at):
            yield from self._step(step, float(probability))
        self._drop(self._needed_from(at + len(likely)))

    def finish(self) -> Iterator[Stretch]:
        """The end of the sound ends speech."""
        if len(self._rest):
            yield from self.add(np.zeros(STEP - len(self._rest), np.float32))
        end = self._kept_from + len(self._kept)
        if self._since is not None:
            self._end_speech(end if self._quiet_since is None else self._quiet_since)
        if self._first is not None:
            yield self._stretch(self._first, min(self._last + _AROUND, end))

    def _step(self, step: int, probability: float) -> Iterator[Stretch]:
        if self._since is None:
            if self._first is not None and step - self._last > _LONGEST_SILENCE:
                yield self._stretch(self._first, self._last + _AROUND)
                self._first = None
            if probability >= _BEGINS_FROM:
                self._since, self._quiet_since = step, None
        elif probability >= _ENDS_BELOW:
            self._quiet_since = None
        else:
            self._quiet_since = step if self._quiet_since is None else self._quiet_since
            if step - self._quiet_since >= _END:
                self._end_speech(self._quiet_since)
        if (begin := self._begin()) is not None and step - begin >= _LONGEST - _AROUND:
            yield from self._cut(begin, step)

    def _begin(self) -> int | None:
        """Where the stretch at work begins, if there is one, or speech that may become one."""
        if self._first is not None:
            return self._first
        return None if self._since is None else max(self._since - _AROUND, self._kept_from)

    def _end_speech(self, end: int) -> None:
        since, self._since, self._quiet_since = self._since, None, None
        assert since is not None, "there is speech"
        if end - since < _LEAST:
            return
        if self._first is None:
            self._first = max(since - _AROUND, self._kept_from)
        self._last = end

    def _cut(self, begin: int, step: int) -> Iterator[Stretch]:
        """Give what is longer than a stretch can be: in its last pause, or where speech is least likely."""
        if self._first is not None:
            yield self._stretch(begin, min(self._last + _AROUND, step))
            self._first = None
            return
        middle = begin + (step - begin) // 2
        likely = self._likely[middle - self._kept_from : step - self._kept_from]
        place = middle + int(np.argmin(likely))
        yield self._stretch(begin, place)
        self._drop(place)
        self._since = place

    def _needed_from(self, end: int) -> int:
        begin = self._begin()
        return end - _AROUND if begin is None else begin

    def _drop(self, until: int) -> None:
        """Forget what comes before a step."""
        if (count := until - self._kept_from) > 0:
            self._kept, self._likely = self._kept[count:], self._likely[count:]
            self._kept_from = until

    def _stretch(self, first: int, end: int) -> Stretch:
        samples = self._kept[first - self._kept_from : end - self._kept_from].reshape(-1)
        return Stretch(self._start_s + first * STEP / RATE, samples)
