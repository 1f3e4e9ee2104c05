"""The token: where it comes from, how a visitor gives it, and the cookie that replaces it afterwards."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
import secrets
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope

from extractors.errors import UsageError
from vtg_cli.serve.access.addresses import is_loopback
from vtg_cli.serve.access.refusal import Refusal

VARIABLE = "VTG_TOKEN"
"""The environment variable that may hold the token."""

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,256}")
_COOKIE_AGE_S = 30 * 24 * 3600
_LONGEST_FORM, _FORM_S = 4096, 10.0
_ADVICE = "open the address that vtg serve printed, which has ?token= in it"


def choose_token(token: str | None, token_file: Path | None, host: str) -> str | None:
    """The token that visitors need.

    Args:
        token: the one given in the command.
        token_file: a file that holds it.
        host: the address that is listened on.

    Returns:
        the one given, in the command before the environment; otherwise none on this machine's own address, and one made
        at random elsewhere.

    Raises:
        UsageError: if two are given, the file cannot be read, or the token has letters that an address cannot hold.
    """
    # Taken out, so that decoders of hostile files do not inherit it.
    of_environment = os.environ.pop(VARIABLE, None)
    name = VARIABLE if of_environment else ""
    if token is not None and token_file is not None:
        raise UsageError("--token and --token-file: give one of them")
    if token is not None:
        name = "--token"
    elif token_file is not None:
        name = f"--token-file {token_file}"
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise UsageError(f"{name}: cannot be read ({reason})") from error
    elif of_environment:
        token = of_environment
    if token is None:
        return None if is_loopback(host) else secrets.token_urlsafe(24)
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{name}: a token has 1 to 256 letters, digits and . _ ~ -, because it is part of an address"
        )
    return token


class Entrance:
    """Lets visitors with the token in.

    It comes in the page's address, from a form that browsers get instead of the page, or in a header. The first two set
    a cookie. Browsers send cookies to every port of a host, so its name holds the port. Its value is derived from the
    token: it opens this server, and does not give the token away to another.

    Args:
        token: what has to be known.
        port: the port that is listened on.
        advice: what visitors without it should do, for programs.
    """

    def __init__(self, token: str, port: int, *, advice: str = _ADVICE) -> None:
        self._token = token
        self._advice = advice
        self.cookie = f"vtg_{port}"
        self._pass = hmac.new(token.encode(), self.cookie.encode(), hashlib.sha256).hexdigest()

    async def admit(self, scope: Scope, receive: Receive) -> Response | None:
        """The response to a visitor who is refused, or let in just now; None for everybody else."""
        request = Request(scope, receive)
        is_page = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        is_form = (
            scope["path"] == "/"
            and scope["method"] == "POST"
            and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        )
        given = None
        if is_page:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        elif is_form:
            given = parse_qs(await _form(request)).get("token", [""])
        if given is not None:
            # People who copied the whole address paste all of it.
            if not _same(given[-1].strip().rpartition("token=")[2], self._token):
                return self._refusal(request, is_form or _wants_page(request), "This is not the token.")
            response = RedirectResponse("/", 303)
            response.set_cookie(
                self.cookie, self._pass, max_age=_COOKIE_AGE_S, httponly=True, samesite="strict", path="/"
            )
            return response
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if _same(request.cookies.get(self.cookie, ""), self._pass) or (
            scheme.lower() == "bearer" and _same(bearer.strip(), self._token)
        ):
            return None
        return self._refusal(request, is_page and _wants_page(request), "")

    def _refusal(self, request: Request, as_page: bool, problem: str) -> Response:
        headers = {"www-authenticate": "Bearer"}
        if as_page:
            return _form_page(problem, headers)
        return Refusal(401, f"the token is missing or wrong; {self._advice}", headers)


def _same(text: str, secret: str) -> bool:
    return secrets.compare_digest(text.encode("utf-8", "replace"), secret.encode())


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def _form(request: Request) -> str:
    body = b""

    async def read() -> None:
        nonlocal body
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LONGEST_FORM:
                return

    try:
        await asyncio.wait_for(read(), _FORM_S)
    except (asyncio.TimeoutError, ClientDisconnect):
        return ""
    return body.decode("latin-1") if len(body) <= _LONGEST_FORM else ""


def _form_page(problem: str, headers: dict[str, str]) -> Response:
    page = (files("vtg_cli.serve") / "token.html").read_text(encoding="utf-8")
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    headers |= {
        "content-security-policy": f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'",
        # Without one, browsers call the origin of what a form sends `null`.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(page.replace("{{problem}}", escape(problem)), 401, headers)
