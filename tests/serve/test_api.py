"""The API of a real server: videos in, moments out, and what happens when that does not go as planned."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx
import jsonschema
import numpy as np
import opentimelineio as otio
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extractors.cache.store import FeatureCache
from model import Grounder
from model.checkpoints.checkpoint import save_checkpoint
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.rendering import render
from tests.hostile import damaged_in_the_middle, slow_to_index, write_hostile
from tests.model.grounding.test_trained import small_checkpoint
from tests.serve.running import events, files_in, serving, wait_for
from vtg_cli.serve.api.files import Unsatisfiable, attachment, parse_range
from vtg_cli.serve.library.library import display_name
from vtg_cli.serve.library.upload_folder import MARKER
from vtg_cli.writers.formats import formats as known_formats

EXAMPLE = EXAMPLES / "example.mp4"
QUERIES = ("a cat", "a cup of coffee")
LONG_S = 3000
SMALL_FILES = ("sh", "-c", 'ulimit -f 900; exec "$@"', "sh")
"""Has the system refuse files of more than 450 KB, as a full disk does."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def cache(place) -> Path:
    return place / "cache"


@pytest.fixture(scope="module")
def folder(place) -> Path:
    """A folder of the user's: a video, one in a subfolder, and things that are none."""
    folder = place / "videos"
    (folder / "trip").mkdir(parents=True)
    shutil.copy(EXAMPLE, folder / "example.mp4")
    render(folder / "trip" / "ünter wegs.mkv", frames=50, fps=25, width=90, height=160)
    (folder / "notes.txt").write_text("no video")
    (folder / "broken.mp4").write_bytes(b"no video either" * 100)
    return folder


@pytest.fixture(scope="module")
def server(place, folder, cache):
    with serving(folder, "--max-upload-mb", "4", home=place / "home", cache=cache) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def served(client) -> dict[str, dict]:
    """The folder's videos by name."""
    return {v["name"]: v for v in client.get("/api/videos").json()["videos"] if not v["uploaded"]}


@pytest.fixture(scope="module")
def job(server, client, served) -> dict:
    """A job that is done."""
    started = server.start_job(client, served["example.mp4"]["id"], *QUERIES, top_k=3)
    assert started.status_code == 202, started.text
    assert started.json()["results"] is None
    assert started.json()["state"] in ("queued", "running")
    return server.finished(client, started.json()["id"])


def other_video(number: int) -> bytes:
    """The example with bytes behind it that readers pass over: another content, the same pictures."""
    return EXAMPLE.read_bytes() + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")


def test_folder_offers_videos_only(server, client, served, folder):
    assert list(served) == ["example.mp4", "ünter wegs.mkv"]
    video = served["example.mp4"]
    assert video["duration_s"] == pytest.approx(50, abs=0.1)
    assert (video["width"], video["height"]) == (640, 360)
    assert video["size_bytes"] == EXAMPLE.stat().st_size
    assert not video["uploaded"]
    assert client.get(f"/api/videos/{video['id']}").json() == video
    assert "broken.mp4: left out" in server.said
    assert str(folder) not in client.get("/api/videos").text


def test_upload_ground_and_export(server, client, cache, job, tmp_path, place):
    sent = server.upload(client, other_video(1), '../Holiday <&"1"> ünd.mp4')
    assert sent.status_code == 201, sent.text
    video = sent.json()
    assert video["name"] == 'Holiday <&"1"> ünd.mp4'
    assert video["uploaded"]
    started = server.start_job(client, video["id"], *QUERIES, top_k=3).json()

    heard = list(events(client, started["id"]))
    assert [name for name, _ in heard[:-1]] == ["job"] * (len(heard) - 1)
    assert heard[-1] == ("end", {"state": "done"})
    seen = [data for _, data in heard[:-1]]
    assert all("results" not in data for data in seen)
    assert seen[-1]["state"] == seen[-1]["stage"] == "done"
    assert seen[-1]["progress"] == 1
    assert all(a["progress"] <= b["progress"] for a, b in pairwise(seen))
    assert any(0 < data["progress"] < 1 for data in seen), "progress was not seen"

    done = client.get(f"/api/jobs/{started['id']}").json()
    grounder = Grounder.load(features="lite", cache=cache, offline=True)
    expected = grounder.ground(EXAMPLE, list(QUERIES), top_k=3)
    assert done["results"] == [{**result.to_json(), "video": video["name"]} for result in expected]
    assert any("lite" in sentence for sentence in done["model_notes"])
    assert not any("lite" in sentence for sentence in done["notes"])

    formats = client.get("/api/formats").json()["formats"]
    assert [form["name"] for form in formats] == [form.name for form in known_formats()]
    texts = {}
    for form in formats:
        answer = client.get(f"/api/jobs/{started['id']}/export/{form['name']}")
        assert answer.status_code == 200, answer.text
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="')
        assert disposition.endswith(form["ending"])
        # Neither where the server keeps it nor what it calls it there.
        assert str(place) not in answer.text
        assert not any(stem in answer.text for stem in (p.stem for p in (place / "home").rglob("*.mp4")))
        texts[form["name"]] = answer.text
    schema = (EXAMPLES.parent / "docs" / "json.md").read_text().rpartition("```json")[2].partition("```")[0]
    jsonschema.validate(json.loads(texts["json"]), json.loads(schema))
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert {row["video"] for row in rows} == {video["name"]}
    assert len(rows) == sum(len(result["moments"]) for result in done["results"])
    clip = next(iter(otio.adapters.read_from_string(texts["otio"], "otio_json").find_clips()))
    assert clip.media_reference.name == video["name"]
    assert video["name"] in texts["edl"]
    assert otio.adapters.read_from_string(texts["fcpxml"], "fcpx_xml") is not None


