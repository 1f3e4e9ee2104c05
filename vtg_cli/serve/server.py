"""Runs the server: finds the videos, opens the port, prints the page's address, and stops on request."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from extractors.files.user_folders import vtg_home
from vtg_cli.parsing.library import LibraryArguments
from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.access.addresses import is_loopback, listen, page_address, reached_at
from vtg_cli.serve.access.connections import Connection
from vtg_cli.serve.access.entrance import choose_token
from vtg_cli.serve.api.app import create_app
from vtg_cli.serve.api.services import Services
from vtg_cli.serve.cue_reading import CueReading
from vtg_cli.serve.folder_watch import FolderWatch
from vtg_cli.serve.grounding import GroundingWork, check_choice
from vtg_cli.serve.jobs import Jobs
from vtg_cli.serve.library.folders import Folders
from vtg_cli.serve.library.library import Library
from vtg_cli.serve.library_intake import LibraryIntake
from vtg_cli.serve.library_search import LibrarySearch
from vtg_cli.serve.sandbox import Sandbox
from vtg_cli.serve.settings import Settings
from vtg_cli.terminal.console import counted, note, out, verbosity

_FIRST_LOOK_S = 10.0  # the page opens with all videos of any but large folders
_GRACE_S = 1
_LAST_BATCH_S = 2.0


def run(settings: Settings, choice: ModelArguments) -> None:
    """Serve until Ctrl-C.

    Raises:
        UsageError: if a name of a model or features is unknown, a path does not exist, the library cannot be used, or
            the port is taken.
    """
    check_choice(choice)
    token = choose_token(settings.token, settings.token_file, settings.host)
    folder = default_library() if settings.library is None else settings.library
    index = LibraryArguments(settings.index)
    folders = Folders(settings.paths or _folders_of(settings, index), folder.resolve())
    with listen(settings.host, settings.port) as listening:
        probers = {"uploads": Sandbox(), "folders": Sandbox()}
        library = Library(folder, **probers)
        services = Services(
            library=library,
            jobs=Jobs(GroundingWork(choice)),
            cues=CueReading(choice),
            # Each has a model of its own, so that neither waits for the other.
            search=LibrarySearch(library, partial(index.open, choice)),
            intake=LibraryIntake(
                library, partial(index.open, choice), folders.whole, following=settings.index is not None
            ),
            sandbox=Sandbox(),
            probers=tuple(probers.values()),
            most_upload_bytes=settings.max_upload_mb * 1_000_000,
            host=settings.host,
            port=listening.getsockname()[1],
            token=token,
            tells_paths=is_loopback(settings.host) and token is None,
        )
        try:
            for sentence in library.restore():
                note(sentence)
            threading.Thread(
                target=FolderWatch(folders, services).run, name="vtg-folders", daemon=True
            ).start()
            services.scanned.wait(_FIRST_LOOK_S)
            _announce(settings, listening, services)
            _Server(services).run([listening])
        except KeyboardInterrupt:
            pass  # it is how one stops it
        finally:
            services.stop_reading()
            ends = (services.jobs.close, services.intake.close, services.search.close)
            still_busy = [end for end in ends if not end(_LAST_BATCH_S)]
            library.close()
    if still_busy:
        # A batch that is being encoded cannot be stopped, and an interpreter that ends under it may crash.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def default_library() -> Path:
    """Where uploads are kept: `$VTG_HOME/library`, else `vtg/library` in the user's data folder."""
    if os.environ.get("VTG_HOME"):
        return vtg_home() / "library"
    from platformdirs import user_data_path

    return user_data_path("vtg", appauthor=False) / "library"


def _folders_of(settings: Settings, index: LibraryArguments) -> list[Path]:
    """What to offer where no path is given: what was added to the library that was named."""
    if settings.index is None:
        return []
    with index.open() as library:
        return [root for root in library.info().roots if root.exists()] if library.exists else []


class _Server(uvicorn.Server):
    def __init__(self, services: Services) -> None:
        config = uvicorn.Config(
            create_app(services),
            http=Connection,
            ws="none",
            lifespan="on",
            log_level=logging.ERROR,  # a line for each bad request would bury what matters
            access_log=False,  # it would write tokens down
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        super().__init__(config)
        self._services = services
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        # What is cut off from here on is cut off on purpose.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._services.end_streams)


def _announce(settings: Settings, listening: socket.socket, services: Services) -> None:
    hosts = reached_at(settings.host, listening)
    address, *others = [page_address(host, services.port, services.token) for host in hosts]
    count = counted(len(services.library.videos()), "video")
    more = "" if services.scanned.is_set() else " so far"
    lines = [
        f"{count}{more} at {address}",
        *(f"  or at {other}" for other in others),
    ]
    for line in lines:
        out().print(line, soft_wrap=True, markup=False)
    sys.stdout.flush()
    if not verbosity.quiet:
        note("Ctrl-C stops it")
    if not is_loopback(settings.host):
        if is_loopback(hosts[0]):
            note("this machine has no address on a network now, so others cannot reach it")
        note(
            "the connection is not encrypted; on a shared network, put a proxy with TLS in front "
            "(docs/serve.md)"
        )
    if settings.open_browser:
        import webbrowser

        with suppress(webbrowser.Error):
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
