"""Sound of speech and videos with it, made of vowels: a voice with formants, which the detector takes for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

# Formants in Hz, with their bandwidths.
VOWELS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "u": ((310, 60), (780, 80), (2250, 400)),
    "i": ((290, 120), (2300, 80), (3000, 80)),
}

_AFTER_CONSONANT = frozenset("i")  # alone it is no speech for long
_SEED = 21  # of these syllables, all are taken for speech


@dataclass(frozen=True)
class Talk:
    """Someone says a vowel again and again.

    Attributes:
        start_s, end_s: seconds.
        vowel: one of `VOWELS`.
    """

    start_s: float
    end_s: float
    vowel: str = "u"


def long_talk(start_s: float, end_s: float) -> list[Talk]:
    """Someone talks without a pause, with another vowel each second: one alone is no speech for long."""
    return [
        Talk(start_s + number, start_s + number + 1, "ui"[number % 2])
        for number in range(int(end_s - start_s))
    ]


def spoken(talks: Sequence[Talk], duration_s: float, *, rate: int = 16_000) -> NDArray[np.float32]:
    """(N,) samples in [-1, 1] with these talks, and a little noise."""
    samples = np.random.default_rng(0).normal(0, 1e-4, round(duration_s * rate))
    for talk in talks:
        first, last = round(talk.start_s * rate), round(talk.end_s * rate)
        samples[first:last] += 0.5 * _voice(talk.vowel, last - first, rate)
    return samples.clip(-1, 1).astype(np.float32)


def _voice(vowel: str, count: int, rate: int) -> NDArray[np.float64]:
    """Syllables, each a little different, as people speak."""
    random, parts = np.random.default_rng(_SEED), list[NDArray[np.float64]]()
    while sum(map(len, parts)) < count:
        parts.append(_syllable(vowel, rate, random))
    return np.concatenate(parts)[:count]


def _syllable(vowel: str, rate: int, random: np.random.Generator) -> NDArray[np.float64]:
    length_s, pitch, glide, loudness = random.uniform((0.15, 100, -0.2, 0.6), (0.25, 150, 0.2, 1))
    formants = [(formant * random.uniform(0.95, 1.05), width) for formant, width in VOWELS[vowel]]
    breath = np.random.default_rng(round(1000 * pitch))
    times = np.linspace(0, 1, round(length_s * rate))
    pulses = np.diff(np.floor(np.cumsum(pitch * (1 + glide * times) / rate)), prepend=0.0)
    voice = pulses + breath.normal(0, 0.01, len(times))
    for formant, width in formants:
        voice = _resonance(voice, formant, width, rate)
    voice *= 0.1 + 0.9 * np.sin(np.pi * times)
    voice /= np.abs(voice).max()
    if vowel in _AFTER_CONSONANT:
        hiss = np.diff(breath.normal(0, 0.15, round(0.06 * rate)), prepend=0.0)
        voice[: len(hiss)] += hiss * np.hanning(len(hiss))
    return voice * loudness


def _resonance(
    samples: NDArray[np.float64], formant: float, bandwidth: float, rate: int
) -> NDArray[np.float64]:
    """Two poles, as a multiplication of spectra."""
    spectrum = np.fft.rfft(samples)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(len(samples)))
    radius, angle = np.exp(-np.pi * bandwidth / rate), 2 * np.pi * formant / rate
    poles = 1 - 2 * radius * np.cos(angle) * turn + radius**2 * turn**2
    return np.fft.irfft(spectrum * (1 - radius) / poles, len(samples))


def render_talk(
    path: Path,
    talks: Sequence[Talk],
    duration_s: float,
    *,
    codec: str = "aac",
    rate: int = 48_000,
    begins_s: float = 0.0,
    pauses: Sequence[tuple[float, float]] = (),
) -> Path:
    """Render a grey video in which someone talks, in stereo.

    Args:
        path: where to; the suffix chooses the container.
        talks: what is said, in seconds from the start of the video.
        duration_s: length of the picture.
        codec: of the sound; empty for none.
        rate: its samples per second.
        begins_s: where the sound begins; it ends with the picture.
        pauses: seconds in which the track holds no packets at all.
    """
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        sound = out.add_stream(codec, rate=rate, layout="stereo") if codec else None
        for number in range(round(5 * duration_s)):
            frame = av.VideoFrame.from_ndarray(
                np.full((64, 64, 3), 2 * number % 256, np.uint8), format="rgb24"
            )
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        if sound is not None:
            for frame in _frames(spoken(talks, duration_s, rate=rate), rate, begins_s, pauses):
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path


def _frames(
    samples: NDArray[np.float32], rate: int, begins_s: float, pauses: Sequence[tuple[float, float]]
) -> Iterator[av.AudioFrame]:
    for start in range(round(begins_s * rate), len(samples) - 1023, 1024):
        if any(first_s <= start / rate < last_s for first_s, last_s in pauses):
            continue
        part = np.repeat(samples[None, start : start + 1024], 2, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame
