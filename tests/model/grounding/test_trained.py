"""Grounding with a trained model: from a checkpoint on disk to ranked moments, on a real video."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extractors.cache.store import FeatureCache
from extractors.errors import FeatureMismatch, UsageError, WeightsInvalid, WeightsMissing
from extractors.features import TextFeatures
from model import Grounder
from model.checkpoints.checkpoint import Checkpoint, feature_specs, save_checkpoint
from model.checkpoints.store import (
    add_model,
    features_of,
    find_model,
    installed_models,
    model_name,
    models_dir,
    read_model,
    require_model,
    require_models,
)
from model.config import Config
from model.grounding.encoded import EncodedVideo
from model.grounding.trained import TrainedModel
from model.network.flashvtg import FlashVTG
from tests.cli.running import EXAMPLES, vtg
from tests.shared_data import shared

EXAMPLE = EXAMPLES / "example.mp4"


def small_config(**data: object) -> Config:
    """A small FlashVTG that reads the `lite` features."""
    return Config.from_dict(
        {
            "name": "charades-sta-lite",
            "data": {
                "dataset": "charades_sta",
                "clip_length_s": 1.0,
                "video_features": [{"name": "lite", "dim": 384}],
                "text_features": {"name": "lite_text", "dim": 384},
                "max_words": 32,
                **data,
            },
            "model": {
                "video_dim": 384,
                "text_dim": 384,
                "hidden_dim": 32,
                "heads": 4,
                "feedforward_dim": 64,
                "dummies": 3,
                "dummy_layers": 1,
                "cross_attention_layers": 1,
                "encoder_layers": 1,
            },
            "training": {
                "epochs": 1,
                "batch_size": 2,
                "learning_rate": 1e-3,
                "selection_metrics": ["MR-full-mAP"],
            },
        }
    )


def small_checkpoint(config: Config | None = None, seed: int = 0) -> Checkpoint:
    config = config or small_config()
    torch.manual_seed(seed)
    video, text = feature_specs(config)
    return Checkpoint(config, video, text, FlashVTG(config.model).state_dict())


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("VTG_HOME", "HF_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return FeatureCache(tmp_path_factory.mktemp("cache"))


def test_checkpoint_answers_from_video(home, cache):
    path = home / "mine.safetensors"
    save_checkpoint(small_checkpoint(), path)
    grounder = Grounder.load(str(path), cache=cache, offline=True)
    cat, coffee = grounder.ground(EXAMPLE, ["a cat", "a cup of coffee"], top_k=4)
    assert (cat.model, cat.features) == ("mine", ("lite",))
    assert len(cat.saliency.scores) == 50
    assert 1 <= len(cat.moments) <= 4
    for moment in cat.moments:
        assert 0 <= moment.start_s < moment.end_s <= cat.duration_s
    assert cat.saliency != coffee.saliency


def test_nan_answers_are_refused(home, cache):
    checkpoint = small_checkpoint()
    for weight in checkpoint.weights.values():
        weight.fill_(1e38)  # finite, unlike what the network makes of it
    save_checkpoint(checkpoint, home / "mine.safetensors")
    grounder = Grounder.load(str(home / "mine.safetensors"), cache=cache, offline=True)
    with pytest.raises(WeightsInvalid, match=r"mine: .* not a number"):
        grounder.ground(EXAMPLE, "a cat")


def test_batches_give_what_each_pair_gives_alone(home, cache):
    path = home / "mine.safetensors"
    save_checkpoint(small_checkpoint(), path)
    grounder = Grounder.load(str(path), cache=cache, offline=True)
    video = grounder.encode(EXAMPLE)
    short = EncodedVideo(video.path, 20.0, {"lite": video.features["lite"][:20]})
    queries = ["a cat", "a cup of coffee on a wooden table in the morning", "a rocket"]

    def close(one, other):
        np.testing.assert_allclose(one.saliency.scores, other.saliency.scores, atol=1e-4)
        np.testing.assert_allclose(
            [(m.start_s, m.end_s, m.score) for m in one.moments],
            [(m.start_s, m.end_s, m.score) for m in other.moments],
            atol=1e-3,
        )

    for together, query in zip(grounder.ground(video, queries), queries, strict=True):
        close(together, grounder.ground(video, query)[0])
    for together, one in zip(grounder.ground_videos([video, short], "a cat"), (video, short), strict=True):
        close(together, grounder.ground(one, "a cat")[0])


@pytest.mark.parametrize("window_clips", [None, 16])
def test_kept_video_is_not_confused(window_clips):
    checkpoint = small_checkpoint(small_config(window_clips=window_clips))
    random = np.random.default_rng(0)
    videos = [
        EncodedVideo(EXAMPLE, 40.0, {"lite": random.normal(size=(40, 384)).astype(np.float32)})
        for _ in range(2)
    ]
    queries = [TextFeatures(random.normal(size=(5, 384)).astype(np.float32), np.zeros(1)) for _ in range(2)]

    def fresh():
        return TrainedModel(checkpoint, name="small", device=torch.device("cpu"))

    model = fresh()
    for v, q in ((0, 0), (0, 1), (1, 1), (0, 0), (0, 0), (1, 0)):
        moments, saliency = model.answer([videos[v]], [queries[q]], top_k=5)[0]
        expected_moments, expected_saliency = fresh().answer([videos[v]], [queries[q]], top_k=5)[0]
        np.testing.assert_allclose(saliency, expected_saliency, atol=1e-5)
        np.testing.assert_allclose(moments, expected_moments, atol=1e-4)


def test_other_features_are_refused_by_name_and_number(home, cache):
    path = home / "mine.safetensors"
    config = small_config(video_features=[{"name": "vgg", "dim": 384}])
    save_checkpoint(small_checkpoint(config), path)
    with pytest.raises(FeatureMismatch, match=r"vgg \(384\).*lite \(384\)"):
        Grounder.load(str(path), features="lite", cache=cache, offline=True)


def test_another_rate_is_refused(home, cache):
    path = home / "mine.safetensors"
    save_checkpoint(small_checkpoint(), path)
    with pytest.raises(FeatureMismatch, match=r"clip_length_s is 0\.5, the model's is 1\.0"):
        Grounder.load(str(path), fps=2, cache=cache, offline=True)


def test_unmakable_text_features(home, cache):
    path = home / "mine.safetensors"
    save_checkpoint(small_checkpoint(small_config(text_features={"name": "llama_text", "dim": 384})), path)
    with pytest.raises(UsageError, match="llama_text"):
        Grounder.load(str(path), cache=cache, offline=True)


def test_auto_takes_a_trained_model(home, cache):
    assert Grounder.load(cache=cache, offline=True).model.name == "zero-shot"
    save_checkpoint(small_checkpoint(), models_dir() / "flashvtg-mine.safetensors")
    assert Grounder.load(cache=cache, offline=True).model.name == "flashvtg-mine"
    assert Grounder.load("zero-shot", features="lite", cache=cache, offline=True).model.name == "zero-shot"
    assert Grounder.load(features="lite", cache=cache, offline=True).model.name == "flashvtg-mine"


def test_auto_skips_models_without_features(home, cache):
    path = models_dir() / "flashvtg-clip.safetensors"
    save_checkpoint(small_checkpoint(small_config(video_features=[{"name": "clip", "dim": 384}])), path)
    (models_dir() / "flashvtg-broken.safetensors").write_bytes(b"damaged")
    assert features_of(path) == (("clip",), "lite_text")
    assert Grounder.load(cache=cache, offline=True).model.name == "zero-shot"


def test_what_a_model_is_called(tmp_path, monkeypatch):
    config = small_config()
    run = tmp_path / "runs" / "mine.2"
    (run / "VT").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for folder in (run, run / "VT"):
        (folder / "config.toml").touch()
    for file, name in (
        (run / "best.safetensors", "mine.2"),
        (run / "last.safetensors", "mine.2"),
        (run / "VT" / "best.safetensors", "mine.2-VT"),
        (run / "named.safetensors", "named"),
        (tmp_path / "elsewhere" / "best.safetensors", "charades-sta-lite"),
        (tmp_path / "elsewhere" / "model_best.ckpt", "charades-sta-lite"),
        (tmp_path / "elsewhere" / "tuned.v2.safetensors", "tuned.v2"),
    ):
        assert model_name(file, config) == name
    monkeypatch.chdir(run)
    assert model_name(Path("best.safetensors"), config) == "mine.2"


def test_a_run_answers_under_its_name(home, cache):
    run = home / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.toml").touch()
    save_checkpoint(small_checkpoint(), run / "best.safetensors")
    grounder = Grounder.load(str(run), cache=cache, offline=True)
    (result,) = grounder.ground(EXAMPLE, "a cat")
    assert result.model == "mine"
    assert result.to_json()["model"] == "mine"


def test_what_stands_for_a_model(home, monkeypatch):
    monkeypatch.chdir(home)
    run = Path("runs") / "mine"
    for domain in ("VT", "BK"):
        save_checkpoint(small_checkpoint(), run / domain / "best.safetensors")
    assert require_models(str(run)) == [run / "BK" / "best.safetensors", run / "VT" / "best.safetensors"]
    with pytest.raises(
        UsageError, match=r"runs/mine: has a model for each domain; name one of runs/mine/BK, runs"
    ):
        require_model(str(run))
    assert require_model(str(run / "VT")) == run / "VT" / "best.safetensors"
    save_checkpoint(small_checkpoint(), run / "best.safetensors")
    assert require_model(str(run)) == run / "best.safetensors"
    installed = models_dir() / "flashvtg-mine.safetensors"
    save_checkpoint(small_checkpoint(), installed)
    Path("flashvtg-mine").mkdir()  # which is no run
    assert require_model("flashvtg-mine") == installed
    for name, message in (
        ("gone.safetensors", r"gone\.safetensors: there is no such file"),
        ("runs", r"runs: there is no best\.safetensors in it, nor in folders of domains"),
        (
            "other",
            r"there is no model 'other' here; trained models here: flashvtg-mine\. To add one: vtg weights",
        ),
    ):
        if name == "runs":
            (run / "best.safetensors").unlink()
        with pytest.raises(UsageError, match=message):
            require_model(name)


@pytest.mark.parametrize("name", ["flashvtg-tacos", "flashvtg-qvhl", "flashvtg-charades-vgg"])
def test_missing_published_model(home, name):
    for ask in (require_model, lambda name: Grounder.load(name, offline=True)):
        with pytest.raises(
            WeightsMissing, match=r"is not on this machine\. To bring it by hand, open https"
        ) as said:
            ask(name)
        assert "switched off" not in str(said.value)
        assert str(said.value).endswith("FILE`")


def test_names_of_models(home):
    save_checkpoint(small_checkpoint(), models_dir() / "flashvtg-qvhighlights-slowfast-clip.safetensors")
    for name in ("flashvtg-qvhl", "flashvtg-qvhighlights", "flashvtg-qvhighlights-slowfast-clip"):
        assert find_model(name) == models_dir() / "flashvtg-qvhighlights-slowfast-clip.safetensors"
    assert find_model("flashvtg-q") is None
    assert list(installed_models()) == ["flashvtg-qvhighlights-slowfast-clip"]


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "a\x1b[31mb"])
def test_invalid_model_names(home, name):
    path = home / "mine.safetensors"
    save_checkpoint(small_checkpoint(), path)
    with pytest.raises(UsageError, match="the name of a model must be"):
        add_model(path, name)


def _renamed(path, name):
    """Give a checkpoint's configuration another name, as only a stranger's program does."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:end])
    description = json.loads(head["__metadata__"]["vtg"])
    description["config"]["name"] = name
    head["__metadata__"]["vtg"] = json.dumps(description)
    packed = json.dumps(head).encode()
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + content[end:])


