"""Connections: how many are allowed, how long one may stay silent, and the answer to bytes that are not HTTP.

A connection that has not sent a complete request uses a place for nothing. It is closed after a few seconds, and it is
the first to be closed when the limit is reached, so that open sockets alone cannot lock anyone out.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress

import h11
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vtg_cli.serve.access.security import HEADERS

HEAD_S = 10.0
"""Seconds in which the head of a request has to arrive."""

MOST = 500
"""Connections open at once."""

MOST_OF_CLIENT = 250
"""Connections open at once from one address; a proxy's visitors share one."""

_RETRY_S = "30"


class Connection(H11Protocol):
    """uvicorn's connection, with the limits of this module."""

    _head_timer: asyncio.TimerHandle | None = None
    _since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or make one, or answer that there is none."""
        super().connection_made(transport)
        self._since_s = self.loop.time()
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)
        if not self._find_place():
            self.app = _refuse

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle what came, and expect the rest of a head that has begun."""
        super().data_received(data)
        if not self._is_idle():
            self._stop_timer()
        elif self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP, as every error is answered, and close."""
        body = json.dumps({"error": "this is not a request in HTTP that can be understood"}).encode()
        headers = {
            **HEADERS,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        response = h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request")
        with suppress(h11.LocalProtocolError):  # an answer is on its way already
            parts = [
                self.conn.send(event) or b"" for event in (response, h11.Data(data=body), h11.EndOfMessage())
            ]
            self.transport.write(b"".join(parts))
        self.transport.close()

    def _find_place(self) -> bool:
        """Close another connection if there are too many; false if none can be spared."""
        others = [
            other
            for other in self.connections
            if isinstance(other, Connection) and other is not self and not other.transport.is_closing()
        ]
        count_by_host = Counter(other._host() for other in others)
        if count_by_host[self._host()] >= MOST_OF_CLIENT:
            others = [other for other in others if other._host() == self._host()]
        elif len(others) < MOST:
            return True
        spare = [other for other in others if other._is_spare()]
        if not spare:
            return False
        # Of the client that has most, the one that has been open for longest.
        min(spare, key=lambda other: (-count_by_host[other._host()], other._since_s)).transport.abort()
        return True

    def _host(self) -> str:
        return self.client[0] if self.client else ""

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_spare(self) -> bool:
        return self._is_idle() and self.transport.get_write_buffer_size() == 0

    def _give_up(self) -> None:
        self._head_timer = None
        if self._is_idle():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    error = "the server has as many connections as it can take; try again in a moment"
    headers = {**HEADERS, "retry-after": _RETRY_S, "connection": "close"}
    await JSONResponse({"error": error}, 503, headers)(scope, receive, send)
