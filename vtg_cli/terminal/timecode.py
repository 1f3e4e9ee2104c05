"""Seconds in a readable form, and frames in the editors' count."""

from __future__ import annotations

import math
import re
from fractions import Fraction


def timecode(seconds: float) -> str:
    """`1:02.5` or `1:00:02.5`: hours if there are any, minutes, seconds to a tenth."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}:{tenths / 10:04.1f}"
    return f"{hours}:{clock}" if hours else clock.removeprefix("0")


def span(seconds: float) -> str:
    """A length of time in at most two units: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def subtitle_time(seconds: float, *, separator: str = ".") -> str:
    """`00:01:02.500`: hours, minutes, seconds to a millisecond, as subtitles write them.

    Args:
        separator: what stands before the milliseconds; SRT has a comma.
    """
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{separator}{milliseconds % 1000:03d}"


def counted_rate(rate: Fraction) -> int:
    """Frames that a timecode counts to a second: 30 for 29.97 frames per second."""
    return math.ceil(rate)


def smpte(frame: int, rate: Fraction, *, drop_frame: bool) -> str:
    """The SMPTE timecode of a frame: `01:00:02:12`, or `01:00:02;12` in drop-frame counting.

    Drop-frame counting leaves out the first two numbers (four at 59.94) of every minute but each tenth, so that
    timecodes at 29.97 keep to the clock; no frame is left out. OpenTimelineIO counts the same way, but refuses rates
    outside its list, such as 10, 12 or 15 frames per second.

    Args:
        frame: frames after 00:00:00:00; a day later counting starts again.
        rate: frames per second.
        drop_frame: only for 29.97 and 59.94 frames per second.

    Raises:
        ValueError: if frames are to be dropped at another rate.

    Source: SMPTE ST 12-1.
    """
    counted = counted_rate(rate)
    if drop_frame:
        dropped = _dropped_numbers(rate)
        of_minute = 60 * counted - dropped
        of_ten_minutes = 10 * of_minute + dropped
        tens, rest = divmod(frame % (144 * of_ten_minutes), of_ten_minutes)
        minutes = max(rest - dropped, 0) // of_minute
        number = frame % (144 * of_ten_minutes) + dropped * (9 * tens + minutes)
    else:
        number = frame % (24 * 3600 * counted)
    seconds, frames = divmod(number, counted)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{';' if drop_frame else ':'}{frames:02d}"


def smpte_frame(text: str, rate: Fraction) -> tuple[int, bool]:
    """Read a SMPTE timecode.

    Args:
        text: `HH:MM:SS:FF`; a semicolon or a full stop before the frames says drop-frame.
        rate: frames per second.

    Returns:
        frames after 00:00:00:00, and whether it is drop-frame.

    Raises:
        ValueError: if it is not a timecode, or drop-frame at a rate that has none.
    """
    match = re.fullmatch(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d{2,3})", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a timecode of the form HH:MM:SS:FF")
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    counted = counted_rate(rate)
    if frames >= counted:
        raise ValueError(f"'{text}' counts more than the {counted} frames per second of the video")
    minutes += 60 * hours
    number = (60 * minutes + seconds) * counted + frames
    if match[4] == ":":
        return number, False
    return number - _dropped_numbers(rate) * (minutes - minutes // 10), True


def has_drop_frame(rate: Fraction) -> bool:
    """Whether there is drop-frame counting at a rate: at 29.97 and 59.94."""
    return rate in (Fraction(30000, 1001), Fraction(60000, 1001))


def _dropped_numbers(rate: Fraction) -> int:
    if not has_drop_frame(rate):
        raise ValueError(f"{float(rate):g} frames per second are never counted in drop-frame timecode")
    return counted_rate(rate) // 15
