"""A real server against visitors who should not get in, should get less, or come all at once."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import psutil
import pytest

from extractors.errors import UsageError
from tests.cli.running import EXAMPLES
from tests.extractors.rendering import render
from tests.serve.running import Server, files_in, serving, wait_for
from vtg_cli.serve.access.addresses import is_loopback, page_address, reached_at
from vtg_cli.serve.access.connections import HEAD_S, MOST_OF_CLIENT
from vtg_cli.serve.access.entrance import choose_token
from vtg_cli.serve.access.security import host_name, is_foreign

EXAMPLE = EXAMPLES / "example.mp4"
SECRET = "what nobody is to read"
TOKEN = "correct-horse.battery~staple_9"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a secret, and in it the folder that is served, with links to it."""
    place = tmp_path_factory.mktemp("secure")
    (place / "secret.txt").write_text(SECRET)
    outside = place / "outside"
    outside.mkdir()
    (outside / "secret.mp4").write_bytes(EXAMPLE.read_bytes() + SECRET.encode())
    folder = place / "videos"
    folder.mkdir()
    (folder / "example.mp4").write_bytes(EXAMPLE.read_bytes())
    (folder / "link.mp4").symlink_to(outside / "secret.mp4")
    (folder / "text.mp4").symlink_to(place / "secret.txt")
    (folder / "folder").symlink_to(outside)
    (folder / "inside.mp4").symlink_to(folder / "example.mp4")
    return place


