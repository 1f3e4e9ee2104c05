"""Speech that was transcribed so far, kept in the cache, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from extractors.cache.documents import Documents
from extractors.cues.cue import MOST_CUES, CueStream
from extractors.cues.subprocess_main import Heard
from extractors.errors import VtgError
from extractors.files.identity import VideoIdentity

_EVERY_S = 30.0

_Read = Callable[["Heard | None", Callable[[Heard], None]], "tuple[float, list[CueStream]]"]


class Parts:
    """What is known of the speech of a video whose transcript is not complete.

    Args:
        documents: where it is kept.
        identity: of the video.
        made_by: identity of the weights; what others made does not count.

    Raises:
        VideoError: if the video cannot be read.
        CacheError: if the cache cannot be read.
    """

    def __init__(self, documents: Documents, identity: VideoIdentity, made_by: str) -> None:
        self._documents, self._identity, self._made_by = documents, identity, made_by
        self._known = self._load()
        self._is_kept = True
        self._next_s = 0.0

    def completed(self, read: _Read) -> tuple[float, list[CueStream]]:
        """Transcribe the rest.

        Args:
            read: given what is known, and what to call with each part that follows, it returns the length of the
                video and the stream of the rest.

        Returns:
            the length of the video, and the streams of the whole.
        """
        begun = self._known
        self._next_s = time.monotonic() + _EVERY_S
        try:
            duration_s, streams = read(begun, self._add)
        except BaseException:
            with suppress(VtgError):
                self._keep()
            raise
        self._documents.forget(self._identity)
        if begun is None:
            return duration_s, streams
        return duration_s, [
            replace(
                stream,
                language=begun.language or stream.language,
                cues=(*begun.cues, *stream.cues)[:MOST_CUES],
            )
            for stream in streams
        ]

    def _add(self, heard: Heard) -> None:
        before = () if self._known is None else self._known.cues
        self._known = replace(heard, cues=(*before, *heard.cues))
        self._is_kept = False
        if time.monotonic() >= self._next_s:
            self._keep()
            self._next_s = time.monotonic() + _EVERY_S

    def _keep(self) -> None:
        if self._known is None or self._is_kept:
            return
        self._identity.confirm()
        stream = CueStream("speech", "speech", self._known.language, self._known.cues)
        document = {"made_by": self._made_by, "until_s": self._known.until_s, "stream": stream.to_json()}
        self._documents.store(self._identity, document)
        self._is_kept = True

    def _load(self) -> Heard | None:
        document = None if self._documents.is_empty else self._documents.load(self._identity)
        try:
            if document is None or document["made_by"] != self._made_by:
                return None
            stream = CueStream.from_json(document["stream"])
            return Heard(stream.cues, float(document["until_s"]), stream.language)
        except (ValueError, TypeError, LookupError):
            return None