@pytest.mark.parametrize("name", ["x/../../../../pwned", "../../../pwned", "a\x1b[31mb\n", "x" * 300])
def test_checkpoint_cannot_choose_its_path(home, name):
    path = home / "evil.safetensors"
    save_checkpoint(small_checkpoint(), path)
    _renamed(path, name)
    before = sorted(home.rglob("*"))
    with pytest.raises(
        WeightsInvalid, match=r"evil\.safetensors: its description cannot be read: name: must be"
    ):
        add_model(path)
    assert sorted(home.rglob("*")) == before


def test_model_stays_in_its_folder(home, monkeypatch):
    monkeypatch.setattr("model.checkpoints.store.name_problem", lambda name: None)
    path = home / "mine.safetensors"
    save_checkpoint(small_checkpoint(), path)
    for name in ("../outside", "a/b", str(home / "outside")):
        with pytest.raises(UsageError, match="is not in the folder of models"):
            add_model(path, name)
    assert not models_dir().exists()


def test_released_checkpoint_answers(home):
    packed, options = shared("oracles/checkpoint/model_best.ckpt.gz"), shared("oracles/checkpoint/opt.json")
    folder = home / "release"
    folder.mkdir()
    with gzip.open(packed) as source, (folder / "model_best.ckpt").open("wb") as target:
        shutil.copyfileobj(source, target)
    shutil.copy(options, folder / "opt.json")
    added = vtg("weights", "add", folder / "model_best.ckpt", home=home, VTG_HOME=str(home))
    assert added.returncode == 0, added.stderr
    path = find_model("flashvtg-qvhl")
    assert str(path) == added.stdout.strip()

    expected = torch.load(shared("oracles/checkpoint/expected.pt"), weights_only=True)
    model = TrainedModel(read_model(path), name="released", device=torch.device("cpu"))
    video = EncodedVideo(folder, 150.0, {name: expected[name].numpy() for name in ("slowfast", "clip")})
    query = TextFeatures(expected["text"].numpy(), np.zeros(512, np.float32))
    moments, saliency = model.answer([video], [query], top_k=50)[0]
    # The stored features are normalised already; to normalise them again moves them by the epsilon of 1e-5.
    np.testing.assert_allclose(saliency, expected["saliency"], atol=2e-3)
    best = expected["boundary"][0].numpy()
    np.testing.assert_allclose(moments[0], [max(best[0], 0), min(best[1], 150), best[2]], atol=2e-2)


