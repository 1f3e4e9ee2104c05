"""A local file server that breaks off or sends something else on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.local_server import answering_gets


@dataclass
class Shop:
    """What is served, how badly, and what was asked for: paths and ranges."""

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: int = 0  # transfers broken in the middle
    patience: int = 1000  # requests after which nothing is found any more
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append((request.path, asked))
        content = self.files.get(request.path)
        if content is None or len(self.asked) > self.patience:
            request.send_error(404)
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = content[first:]
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", '"1"')
        if asked:
            request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if self.cuts:
            self.cuts -= 1
            body = body[: len(body) // 2]
            request.close_connection = True
        request.wfile.write(body)


@contextmanager
def open_shop() -> Iterator[Shop]:
    """A shop that answers at `url` until the block ends."""
    shop = Shop()
    with answering_gets(shop.serve) as shop.url:
        yield shop