def test_timeline_names_the_path(client, job, folder):
    text = client.get(f"/api/jobs/{job['id']}/export/otio").text
    assert (folder / "example.mp4").as_uri() in text


def test_a_finished_job_tells_its_end_again(client, job):
    heard = list(events(client, job["id"]))
    assert [name for name, _ in heard] == ["job", "end"]
    assert job["id"] in [kept["id"] for kept in client.get("/api/jobs").json()["jobs"]]
    assert all("results" not in kept for kept in client.get("/api/jobs").json()["jobs"])


def test_no_clear_match_is_noted(server, client, served, job):
    video = served["example.mp4"]["id"]
    asked = server.start_job(client, video, "a submarine on the bottom of the sea").json()
    done = server.finished(client, asked["id"])
    assert any("nothing here matches clearly" in s for s in done["notes"])
    assert done["results"][0]["clear_match"] is False
    address = f"/api/jobs/{asked['id']}/export"
    assert "submarine" not in client.get(f"{address}/srt").text
    assert client.get(f"{address}/srt?all=true").text.count("submarine") == len(done["results"][0]["moments"])
    assert "submarine" in client.get(f"{address}/csv").text


def test_damage_is_told_of(server, client, tmp_path):
    _, damaged = damaged_in_the_middle(tmp_path)
    video = server.upload(client, damaged.read_bytes()).json()
    for query in ("a cat", "a dog"):  # of features that are made, and of those that are there
        asked = server.start_job(client, video["id"], query).json()
        done = server.finished(client, asked["id"])
        assert any("damaged somewhere in" in s for s in done["notes"])
        assert done["results"][0]["damaged_s"]
    client.delete(f"/api/videos/{video['id']}")


def test_the_same_content_is_kept_once(server, client, served):
    first = server.upload(client, other_video(2), "one.mp4")
    second = server.upload(client, other_video(2), "two.mov")
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    # The same content in the user's folder.
    there = server.upload(client, EXAMPLE.read_bytes(), "mine.mp4")
    assert there.status_code == 200
    assert there.json() == served["example.mp4"]


def test_only_uploads_can_be_deleted(server, client, served, folder, place):
    video = server.upload(client, other_video(3), "short lived.webm").json()
    library = place / "home" / "vtg" / "library"
    assert f"{video['id']}.webm" in files_in(library)
    assert client.delete(f"/api/videos/{video['id']}").status_code == 204
    assert client.get(f"/api/videos/{video['id']}").status_code == 404
    assert client.delete(f"/api/videos/{video['id']}").status_code == 404
    assert not [name for name in files_in(library) if video["id"] in name]
    answer = client.delete(f"/api/videos/{served['example.mp4']['id']}")
    assert answer.status_code == 409
    assert "folder" in answer.json()["error"]
    assert (folder / "example.mp4").exists()


@pytest.mark.parametrize(
    ("header", "status", "start", "end"),
    [
        (None, 200, 0, None),
        ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, None),
        ("bytes=-100", 206, -100, None),
        ("bytes=5-99999999999", 206, 5, None),
        ("bytes=0-1,4-5", 200, 0, None),
        ("bytes=9-5", 200, 0, None),
        ("lines=1-2", 200, 0, None),
    ],
)
def test_ranges(client, served, header, status, start, end):
    content = EXAMPLE.read_bytes()
    address = f"/api/videos/{served['example.mp4']['id']}/file"
    answer = client.get(address, headers={} if header is None else {"Range": header})
    assert answer.status_code == status
    assert answer.content == content[start:end]
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    if status == 206:
        first = start % len(content)
        assert answer.headers["content-range"] == (
            f"bytes {first}-{first + len(answer.content) - 1}/{len(content)}"
        )


