"""An error response to a request whose body was not read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

BODY_READ = "vtg.body_read"
"""In the scope of a request: whether its body has been read to the end."""

_DRAIN_S = 5.0


class Refusal(JSONResponse):
    """An error as the API gives it.

    A connection that is closed while the other side still sends loses the answer on its way, so what comes is thrown
    away for a while before the answer is complete.
    """

    def __init__(self, status_code: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__({"error": error}, status_code, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        # A client that expects `100 Continue` sends nothing, and nothing follows the end of a body.
        waits = "100-continue" in Headers(scope=scope).get("expect", "").lower()
        if not waits and not scope.get(BODY_READ, False):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_drain(receive), _DRAIN_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
        pass
