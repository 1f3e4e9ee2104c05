"""Whether browsers can play a video, judged by its container and codec."""

from __future__ import annotations

from pathlib import Path

from extractors.errors import VideoError

# Of either, first what every browser of today plays, then what some play.
_CONTAINERS = (frozenset({".mp4", ".m4v", ".mov", ".webm"}), frozenset({".mkv", ".ogv"}))
_CODECS = (frozenset({"h264", "vp8", "vp9", "av1"}), frozenset({"hevc", "theora"}))


def is_played_somewhere(video: Path) -> bool:
    """Whether any browser plays files that are named like this one."""
    return any(video.suffix.lower() in names for names in _CONTAINERS)


def doubt(video: Path) -> str:
    """What keeps browsers from playing a video, in words; empty if nothing is known to.

    Args:
        video: the file; what cannot be read is not doubted here.
    """
    from extractors.decoding.container.timeline import open_container

    suffix = video.suffix.lower()
    if suffix not in _CONTAINERS[0]:
        who = "not all browsers play" if suffix in _CONTAINERS[1] else "browsers do not play"
        return f"{who} {suffix or 'files without an ending'}"
    try:
        with open_container(video) as (_, stream):
            codec = str(stream.codec_context.codec.canonical_name)
    except VideoError:
        return ""
    if codec not in _CODECS[0]:
        who = "not all browsers play" if codec in _CODECS[1] else "browsers do not play"
        return f"{who} video of the codec {codec}"
    return ""
