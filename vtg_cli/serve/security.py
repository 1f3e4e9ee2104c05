"""Who may talk to the server, and what every answer carries: a gate in front of all that it does.

On this machine's own address anybody here may ask, but no web page that a browser has open: its requests name another
origin, and one that has its own name point here (DNS rebinding) names another host. Elsewhere a token is asked for.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import secrets
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from extractors.errors import UsageError

COOKIE = "vtg_token"
MOST_JSON_BYTES = 64 * 1024
"""Bytes of a body that is not an upload."""

_DRAIN_S = 5.0
_BODY_S = 30.0  # in which a body that is not an upload has to arrive
_BODY_READ = "vtg.body_read"  # in the scope of a request
_COOKIE_AGE_S = 30 * 24 * 3600
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,256}")
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


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(token: str | None, host: str) -> str | None:
    """The token that visitors need: the one given, none on this machine's own address, else one made at random.

    Raises:
        UsageError: if the one given has letters that an address or a cookie cannot hold.
    """
    if token is not None:
        if not _TOKEN.fullmatch(token):
            raise UsageError(
                "--token: takes 1 to 256 letters, digits and . _ ~ -, as it stands in an address"
            )
        return token
    return None if is_loopback(host) else secrets.token_urlsafe(24)


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


class Refusal(JSONResponse):
    """An error that answers a request whose body was not read.

    A connection that is closed while the other side still sends loses the answer on its way, so what comes is thrown
    away for a while before the answer is complete.
    """

    def __init__(self, status_code: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__({"error": error}, status_code, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI has it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        # Who waits to be told to go on sends nothing, and after the end of a body comes nothing either.
        waits = "100-continue" in Headers(scope=scope).get("expect", "").lower()
        if not waits and not scope.get(_BODY_READ, False):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_drain(receive), _DRAIN_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
        pass


class Gate:
    """ASGI middleware that lets in whom it should, and keeps errors from telling more than a sentence.

    Args:
        app: what is behind it.
        host: the address that is listened on.
        token: what visitors have to know; None lets in who is on this machine.
        upload_path: the path whose POST takes a body of any size.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str | None, upload_path: str) -> None:
        self._app = app
        self._hosts = _LOCAL_NAMES | {host_name(f"[{host}]" if ":" in host else host)}
        self._token = token
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
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._answer(scope) or self._refuse_large(scope)
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
            error = "vtg itself failed over this; what vtg serve printed on its terminal says where"
            await Refusal(500, error)(scope, receive, send_guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """What is said to who is not let in, or is only now; None to all others."""
        request = Request(scope)
        headers = request.headers
        if self._token is None and host_name(headers.get("host", "")) not in self._hosts:
            return Refusal(
                403,
                "this server is reached as localhost or 127.0.0.1 only; for other names start it with --token",
            )
        is_page = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        if is_foreign(headers, is_page=is_page):
            return Refusal(403, "another site's page may not use this server; open its own page")
        if self._token is None:
            return None
        offered = parse_qs(scope["query_string"].decode("latin-1")).get("token") if is_page else None
        if offered:
            if not self._is_token(offered[-1]):
                return self._unknown()
            response = RedirectResponse("/", 303)
            response.set_cookie(
                COOKIE, self._token, max_age=_COOKIE_AGE_S, httponly=True, samesite="strict", path="/"
            )
            return response
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        known = request.cookies.get(COOKIE, "")
        if self._is_token(known) or (scheme.lower() == "bearer" and self._is_token(bearer.strip())):
            return None
        return self._unknown()

    def _is_token(self, text: str) -> bool:
        assert self._token is not None, "asked only where there is one"
        return secrets.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def _unknown(self) -> Response:
        return Refusal(
            401,
            "the token is missing or wrong; open the address that vtg serve printed, which has ?token= in it",
            {"www-authenticate": "Bearer"},
        )

    def _refuse_large(self, scope: Scope) -> Response | None:
        length = Headers(scope=scope).get("content-length", "")
        if not self._is_upload(scope) and length.isdecimal() and int(length[:20]) > MOST_JSON_BYTES:
            return Refusal(413, _TOO_LARGE)
        return None

    def _is_upload(self, scope: Scope) -> bool:
        return bool(scope["path"] == self._upload_path and scope["method"] == "POST")

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that remembers the end of the body, and refuses one that is too large or too slow.

        Uploads have limits of their own.
        """
        most, left_s = (math.inf, None) if self._is_upload(scope) else (MOST_JSON_BYTES, _BODY_S)
        count = 0
        is_refused = False

        async def counted() -> Message:
            nonlocal count, is_refused, left_s
            if left_s is None or scope.get(_BODY_READ, False):
                message = await receive()
            else:
                start_s = time.monotonic()
                try:
                    message = await asyncio.wait_for(receive(), left_s)
                except asyncio.TimeoutError as error:
                    raise HTTPException(408, _TOO_SLOW) from error
                left_s = max(left_s - (time.monotonic() - start_s), 0.0)
            count += len(message.get("body", b""))
            scope[_BODY_READ] = not message.get("more_body", False)
            # Once: what comes after the answer is read only to be thrown away.
            if count > most and not is_refused:
                is_refused = True
                raise HTTPException(413, _TOO_LARGE)
            return message

        return counted


_TOO_SLOW = f"the request did not arrive within {_BODY_S:g} s; send it again"
_TOO_LARGE = f"the request is larger than {MOST_JSON_BYTES // 1024} KB"
