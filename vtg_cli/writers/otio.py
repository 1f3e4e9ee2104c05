"""OpenTimelineIO: the moments one after another on a video track, and on an audio track if there is sound."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from vtg_cli.writers.footage import Footage, Select, selects
from vtg_cli.writers.formats import Format

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult


def write(results: Sequence[GroundingResult], file: TextIO) -> None:
    """Write a timeline with one clip per moment, in the order of the answers, each in frames of its video.

    Raises:
        VideoError: if a video cannot be read.
    """
    from opentimelineio import schema  # type: ignore[import-untyped]

    footage, chosen = selects(results)
    timeline = schema.Timeline(name=footage[0].name if footage else "vtg")
    kinds = [schema.TrackKind.Video]
    if any(video.audio_channels for video in footage):
        kinds.append(schema.TrackKind.Audio)
    for kind in kinds:
        track = schema.Track(name=kind, kind=kind)
        for select in chosen:
            silent = kind == schema.TrackKind.Audio and select.footage.audio_channels == 0
            track.append(_gap(select) if silent else _clip(select, marked=kind == schema.TrackKind.Video))
        timeline.tracks.append(track)
    file.write(timeline.to_json_string(indent=2) + "\n")


def _clip(select: Select, *, marked: bool) -> Any:
    from opentimelineio import schema

    video = select.footage
    cut = _range(video, video.start_frame + select.first_frame, select.frame_count)
    clip = schema.Clip(
        name=select.query,
        source_range=cut,
        media_reference=schema.ExternalReference(
            target_url=video.path.as_uri(),
            available_range=_range(video, video.start_frame, video.frame_count),
        ),
        metadata={
            "vtg": {
                "query": select.query,
                "rank": select.rank,
                "score": round(select.score, 4),
                "model": select.model,
            }
        },
    )
    clip.media_reference.name = video.name
    if marked:
        clip.markers.append(
            schema.Marker(name=select.label, marked_range=cut, color=schema.MarkerColor.GREEN)
        )
    return clip


def _gap(select: Select) -> Any:
    from opentimelineio import schema

    return schema.Gap(source_range=_range(select.footage, 0, select.frame_count))


def _range(footage: Footage, start: int, count: int) -> Any:
    from opentimelineio.opentime import RationalTime, TimeRange  # type: ignore[import-untyped]

    rate = float(footage.rate)
    return TimeRange(RationalTime(start, rate), RationalTime(count, rate))


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)[1:-1]


FORMAT = Format(
    name="otio",
    write=write,
    label="OpenTimelineIO",
    summary="OpenTimelineIO: one timeline clip and one marker per moment",
    suffix=".otio",
    media_type="application/json",
    counts_frames=True,
    quote=_quoted,
)
