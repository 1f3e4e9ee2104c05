"""FCPXML 1.9, for Final Cut Pro and DaVinci Resolve: keyword ranges in the browser, and a project with all moments.

This does not use OpenTimelineIO's adapter, which leaves the frame duration empty at 23.976, 29.97 and 59.94 frames per
second and cannot read such a file back.

Source: Apple, "FCPXML Reference".
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TextIO
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from vtg_cli.writers.footage import Footage, Select, selects
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult

_VERSION = "1.9"
_LAYOUTS = {1: "mono", 2: "stereo"}
_SAMPLE_RATES = {
    32000: "32k",
    44100: "44.1k",
    48000: "48k",
    88200: "88.2k",
    96000: "96k",
    176400: "176.4k",
    192000: "192k",
}


def write(results: Sequence[GroundingResult], file: TextIO) -> None:
    """Write an event with each video, its moments as keyword ranges, and a project that plays them in a row.

    Raises:
        VideoError: if a video cannot be read.
    """
    footage, chosen = selects(results)
    root = ET.Element("fcpxml", version=_VERSION)
    resources = ET.SubElement(root, "resources")
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name="vtg")
    formats = {video: f"r{2 * number + 1}" for number, video in enumerate(footage)}
    assets = {video: f"r{2 * number + 2}" for number, video in enumerate(footage)}
    for video in footage:
        _add_resources(resources, video, formats[video], assets[video])
        own = [select for select in chosen if select.footage is video]
        _add_browser_clip(event, video, assets[video], own)
    if footage:
        # A sequence has the rate of its first video, and counts the length of every other one in its own frames.
        _add_project(event, footage[0], chosen, formats, assets)
    ET.indent(root)
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n')
    file.write(ET.tostring(root, encoding="unicode") + "\n")


def _add_resources(resources: ET.Element, video: Footage, format_id: str, asset_id: str) -> None:
    ET.SubElement(
        resources,
        "format",
        id=format_id,
        frameDuration=_time(1, video.rate),
        width=str(video.width),
        height=str(video.height),
    )
    asset = ET.SubElement(
        resources,
        "asset",
        id=asset_id,
        name=video.name,
        start=_time(video.start_frame, video.rate),
        duration=_time(video.frame_count, video.rate),
        hasVideo="1",
        format=format_id,
    )
    if video.audio_channels:
        asset.attrib.update(
            hasAudio="1",
            audioSources="1",
            audioChannels=str(video.audio_channels),
            audioRate=str(video.audio_rate),
        )
    ET.SubElement(asset, "media-rep", kind="original-media", src=video.path.as_uri())


def _add_browser_clip(event: ET.Element, video: Footage, asset_id: str, own: Sequence[Select]) -> None:
    clip = ET.SubElement(
        event,
        "asset-clip",
        ref=asset_id,
        name=video.name,
        start=_time(video.start_frame, video.rate),
        duration=_time(video.frame_count, video.rate),
        tcFormat=_tc_format(video),
    )
    for select in own:
        ET.SubElement(clip, "keyword", _stretch(select), value=select.query, note=select.label)


def _add_project(
    event: ET.Element,
    first: Footage,
    chosen: Sequence[Select],
    formats: dict[Footage, str],
    assets: dict[Footage, str],
) -> None:
    project = ET.SubElement(event, "project", name=f"{first.name} moments")
    sequence = ET.SubElement(
        project, "sequence", format=formats[first], tcStart="0s", tcFormat=_tc_format(first)
    )
    if first.audio_channels:
        sequence.set("audioLayout", _LAYOUTS.get(first.audio_channels, "surround"))
        if first.audio_rate in _SAMPLE_RATES:
            sequence.set("audioRate", _SAMPLE_RATES[first.audio_rate])
    spine = ET.SubElement(sequence, "spine")
    offset = 0
    for select in chosen:
        video = select.footage
        # Everything on the spine lies on the frames of the sequence.
        length = max(round(select.frame_count / video.rate * first.rate), 1)
        clip = ET.SubElement(
            spine,
            "asset-clip",
            ref=assets[video],
            name=select.query,
            offset=_time(offset, first.rate),
            start=_stretch(select)["start"],
            duration=_time(length, first.rate),
            format=formats[video],
            tcFormat=_tc_format(video),
        )
        ET.SubElement(
            clip, "marker", start=_stretch(select)["start"], duration=_time(1, video.rate), value=select.label
        )
        offset += length
    sequence.set("duration", _time(offset, first.rate))


def _stretch(select: Select) -> dict[str, str]:
    video = select.footage
    return {
        "start": _time(video.start_frame + select.first_frame, video.rate),
        "duration": _time(select.frame_count, video.rate),
    }


def _time(frames: int, rate: Fraction) -> str:
    """Seconds as the reference wants them: a fraction whose denominator is that of the frame's duration."""
    seconds = frames / rate
    if seconds.denominator == 1:
        return f"{seconds.numerator}s"
    return f"{frames * rate.denominator}/{rate.numerator}s"


def _tc_format(footage: Footage) -> str:
    return "DF" if footage.drop_frame else "NDF"


def _quoted(name: str) -> str:
    return escape(name, {'"': "&quot;"})


FORMAT = Format(
    name="fcpxml",
    write=write,
    label="Final Cut Pro XML",
    summary="FCPXML 1.9: keyword ranges on the video, and a project with all moments",
    suffix=".fcpxml",
    media_type="application/xml",
    counts_frames=True,
    quote=_quoted,
)
