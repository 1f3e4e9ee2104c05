"""One file from one address, resumed where it stopped; what the file is, is not its business."""

from __future__ import annotations

import http.client
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener, getproxies, proxy_bypass

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are here and the bytes there will be, None where the server does not say."""

RETRIES = 4
"""Attempts after the first that may pass without a new byte."""

BACKOFF_S = 1.0
"""Seconds before the first of them; doubled for each further one."""

_BLOCK_BYTES = 1 << 20
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(Exception):
    """The file did not come; the message says why, without naming the file."""


class _TransientError(Exception):
    """A download that is worth another try."""


def fetch_first(
    urls: Iterable[str],
    part: Path,
    *,
    progress: Progress | None = None,
    can_verify: bool = False,
    probe_s: float | None = None,
    problem: Callable[[Path], str | None] = lambda _: None,
) -> None:
    """Download a file into `part` from the first link that has the right one; arguments else as for `fetch`.

    Args:
        urls: tried in order.
        probe_s: seconds in which a host must take a connection; None asks it for the file at once.
        problem: what is wrong with a file that came, or None; such a file is removed, so that nothing resumes it.

    Raises:
        DownloadError: if no link has it; the message gives the reason of each.
        OSError: if `part` cannot be written.
    """
    failures = []
    for url in urls:
        if probe_s is not None and not reachable(url, probe_s):
            failures.append(f"{urlsplit(url).netloc} cannot be reached")
            continue
        try:
            fetch(url, part, progress=progress, can_verify=can_verify)
        except DownloadError as failure:
            failures.append(str(failure))
            continue
        if (wrong := problem(part)) is None:
            return
        part.unlink()
        failures.append(wrong)
    raise DownloadError("; ".join(failures))


def fetch(
    url: str,
    part: Path,
    *,
    progress: Progress | None = None,
    can_verify: bool = False,
    timeout_s: float = 20.0,
) -> None:
    """Download `url` into the file `part`, resuming after what it already holds.

    Bytes of an earlier attempt are kept only if the server confirms that its file is still the one they came
    from (its validator lies beside, in `part` + `.tag`), or if the caller can tell a mixture of two files by
    itself. Proxies are taken from the environment.

    Args:
        url: an http or https address.
        part: file that grows; it is whole when this returns.
        progress: called with every block.
        can_verify: the caller checks a hash afterwards, so an unconfirmed continuation is safe.
        timeout_s: seconds of silence that end an attempt.

    Raises:
        DownloadError: if the server refuses, sends a web page, or stays silent through every attempt.
        OSError: if `part` cannot be written.
    """
    failures, furthest = 0, _size(part)
    while True:
        try:
            _transfer(url, part, progress=progress, can_verify=can_verify, timeout_s=timeout_s)
        except _TransientError as error:
            failures = 0 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures > RETRIES:
                raise DownloadError(str(error)) from error
            time.sleep(BACKOFF_S * 2 ** max(failures - 1, 0))
        else:
            _tag_path(part).unlink(missing_ok=True)
            return


def reachable(url: str, timeout_s: float = 2.0) -> bool:
    """Whether the host of `url`, or the proxy in front of it, takes connections; asks for nothing.

    Args:
        url: an http or https address.
        timeout_s: seconds after which the answer is no, name resolution included.
    """
    host, port = _first_hop(url)
    answers: list[bool] = []

    def probe() -> None:
        with suppress(OSError), socket.create_connection((host, port), timeout=timeout_s):
            answers.append(True)

    # Name resolution has no time limit of its own; a daemon thread may be left behind.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return bool(answers)


def _transfer(url: str, part: Path, *, progress: Progress | None, can_verify: bool, timeout_s: float) -> None:
    headers = {"User-Agent": "vtg", "Accept-Encoding": "identity"}
    tag = _read_tag(part)
    start = _size(part) if tag or can_verify else 0
    if start:
        headers["Range"] = f"bytes={start}-"
        if tag:
            headers["If-Range"] = tag
    try:
        # A new opener: the shared one keeps the proxies of its first use.
        response = build_opener().open(Request(url, headers=headers), timeout=timeout_s)
    except HTTPError as error:
        with error:
            if error.code == 416 and start:
                _check_whole(error.headers.get("Content-Range", ""), part, start)
                return
            if error.code in _TRANSIENT_STATUS:
                raise _TransientError(f"the server answers {error.code} {error.reason}") from error
            raise DownloadError(f"the server answers {error.code} {error.reason}") from error
    except (URLError, http.client.HTTPException, OSError) as error:
        raise _TransientError(f"no connection ({getattr(error, 'reason', error)})") from error

    with response:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError("the server sends a web page instead of the file")
        if response.status != 206:
            start = 0  # it ignores ranges, or its file is another one by now
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise DownloadError("the server sent a different part of the file than requested")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        _write_tag(part, response.headers)
        _receive(response, part, start, total, progress)


def _receive(
    response: http.client.HTTPResponse, part: Path, start: int, total: int | None, progress: Progress | None
) -> None:
    done = start
    if total is not None and shutil.disk_usage(part.parent).free < total - start:
        raise DownloadError(f"{part.parent} has no room for {total - start} bytes")
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while True:
            if progress is not None:
                progress(done, total)
            try:
                block = response.read1(_BLOCK_BYTES)
            except (http.client.HTTPException, OSError) as error:
                raise _TransientError(f"the connection broke ({error})") from error
            if not block:
                break
            file.write(block)
            done += len(block)
    if total is not None and done != total:
        raise _TransientError(f"the connection ended after {done} of {total} bytes")


def _check_whole(content_range: str, part: Path, start: int) -> None:
    """The server has nothing after `start`: the part is whole, or it belongs to a longer, older file."""
    if content_range == f"bytes */{start}":
        return
    part.unlink()
    raise _TransientError("what was here did not fit the server's file")


def _first_hop(url: str) -> tuple[str, int]:
    target = urlsplit(url)
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(target.netloc):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    return target.hostname or "", target.port or (443 if target.scheme == "https" else 80)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _tag_path(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _read_tag(part: Path) -> str:
    path = _tag_path(part)
    return path.read_text("ascii").strip() if path.exists() else ""


def _write_tag(part: Path, headers: http.client.HTTPMessage) -> None:
    """Keep what the server identifies its file by; weak tags do not vouch for single bytes."""
    etag = headers.get("ETag", "")
    tag = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    _tag_path(part).write_text(tag, "ascii", errors="ignore")
