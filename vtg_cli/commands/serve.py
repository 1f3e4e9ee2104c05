"""`vtg serve`: the command; the server is imported when it runs."""

from __future__ import annotations

from vtg_cli.parsing.options import ModelArguments
from vtg_cli.serve.settings import Settings


def serve(settings: Settings, choice: ModelArguments) -> None:
    """Offer videos on a local web page: type a query, see its curve, click a moment to play it.

    By default only this machine can connect. With any other --host, visitors need the token in the printed address.
    Uploads are kept, and your folders are never changed. Ctrl-C stops the server.

    [bold]Examples[/]

      vtg serve videos/

      vtg serve talk.mp4 --open

      vtg serve videos/ --host 0.0.0.0 --port 9000
    """
    from vtg_cli.serve.server import run

    run(settings, choice)