def test_range_past_the_end_and_not_modified(client, served):
    address = f"/api/videos/{served['example.mp4']['id']}/file"
    size = EXAMPLE.stat().st_size
    beyond = client.get(address, headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{size}"
    head = client.head(address)
    assert int(head.headers["content-length"]) == size
    tag = head.headers["etag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    part = {"Range": "bytes=0-9"}
    assert client.get(address, headers={**part, "If-Range": tag}).status_code == 206
    assert client.get(address, headers={**part, "If-Range": '"other"'}).status_code == 200


@given(st.integers(0, 40), st.integers(0, 50), st.integers(0, 50))
def test_ranges_by_counting(size, first, last):
    def chosen(header: str) -> list[int] | None:
        try:
            part = parse_range(header, size)
        except Unsatisfiable:
            return None
        return list(range(size))[slice(*part)] if part else list(range(size))

    whole = list(range(size))
    expected = whole if last < first else [k for k in whole if first <= k <= last] or None
    assert chosen(f"bytes={first}-{last}") == expected
    assert chosen(f"bytes={first}-") == ([k for k in whole if k >= first] or None)
    assert chosen(f"bytes=-{last}") == ([k for k in whole if k >= size - last] or None)


def test_thumbnails(client, served):
    example, upright = served["example.mp4"]["id"], served["ünter wegs.mkv"]["id"]
    sizes = {}
    for video in (example, upright):
        answer = client.get(f"/api/videos/{video}/thumbnail", params={"at_s": 1.5})
        assert answer.headers["content-type"] == "image/jpeg"
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.format == "JPEG"
        sizes[video] = picture.size
    assert sizes == {example: (320, 180), upright: (180, 320)}
    large = client.get(f"/api/videos/{example}/thumbnail", params={"at_s": 1.5, "size": "large"})
    assert Image.open(io.BytesIO(large.content)).size == (640, 360)  # as the video
    assert client.get(f"/api/videos/{example}/thumbnail", params={"size": "huge"}).status_code == 422
    instants = [0, 7, 22, 49.99, 1e9]
    with ThreadPoolExecutor(5) as pool:
        pictures = list(
            pool.map(lambda at: client.get(f"/api/videos/{example}/thumbnail", params={"at_s": at}), instants)
        )
    assert [picture.status_code for picture in pictures] == [200] * 5
    # The example shows other things at each of these, and its end behind its end.
    means = [np.asarray(Image.open(io.BytesIO(p.content)), float).mean() for p in pictures]
    assert len({round(mean) for mean in means[:3]}) == 3
    assert pictures[3].content == pictures[4].content
    for wrong in ("-1", "nan", "inf", "soon"):
        assert client.get(f"/api/videos/{example}/thumbnail", params={"at_s": wrong}).status_code == 422


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"queries": []}, "queries: is empty"),
        ({"queries": ["  "]}, "queries[0]: is blank"),
        ({"queries": ["a", ""]}, "queries[1]: is empty"),
        ({"queries": ["x" * 501]}, "queries[0]: has more than 500 characters"),
        ({"queries": ["x"] * 21}, "queries: has more than 20 entries"),
        ({"queries": "a cat"}, "queries: has to be a list"),
        ({"queries": [1]}, "queries[0]: has to be text"),
        ({"top_k": 0}, "top_k: has to be 1 or more"),
        ({"top_k": 101}, "top_k: has to be 100 or less"),
        ({"top_k": "5"}, "top_k: has to be a whole number"),
        ({"top_k": 1.5}, "top_k: has to be a whole number"),
        ({"threshold": 2}, "threshold: has to be 1 or less"),
        ({"threshold": "0"}, "threshold: has to be a number"),
        ({"threshold": 1e999}, "threshold: has to be a finite number"),
        ({"what": 1}, "what: there is no such field"),
        ({"\ud800": 1}, "the body: is not valid Unicode"),
        ({"queries": ["\ud800"]}, "queries[0]: is not valid Unicode"),
        ({"video_id": None}, "video_id: has to be text"),
    ],
    ids=ascii,
)
def test_wrong_requests_are_told_in_a_sentence(client, served, change, said):
    body = {"video_id": served["example.mp4"]["id"], "queries": ["a cat"], **change}
    answer = client.post("/api/jobs", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json() == {"error": said}


def test_invalid_requests_get_a_sentence(client, served):
    kind = {"content-type": "application/json"}
    thumbnail = f"/api/videos/{served['example.mp4']['id']}/thumbnail"
    for answer, said in (
        (client.post("/api/jobs", content="{", headers=kind), "the body: is not JSON"),
        (client.post("/api/jobs", content="[]", headers=kind), "the body: has to be a JSON object"),
        (
            client.post("/api/jobs", content="{}", headers={"content-type": "text/plain"}),
            "the body: has to be",
        ),
        (client.post("/api/jobs"), "the body: is missing"),
        (client.post("/api/jobs", json={"video_id": "x"}), "queries: is missing"),
        (client.get(thumbnail, params={"at_s": "soon"}), "at_s: has to be a number"),
        (client.get(thumbnail, params={"at_s": "-1"}), "at_s: has to be 0 or more"),
        (client.post("/api/videos", params={"name": "x" * 1001}), "name: has more than 1000 characters"),
    ):
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(said), answer.json()


@pytest.mark.parametrize("content", ['{"a":', "[" * 60_000, '{"top_k":' + "9" * 5000 + "}", "null", ""])
def test_what_is_no_json(client, content):
    answer = client.post("/api/jobs", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]


def test_what_is_not_there(client, served, job):
    video = served["example.mp4"]["id"]
    for path in (
        "/api/videos/x", "/api/videos/x/file", "/api/videos/x/thumbnail", "/api/jobs/x", "/api/jobs/x/events",
        "/api/jobs/x/export/csv", f"/api/jobs/{job['id']}/export/docx", f"/api/videos/{video}/nothing", "/docs",
        "/api/docs", "/redoc", "/static/nothing.js",
    ):  # fmt: skip
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert list(answer.json()) == ["error"]
    assert client.post("/api/jobs/x/cancel").status_code == 404
    assert client.post("/api/jobs", json={"video_id": "x", "queries": ["a"]}).status_code == 404
    assert "/api/openapi.json" in client.get("/api/nothing").json()["error"]
    refused = client.put("/api/jobs")
    assert refused.status_code == 405
    assert "method" in refused.json()["error"]


def test_health_and_the_page(client):
    assert client.get("/api/health").json()["status"] == "ok"
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    if page.status_code == 200:
        assert page.headers["content-type"].startswith("text/html")


@pytest.mark.slow
def test_hostile_uploads_are_refused_in_a_sentence(server, client, tmp_path, place):
    library = place / "home" / "vtg" / "library"
    small = render(tmp_path / "small.mp4", frames=40, width=64, height=48)
    before, statuses = files_in(library), []
    for path in write_hostile(tmp_path / "hostile", [small, EXAMPLE]):
        if not path.is_file() or path.is_symlink():
            continue
        answer = server.upload(client, path.read_bytes()[: 4 << 20], path.name)
        statuses.append(answer.status_code)
        assert answer.status_code in (200, 201, 413, 422), (path.name, answer.text)
        if answer.status_code in (200, 201):  # a mutation that can still be read
            if answer.json()["uploaded"]:
                client.delete(f"/api/videos/{answer.json()['id']}")
        else:
            assert list(answer.json()) == ["error"]
            assert str(place) not in answer.text
    print({status: statuses.count(status) for status in set(statuses)})
    assert statuses.count(422) > 20
    assert files_in(library) <= before
    assert client.get("/api/health").status_code == 200


@pytest.fixture(scope="module")
def long_video(place) -> Path:
    """A video that takes long enough for things to happen meanwhile."""
    (place / "long").mkdir()
    return render(place / "long" / "long.mp4", frames=LONG_S, fps=1, width=64, height=48)


@pytest.mark.slow
def test_queue_limit_and_cancel(place, long_video, tmp_path):
    with serving(long_video, home=tmp_path / "home") as server, server.client() as client:
        (video,) = client.get("/api/videos").json()["videos"]
        running = server.start_job(client, video["id"], "a cat").json()["id"]

        def progress() -> float:
            job = client.get(f"/api/jobs/{running}").json()
            assert job["state"] in ("queued", "running"), job
            return job["progress"]

        wait_for(progress, 60)
        answers = [server.start_job(client, video["id"], "a cat") for _ in range(66)]
        codes = [answer.status_code for answer in answers]
        assert codes == [202] * 64 + [429] * 2
        assert answers[-1].headers["retry-after"]
        assert "waiting" in answers[-1].json()["error"]

        waiting = [answer.json()["id"] for answer in answers[:64]]
        assert client.post(f"/api/jobs/{waiting[5]}/cancel").json()["state"] == "cancelled"
        assert client.get(f"/api/jobs/{running}/export/csv").status_code == 409
        assert server.start_job(client, video["id"], "a dog").status_code == 202
        for job_id in waiting:
            client.post(f"/api/jobs/{job_id}/cancel")
        for _ in range(2):
            assert client.post(f"/api/jobs/{running}/cancel").json()["state"] in ("running", "cancelled")
        ended = server.finished(client, running)
        assert ended["state"] == "cancelled"
        assert ended["progress"] < 0.9
        assert all(server.finished(client, job_id)["state"] == "cancelled" for job_id in waiting)
        # The last one, which nobody cancelled, has its turn; Ctrl-C ends it and its listeners.
        (last,) = [
            job for job in client.get("/api/jobs").json()["jobs"] if job["state"] in ("queued", "running")
        ]
        heard: list[str] = []
        listening = threading.Thread(
            target=lambda: heard.extend(name for name, _ in events(client, last["id"]))
        )
        listening.start()
        wait_for(lambda: client.get(f"/api/jobs/{last['id']}").json()["progress"], 60)
        assert server.stop() == 0
        listening.join(5)
        assert "job" in heard
        assert "end" not in heard
        assert "Traceback" not in server.said


def test_cancel_a_waiting_job(place, tmp_path):
    path = render(place / "claimed.mp4", frames=20, fps=10, width=64, height=48)
    cache = FeatureCache(tmp_path / "cache")
    claim = cache.try_claim(cache.identify(path).address)
    assert claim is not None
    with (
        claim,
        serving(path, home=tmp_path / "home", cache=tmp_path / "cache") as server,
        server.client() as client,
    ):
        (video,) = client.get("/api/videos").json()["videos"]
        job = server.start_job(client, video["id"], "a cat").json()["id"]
        wait_for(lambda: client.get(f"/api/jobs/{job}").json()["stage"] == "extracting", 60)
        client.post(f"/api/jobs/{job}/cancel")
        assert server.finished(client, job)["state"] == "cancelled"


@pytest.mark.slow
def test_uploads_survive_a_kill(tmp_path):
    home = tmp_path / "home"
    library = home / "vtg" / "library"
    with serving(home=home) as server, server.client() as client:
        kept = server.upload(client, EXAMPLE.read_bytes(), "kept.mp4").json()
        unrecorded = server.upload(client, other_video(1), "unrecorded.mp4").json()

        def halves():
            yield EXAMPLE.read_bytes()
            wait_for(lambda: [name for name in files_in(library) if name.endswith(".tmp")], 10)
            server.process.send_signal(signal.SIGKILL)
            yield other_video(2)

        with pytest.raises(httpx.HTTPError):
            client.post("/api/videos", content=halves())
        server.process.wait()
    assert [name for name in files_in(library) if name.endswith(".tmp")]
    (library / f"{unrecorded['id']}.json").write_text("{")
    (library / f"{'0' * 32}.json").write_text("{}")
    (library / "mine.txt").write_text("not the server's")

    with serving(home=home) as server, server.client() as client:
        videos = client.get("/api/videos").json()["videos"]
        assert kept in videos
        assert [video["duration_s"] for video in videos] == [50.0, 50.0]
        assert client.get(f"/api/videos/{kept['id']}/file").content == EXAMPLE.read_bytes()
        assert files_in(library) == {
            *(f"{video['id']}{ending}" for video in videos for ending in (".mp4", ".json")), "mine.txt"
        }  # fmt: skip
        again = vtg("serve", "--port", "0", home=home)
        assert again.returncode == 2
        assert "another vtg serve" in again.stderr
        assert server.stop() == 0
        assert "Traceback" not in server.said


def test_uploads_differ_by_every_byte(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "videos"
    folder.mkdir()
    whole = bytearray(
        EXAMPLE.read_bytes() + (9 << 20).to_bytes(4, "big") + b"free" + os.urandom((9 << 20) - 8)
    )
    part = whole.copy()
    middle = len(whole) // 2
    part[middle : middle + 100] = bytes(100)  # a piece that has not been downloaded yet
    (folder / "served.mp4").write_bytes(part)
    with serving(folder, home=home) as server, server.client() as client:
        (served,) = client.get("/api/videos").json()["videos"]
        there = server.upload(client, bytes(part), "again.mp4")
        assert (there.status_code, there.json()) == (200, served)
        new = server.upload(client, bytes(whole), "whole.mp4")
        assert new.status_code == 201
        assert client.get(f"/api/videos/{new.json()['id']}/file").content == whole
        there = server.upload(client, bytes(whole), "again.mp4")
        assert (there.status_code, there.json()) == (200, new.json())
    (file,) = (home / "vtg" / "library").glob("*.mp4")
    record = file.with_suffix(".json")
    fields = json.loads(record.read_bytes())
    file.write_bytes(part)  # as a failing disk might
    with serving(home=home) as server, server.client() as client:
        mended = server.upload(client, bytes(whole), "whole.mp4")
        assert mended.status_code == 201
        assert client.get(f"/api/videos/{mended.json()['id']}/file").content == whole
        client.delete(f"/api/videos/{mended.json()['id']}")
    file.write_bytes(whole)
    del fields["content"]
    record.write_text(json.dumps({**fields, "identity": "0" * 32}))  # as earlier versions left it
    with serving(home=home) as server, server.client() as client:
        assert client.get("/api/videos").json()["videos"] == [new.json()]
        there = server.upload(client, bytes(whole), "again.mp4")
        assert (there.status_code, there.json()) == (200, new.json())


def test_edited_file_is_sent_again(tmp_path):
    path = tmp_path / "mine.mp4"
    path.write_bytes(other_video(1))
    with serving(path, home=tmp_path / "home") as server, server.client() as client:
        (video,) = client.get("/api/videos").json()["videos"]
        address = f"/api/videos/{video['id']}/file"
        tag = client.head(address).headers["etag"]
        path.write_bytes(other_video(2))
        os.utime(path, (1, 1))
        answer = client.get(address, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (200, other_video(2))


def test_upload_to_a_full_disk(tmp_path):
    library = tmp_path / "library"
    with (
        serving("--library", library, home=tmp_path / "home", wrapper=SMALL_FILES) as server,
        server.client() as client,
    ):
        answer = server.upload(client, EXAMPLE.read_bytes())
        assert answer.status_code == 507
        assert "full" in answer.json()["error"]
        assert files_in(library) == set()
        assert client.get("/api/health").status_code == 200


def test_a_listener_that_leaves_does_no_harm(tmp_path):
    large = tmp_path / "large.mp4"
    large.write_bytes(EXAMPLE.read_bytes() + (40 << 20).to_bytes(4, "big") + b"free" + bytes((40 << 20) - 8))
    with serving(large, home=tmp_path / "home") as server, server.client() as client:
        (video,) = client.get("/api/videos").json()["videos"]
        for _ in range(5):
            with client.stream("GET", f"/api/videos/{video['id']}/file") as answer:
                assert len(next(answer.iter_bytes(1000))) == 1000
        # Nor does one that is in the middle of it when the server is stopped.
        with client.stream("GET", f"/api/videos/{video['id']}/file") as answer:
            assert len(next(answer.iter_bytes(1000))) == 1000
            assert server.stop() == 0
        assert server.said.splitlines() == ["note: Ctrl-C stops it"]


def test_removed_file_can_be_uploaded(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "example.mp4").write_bytes(EXAMPLE.read_bytes())
    with serving(folder, home=tmp_path / "home") as server, server.client() as client:
        (folder / "example.mp4").unlink()
        answer = server.upload(client, EXAMPLE.read_bytes(), "example.mp4")
        assert answer.status_code == 201
        assert client.get(f"/api/videos/{answer.json()['id']}/file").content == EXAMPLE.read_bytes()
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.said


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_changed_file_fails_its_job(tmp_path, cache, long_video):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(long_video, folder / "long.mp4")
    names = ("gone.mp4", "cut.mp4", "linked.mp4", "pipe.mp4", "sound.mp4")
    for name in names:
        (folder / name).write_bytes(other_video(len(name) * 1000 + ord(name[0])))
    with serving(folder, home=tmp_path / "home", cache=cache) as server, server.client() as client:
        videos = {video["name"]: video["id"] for video in client.get("/api/videos").json()["videos"]}
        # They wait behind a long one while their files change.
        first = server.start_job(client, videos["long.mp4"], "a cat").json()["id"]
        jobs = {name: server.start_job(client, videos[name], "a cat").json()["id"] for name in names}
        for name in ("gone.mp4", "linked.mp4", "pipe.mp4"):
            (folder / name).unlink()
        (folder / "cut.mp4").write_bytes(EXAMPLE.read_bytes()[:2000])
        (tmp_path / "outside.mp4").write_bytes(other_video(7))
        (folder / "linked.mp4").symlink_to(tmp_path / "outside.mp4")
        os.mkfifo(folder / "pipe.mp4")
        assert client.get(f"/api/jobs/{jobs['gone.mp4']}").json()["state"] == "queued"
        client.post(f"/api/jobs/{first}/cancel")
        ended = {name: server.finished(client, job) for name, job in jobs.items()}
        for name in names[:-1]:
            assert ended[name]["state"] == "failed"
            assert ended[name]["error"].startswith(f"{name}: ")
            assert str(tmp_path) not in ended[name]["error"]
        for name in ("linked.mp4", "pipe.mp4"):
            assert "something else is in its place" in ended[name]["error"]
        for part in ("file", "thumbnail"):
            for name in ("gone.mp4", "linked.mp4", "pipe.mp4"):
                assert client.get(f"/api/videos/{videos[name]}/{part}").status_code == 404
        assert client.get(f"/api/videos/{videos['cut.mp4']}/thumbnail").status_code in (404, 422)
        assert ended["sound.mp4"]["state"] == "done"
        assert "Traceback" not in server.said


@pytest.mark.slow
def test_wrong_calls_end_in_one_line(tmp_path, server):
    for arguments, said in (
        (["--port", str(server.port)], "cannot be used on"),
        ([tmp_path / "nowhere"], "does not exist"),
        (["--host", "no.such.host.invalid"], "is not an address"),
        (["--features", "smell"], "unknown features"),
        (["--model", "no-such-model"], "there is no model"),
        (["--token", "a b"], "--token"),
        (["--weights", "clip"], "NAME=FILE"),
        (["--library", EXAMPLE], "cannot be used"),
    ):
        done = vtg("serve", *arguments, home=tmp_path)
        assert done.returncode == 2, done.stderr
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert said in lines[0]


@given(st.text(max_size=300))
def test_display_names(name):
    shown = display_name(name)
    assert shown
    assert shown.isprintable()
    assert not set(shown) & set("/\\")
    assert len(shown) <= 130
    assert display_name(shown) == shown
    assert attachment(shown).isascii()
    assert attachment(shown).isprintable()


def test_uploads_at_once_are_each_kept(server, client):
    contents = [other_video(100 + k % 6) for k in range(18)]
    with ThreadPoolExecutor(18) as pool:
        answers = list(pool.map(lambda content: server.upload(client, content, "same name.mp4"), contents))
    assert sorted(answer.status_code for answer in answers) == [200] * 12 + [201] * 6
    by_id = {answer.json()["id"]: content for answer, content in zip(answers, contents, strict=True)}
    assert len(by_id) == 6
    for video_id, content in by_id.items():
        got = client.get(f"/api/videos/{video_id}/file").content
        assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()
        client.delete(f"/api/videos/{video_id}")


def test_broken_upload_leaves_nothing(server, client, place):
    library = place / "home" / "vtg" / "library"
    before = files_in(library)

    def broken():
        yield EXAMPLE.read_bytes()
        raise RuntimeError("the network has gone")

    with pytest.raises(RuntimeError):
        client.post("/api/videos", content=broken())
    wait_for(lambda: files_in(library) == before, 10)
    assert "Traceback" not in server.said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipe_in_place_of_a_video(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("pipe.mp4", "video.mp4"):
        (folder / name).write_bytes(other_video(ord(name[0])))
    with serving(folder, home=tmp_path / "home") as server, server.client() as client:
        videos = {video["name"]: video["id"] for video in client.get("/api/videos").json()["videos"]}
        (folder / "pipe.mp4").unlink()
        os.mkfifo(folder / "pipe.mp4")
        with ThreadPoolExecutor(70) as pool:
            answers = list(
                pool.map(
                    lambda _: client.get(f"/api/videos/{videos['pipe.mp4']}/file", timeout=10), range(70)
                )
            )
        assert {answer.status_code for answer in answers} == {404}
        assert client.get(f"/api/videos/{videos['video.mp4']}/file", timeout=5).status_code == 200


@pytest.mark.slow
def test_slow_uploads_block_nothing(tmp_path):
    small = render(tmp_path / "small.mp4", frames=40, width=64, height=48)
    slow = slow_to_index(small.read_bytes(), 400_000)
    library = tmp_path / "home" / "vtg" / "library"
    with serving(EXAMPLE, home=tmp_path / "home") as server, server.client() as client:
        (video,) = client.get("/api/videos").json()["videos"]

        def upload(number: int) -> None:
            with server.client() as own, suppress(httpx.HTTPError):
                own.post("/api/videos", content=slow + bytes(number), timeout=300)

        threads = [threading.Thread(target=upload, args=(number,), daemon=True) for number in range(70)]
        for thread in threads:
            thread.start()
        wait_for(
            lambda: sum(path.stat().st_size >= len(slow) for path in library.glob(".upload.*")) == 70, 60
        )
        for _ in range(3):
            assert client.get(f"/api/videos/{video['id']}/file", timeout=5).status_code == 200
        assert client.get(f"/api/videos/{video['id']}/thumbnail", timeout=10).status_code == 200
        job = server.start_job(client, video["id"], "a cat").json()["id"]
        assert server.finished(client, job)["state"] == "done"
        assert client.get(f"/api/jobs/{job}/export/edl", timeout=10).status_code == 200
        assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system ends the child on Linux only")
def test_a_killed_server_leaves_no_process_behind(tmp_path):
    small = render(tmp_path / "small.mp4", frames=40, width=64, height=48)
    slow = slow_to_index(small.read_bytes(), 1_000_000)
    with serving(home=tmp_path / "home") as server, server.client() as client:
        own = psutil.Process(server.process.pid)

        def send() -> None:
            with suppress(httpx.HTTPError):
                server.upload(client, slow)

        sending = threading.Thread(target=send)
        sending.start()
        (child,) = wait_for(own.children, 20)
        wait_for(lambda: child.cpu_times().user > 1, 20)
        server.process.kill()
        child.wait(5)
        sending.join()


def test_library_needs_an_empty_folder(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    names = {".notes.swp.tmp", f"{'0123456789abcdef' * 2}.json", "letter.txt"}
    for name in names:
        (mine / name).write_text("{}")
        refused = vtg("serve", "--library", mine, "--port", "0", home=tmp_path)
        assert refused.returncode == 2
        assert f"holds other files ({name})" in refused.stderr
        assert files_in(mine) == {name}
        (mine / name).unlink()


def test_only_what_uploads_leave_is_swept(tmp_path):
    library = tmp_path / "library"
    swept = {f".upload.{'0' * 16}.tmp", f".{'a' * 32}.json.{'0' * 12}.tmp"}
    kept = {".notes.swp.tmp", ".upload.mine.tmp", "notes.tmp", "mine.json"}
    with serving("--library", library, home=tmp_path / "home") as server, server.client() as client:
        video = server.upload(client, EXAMPLE.read_bytes()).json()
    for name in swept | kept:
        (library / name).write_text("something")
    (library / MARKER).unlink()
    for name in kept:  # without these it is known for one of uploads by the uploads in it
        (library / name).rename(tmp_path / name)
    with serving("--library", library, home=tmp_path / "home") as server, server.client() as client:
        assert client.get("/api/videos").json()["videos"] == [video]
    for name in kept:
        (tmp_path / name).rename(library / name)
    with serving("--library", library, home=tmp_path / "home") as server, server.client() as client:
        assert client.get("/api/videos").json()["videos"] == [video]
    assert files_in(library) == kept | {f"{video['id']}.mp4", f"{video['id']}.json"}


def test_nan_model_fails_its_job(tmp_path, cache):
    checkpoint = small_checkpoint()
    for weight in checkpoint.weights.values():
        weight.fill_(float("nan"))
    save_checkpoint(checkpoint, tmp_path / "nan.safetensors")
    with (
        serving(EXAMPLE, "--model", tmp_path / "nan.safetensors", home=tmp_path, cache=cache) as server,
        server.client() as client,
    ):
        (video,) = client.get("/api/videos").json()["videos"]
        job = server.finished(client, server.start_job(client, video["id"], "a cat").json()["id"])
        assert job["state"] == "failed"
        assert "numbers that are not finite" in job["error"]


def test_folder_changes_are_followed(tmp_path):
    folder, single = tmp_path / "videos", tmp_path / "single.mp4"
    folder.mkdir()
    (folder / "first.mp4").write_bytes(other_video(1))
    single.write_bytes(other_video(2))
    with serving(folder, single, home=tmp_path / "home") as server, server.client() as client:

        def offered() -> dict[str, str]:
            return {video["name"]: video["id"] for video in client.get("/api/videos").json()["videos"]}

        def until(*names: str) -> dict[str, str]:
            return wait_for(lambda: set(now := offered()) == set(names) and now, 15)

        start = until("first.mp4", "single.mp4")
        answer = client.get("/api/videos")
        known = {"If-None-Match": answer.headers["etag"]}
        assert client.get("/api/videos", headers=known).status_code == 304

        # A copy that takes its time is offered once it is whole.
        (folder / "trip").mkdir()
        content = other_video(3)
        with (folder / "trip" / "slow.mp4").open("wb") as copy:
            for part in (content[:300_000], content[300_000:600_000], content[600_000:]):
                copy.write(part)
                copy.flush()
                time.sleep(0.5)
        (folder / "notes.mp4").write_text("no video")
        now = until("first.mp4", "single.mp4", "slow.mp4")
        assert start.items() <= now.items()
        assert client.get(f"/api/videos/{now['slow.mp4']}/file").content == content
        changed = client.get("/api/videos", headers=known)
        assert changed.status_code == 200
        assert changed.headers["etag"] != known["If-None-Match"]

        (folder / "trip" / "slow.mp4").unlink()
        single.rename(tmp_path / "elsewhere.mp4")
        until("first.mp4")
        (tmp_path / "elsewhere.mp4").rename(single)
        assert until("first.mp4", "single.mp4") == start
        # Another content under the same name is another video.
        (folder / "first.mp4").write_bytes(other_video(4))
        wait_for(lambda: offered()["first.mp4"] != start["first.mp4"], 15)
        assert client.get(f"/api/videos/{start['first.mp4']}").status_code == 404
        (folder / "first.mp4").unlink()
        (folder / "first.mp4").symlink_to(single)
        until("single.mp4")
        assert server.said.count("notes.mp4: left out") == 1
        assert "first.mp4: left out: it is a link" in server.said
        assert "Traceback" not in server.said