def test_weights_list_shows_trained_models(home):
    save_checkpoint(small_checkpoint(), models_dir() / "flashvtg-mine.safetensors")
    rows = json.loads(vtg("weights", "list", "--json", home=home, VTG_HOME=str(home)).stdout)
    assert next(row for row in rows if row["name"] == "flashvtg-mine")["path"].endswith(
        "flashvtg-mine.safetensors"
    )
    shown = vtg("weights", "path", "flashvtg-mine", home=home, VTG_HOME=str(home))
    assert shown.stdout.strip().endswith("flashvtg-mine.safetensors")


# Existence


def rows_video(clips):
    rows = np.random.default_rng(clips).normal(size=(clips, 384)).astype(np.float32)
    return EncodedVideo(Path("v.mp4"), float(clips), {"lite": rows})


def set_verdict(checkpoint, logit):
    """Let every video get this logit under every query."""
    checkpoint.weights["existence.log_scale"].fill_(-100.0)
    checkpoint.weights["existence.bias"].fill_(logit)


def judged(bias, *, clear_from=0.5, window_clips=None):
    """A model whose verdict is that of the bias alone, or depends on the video where it is None."""
    config = small_config(**({} if window_clips is None else {"window_clips": window_clips}))
    config = replace(config, model=replace(config.model, existence=True))
    checkpoint = replace(small_checkpoint(config), clear_from=clear_from)
    if bias is not None:
        set_verdict(checkpoint, bias)
    return TrainedModel(checkpoint, name="mine", device=torch.device("cpu"))


