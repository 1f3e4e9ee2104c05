"""Libraries of real small videos, found by their colours."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from extractors.cache.store import FeatureCache
from extractors.errors import UsageError, VideoError
from extractors.extraction.pipeline import extract_features
from model import Grounder
from model.search.filters import Filters
from model.search.library import Library
from model.search.ranking import Grounded
from model.search.results import to_document
from model.search.storage.places import library_folder
from tests.model.search.colours import colour_library, colour_video, colour_videos
from tests.test_architecture_page import ROOT

SCENES = {
    "red.mp4": [("black", 6), ("red", 4), ("black", 6)],
    "blue.mp4": [("black", 4), ("blue", 6)],
    "both.mp4": [("blue", 3), ("black", 5), ("red", 3), ("black", 8), ("red", 3)],
    "black.mp4": [("black", 5)],
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    colour_videos(folder, SCENES)
    time.sleep(2.1)  # files that have just been written are looked at again
    return folder


@pytest.fixture(scope="module")
def library(videos, tmp_path_factory) -> Iterator[Library]:
    place = tmp_path_factory.mktemp("library")
    with colour_library(place / "index", place / "cache") as made:
        made.add([videos])
        yield made


@pytest.fixture
def empty(tmp_path) -> Iterator[Library]:
    with colour_library(tmp_path / "index", tmp_path / "cache") as made:
        yield made


def names(result) -> list[str]:
    return [hit.video.name for hit in result.hits]


def test_best_video_first_with_its_moment(library):
    red, blue = library.search(["red", "blue"], per_video=1, top_k=2)
    assert sorted(names(red)) == ["both.mp4", "red.mp4"]
    assert sorted(names(blue)) == ["blue.mp4", "both.mp4"]
    (hit,) = [hit for hit in red.hits if hit.video.name == "red.mp4"]
    assert (hit.start_s, hit.end_s) == pytest.approx((6, 10), abs=1.01)
    assert (red.videos, red.clear_match) == (4, True)


def test_moments_are_those_of_grounding(library, videos):
    (result,) = library.search("red", top_k=50, per_video=5)
    for name in SCENES:
        (alone,) = library.grounder.ground(videos / name, "red", top_k=5)
        found = {(hit.start_s, hit.end_s, hit.score) for hit in result.hits if hit.video.name == name}
        assert found == {(m.start_s, m.end_s, m.score) for m in alone.moments}


def test_hits_are_ranked_by_evidence_and_score(library):
    (result,) = library.search("red", top_k=50)
    ranks = [hit.evidence * hit.score for hit in result.hits]
    assert ranks == sorted(ranks, reverse=True)
    assert result.hits[0].evidence == pytest.approx(1, abs=0.01)


def test_hits_of_a_video_are_limited(library):
    (two,) = library.search("red", per_video=2, top_k=50)
    (one,) = library.search("red", per_video=1, top_k=50)
    assert names(two).count("both.mp4") == 2
    assert max(names(one).count(name) for name in SCENES) == 1


def test_only_the_likeliest_videos_are_loaded(library, monkeypatch):
    loaded = []
    load = FeatureCache.load_content

    def counting(self, *args, **options):
        loaded.append(options["path"].name)
        return load(self, *args, **options)

    monkeypatch.setattr(FeatureCache, "load_content", counting)
    monkeypatch.setattr("model.search.library._LOOKED_INTO", 2)
    monkeypatch.setattr("model.search.library._LOOKED_INTO_A_HIT", 1)
    (result,) = library.search("red", top_k=2, per_video=3, threshold=0.99)
    assert set(loaded) <= {"both.mp4", "red.mp4"}
    assert (result.videos, result.looked_into) == (4, len(loaded))


def test_videos_that_can_hold_no_hit_are_not_looked_into(library):
    (all_,) = library.search("red", top_k=50)
    assert all_.looked_into == 4
    for top_k in (1, 2, 3, 4):
        (some,) = library.search("red", top_k=top_k)
        assert some.hits == all_.hits[:top_k]
        assert some.looked_into < 4
    (several, alone) = library.search(["red", "blue"], top_k=2)[0], library.search("red", top_k=2)[0]
    assert several.hits == alone.hits


def test_longer_lists_ground_no_video_twice(library, monkeypatch):
    loaded = []
    load = FeatureCache.load_content

    def counting(self, *args, **options):
        loaded.append(options["path"].name)
        return load(self, *args, **options)

    monkeypatch.setattr(FeatureCache, "load_content", counting)
    grounded = Grounded()
    for top_k in (1, 3, 50):
        again = library.search("red", top_k=top_k, grounded=grounded)
        count = len(loaded)
        assert again == library.search("red", top_k=top_k)
        del loaded[count:]
    assert sorted(loaded) == sorted(SCENES)
    assert grounded.size_bytes > 0
    assert [r.looked_into for r in library.search("red", most_videos=2, grounded=grounded)] == [2]
    assert len(loaded) == len(SCENES)


def test_long_videos_are_few(library, monkeypatch):
    monkeypatch.setattr("model.search.library._MOST_CLIPS", 30)
    (result,) = library.search("red", top_k=1)
    assert names(result)[0] in ("both.mp4", "red.mp4")
    assert result.looked_into == 1
    assert len(library.search("yellow", top_k=3)[0].hits) == 3


def test_nothing_matches_clearly(library):
    (result,) = library.search("yellow")
    assert (result.clear_match, bool(result.hits)) == (False, True)
    (clear,) = library.search("yellow", only_clear=True)
    assert (clear.clear_match, clear.hits, clear.answers) == (False, (), ())
    assert library.search("yellow", threshold=1.0)[0].hits == ()


def test_answers_hold_the_hits_alone(library):
    (result,) = library.search("red", top_k=3, per_video=2)
    moments = [(a.video, m.start_s, m.score) for a in result.answers for m in a.moments]
    assert sorted(moments) == sorted((str(hit.video), hit.start_s, hit.score) for hit in result.hits)
    assert [a.video for a in result.answers] == list(dict.fromkeys(str(hit.video) for hit in result.hits))


def test_document_is_plain_json(library):
    document = json.loads(json.dumps(to_document(library.search(["red", "blue"])), allow_nan=False))
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    example, schema = map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
    jsonschema.Draft202012Validator.check_schema(schema)
    for one in (example, document):
        jsonschema.validate(one, schema)
    document["results"][0]["hits"][0]["score"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
    assert [result["query"] for result in document["results"]] == ["red", "blue"]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (Filters(name="b*.mp4"), {"blue.mp4", "both.mp4", "black.mp4"}),
        (Filters(longer_than_s=10), {"red.mp4", "blue.mp4", "both.mp4"}),
        (Filters(longer_than_s=10, name="b*"), {"blue.mp4", "both.mp4"}),
        (Filters(newer_than_s=0), set(SCENES)),
        (Filters(newer_than_s=4e9), set()),
        (Filters(inside=(Path("/elsewhere"),)), set()),
    ],
)
def test_filters(library, filters, kept):
    (result,) = library.search("red", top_k=50, filters=filters)
    assert set(names(result)) == kept
    assert result.videos == len(kept)
    assert {video.path.name for video in library.videos(filters)} == kept


def test_only_given_paths(library, videos):
    (result,) = library.search("red", top_k=50, filters=Filters(among=(videos / "blue.mp4",)))
    assert set(names(result)) == {"blue.mp4"}
    assert [v.path.name for v in library.videos(Filters(name=f"{videos}/r*"))] == ["red.mp4"]


def test_no_video_is_decoded_or_read_again(empty, videos, monkeypatch):
    empty.add([videos])
    monkeypatch.setattr("model.search.intake.extract_each", None)
    again = empty.add([videos])
    assert [result.status for result in again.results] == ["cached"] * len(SCENES)


def test_features_of_the_cache_are_used(empty, videos):
    grounder = empty.grounder
    extract_features([videos / "red.mp4"], grounder.video_encoders, grounder.cache, grounder.extraction)
    added = empty.add([videos])
    assert [result.status for result in added.results].count("cached") == 1


def test_broken_file_is_reported_and_the_rest_added(empty, tmp_path):
    colour_video(tmp_path / "v" / "red.mp4", [("red", 3)])
    (tmp_path / "v" / "bad.mp4").write_bytes(b"no video")
    heard = []
    changes = empty.add([tmp_path / "v"], on_event=heard.append, on_start=heard.append)
    assert heard[0] == 2
    (failed,) = changes.failed
    assert failed.path.name == "bad.mp4"
    assert isinstance(failed.error, VideoError)
    assert [video.path.name for video in empty.videos()] == ["red.mp4"]
    assert empty.info().unreadable == (tmp_path / "v" / "bad.mp4",)


def test_nothing_but_broken_files(empty, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert len(empty.add([tmp_path / "bad.mp4"]).failed) == 1
    (result,) = empty.search("red")
    assert (result.hits, result.videos) == ((), 0)


def test_copies_are_one_video(empty, tmp_path):
    first = colour_video(tmp_path / "v" / "a.mp4", [("red", 3)])
    shutil.copy(first, tmp_path / "v" / "b.mp4")
    empty.add([tmp_path / "v"])
    (video,) = empty.videos()
    assert (video.path, video.copies) == (first, (tmp_path / "v" / "b.mp4",))
    assert names(empty.search("red", per_video=1)[0]) == ["a.mp4"]
    assert names(empty.search("red", per_video=1, filters=Filters(name="b.mp4"))[0]) == ["b.mp4"]
    first.unlink()
    assert names(empty.search("red", per_video=1)[0]) == ["b.mp4"]


def test_changed_and_vanished_files_are_left_out(empty, tmp_path):
    changed, gone = colour_videos(tmp_path / "v", {"a.mp4": [("red", 3)], "b.mp4": [("red", 3)]})
    empty.add([tmp_path / "v"])
    changed.write_bytes(changed.read_bytes() + b"0")
    gone.unlink()
    (result,) = empty.search("red")
    assert (result.hits, set(result.stale)) == ((), {changed, gone})


def test_recipes_never_mix(empty, tmp_path):
    colour_video(tmp_path / "red.mp4", [("red", 4)])
    empty.add([tmp_path / "red.mp4"])
    with colour_library(empty.folder, tmp_path / "cache", fps=2) as denser:
        with pytest.raises(UsageError, match=r"holds colour \(1 fps\), not colour"):
            denser.search("red")
        denser.add([tmp_path / "red.mp4"])
        assert denser.search("red")[0].hits
        assert [(r.spec.clip_length_s, r.videos) for r in denser.info().recipes] == [(1.0, 1), (0.5, 1)]
    assert empty.search("red")[0].hits


def test_features_of_a_library_are_its_first(empty, tmp_path):
    colour_video(tmp_path / "red.mp4", [("red", 4)])
    empty.add([tmp_path / "red.mp4"])
    asked = []

    def load(model, *, features, fps):
        asked.append((model, features, fps))
        return Grounder.load(model, features=features, fps=fps, cache=tmp_path / "cache", offline=True)

    with Library.open(empty.folder, load=load) as library:
        assert library.search("red")[0].hits
    assert asked == [("auto", "colour", None)]


def test_many_segments_of_one_video_hide_no_other(empty, tmp_path):
    colour_video(tmp_path / "long.mp4", [("red", 1), ("black", 1)] * 40)
    colour_video(tmp_path / "short.mp4", [("black", 2), ("red", 2)])
    empty.add([tmp_path / "long.mp4", tmp_path / "short.mp4"])
    assert set(names(empty.search("red", per_video=1)[0])) == {"long.mp4", "short.mp4"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": ""}, "a query is empty"),
        ({"queries": []}, "a query is empty"),
        ({"queries": "red", "top_k": 0}, "at least 1"),
        ({"queries": "red", "per_video": 0}, "at least 1"),
        ({"queries": "red", "most_videos": 0}, "at least 1"),
    ],
)
def test_wrong_requests(library, arguments, message):
    with pytest.raises(UsageError, match=message):
        library.search(**arguments)


def test_missing_library(empty):
    assert empty.videos() == []
    for use in (empty.info, lambda: empty.search("red")):
        with pytest.raises(UsageError, match="there is no library here"):
            use()
    assert not empty.folder.exists()


def test_library_whose_first_writer_was_killed(empty, tmp_path):
    empty.folder.mkdir()
    (empty.folder / "catalogue.sqlite").touch()
    assert empty.videos() == []
    with pytest.raises(UsageError, match="there is no library here"):
        empty.search("red")
    colour_video(tmp_path / "red.mp4", [("red", 4)])
    empty.add([tmp_path / "red.mp4"])
    assert names(empty.search("red", per_video=1)[0]) == ["red.mp4"]


def test_library_that_was_deleted(empty, tmp_path):
    colour_video(tmp_path / "red.mp4", [("red", 4)])
    empty.add([tmp_path / "red.mp4"])
    assert empty.search("red")[0].hits
    shutil.rmtree(empty.folder)
    assert empty.videos() == []
    empty.add([tmp_path / "red.mp4"])
    assert empty.search("red")[0].hits
    shutil.rmtree(empty.folder)
    with colour_library(empty.folder, tmp_path / "cache") as other:
        other.add([colour_video(tmp_path / "blue.mp4", [("blue", 4)])])
    assert names(empty.search("blue", per_video=1)[0]) == ["blue.mp4"]


def test_places(monkeypatch, tmp_path):
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    assert library_folder() == tmp_path / "libraries" / "default"
    assert library_folder("my work") == tmp_path / "libraries" / "my work"
    assert library_folder("./work") == Path("work")
    assert library_folder(Path("work")) == Path("work")
    for wrong in ("", "a?b", ".hidden"):
        with pytest.raises(UsageError, match="--library"):
            library_folder(wrong)


def test_paths_that_are_not_there(empty, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        empty.add([tmp_path / "missing.mp4"])
