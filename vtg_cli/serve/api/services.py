"""The objects that all routes of the API share."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from vtg_cli.serve.cue_reading import CueReading
from vtg_cli.serve.jobs import Jobs
from vtg_cli.serve.library.library import Library
from vtg_cli.serve.library.thumbnails import Thumbnails
from vtg_cli.serve.library_intake import LibraryIntake
from vtg_cli.serve.library_search import LibrarySearch
from vtg_cli.serve.sandbox import Sandbox


@dataclass(eq=False)
class Services:
    """The parts of a running server.

    Attributes:
        library: the videos.
        jobs: the searches in one video.
        cues: reads what is said and written in the videos.
        search: searches in all videos.
        intake: adds videos to the library that is searched.
        sandbox: where files that were let in are read.
        probers: where files are looked at before they are let in.
        thumbnails: pictures of them.
        most_upload_bytes: bytes an upload may have.
        host, port: the address that is listened on.
        token: what visitors have to know, if anything.
        tells_paths: whether timelines may say where videos lie on this machine: if only this machine asks.
        scanned: set once every folder has been read for the first time.
        streams: what wakes the event streams that are open.
        stopping: whether the server is about to stop.
    """

    library: Library
    jobs: Jobs
    cues: CueReading
    search: LibrarySearch
    intake: LibraryIntake
    sandbox: Sandbox
    probers: tuple[Sandbox, ...]
    most_upload_bytes: int
    host: str
    port: int
    token: str | None
    tells_paths: bool
    thumbnails: Thumbnails = field(init=False)
    scanned: threading.Event = field(default_factory=threading.Event)
    streams: set[asyncio.Event] = field(default_factory=set)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.thumbnails = Thumbnails(self.sandbox)

    def end_streams(self) -> None:
        """Have every event stream end; on the event loop's thread."""
        self.stopping = True
        for stream in self.streams:
            stream.set()

    def stop_reading(self) -> None:
        """End what is under way in other processes."""
        self.stopping = True
        for sandbox in (self.sandbox, *self.probers):
            sandbox.stop()