def asked(model, videos, count=1):
    tokens = np.random.default_rng(0).normal(size=(count, 4, 384)).astype(np.float32)
    queries = [TextFeatures(rows, rows[0]) for rows in tokens]
    return model.answer(videos, queries, top_k=5)


def test_the_best_moment_scores_the_probability():
    plain = TrainedModel(small_checkpoint(), name="mine", device=torch.device("cpu"))
    ((moments, saliency),) = asked(plain, [rows_video(30)])
    ((found, same),) = asked(judged(1.2), [rows_video(30)])
    probability = 1 / (1 + math.exp(-1.2))
    assert len(found) > 1
    assert found[0, 2] == pytest.approx(probability)
    np.testing.assert_allclose(found[:, 2], moments[:, 2] / moments[0, 2] * probability, rtol=1e-5)
    np.testing.assert_array_equal(found[:, :2], moments[:, :2])
    np.testing.assert_array_equal(same, saliency)


def test_a_long_video_shows_what_one_window_shows():
    model = judged(None, window_clips=16)
    long = rows_video(40)
    ((found, _),) = asked(model, [long])
    whole = judged(None)
    parts = [
        EncodedVideo(Path("v.mp4"), 16.0, {"lite": long.features["lite"][start : start + 16]})
        for start in (0, 8, 16, 24)
    ]
    alone = [moments[0, 2] for ((moments, _),) in (asked(whole, [part]) for part in parts)]
    assert len(set(alone)) == len(alone)
    assert found[0, 2] == pytest.approx(max(alone), rel=1e-4)


@pytest.mark.parametrize(("bias", "clear"), [(0.1, True), (-0.1, False)])
def test_results_know_a_clear_match(home, cache, bias, clear):
    config = small_config()
    config = replace(config, model=replace(config.model, existence=True))
    checkpoint = replace(small_checkpoint(config), clear_from=0.5)
    set_verdict(checkpoint, bias)
    save_checkpoint(checkpoint, home / "mine.safetensors")
    grounder = Grounder.load(str(home / "mine.safetensors"), cache=cache, offline=True)
    (result,) = grounder.ground(EXAMPLE, "a cat")
    assert (result.clear_from, result.clear_match) == (0.5, clear)
    assert result.match_score == result.moments[0].score == pytest.approx(1 / (1 + math.exp(-bias)))
    assert result.is_clear(result.moments[0]) is clear


def test_scores_only_rank_without_the_head(home, cache):
    checkpoint = replace(small_checkpoint(), clear_from=0.5)
    assert TrainedModel(checkpoint, name="mine", device=torch.device("cpu")).clear_from is None


def test_scores_only_rank_without_a_threshold():
    plain = TrainedModel(small_checkpoint(), name="mine", device=torch.device("cpu"))
    unsure = judged(1.2, clear_from=None)
    assert unsure.clear_from is None
    ((moments, _),), ((same, _),) = asked(plain, [rows_video(30)]), asked(unsure, [rows_video(30)])
    np.testing.assert_array_equal(same, moments)
