"""Searches in all videos over the API of a real server, and what it adds to the library in the background."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.search.library import Library
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.cues.rendering import Line, srt
from tests.extractors.rendering import render
from tests.serve.running import Server, serving, wait_for

EXAMPLE = EXAMPLES / "example.mp4"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two folders with three videos: the example twice, and a short one."""
    place = tmp_path_factory.mktemp("library")
    pets = place / "videos" / "pets"
    pets.mkdir(parents=True)
    shutil.copy(EXAMPLE, pets / "Example One.mp4")
    (pets / "copy.mp4").write_bytes(EXAMPLE.read_bytes() + b"\0\0\0\x08free")
    render(place / "videos" / "short.mp4", frames=40, fps=10)
    (place / "videos" / "short.srt").write_text(srt([Line(1, 3, "The budget is four million.")]))
    return place


@pytest.fixture(scope="module")
def server(place) -> Iterator[Server]:
    with serving(place / "videos", home=place / "home") as running:
        yield running


@pytest.fixture(scope="module")
def client(server) -> Iterator[httpx.Client]:
    with server.client() as opened:
        opened.post("/api/library/add").raise_for_status()
        wait_for(lambda: is_whole(opened), 240)
        yield opened


def is_whole(client: httpx.Client) -> bool:
    state = client.get("/api/library").json()
    assert state["error"] is None
    return state["adding"] is None and state["searchable"] == state["videos"] > 0


