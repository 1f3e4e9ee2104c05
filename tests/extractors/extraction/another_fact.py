"""What a developer adds for a new fact about a video: a field of `VideoFacts`, and the decoder that finds it.

Imported before the modules that use `VideoFacts`, by every process of `test_facts`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import extractors.subprocesses.parent
import extractors.videos.facts
from extractors.videos.facts import Segment, VideoFacts, segments_fact

DARK_S = (1.25, 3.0)


@dataclass(frozen=True)
class MoreFacts(VideoFacts):
    """Another field."""

    dark_s: tuple[Segment, ...] = segments_fact(lambda segments: f"dark from {segments[0][0]:.2f} s")


def _command(module: str) -> list[str]:
    code = f"import sys; sys.path[:] = {sys.path!r}; import {__name__}; from {module} import main; main()"
    return [sys.executable, "-c", code]


extractors.videos.facts.VideoFacts = MoreFacts  # type: ignore[misc]
extractors.subprocesses.parent.python_command = _command

from extractors.decoding.clip_reader import ClipReader  # noqa: E402

_found = ClipReader.facts


ClipReader.facts = property(  # type: ignore[method-assign,assignment]
    lambda reader: replace(_found.fget(reader), dark_s=(DARK_S,))
)
