"""Object storage on this machine, as a real server: buckets, and a proxy before them that makes things go wrong."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "hunter2SecretKeyOfTheBucket"
"""The secret key in the environment, which must never be shown."""

_HOP = ("connection", "transfer-encoding", "keep-alive")


@dataclass
class Bucket:
    """A bucket of an S3-compatible server.

    Attributes:
        name: of the bucket.
        endpoint: address of the server.
    """

    name: str
    endpoint: str

    @property
    def url(self) -> str:
        """The address of the bucket."""
        return f"s3://{self.name}"

    def environment(self) -> dict[str, str]:
        """What the environment of a process that uses the bucket holds."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def request(self, method: str, key: str, data: bytes | None = None) -> tuple[int, bytes]:
        """Make a request of the server itself, past every proxy and every client; returns status and body."""
        host, _, port = self.endpoint.removeprefix("http://").partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request(method, f"/{self.name}/{key}", data, {"Authorization": "AWS testing:signature"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def put(self, key: str, data: bytes) -> None:
        """Store an object."""
        status, body = self.request("PUT", key, data)
        assert status == 200, body

    def get(self, key: str) -> bytes:
        """Read an object."""
        status, body = self.request("GET", key)
        assert status == 200, body
        return body

    def delete(self, key: str) -> None:
        """Remove an object."""
        status, body = self.request("DELETE", key)
        assert status == 204, body

    def all_keys(self) -> list[str]:
        """The keys of all objects."""
        import re
        from html import unescape

        body = self.request("GET", "?list-type=2")[1].decode()
        return [unescape(key) for key in re.findall("<Key>(.*?)</Key>", body)]


@contextmanager
def serving_buckets() -> Iterator[Callable[[str], Bucket]]:
    """A server, until the block ends; the function makes a bucket."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()

    def make(name: str) -> Bucket:
        bucket = Bucket(name, f"http://{host}:{port}")
        status, body = bucket.request("PUT", "")
        assert status == 200, body
        return bucket

    yield make
    server.stop()


Trouble = Callable[[str, str], "str | None"]
"""Given the method and the path of a request, what happens to it; None lets it pass.

`fail` answers with an internal error, `slow down` asks for fewer requests, `deny` refuses, `drop` closes the
connection, `lose` does so when the request has been done, `cut` in the middle of the answer, `wait` waits until the
proxy's `go_on` is set, and `hang` takes the first half of an upload and no more.
"""


@dataclass
class Proxy:
    """A server before another one.

    Attributes:
        endpoint: its address.
        trouble: what happens to a request.
        requests: method and path of all requests so far.
        hanging: set once a request hangs.
        go_on: to be set, so that requests that wait go on.
    """

    endpoint: str = ""
    trouble: Trouble = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@contextmanager
def troubled(endpoint: str, trouble: Trouble) -> Iterator[Proxy]:
    """A proxy before a server, until the block ends."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    proxy = Proxy(trouble=trouble)
    end = threading.Event()
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # it would wait before each answer

        def handle_one_request(self) -> None:
            with suppress(ConnectionError):
                super().handle_one_request()

        def forward(self) -> None:
            with turn:
                proxy.requests.append((self.command, self.path))
                what = proxy.trouble(self.command, self.path)
            length = int(self.headers.get("Content-Length", 0))
            if what == "hang":
                self.rfile.read(length // 2)
                proxy.hanging.set()
                end.wait()
                self.close_connection = True
                return
            body = self.rfile.read(length)
            if what == "wait":
                proxy.go_on.wait(300)
            if what == "drop":
                self.close_connection = True
                return
            if what in _ANSWERS:
                self.answer(*_ANSWERS[what])
                return
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            if what == "lose":
                self.close_connection = True
                return
            headers = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in (*_HOP, "content-length", "server", "date")
            }
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length", "0")
            elif answer.status != 204:
                headers["Content-Length"] = str(len(data))
            self.send_response(answer.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if what == "cut":
                data = data[: len(data) // 2]
                self.close_connection = True
            if self.command != "HEAD":
                self.wfile.write(data)

        def answer(self, status: int, code: str) -> None:
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield proxy
    finally:
        end.set()
        server.shutdown()
        server.server_close()


_ANSWERS = {
    "fail": (500, "InternalError"),
    "slow down": (503, "SlowDown"),
    "deny": (403, "AccessDenied"),
}


def every_tenth(*troubles: str) -> Trouble:
    """Trouble for the second of every ten requests, one kind after the other."""
    count = 0

    def trouble(method: str, path: str) -> str | None:
        nonlocal count
        count += 1
        return troubles[count // 10 % len(troubles)] if count % 10 == 2 else None

    return trouble