@pytest.fixture(scope="module")
def server(place):
    with serving(place / "videos", "--max-upload-mb", "2", home=place / "home") as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def unfinished(server) -> Iterator[socket.socket]:
    """A request whose body never comes, from before all tests, so that none waits for its end."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        yield connection


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def video(client) -> str:
    (video,) = client.get("/api/videos").json()["videos"]
    return video["id"]


@pytest.fixture(scope="module")
def locked(place):
    with serving(EXAMPLE, "--token", TOKEN, home=place / "locked") as server:
        yield server


def test_links_leading_out_are_not_offered(server, client):
    assert [v["name"] for v in client.get("/api/videos").json()["videos"]] == ["example.mp4"]
    for name in ("link.mp4", "text.mp4", "secret.mp4"):
        assert f"{name}: left out: it is a link" in server.said


PATHS = [
    "../secret.txt",
    "../../../../../../../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "..\\..\\secret.txt",
    "....//....//secret.txt",
    "./index.html",
    "index.html\0.js",
    "\0",
    "../app.py",
    ".",
    "..",
    "~/.bashrc",
    "C:\\Windows\\win.ini",
    "link.mp4",
    "videos/example.mp4",
    "a" * 5000,
    "%",
    "%zz",
    "\xff\xfe",
    "‥/secret.txt",
]
PLACES = [
    "/static/{}",
    "/api/videos/{}",
    "/api/videos/{}/file",
    "/api/videos/{}/thumbnail",
    "/api/jobs/{}",
    "/api/jobs/{}/events",
    "/api/jobs/{}/export/csv",
    "/{}",
]


def encodings(path: str) -> set[str]:
    """Ways to write a path into a request line."""
    once = quote(path, safe="")
    raw = quote(path, safe="/\\:.~%")
    return {raw, once, quote(once, safe=""), once.replace(".", "%2e"), raw.replace("../", "..%c0%af")}


@pytest.mark.parametrize("where", PLACES)
def test_no_path_reaches_the_file_system(server, where, place):
    statuses: Counter[int] = Counter()
    for path in PATHS:
        for written in sorted(encodings(path)):
            line = where.format(written)
            request = f"GET {line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            status, answer = server.raw(request.encode("latin-1"))
            statuses[status] += 1
            assert status in (400, 404), (line, answer[:300])
            assert SECRET.encode() not in answer
            assert b"root:" not in answer
            assert str(place).encode() not in answer
    assert statuses[404] > 50
    print(where, dict(statuses))


NAMES = [
    "../../evil.mp4",
    "/tmp/evil.mp4",
    "evil\0.mp4",
    "a/../../b.mp4",
    "..",
    ".mp4",
    "evil.mp4/",
    "evil.php",
    "x" * 900 + ".mkv",
    "evil.mp4\r\nX-Evil: 1",
    "con.mov",
]


def test_a_name_of_an_upload_is_only_a_name(server, client, place):
    before = set(place.rglob("*"))
    library = place / "home" / "vtg" / "library"
    for number, name in enumerate(NAMES):
        content = EXAMPLE.read_bytes() + b"\0\0\0\x10free" + number.to_bytes(8, "big")
        answer = server.upload(client, content, name)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert not set(body["name"]) & set("/\\\0\r\n")
        new = {path.relative_to(library) for path in set(place.rglob("*")) - before}
        assert {path.stem for path in new} == {body["id"]}
        assert {path.suffix for path in new} <= {".mp4", ".mkv", ".mov", ".json", ""}
        file = client.get(f"/api/videos/{body['id']}/file")
        assert file.content == content
        assert file.headers["content-type"].startswith(("video/", "application/octet-stream"))
        assert client.delete(f"/api/videos/{body['id']}").status_code == 204
    assert set(place.rglob("*")) == before


def test_large_uploads_leave_nothing(server, client, place):
    library = place / "home" / "vtg" / "library"
    before = files_in(library)
    too_much = EXAMPLE.read_bytes() + bytes(1_500_000)
    stated = server.upload(client, too_much)
    unstated = client.post(
        "/api/videos", content=(too_much[k : k + 65536] for k in range(0, len(too_much), 65536))
    )
    for answer in (stated, unstated):
        assert answer.status_code == 413
        assert "2 MB" in answer.json()["error"]
    # Many times the limit, and no one to hear it out.
    status, answer = server.raw(
        b"POST /api/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    assert status == 413
    assert files_in(library) == before


def test_chunked_upload(server, client):
    content = EXAMPLE.read_bytes() + b"\0\0\0\x10freechunked!"
    answer = client.post("/api/videos", content=iter([content[:1000], content[1000:]]))
    assert answer.status_code == 201
    assert answer.json()["name"] == "video"
    assert client.delete(f"/api/videos/{answer.json()['id']}").status_code == 204


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(100), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", bytes(100_000),
     EXAMPLE.read_bytes()[:5000], b"ffconcat version 1.0\nfile /etc/passwd\n"],
    ids=["nothing", "text", "picture", "playlist", "zeros", "half", "list"],
)  # fmt: skip
def test_uploads_that_are_not_videos(server, client, content, place):
    library = place / "home" / "vtg" / "library"
    before = files_in(library)
    answer = server.upload(client, content)
    assert answer.status_code == 422
    assert "not a video" in answer.json()["error"]
    assert str(place) not in answer.text
    assert files_in(library) == before


def test_large_bodies_elsewhere_are_refused(client):
    large = {"video_id": "x", "queries": ["x" * 70_000]}
    assert client.post("/api/jobs", json=large).status_code == 413
    parts = iter([b'{"video_id": "', *[b"x" * 10_000] * 8, b'"}'])
    kind = {"content-type": "application/json"}
    assert client.post("/api/jobs", content=parts, headers=kind).status_code == 413
    assert client.post("/api/jobs/x/cancel", content=bytes(70_000)).status_code == 413


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8642", 200),
        ("localhost.", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:8642@localhost", 200),  # no browser sends a name and a password here
        ("localhost@evil.example", 403),
        ("10.0.0.1", 403),
        ("[", 403),
        ("", 403),
    ],
)
def test_hosts(client, host, status):
    answer = client.get("/api/videos", headers={"Host": host})
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "file://"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
    ids=str,
)
def test_pages_of_other_sites_can_do_nothing(server, client, video, headers):
    count = len(client.get("/api/jobs").json()["jobs"])
    body = {"video_id": video, "queries": ["a cat"]}
    for answer in (
        client.post("/api/jobs", json=body, headers=headers),
        client.post("/api/videos", content=EXAMPLE.read_bytes() + b"evil", headers=headers),
        client.delete(f"/api/videos/{video}", headers=headers),
        client.get(f"/api/videos/{video}/file", headers=headers),
        client.request("OPTIONS", "/api/jobs", headers={**headers, "Access-Control-Request-Method": "POST"}),
    ):
        assert answer.status_code == 403
        assert list(answer.json()) == ["error"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert len(client.get("/api/jobs").json()["jobs"]) == count
    assert len(client.get("/api/videos").json()["videos"]) == 1


def test_own_page_and_links_are_allowed(server, client):
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/jobs/x/cancel", headers=own).status_code == 404
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", headers=link).status_code in (200, 404)
    framed = {**link, "Sec-Fetch-Dest": "iframe"}
    assert client.get("/", headers=framed).status_code == 403


def test_security_headers(client, video):
    for path in ("/", "/api/videos", f"/api/videos/{video}/file", "/nothing", "/static/nothing.js"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_only_the_token_opens(locked):
    wrong = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff".encode("latin-1")},
        {"Cookie": f"vtg_{locked.port}=wrong"},
        {"Cookie": f"vtg_{locked.port}="},
        {"Cookie": f"vtg_{locked.port}={TOKEN}"},
        {"Cookie": f"token={TOKEN}"},
    ]
    paths = [
        "/",
        "/static/app.js",
        "/api/health",
        "/api/videos",
        "/api/openapi.json",
        f"/api/videos?token={TOKEN}",
    ]
    with locked.client() as client:
        for headers in wrong:
            for path in paths:
                answer = client.get(path, headers=headers)
                assert answer.status_code == 401, (path, headers)
                assert list(answer.json()) == ["error"]
                assert TOKEN not in answer.text
        upload = client.post("/api/videos", content=bytes(3_000_000))
        assert upload.status_code == 401
        assert client.get("/", params={"token": "wrong"}).status_code == 401
        assert "set-cookie" not in client.get("/", params={"token": "wrong"}).headers
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/videos", headers=bearer).status_code == 200

        entered = client.get("/", params={"token": TOKEN})
        assert entered.status_code == 303
        assert entered.headers["location"] == "/"
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith(f"vtg_{locked.port}=")
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert client.get("/api/videos").status_code == 200  # with the cookie from here on
        # A name that a proxy gives it is fine, another site's page is not, with the token or without.
        assert client.get("/api/videos", headers={**bearer, "Host": "videos.example"}).status_code == 200
        assert (
            client.get("/api/videos", headers={**bearer, "Origin": "https://evil.example"}).status_code == 403
        )
        proxied = {**bearer, "Host": "videos.example", "Origin": "https://videos.example"}
        assert client.get("/api/videos", headers=proxied).status_code == 200
    assert locked.address.endswith(f"/?token={TOKEN}")


def test_network_needs_a_token(place):
    with serving("--host", "0.0.0.0", home=place / "open") as server, server.client() as client:
        token = server.address.partition("?token=")[2]
        assert len(token) >= 32
        assert client.get("/api/videos").status_code == 401
        assert client.get("/", params={"token": token}).status_code == 303
        assert client.get("/api/videos").json() == {"videos": [], "scanning": False}
        assert "not encrypted" in server.said
        assert token not in server.said
        assert server.stop() == 0


def test_a_form_takes_the_token(locked):
    form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html,*/*"}
    for accepted in ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"):
        with locked.client(headers={"Accept": accepted}) as client:
            page = client.get("/")
            assert page.status_code == 401
            assert page.headers["content-type"].startswith("text/html")
            assert 'name="token"' in page.text
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert list(client.get("/api/videos").json()) == ["error"]
            for wrong in (b"token=wrong", b"token=", b"", b"token=" + b"x" * 10_000, b"\xff"):
                answer = client.post("/", content=wrong, headers=form)
                assert answer.status_code == 401
                assert "This is not the token." in answer.text
                assert "set-cookie" not in answer.headers
            foreign = {**form, "Origin": "http://evil.example"}
            assert client.post("/", content=f"token={TOKEN}", headers=foreign).status_code == 403
            address = quote(locked.address, safe="")
            for right in (TOKEN, f"%20{TOKEN}%0A", address):
                answer = client.post("/", content=f"token={right}", headers=form)
                assert answer.status_code == 303, right
                assert answer.headers["location"] == "/"
            assert client.get("/api/videos").status_code == 200


def test_cookies_of_other_ports(locked, place):
    with serving("--token", "other", home=place / "second") as other, httpx.Client(trust_env=False) as both:
        for server in (locked, other):
            assert both.get(server.address).status_code == 303
        for server in (locked, other):
            assert both.get(f"{server.url}/api/videos").status_code == 200
        # What one of them sees of the other's cookie opens nothing else.
        values = {cookie.name: cookie.value for cookie in both.cookies.jar}
        stolen = {"Cookie": f"vtg_{other.port}={values[f'vtg_{locked.port}']}"}
        assert httpx.get(f"{other.url}/api/videos", headers=stolen, trust_env=False).status_code == 401


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_token_need_not_stand_in_the_command(way, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    arguments = ["--token-file", tmp_path / "token"] if way == "file" else []
    environment = {"VTG_TOKEN": TOKEN} if way == "environment" else {}
    with serving(*arguments, home=tmp_path / "home", **environment) as server, server.client() as client:
        assert server.address.endswith(f"/?token={TOKEN}")
        assert client.get("/api/videos").status_code == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/videos", headers=bearer).status_code == 200
        process = psutil.Process(server.process.pid)
        assert TOKEN not in " ".join(process.cmdline())
        # Nor do those that read hostile files know it.
        assert client.post("/api/videos", content=b"no video", headers=bearer).status_code == 422
        (child,) = process.children()
        assert TOKEN not in child.environ().values()


def test_network_server_prints_its_address(place):
    with serving("--host", "0.0.0.0", home=place / "network") as server:
        host = urlsplit(server.announced).hostname
        own = {a.address for addresses in psutil.net_if_addrs().values() for a in addresses}
        assert host in own
        if any(not ipaddress.ip_address(a).is_loopback for a in own if re.fullmatch(r"[\d.]+", a)):
            assert not ipaddress.ip_address(host).is_loopback
        assert httpx.get(server.announced, trust_env=False).status_code == 303


def test_addresses_of_what_is_listened_on():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("0.0.0.0", 0)) as every:
        assert reached_at("localhost", one) == ["localhost"]
        addresses = reached_at("0.0.0.0", every)
        assert addresses
        assert len(set(addresses)) == len(addresses)
        for address in addresses:
            socket.create_connection((address, every.getsockname()[1]), timeout=5).close()
    assert page_address("::1", 80, None) == "http://[::1]:80/"
    assert page_address("10.0.0.1", 80, "t") == "http://10.0.0.1:80/?token=t"


def test_tokens_and_addresses(tmp_path, monkeypatch):
    monkeypatch.delenv("VTG_TOKEN", raising=False)
    assert choose_token(None, None, "127.0.0.1") is None
    assert choose_token(None, None, "localhost") is None
    assert choose_token(None, None, "192.168.1.2") != choose_token(None, None, "192.168.1.2")
    assert choose_token("own", None, "127.0.0.1") == "own"
    monkeypatch.setenv("VTG_TOKEN", "kept")
    assert choose_token("own", None, "127.0.0.1") == "own"
    monkeypatch.setenv("VTG_TOKEN", "k p t")
    with pytest.raises(UsageError, match=r"^VTG_TOKEN: a token has"):
        choose_token(None, None, "127.0.0.1")
    with pytest.raises(UsageError, match="give one of them"):
        choose_token("own", tmp_path / "nowhere", "127.0.0.1")
    with pytest.raises(UsageError, match=r"--token-file .*nowhere: cannot be read"):
        choose_token(None, tmp_path / "nowhere", "127.0.0.1")
    assert [is_loopback(host) for host in ("127.8.8.8", "::1", "0.0.0.0", "::", "example.org", "")] == [
        True, True, False, False, False, False
    ]  # fmt: skip
    assert host_name("[::1]:8642") == "::1"
    assert not is_foreign({}, is_page=False)
    assert is_foreign({"sec-fetch-site": "cross-site"}, is_page=True)


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\r\n" * 100,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /api/videos HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
]


def test_what_is_no_http_does_no_harm(server, client):
    before, refused = server.said, 0
    for request in GARBAGE:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            try:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except OSError:
                continue
            assert not answer or answer.split(b" ")[1] in (b"200", b"400", b"403", b"413"), answer[:200]
            if answer.split(b" ")[1:2] == [b"400"]:
                assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]
                assert b"nosniff" in answer
                refused += 1
    assert refused >= 5
    assert client.get("/api/health").status_code == 200
    assert server.said == before


def test_what_follows_an_answer_is_thrown_away(server, client):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"11170\r\n" + b"y" * 70_000 + b"\r\n"
        connection.sendall(chunk)
        assert connection.recv(65536).split(b" ")[1] == b"413"
        for _ in range(3):  # the server has read each before the next is sent
            connection.sendall(chunk)
            time.sleep(0.1)
        connection.sendall(b"0\r\n\r\n")
        while connection.recv(65536):
            pass
    assert client.get("/api/health").status_code == 200
    assert "Traceback" not in server.said


def test_idle_connection_blocks_nobody(server, client):
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    for connection in held:
        connection.sendall(b"POST /api/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nab")
    started = time.monotonic()
    assert client.get("/api/health").status_code == 200
    assert time.monotonic() - started < 5
    for connection in held:
        connection.close()


@pytest.mark.slow
def test_two_hundred_requests_at_once(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    render(folder / "small.mp4", frames=50, fps=25, width=64, height=48)
    library = tmp_path / "home" / "vtg" / "library"
    example = EXAMPLE.read_bytes()
    with (
        serving(folder, home=tmp_path / "home", cache=tmp_path / "cache") as server,
        server.client() as client,
    ):
        (video,) = client.get("/api/videos").json()["videos"]
        content = (folder / "small.mp4").read_bytes()
        uploads = {k: example + b"\0\0\0\x10free" + k.to_bytes(8, "big") for k in range(20)}

        def ask(number: int) -> tuple[str, int, httpx.Response]:
            kind, k = divmod(number, 20)
            address = f"/api/videos/{video['id']}"
            with server.client() as own:
                match kind:
                    case 0:
                        answer = server.upload(own, uploads[k], f"upload {k}.mp4")
                    case 1:
                        answer = server.upload(own, b"no video" * k)
                    case 2:
                        answer = server.start_job(own, video["id"], f"query {k}")
                    case 3:
                        answer = own.get(f"{address}/file", headers={"Range": f"bytes={k}-{k + 99}"})
                        assert answer.content == content[k : k + 100]
                    case 4:
                        answer = own.get(f"{address}/file")
                        assert answer.content == content
                    case 5:
                        answer = own.get(f"{address}/thumbnail", params={"at_s": k / 10})
                    case 6:
                        answer = own.get(f"/api/videos/{k}")
                    case 7:
                        answer = own.post("/api/jobs", json={"queries": []})
                    case 8:
                        answer = own.get("/api/jobs", headers={"Host": "evil.example"})
                    case _:
                        answer = own.get("/api/videos")
            return str(kind), answer.status_code, answer

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(ask, range(200)))
        counted = Counter((kind, status) for kind, status, _ in answers)
        print(dict(counted))
        assert counted == {
            ("0", 201): 20, ("1", 422): 20, ("2", 202): 20, ("3", 206): 20, ("4", 200): 20, ("5", 200): 20,
            ("6", 404): 20, ("7", 422): 20, ("8", 403): 20, ("9", 200): 20,
        }  # fmt: skip

        # Nothing is lost: every upload is there as it was sent, every job comes to its end.
        kept = {v["name"]: v["id"] for v in client.get("/api/videos").json()["videos"] if v["uploaded"]}
        assert len(kept) == 20
        for k, sent in uploads.items():
            got = client.get(f"/api/videos/{kept[f'upload {k}.mp4']}/file").content
            assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()
        jobs = [answer.json()["id"] for kind, _, answer in answers if kind == "2"]
        assert len(set(jobs)) == 20
        states = Counter(server.finished(client, job)["state"] for job in jobs)
        assert states == {"done": 20}
        assert len(files_in(library)) == 40
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        if descriptors.exists():
            wait_for(lambda: len(os.listdir(descriptors)) < 40, 20)  # noqa: PTH208
        assert "Traceback" not in server.said
        assert server.stop() == 0


def silent(server: Server, number: int, source: str = "127.0.0.1") -> list[socket.socket]:
    """Connections that never ask: half of them say nothing, half begin a request."""
    held = []
    for k in range(number):
        connection = socket.create_connection(("127.0.0.1", server.port), source_address=(source, 0))
        if k % 2:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localh")
        held.append(connection)
    return held


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1000) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def is_waiting(connection: socket.socket) -> bool:
    """Whether it is open and has not been answered."""
    connection.setblocking(False)
    try:
        connection.recv(1000)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


@pytest.mark.slow
def test_silent_connections_shut_nobody_out(server, client):
    held = silent(server, 505)
    for _ in range(3):
        with server.client() as fresh:
            assert fresh.get("/api/health").status_code == 200
    assert client.get("/api/health").status_code == 200
    wait_for(lambda: sum(map(is_open, held)) <= MOST_OF_CLIENT, 5)
    wait_for(lambda: not any(map(is_open, held)), HEAD_S + 20)
    assert client.get("/api/health").status_code == 200


@pytest.mark.slow
def test_a_head_that_trickles_in_is_cut_off(server):
    with (
        socket.create_connection(("127.0.0.1", server.port)) as first,
        socket.create_connection(("127.0.0.1", server.port)) as second,
    ):
        # One as its first request, one after another request.
        second.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert second.recv(65536).startswith(b"HTTP/1.1 200")
        for connection in (first, second):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        start = time.monotonic()
        while is_open(first) or is_open(second):
            assert time.monotonic() - start < HEAD_S + 20
            time.sleep(0.5)
            for connection in (first, second):
                with suppress(OSError):
                    connection.sendall(b"y")
        assert time.monotonic() - start > HEAD_S - 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_one_client_cannot_take_every_place(server, client):
    def connect(request: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.9", 0))
        connection.sendall(request)
        return connection

    idle = silent(server, MOST_OF_CLIENT, "127.0.0.9")
    endless = b"POST /api/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    busy = [connect(endless) for _ in range(MOST_OF_CLIENT)]
    wait_for(lambda: not any(map(is_open, idle)), HEAD_S + 20)
    assert all(map(is_waiting, busy))  # none was refused, or made room
    with connect(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n") as refused:
        answer = refused.recv(65536) + refused.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]
    assert client.get("/api/health").status_code == 200
    for connection in busy:
        connection.close()
    assert "concurrency" not in server.said


@pytest.mark.slow
def test_request_without_body(unfinished):
    assert unfinished.recv(65536).startswith(b"HTTP/1.1 408")
