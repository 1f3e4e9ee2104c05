"""`vtg mcp` on standard input and output, driven by the client of the SDK."""

from __future__ import annotations

import csv
import json
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.cli.mcp.running import Agent, command, connected
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.rendering import render
from tests.local_server import answering_gets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder with a video and a link that leads out of it."""
    folder = tmp_path_factory.mktemp("user").resolve()
    for name in ("videos/first.mp4", "private.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / "example.mp4", folder / name)
    (folder / "videos" / "link.mp4").symlink_to(folder / "private.mp4")
    (folder / "videos" / "notes.txt").write_text("not a video")
    subtitle = "1\n00:00:{},000 --> 00:00:{},000\n{}\n\n"
    (folder / "videos" / "first.srt").write_text(
        subtitle.format("04", "06", "The budget is <b>four</b> million.")
    )
    (folder / "private.srt").write_text(subtitle.format("01", "02", "The secret budget."))
    (folder / "videos" / "first.en.srt").symlink_to(folder / "private.srt")
    return folder / "videos"


@pytest.fixture
def fresh(tmp_path) -> Path:
    """A folder with a video that is in no cache."""
    shutil.copy(EXAMPLES / "example.mp4", video := tmp_path / "fresh.mp4")
    with video.open("ab") as file:
        file.write(secrets.token_bytes(64))
    return tmp_path


@pytest.fixture(scope="module")
def agent(home, videos) -> Iterator[Agent]:
    output = videos.parent / "exports"
    with connected(command(videos, "--library", "mine", "--output", output, home=home)) as agent:
        yield agent


@pytest.fixture(scope="module")
def answer(home, videos, agent) -> dict:
    """What `vtg ground` answers; the first test has the features extracted by the server."""
    done = vtg("ground", videos / "first.mp4", "a cat", "--json", home=home)
    return json.loads(done.stdout)["results"][0]


def test_a_job_and_then_moments(agent, videos):
    path = str(videos / "first.mp4")
    waiting = agent.call("find_moments", query="a cat", video=path, wait_s=0)
    assert (waiting["moments"], waiting["found"]) == ([], None)
    assert waiting["job"]["state"] in ("queued", "running")
    again = agent.call("find_moments", query="a coffee", video=path, wait_s=0)
    assert again["job"]["id"] == waiting["job"]["id"]  # one video is read once
    job = agent.call("job_status", id=waiting["job"]["id"], wait_s=240)
    assert (job["state"], job["progress"]) == ("done", 1.0)
    shares = [share for share, _ in agent.progress]
    assert shares == sorted(set(shares))
    assert any("of 50 s" in message for _, message in agent.progress)
    found = agent.call("find_moments", query="a cat", video=path)
    assert found["job"] is None
    assert found["moments"][0]["video"] == path


def test_moments_are_those_of_ground(agent, answer):
    found = agent.call("find_moments", query="a cat", video="first.mp4")
    names = answer["moments"][0]
    assert [{name: one[name] for name in names} for one in found["moments"]] == answer["moments"]
    assert {(one["source"], one["text"]) for one in found["moments"]} == {("pictures", None)}
    assert found["clear_match"] is True


def test_curve_is_thinned(agent, answer):
    scores = answer["saliency"]["scores"]
    whole = agent.call("get_curve", query="a cat", video="first.mp4")
    assert (whole["values"], whole["duration_s"]) == (scores, answer["duration_s"])
    thin = agent.call("get_curve", query="a cat", video="first.mp4", points=7)
    assert len(thin["times_s"]) == len(thin["values"]) <= 7
    assert max(thin["values"]) == max(scores)
    at_s = thin["times_s"][thin["values"].index(max(thin["values"]))]
    assert 6 < at_s < 14


def test_library(agent, home, videos):
    # Its videos are listed before and after, as the folder offers them.
    before = agent.call("list_videos")
    assert before["videos"] == [{"path": str(videos / "first.mp4"), "duration_s": None, "library": None}]
    assert "vtg index add" in agent.refused("find_moments", query="a cat")
    job = agent.call("add_to_library", path=str(videos), wait_s=240)
    assert (job["state"], job["message"]) == ("done", "1 video can be searched in mine")
    listed = agent.call("list_videos", library="mine")
    assert listed["videos"] == [{"path": str(videos / "first.mp4"), "duration_s": 50.0, "library": "mine"}]
    found = agent.call("find_moments", query="a cat", library="mine", top=2)
    done = vtg("search", "a cat", "--library", "mine", "-k", "2", "--json", home=home)
    hits = json.loads(done.stdout)["results"][0]["hits"]
    assert [{name: one[name] for name in one.keys() & hits[0].keys()} for one in found["moments"]] == [
        {name: hit[name] for name in hit.keys() & found["moments"][0].keys()} for hit in hits
    ]
    nothing = agent.call("find_moments", query="a goal")
    assert nothing["clear_match"] is False
    assert "Nothing in 1 video matches clearly" in nothing["notes"][0]


def test_update_follows_a_folder_that_was_added(home, tmp_path):
    inner = tmp_path / "videos" / "inner"
    inner.mkdir(parents=True)
    render(inner / "first.mp4", frames=20, fps=10)
    (tmp_path / "mixed").mkdir()
    render(tmp_path / "mixed" / "second.mp4", frames=30, fps=10)
    render(tmp_path / "private.mp4", frames=40, fps=10)
    (tmp_path / "mixed" / "link.mp4").symlink_to(tmp_path / "private.mp4")
    folders = (tmp_path / "videos", tmp_path / "mixed")
    with connected(command(*folders, "--library", "films", home=home)) as agent:
        for path in ("inner", str(tmp_path)):
            job = agent.call("add_to_library", path=path, wait_s=240)
            assert job["state"] == "done", job
        assert agent.call("list_videos", library="films")["total"] == 2
        render(tmp_path / "videos" / "third.mp4", frames=50, fps=10)
        render(tmp_path / "mixed" / "fourth.mp4", frames=60, fps=10)
        (inner / "first.mp4").rename(inner / "renamed.mp4")
        done = vtg("index", "update", "--library", "films", home=home)
        assert done.returncode == 0, done.stderr
        listed = agent.call("list_videos", library="films")["videos"]
    # The folder with a link that leads out is not followed, and neither is the link.
    assert [Path(video["path"]).name for video in listed] == ["second.mp4", "renamed.mp4", "third.mp4"]


def test_pages(agent):
    page = agent.call("list_videos", limit=1)
    assert (len(page["videos"]), page["total"], page["next_start"]) == (1, 1, None)
    assert agent.call("list_videos", start=1)["videos"] == []


def test_export(agent, videos):
    found = [
        agent.call("find_moments", query=query, video="first.mp4")["found"] for query in ("a cat", "a coffee")
    ]
    written = Path(agent.call("export", found=found, format="csv", file="both")["path"])
    assert written == videos.parent / "exports" / "both.csv"
    rows = list(csv.DictReader(written.open(newline="")))
    assert {row["query"] for row in rows} == {"a cat", "a coffee"}
    edl = Path(agent.call("export", found=found[:1], format="edl", file="cats.edl")["path"])
    assert "FROM CLIP NAME: first.mp4" in edl.read_text()


def test_nothing_is_overwritten(agent, videos):
    found = [agent.call("find_moments", query="a cat", video="first.mp4")["found"]]
    target = videos.parent / "exports" / "mine.csv"
    target.write_text("precious")
    for _ in range(2):
        assert "never overwritten" in agent.refused("export", found=found, format="csv", file="mine.csv")
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    "file", ["../out.csv", "/tmp/out.csv", "a/b.csv", "..", "", ".hidden.csv", "a\0.csv", "C:x"]
)
def test_exports_stay_in_their_folder(agent, videos, file):
    found = [agent.call("find_moments", query="a cat", video="first.mp4")["found"]]
    folder = videos.parent
    before = sorted(folder.rglob("*"))
    assert "is not a name for a file" in agent.refused("export", found=found, format="csv", file=file)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "path", ["../private.mp4", "{}/private.mp4", "link.mp4", "notes.txt", "/etc/passwd", "", "\0", "/"]
)
def test_other_files_are_refused(agent, videos, path):
    path = path.format(videos.parent)
    if path:
        assert "is not a video that this server offers" in agent.refused(
            "find_moments", query="a", video=path
        )
    assert "is not a video that this server offers" in agent.refused("get_curve", query="a cat", video=path)


def test_folders_outside_are_refused(agent, videos):
    assert "holds no video that" in agent.refused("add_to_library", path="/etc")
    added = agent.call("add_to_library", path=str(videos.parent), wait_s=240)
    # Only what is offered, although the folder around it holds more.
    assert added["message"] == "1 video can be searched in mine"
    assert agent.call("list_videos", library="mine")["total"] == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("find_moments", {"query": " ", "video": "first.mp4"}, "a query is empty"),
        ("find_moments", {"query": "a", "library": "other"}, "there is mine"),
        ("find_moments", {"query": "a", "library": "/etc"}, "there is mine"),
        ("find_moments", {"query": "a", "library": "mine", "video": "first.mp4"}, "not both"),
        ("export", {"found": ["x"], "format": "csv", "file": "x"}, "Call find_moments again"),
        ("job_status", {"id": "x"}, "there is no job 'x'"),
        ("list_videos", {"library": "other"}, "there is mine"),
    ],
)
def test_errors(agent, tool, arguments, message):
    assert message in agent.refused(tool, **arguments)


def test_formats(agent):
    found = [agent.call("find_moments", query="a cat", video="first.mp4")["found"]]
    assert "unknown format; known are" in agent.refused("export", found=found, format="mp3", file="x")
    goal = [agent.call("find_moments", query="a goal", video="first.mp4")["found"]]
    assert "no moment clearly matches" in agent.refused("export", found=goal, format="srt", file="goal")
    written = agent.call("export", found=goal, format="srt", file="goal", all_moments=True)["path"]
    assert "-->" in Path(written).read_text()


def test_tools_explain_themselves(agent):
    tools = agent.tools()
    assert list(tools) == [
        "list_videos",
        "find_moments",
        "find_said",
        "find_written",
        "get_curve",
        "export",
        "add_to_library",
        "job_status",
    ]
    assert all(tool.description and tool.output_schema for tool in tools.values())
    assert "otio" in tools["export"].description


def test_what_is_said(agent, videos):
    said = agent.call("find_said", words="the budget", video="first.mp4")
    assert said["moments"] == [
        {
            "start_s": 4.0,
            "end_s": 6.0,
            "score": 1.0,
            "clear_match": True,
            "source": "subtitles",
            "stream": "first.srt",
            "text": "The budget is four million.",
        }
    ]
    assert (said["clear_match"], said["notes"]) == (True, [])
    file = agent.call("export", found=[said["found"]], format="srt", file="said")["path"]
    assert "“The budget is four million.”" in Path(file).read_text(encoding="utf-8")
    nothing = agent.call("find_said", words="giraffes", video="first.mp4")
    assert not nothing["clear_match"]
    assert "Nothing here matches clearly" in nothing["notes"][0]
    assert "a query is empty" in agent.refused("find_said", words=" ", video="first.mp4")
    assert "private.mp4" in agent.refused(
        "find_said", words="budget", video=str(videos.parent / "private.mp4")
    )


def test_words_beside_pictures(agent, videos):
    agent.call("add_to_library", path=str(videos), wait_s=240)
    for where in ({"video": "first.mp4"}, {"library": "mine"}):
        found = agent.call("find_moments", query="the budget", top=3, **where)
        first, *others = found["moments"]
        assert (first["source"], first["stream"], first["text"], first["clear_match"]) == (
            "subtitles",
            "first.srt",
            "The budget is four million.",
            True,
        )
        assert {one["source"] for one in others} == {"pictures"}
        # A link that leads out of the folder is no subtitle.
        assert "secret" not in json.dumps(found)
    file = agent.call("export", found=[found["found"]], format="csv", file="quoted")["path"]
    assert "The budget is four million." in Path(file).read_text(encoding="utf-8")


def test_what_is_written(agent):
    written = agent.call("find_written", words="exit", video="first.mp4")
    assert (written["moments"], written["clear_match"]) == ([], False)
    assert "vtg transcript VIDEO --screen" in written["notes"][0]
    assert "a query is empty" in agent.refused("find_written", words=" ", video="first.mp4")


def test_without_a_folder_nothing_is_written(home, videos):
    with connected(command(videos, home=home)) as agent:
        found = [agent.call("find_moments", query="a cat", video="first.mp4")["found"]]
        assert "vtg mcp --output FOLDER" in agent.refused("export", found=found, format="csv", file="x")
        assert "--library NAME" in agent.refused("find_moments", query="a cat")


def test_a_video_that_cannot_be_read(home, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"not what its name says")
    with connected(command(tmp_path, home=home)) as agent:
        message = agent.refused("find_moments", query="a cat", video="bad.mp4", wait_s=240)
        assert "bad.mp4" in message


class RawServer:
    """A server and a client that knows only lines of JSON; it has been greeted."""

    def __init__(self, *arguments: str | Path, home: Path) -> None:
        server = command(*arguments, home=home)
        self.process = subprocess.Popen(
            [server.command, *server.args],
            env=server.env,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell starts what it runs in the background without the interrupt that ends this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        }
        self.send(id=1, method="initialize", params=hello)
        assert self.read()["id"] == 1
        self.send(method="notifications/initialized")

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def call(self, tool: str, **arguments: Any) -> None:
        self.send(id=2, method="tools/call", params={"name": tool, "arguments": arguments})

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def test_only_the_protocol_on_standard_output(home, fresh):
    with RawServer(fresh, "--verbose", home=home) as server:
        server.call("find_moments", query="a cat", video="fresh.mp4", wait_s=240)
        reply = server.read()
        assert (reply["jsonrpc"], reply["id"]) == ("2.0", 2)
        assert reply["result"]["structuredContent"]["moments"][0]["start_s"] == 6.0
        # Closes standard input, as clients do at the end.
        assert server.process.communicate(timeout=30)[0] == ""
        assert server.process.returncode == 0


@pytest.mark.parametrize("how", ["end of input", signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_the_middle_of_a_job(home, fresh, how):
    with RawServer(fresh, home=home) as server:
        server.call("find_moments", query="a cat", video="fresh.mp4", wait_s=0)
        assert server.read()["result"]["structuredContent"]["job"]["state"] in ("queued", "running")
        if isinstance(how, signal.Signals):
            server.process.send_signal(how)
        assert server.process.communicate(timeout=30) == ("", "")
        assert server.process.returncode == 0


def test_a_client_that_has_gone(home, fresh):
    with RawServer(fresh, home=home) as server:
        assert server.process.stdout is not None
        assert server.process.stdin is not None
        server.process.stdout.close()
        server.call("list_videos")
        time.sleep(2)  # the answer meets a closed pipe
        server.process.stdin.close()
        assert server.process.wait(30) == 0
        assert server.process.stderr is not None
        assert server.process.stderr.read() == ""


def test_a_download_is_a_job(home, videos):
    """The first answer needs weights that are not there, from a host that sends them slowly."""
    ended = threading.Event()

    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "605000000")
        request.end_headers()
        with suppress(OSError):
            while not ended.wait(0.1):
                request.wfile.write(bytes(1000))

    with answering_gets(trickle) as address:
        server = command(videos, "--features", "clip", "--library", "mine", home=home)
        assert server.env is not None
        del server.env["VTG_OFFLINE"]
        server.env["HF_ENDPOINT"] = address
        with connected(server) as agent:
            waiting = agent.call("find_moments", query="a cat", video="first.mp4", wait_s=0)
            assert waiting["job"]["message"].startswith("downloading weights")
            assert agent.progress
            assert agent.call("job_status", id=waiting["job"]["id"])["state"] == "running"
            # What needs no weights is answered meanwhile.
            assert agent.call("list_videos")["total"] == 1
        ended.set()