def search(client: httpx.Client, query: str = "a cat", **options: Any) -> dict[str, Any]:
    answer = client.post("/api/search", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_is_said_is_found_and_quoted(client):
    first, *others = search(client, "the budget")["hits"]
    assert (first["name"], first["start_s"], first["clear_match"]) == ("short.mp4", 1.0, True)
    assert (first["source"], first["stream"], first["text"]) == (
        "subtitles",
        "short.srt",
        "The budget is four million.",
    )
    assert others
    assert not any("text" in hit for hit in others)


def names(found: dict[str, Any]) -> set[str]:
    return {hit["name"] for hit in found["hits"]}


def test_nothing_is_added_unasked(place):
    with serving(place / "videos", home=place / "unasked") as running, running.client() as client:
        state = client.get("/api/library").json()
        assert (state["videos"], state["searchable"], state["following"]) == (3, 0, False)
        found = search(client)
        assert (found["videos"], found["hits"]) == (0, [])
        assert found["notes"] == ["None of these videos is in the library yet."]
        assert search(client, name="holiday")["notes"] == ["No video fits the filters."]
        assert client.get("/api/library").json()["searchable"] == 0
    assert not (place / "unasked" / "vtg" / "libraries").exists()


def test_best_moments_of_all_videos(client):
    found = search(client, "a cup of coffee")
    best = found["hits"][0]
    assert best["name"] in ("Example One.mp4", "copy.mp4")
    assert 20 <= best["start_s"] <= 22
    assert best["clear_match"]
    assert found["clear_match"]
    assert (found["videos"], found["looked_into"], found["has_more"]) == (3, 3, False)
    assert found["model_notes"]
    ranks = [hit["score"] * hit["evidence"] for hit in found["hits"]]
    assert ranks == pytest.approx(sorted(ranks, reverse=True), abs=1e-3)
    video = client.get(f"/api/videos/{best['video_id']}").json()
    assert (video["name"], video["folder"]) == (best["name"], "videos/pets")
    assert str(EXAMPLE.parent) not in str(found)


def test_more_hits_continue_the_list(client):
    lists = [search(client, per_video=9, top_k=top_k) for top_k in (3, 101, 500, 10_000)]
    for shorter, longer in pairwise(lists):
        assert longer["hits"][: len(shorter["hits"])] == shorter["hits"]
    assert [found["has_more"] for found in lists] == [True, False, False, False]
    assert len(lists[0]["hits"]) == 3 < len(lists[1]["hits"])


def test_a_search_goes_on_where_it_ended(client):
    everything = search(client, per_video=9, top_k=10_000)
    assert everything["next"] is None
    found = search(client, per_video=9, top_k=3)
    listed = found["hits"]
    assert listed == everything["hits"][:3]
    while found["has_more"]:
        body = {"next": found["next"], "top_k": 2}
        found = client.post("/api/search/more", json=body).raise_for_status().json()
        assert client.post("/api/search/more", json=body).json() == found
        assert len(found["hits"]) <= 2
        assert (found["query"], found["videos"]) == ("a cat", 3)
        listed += found["hits"]
    assert found["next"] is None
    assert listed == everything["hits"]


def test_only_a_search_that_is_kept_goes_on(client):
    following = search(client, top_k=1)["next"]
    name, _, start = following.partition(".")
    for wrong in (
        "x",
        name,
        f"{name}.",
        f"{name}.-1",
        f"{name}.2",
        f"{name}.{start}.0",
        f"{name}.\u0661",
        "0" * 32 + ".1",
    ):
        answer = client.post("/api/search/more", json={"next": wrong})
        assert (answer.status_code, answer.json()) == (
            410,
            {"error": "this search is no longer kept; search again"},
        ), wrong
    for body, words in {
        (): "next: is missing",
        (("next", ""),): "next: is empty",
        (("next", "x" * 101),): "next: has more than 100 characters",
        (("next", following), ("top_k", 0)): "top_k: has to be 1 or more",
        (("next", following), ("query", "a dog")): "query: there is no such field",
    }.items():
        answer = client.post("/api/search/more", json=dict(body))
        assert (answer.status_code, answer.json()) == (422, {"error": words})
    assert client.post("/api/search/more", json={"next": following}).status_code == 200
    for _ in range(32):
        search(client, top_k=1)
    assert client.post("/api/search/more", json={"next": following}).status_code == 410


def test_filters(client):
    assert names(search(client, name="example")) == {"Example One.mp4"}
    assert names(search(client, name="EXAM*.mp4")) == {"Example One.mp4"}
    assert names(search(client, folder="videos/pets")) == {"Example One.mp4", "copy.mp4"}
    assert names(search(client, folder="videos")) == {"Example One.mp4", "copy.mp4", "short.mp4"}
    assert search(client, folder="videos/pet")["videos"] == 0
    assert names(search(client, longer_than_s=10)) == {"Example One.mp4", "copy.mp4"}
    assert all(hit["clear_match"] for hit in search(client, only_clear=True)["hits"])
    one_each = search(client, per_video=1)["hits"]
    assert len({hit["video_id"] for hit in one_each}) == len(one_each) == 3
    assert len(search(client, top_k=2)["hits"]) == 2
    assert search(client, top_k=2)["has_more"]


def test_wrong_requests_are_refused_in_words(client):
    for body, words in {
        (): "query: is missing",
        (("query", "  "),): "query: is blank",
        (("query", "a cat"), ("top_k", 0)): "top_k: has to be 1 or more",
        (("query", "a cat"), ("only_clear", "yes")): "only_clear: has to be true or false",
    }.items():
        answer = client.post("/api/search", json=dict(body))
        assert (answer.status_code, answer.json()) == (422, {"error": words})


def test_arrivals_are_added_and_deleted_uploads_leave(client, server, place):
    # What is not a video any more when it is read does not stop the rest.
    shutil.copy(EXAMPLES / "example.mp4", place / "videos" / "new.mp4")
    uploaded = server.upload(client, EXAMPLE.read_bytes() + b"\0\0\0\x09free.", "uploaded.mp4").json()
    wait_for(lambda: {"new.mp4", "uploaded.mp4"} <= names(search(client, per_video=1)), 240)
    with Library.open(place / "home" / "vtg" / "libraries" / "default") as library:
        files = {path.name for video in library.videos() for path in (video.path, *video.copies)}
        assert "new.mp4" in files
        # `vtg index update` goes on with the folder; an upload is one file.
        uploads = {root.name.partition(".")[0] for root in library.info().roots if root.is_file()}
        assert set(library.info().roots) >= {place / "videos"}
        assert uploads == {uploaded["id"]}
        assert any(name.startswith(uploaded["id"]) for name in files)
        assert client.delete(f"/api/videos/{uploaded['id']}").status_code == 204
        assert "uploaded.mp4" not in names(search(client))
        wait_for(
            lambda: not any(video.path.name.startswith(uploaded["id"]) for video in library.videos()), 60
        )
    (place / "videos" / "new.mp4").unlink()
    wait_for(lambda: "new.mp4" not in names(search(client)), 60)


def test_a_changed_video_is_added_again(client, place):
    path = place / "videos" / "short.mp4"
    path.write_bytes(EXAMPLE.read_bytes() + b"\0\0\0\x0afree..")
    wait_for(
        lambda: any(hit["start_s"] > 10 for hit in search(client, name="short", per_video=9)["hits"]), 240
    )


def test_adding_can_be_cancelled(place, tmp_path):
    (tmp_path / "videos").mkdir()
    render(tmp_path / "videos" / "long.mp4", frames=3000, fps=2, width=160, height=96)
    with (
        serving(tmp_path / "videos", "--index", "films", home=tmp_path / "home") as running,
        running.client() as client,
    ):
        seen = wait_for(lambda: (s := client.get("/api/library").json())["adding"] and s, 60)
        assert (seen["following"], seen["adding"]["total"]) == (True, 1)
        assert not client.post("/api/library/cancel").json()["following"]
        wait_for(lambda: client.get("/api/library").json()["adding"] is None, 60)
        assert client.get("/api/library").json()["searchable"] == 0


def test_a_library_in_object_storage(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "here"))
    (tmp_path / "videos").mkdir()
    render(tmp_path / "videos" / "one.mp4", frames=40, fps=10)
    library = f"{bucket.url}/library"
    with (
        serving(tmp_path / "videos", "--index", library, home=tmp_path / "home") as running,
        running.client() as client,
    ):
        wait_for(lambda: is_whole(client), 120)
        assert names(search(client)) == {"one.mp4"}
    with Library.open(library) as opened:
        assert [video.path.name for video in opened.videos()] == ["one.mp4"]


def test_a_named_library_brings_its_videos_but_not_removed_ones(place, tmp_path):
    home, videos = tmp_path / "home", tmp_path / "videos"
    videos.mkdir()
    render(videos / "one.mp4", frames=40, fps=10)
    render(videos / "a removed one.mp4", frames=30, fps=10)
    made = vtg("index", "add", videos, "--library", "films", home=home)
    assert made.returncode == 0, made.stderr
    with Library.open(home / "vtg" / "libraries" / "films") as library:
        library.remove([videos / "a removed one.mp4"])
    render(videos / "two.mp4", frames=50, fps=10)
    with serving("--index", "films", home=home) as running, running.client() as client:
        wait_for(lambda: names(search(client)) == {"one.mp4", "two.mp4"}, 60)
        state = client.get("/api/library").json()
        assert (state["videos"], state["searchable"]) == (3, 2)
        client.post("/api/library/add").raise_for_status()
        wait_for(lambda: is_whole(client), 60)
