"""Excerpts encoded again: every frame at its own time, and sound from the sample that belongs to the first frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from extractors.decoding.container.timeline import open_container
from extractors.errors import VideoError
from vtg_cli.cutting.source import Excerpt, Source, decodable
from vtg_cli.cutting.streams import AudioStream, FittedVideo, VideoStream


def encode_all(source: Source, output: Any, excerpts: Sequence[Excerpt]) -> None:
    """Encode excerpts one after another, with all sounds of their source."""
    video = VideoStream(output, source.format, source.tick_s)
    with open_container(source.path) as (container, _):
        sounds = {
            sound.index: AudioStream(
                output,
                rate=sound.codec_context.sample_rate,
                channels=sound.codec_context.channels,
                language=sound.language,
            )
            for sound in decodable(container)
        }
    at_s = Fraction(0)
    for excerpt in excerpts:
        at_s = encode(source, excerpt, at_s, video, sounds)
    video.finish()
    for sound in sounds.values():
        sound.finish()


def encode(
    source: Source,
    excerpt: Excerpt,
    at_s: Fraction,
    video: VideoStream | FittedVideo,
    sounds: Mapping[int, AudioStream],
) -> Fraction:
    """Encode an excerpt from a second of the file on, sounds by their numbers in the source; returns where it ends.

    Raises:
        VideoError: if none of its frames can be decoded.
    """
    end_s = at_s + (excerpt.end - excerpt.start) * source.tick_s
    for sound in sounds.values():
        sound.begin(excerpt.start * source.tick_s + source.clock_s, at_s, end_s)
    shown = 0
    with source.open_before(excerpt) as (container, stream):
        for kind, tick, frame in source.decode(container, stream, tuple(sounds), excerpt):
            if kind == stream.index:
                shown += 1
                # The frame on screen at the start appeared before it, or replaces a damaged one.
                since_start = 0 if shown == 1 else tick - excerpt.start
                video.add(frame, at_s + since_start * source.tick_s, source.step(tick) * source.tick_s)
            else:
                sounds[kind].add(frame)
    if not shown:
        first_s, last_s = source.seconds(excerpt)
        raise VideoError(
            source.path, f"none of its frames from {first_s:.3f} s to {last_s:.3f} s can be decoded"
        )
    for sound in sounds.values():
        sound.end()
    return end_s
