"""`Grounder`, the Python surface, on real videos with the `lite` features."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from extractors.cache.store import FeatureCache
from extractors.decoding.subprocess_reader import DecodeProcess
from extractors.encoders.base import EncoderOptions
from extractors.encoders.lite.class_words import class_words
from extractors.encoders.lite.conse import embed_probabilities
from extractors.encoders.registry import load_video_encoder
from extractors.errors import UsageError, VideoError, WeightsMissing
from extractors.extraction.pipeline import extract_features
from model import Grounder
from model.grounding.encoded import EncodedVideo
from model.grounding.results import to_document
from model.grounding.zeroshot.class_words import named_classes
from tests.cli.running import EXAMPLES
from tests.extractors.rendering import render
from tests.hostile import damaged_in_the_middle, undecodable_packet

EXAMPLE = EXAMPLES / "example.mp4"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FeatureCache:
    return FeatureCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def grounder(cache) -> Grounder:
    return Grounder.load(features="lite", cache=cache, offline=True)


@pytest.fixture(scope="module")
def video(grounder):
    return grounder.encode(EXAMPLE)


def test_video_is_encoded_once(grounder, video):
    again = grounder.encode(EXAMPLE)
    assert video.duration_s == pytest.approx(50, abs=0.1)
    np.testing.assert_array_equal(again.features["lite"], video.features["lite"])


def test_batched_queries_match_single(grounder, video):
    together = grounder.ground(video, ["a cat", "a cup of coffee"])
    alone = [grounder.ground(video, query)[0] for query in ("a cat", "a cup of coffee")]
    assert together == alone


def test_places_that_no_class_is_named_after(grounder):
    rng = np.random.default_rng(0)
    shown = {"a street at night": (0, 12), "a kitchen": (12, 30), "a lake": (30, 38)}
    logits = rng.normal(size=(38, 1000)).astype(np.float32)
    for place, (start, end) in shown.items():
        classes = named_classes(place, class_words())
        assert len(classes) > 10
        seen = rng.choice(classes, size=4, replace=False)
        logits[start:end, seen] += rng.uniform(4, 6, size=4)
    video = EncodedVideo(Path("places.mp4"), 38.0, {"lite": embed_probabilities(logits)})
    found = grounder.ground(video, [*shown, "an office", "a bedroom"], top_k=1)
    assert [result.clear_match for result in found] == [True, True, True, False, False]
    for result, window in zip(found, shown.values(), strict=False):
        best = result.moments[0]
        assert (best.start_s, best.end_s) == pytest.approx(window, abs=2)


def test_a_path_is_as_good_as_an_encoded_video(grounder, video):
    assert grounder.ground(EXAMPLE, "a cat") == grounder.ground(video, "a cat")


def test_threshold_and_top_k(grounder, video):
    all_moments = grounder.ground(video, "a cat", top_k=50)[0].moments
    assert grounder.ground(video, "a cat", top_k=2)[0].moments == all_moments[:2]
    kept = grounder.ground(video, "a cat", top_k=50, threshold=0.5)[0].moments
    assert kept == tuple(moment for moment in all_moments if moment.score >= 0.5)


def test_the_document_is_plain_json(grounder, video):
    results = grounder.ground(video, "a cat")
    document = json.loads(json.dumps(to_document(results), allow_nan=False))
    assert document["results"][0]["moments"][0]["start_s"] == results[0].moments[0].start_s


def test_a_denser_grid(cache):
    grounder = Grounder.load(features="lite", fps=2, cache=cache, offline=True)
    answer = grounder.ground(EXAMPLE, "a cat")[0]
    assert answer.saliency.clip_length_s == 0.5
    assert len(answer.saliency.scores) == 100
    assert (answer.moments[0].start_s, answer.moments[0].end_s) == pytest.approx((6, 14), abs=0.5)


def test_lite_without_clip_weights(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    grounder = Grounder.load(cache=cache, offline=True)
    assert grounder.model.features == ("lite",)
    assert "vtg weights pull clip-vit-b-32" in grounder.notes[0]


def test_named_features_without_weights_are_an_error(cache, monkeypatch, tmp_path):
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsMissing, match="clip-vit-b-32"):
        Grounder.load(features="clip", cache=cache, offline=True)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "wonder"}, "wonder"),
        ({"features": "sound"}, "sound"),
        ({"fps": 3, "features": "lite"}, "fps"),
    ],
)
def test_wrong_options_are_named(options, word, cache):
    with pytest.raises(UsageError, match=word):
        Grounder.load(cache=cache, offline=True, **options)


@pytest.mark.parametrize(("queries", "top_k"), [([], 5), ([""], 5), (["a\udcff"], 5), (["a cat"], 0)])
def test_wrong_requests_are_refused(grounder, video, queries, top_k):
    with pytest.raises(UsageError):
        grounder.ground(video, queries, top_k=top_k)


def test_a_file_that_is_no_video_is_named(grounder, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("these are notes")
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        grounder.encode(path)


def test_subprocess_only_for_uncached_videos(cache, tmp_path, monkeypatch):
    started = []
    original = subprocess.Popen
    monkeypatch.setattr(
        "extractors.subprocesses.parent.subprocess.Popen",
        lambda *command, **options: started.append(1) or original(*command, **options),
    )
    grounder = Grounder.load(features="lite", cache=cache, offline=True)
    path = render(tmp_path / "v.mp4", frames=100, fps=10)
    assert len(grounder.ground(path, "a cat")[0].saliency.scores) == 10
    assert len(started) == 1
    again = Grounder.load(features="lite", cache=cache, offline=True)
    again.ground(path, ["a cat", "a dog"])
    assert len(started) == 1


def test_damaged_video_matches_extract(tmp_path):
    _, damaged = damaged_in_the_middle(tmp_path)
    answered = FeatureCache(tmp_path / "answered")
    (result,) = Grounder.load(features="lite", cache=answered, offline=True).ground(damaged, "a cat")
    encoder = load_video_encoder("lite", EncoderOptions(clip_length_s=1.0, offline=True))
    extracted = FeatureCache(tmp_path / "extracted")
    report = extract_features([damaged], [encoder], extracted)
    assert result.facts == report.results[0].facts
    ((start_s, end_s),) = report.results[0].facts.damaged_s
    assert start_s <= 15 <= end_s
    entries = [next(cache.root.rglob("lite_features/*.npz")) for cache in (answered, extracted)]
    assert entries[0].read_bytes() == entries[1].read_bytes()


def test_damage_is_told_of_cached_videos_too(cache, tmp_path):
    path = undecodable_packet(tmp_path, 30)
    documents = []
    for _ in range(2):
        events = []
        grounder = Grounder.load(features="lite", cache=cache, offline=True, on_event=events.append)
        documents.append(to_document(grounder.ground(path, "a cat")))
        assert events[-1].facts.damaged_s == ((0.4, 4.4),)
    assert documents[0] == documents[1]
    assert documents[0]["results"][0]["damaged_s"] == [[0.4, 4.4]]
    assert [event.status for event in events] == ["cached"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that root cannot write either")
def test_what_cannot_be_kept_is_decoded_once(tmp_path, monkeypatch):
    """And in the subprocess: the features are answered from as they are."""
    opened = []
    original = DecodeProcess.decode
    monkeypatch.setattr(
        DecodeProcess, "decode", lambda self, request: opened.append(request.path) or original(self, request)
    )
    monkeypatch.setattr(
        "extractors.decoding.clip_reader.ClipReader.__init__", None
    )  # nothing is decoded in this process
    errors = []
    cache = FeatureCache("/proc/nowhere/cache", on_write_error=errors.append)
    grounder = Grounder.load(features="lite", cache=cache, offline=True)
    assert grounder.ground(render(tmp_path / "a.mp4", frames=20, fps=10, width=64, height=64), "a cat")
    assert len(opened) == len(errors) == 1


def test_many_videos_in_order(cache, tmp_path):
    """From one subprocess, while the next is decoded; what is cached comes in between."""
    paths = [render(tmp_path / f"{n}.mp4", frames=20 + 10 * n, fps=10, width=64, height=64) for n in range(3)]
    notes = tmp_path / "notes.mp4"
    notes.write_text("these are notes")
    grounder = Grounder.load(features="lite", cache=cache, offline=True)
    grounder.encode(paths[1])
    encoded = list(grounder.encode_each([paths[0], notes, paths[1], paths[2]]))
    assert [video.path for video in encoded] == [paths[0], notes, paths[1], paths[2]]
    assert isinstance(encoded[1], VideoError)
    assert [len(encoded[place].features["lite"]) for place in (0, 2, 3)] == [2, 3, 4]
    results = grounder.ground_videos([encoded[3], paths[0]], "a cat")
    assert [result.video for result in results] == [str(paths[2]), str(paths[0])]
    with pytest.raises(VideoError, match="notes"):
        grounder.ground_videos([paths[0], notes, paths[1]], "a cat")
