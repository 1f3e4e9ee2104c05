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


def spoken(talks: Sequence[Talk], duration_s: float, *, rate: int = 16_000) -> NDArray[np.float32]:
    """(N,) samples in [-1, 1] with these talks, and a little noise."""
    random = np.random.default_rng(0)
    samples = random.normal(0, 1e-4, round(duration_s * rate))
    for talk in talks:
        first, last = round(talk.start_s * rate), round(talk.end_s * rate)
        samples[first:last] += 0.5 * _voice(talk.vowel, last - first, rate, random)
    return samples.clip(-1, 1).astype(np.float32)


def _voice(vowel: str, count: int, rate: int, random: np.random.Generator) -> NDArray[np.float64]:
    times_s = np.arange(count) / rate
    # Pitch falls and trembles; five syllables per second.
    pitch = 125 + 15 * np.sin(2 * np.pi * 0.7 * times_s) + 3 * np.sin(2 * np.pi * 5 * times_s)
    phase = np.cumsum(pitch / rate)
    pulses = np.diff(np.floor(phase), prepend=0.0) + random.normal(0, 0.01, count)
    voice = pulses
    for formant, bandwidth in VOWELS[vowel]:
        voice = _resonance(voice, formant, bandwidth, rate)
    syllables = 0.15 + 0.85 * np.clip(np.sin(2 * np.pi * 2.5 * times_s) ** 2 * 1.6, 0, 1)
    voice = voice * syllables
    return voice / max(float(np.abs(voice).max()), 1e-9)


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
