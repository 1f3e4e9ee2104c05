"""Access control in front of the whole server, and the headers of every response.

On this machine's own address, any local user may connect, but no web page of another site: its requests name another
origin, or another host if its name points here (DNS rebinding). On other addresses a token is required.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
import traceback
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vtg_cli.serve.access.entrance import Entrance
from vtg_cli.serve.access.refusal import BODY_READ, Refusal

MOST_JSON_BYTES = 64 * 1024
"""Bytes of a body that is not an upload."""

_BODY_S = 30.0  # in which a body that is not an upload has to arrive
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""What every answer carries."""


def host_name(header: str) -> str:
    """The host in a Host header, without its port and brackets, in lower case; empty if it holds none."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_foreign(headers: Mapping[str, str], *, is_page: bool) -> bool:
    """Whether a browser sent a request on behalf of a page that is not ours.

    Args:
        headers: of the request, by name in lower case.
        is_page: whether it asks for the page itself, which a link elsewhere may lead to.
    """
    site = headers.get("sec-fetch-site", "none")
    if site not in ("same-origin", "none") and not (
        is_page
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    ):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
    except ValueError:
        return True
    # The scheme is left out: a proxy in front may have taken TLS off.
    return parts.scheme not in ("http", "https") or parts.netloc.lower() != headers.get("host", "").lower()


class Gate:
    """ASGI middleware that checks access and reduces errors to one sentence.

    Args:
        app: what is behind it.
        host: the address that is listened on.
        entrance: lets in who knows the token; None lets in who is on this machine.
        upload_path: the path whose POST takes a body of any size.
    """

    def __init__(self, app: ASGIApp, *, host: str, entrance: Entrance | None, upload_path: str) -> None:
        self._app = app
        self._hosts = _LOCAL_NAMES | {host_name(f"[{host}]" if ":" in host else host)}
        self._entrance = entrance
        self._upload_path = upload_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket, of which there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "cache-control": "no-store"}.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refuse_foreign(scope)
        if answer is None and self._entrance is not None:
            answer = await self._entrance.admit(scope, receive)
        answer = answer or self._refuse_large(scope)
        if answer is not None:
            await answer(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, self._counted(scope, receive), send_guarded)
        except ConnectionError:
            raise  # the connection is beyond help, and the server closes it
        except Exception:
            traceback.print_exc(file=sys.stderr)
            if started:
                raise
            error = "vtg itself failed here; see what the server printed on its terminal"
            await Refusal(500, error)(scope, receive, send_guarded)

    def _refuse_foreign(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._entrance is None and host_name(headers.get("host", "")) not in self._hosts:
            return Refusal(
                403,
                "this server is reached as localhost or 127.0.0.1 only; for other names start it with --token",
            )
        is_page = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        if is_foreign(headers, is_page=is_page):
            return Refusal(403, "another site's page may not use this server; open its own page")
        return None

    def _refuse_large(self, scope: Scope) -> Response | None:
        length = Headers(scope=scope).get("content-length", "")
        if not self._is_upload(scope) and length.isdecimal() and int(length[:20]) > MOST_JSON_BYTES:
            return Refusal(413, _TOO_LARGE)
        return None

    def _is_upload(self, scope: Scope) -> bool:
        return bool(scope["path"] == self._upload_path and scope["method"] == "POST")

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that remembers the end of the body, and refuses one that is too large or too slow.

        Uploads have separate limits.
        """
        most, left_s = (math.inf, None) if self._is_upload(scope) else (MOST_JSON_BYTES, _BODY_S)
        count = 0
        is_refused = False

        async def counted() -> Message:
            nonlocal count, is_refused, left_s
            if left_s is None or scope.get(BODY_READ, False):
                message = await receive()
            else:
                start_s = time.monotonic()
                try:
                    message = await asyncio.wait_for(receive(), left_s)
                except asyncio.TimeoutError as error:
                    raise HTTPException(408, _TOO_SLOW) from error
                left_s = max(left_s - (time.monotonic() - start_s), 0.0)
            count += len(message.get("body", b""))
            scope[BODY_READ] = not message.get("more_body", False)
            # Once: what comes after the answer is read only to be thrown away.
            if count > most and not is_refused:
                is_refused = True
                raise HTTPException(413, _TOO_LARGE)
            return message

        return counted


_TOO_SLOW = f"the request did not arrive within {_BODY_S:g} s; send it again"
_TOO_LARGE = f"the request is larger than {MOST_JSON_BYTES // 1024} KB"
