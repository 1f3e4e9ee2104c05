"""CMX 3600 edit decision list: one event per moment, one after another from 01:00:00:00; all editing programs read it.

This does not use OpenTimelineIO's adapter, which does not state how frames are counted and cuts names short.

Source: the layout that editing programs share: event, reel, channels, cut, source in and out, record in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from extractors.errors import VtgError
from vtg_cli.terminal.timecode import smpte, smpte_frame
from vtg_cli.writers.footage import Footage, common_rate, selects
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult

_TITLE_LENGTH = 70
_FASTEST = 60  # timecode has two digits for frames, and no program counts an EDL faster


def write(results: Sequence[GroundingResult], file: TextIO) -> None:
    """Write one event per moment, in the order of the answers.

    Raises:
        VideoError: if a video cannot be read.
        VtgError: if the frame rates differ, or are faster than an EDL can count.
    """
    footage, chosen = selects(results)
    rate = common_rate(footage, "an EDL")
    if rate > _FASTEST:
        raise VtgError(
            f"{footage[0].path}: an EDL counts at most {_FASTEST} frames per second, but this video has "
            f"{float(rate):g}; write otio or fcpxml"
        )
    drop_frame = footage[0].drop_frame
    file.write(f"TITLE: {footage[0].name[:_TITLE_LENGTH]}\n")
    file.write(f"FCM: {'DROP FRAME' if drop_frame else 'NON-DROP FRAME'}\n")
    record, _ = smpte_frame(f"01:00:00{';' if drop_frame else ':'}00", rate)
    for number, select in enumerate(chosen, start=1):
        video = select.footage
        source = video.start_frame + select.first_frame
        times = (
            smpte(source, rate, drop_frame=video.drop_frame),
            smpte(source + select.frame_count, rate, drop_frame=video.drop_frame),
            smpte(record, rate, drop_frame=drop_frame),
            smpte(record + select.frame_count, rate, drop_frame=drop_frame),
        )
        # Reel AX is a source that is not a tape; programs find the file by the name of the clip.
        file.write(f"\n{number:03d}  AX       {_channels(video):5} C        {' '.join(times)}\n")
        file.write(f"* FROM CLIP NAME: {video.name}\n")
        file.write(f"* COMMENT: {select.label}\n")
        file.write(f"* LOC: {times[2]} GREEN   {select.label}\n")
        record += select.frame_count


def _channels(footage: Footage) -> str:
    if footage.audio_channels == 0:
        return "V"
    return "B" if footage.audio_channels == 1 else "AA/V"


FORMAT = Format(
    name="edl",
    write=write,
    label="EDL (CMX 3600)",
    summary="CMX 3600: one event per moment; picture and sound",
    suffix=".edl",
    counts_frames=True,
)
