"""Pseudo-labels of unlabelled videos: what is found, what it is called, and how it is learnt from."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions, TextEncoder
from extractors.encoders.lite.class_words import concept_names
from extractors.encoders.lite.minilm import MiniLMTextEncoder
from extractors.errors import UsageError
from model.checkpoints.checkpoint import load_checkpoint
from model.config import ConfigError, load_config
from model.datasets.grounding import EpochBatches, JoinedDataset
from model.training.data.inputs import DataMissing
from model.training.experiments import run_experiment
from model.training.loop import train
from model.training.plan import Experiment, plan_experiment, resumed_experiment
from model.training.pretraining.concepts import plain_name, read_concepts, with_article
from model.training.pretraining.unlabelled import unlabelled_split
from model.training.run import Run
from tests.model.training.training_setup import write_config
from tests.model.training.unlabelled import (
    CLIPS,
    END,
    NAMES,
    START,
    Unlabelled,
    unlabelled_config,
    write_unlabelled,
)

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = EncoderOptions(offline=True)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Unlabelled:
    return write_unlabelled(tmp_path_factory.mktemp("unlabelled"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return FeatureCache(tmp_path_factory.mktemp("cache"))


def no_encoder() -> TextEncoder:
    raise AssertionError("the vectors are given")


# What is found


def test_a_video_gets_what_it_alone_shows(unlabelled: Unlabelled, cache: FeatureCache) -> None:
    config = unlabelled_config("pretraining.labels_per_video=1", "pretraining.templates=['look, {}']")
    split = unlabelled_split(config, unlabelled.inputs, cache=cache)
    assert [line.vid for line in split.annotations] == unlabelled.vids
    names = [with_article(plain_name(name)) for name in NAMES[:-1]]
    assert [line.query for line in split.annotations] == [f"look, {name}" for name in names]
    for line in split.annotations:
        ((start_s, end_s),) = line.windows_s
        common_s = min(end_s, END) - max(start_s, START)
        assert common_s / (max(end_s, END) - min(start_s, START)) > 0.6
        assert line.duration_s == CLIPS
        assert split.texts.load(line).shape[1] == config.model.text_dim
        assert len(split.videos.load(line.vid)[0]) == CLIPS


def test_labels_per_video_and_templates(unlabelled: Unlabelled, cache: FeatureCache) -> None:
    templates = ("{}", "there is {}")
    config = unlabelled_config(
        "pretraining.labels_per_video=2", f"pretraining.templates={json.dumps(templates)}"
    )
    lines = unlabelled_split(config, unlabelled.inputs, cache=cache).annotations
    assert [line.vid for line in lines] == [vid for vid in unlabelled.vids for _ in range(2)]
    begins = [line.query.startswith("there is ") for line in lines]
    assert any(begins)
    assert not all(begins)


def test_videos_that_are_scored_on_are_left_out(unlabelled: Unlabelled, cache: FeatureCache) -> None:
    split = unlabelled_split(unlabelled_config(), unlabelled.inputs, scored={"v1", "v4"}, cache=cache)
    assert {line.vid for line in split.annotations} == set(unlabelled.vids) - {"v1", "v4"}


def test_a_moment_as_long_as_its_video_is_no_label(
    unlabelled: Unlabelled, cache: FeatureCache, tmp_path: Path
) -> None:
    folder = tmp_path / "clip_features"
    folder.mkdir()
    np.savez(folder / "short.npz", features=np.ones((1, 512), dtype=np.float32))
    inputs = replace(unlabelled.inputs, pretrain=tmp_path)
    with pytest.raises(DataMissing, match="no video there gives a moment"):
        unlabelled_split(unlabelled_config(), inputs, cache=cache)
    shutil.copy(unlabelled.folder / "clip_features" / "v0.npz", folder)
    assert {line.vid for line in unlabelled_split(unlabelled_config(), inputs, cache=cache).annotations} == {
        "v0"
    }


def test_features_that_cannot_be_compared_with_text(unlabelled: Unlabelled, cache: FeatureCache) -> None:
    config = unlabelled_config('data.video_features=[{name="slowfast",dim=512}]')
    folder = unlabelled.folder / "slowfast_features"
    shutil.copytree(unlabelled.folder / "clip_features", folder)
    with pytest.raises(UsageError, match="slowfast, which cannot be compared with text"):
        unlabelled_split(config, unlabelled.inputs, cache=cache)
    shutil.rmtree(folder)


def test_tokens_that_cannot_be_made(unlabelled: Unlabelled, cache: FeatureCache, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "llama_features").mkdir(parents=True)
    config = unlabelled_config('data.text_features={name="llama",dim=384}')
    with pytest.raises(UsageError, match="'llama' tokens, which vtg cannot make of the sentences"):
        unlabelled_split(config, replace(unlabelled.inputs, data=folder), cache=cache)


# Names


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("bow_(weapon)", "bow"),
        ("Cabinet/shelf", "cabinet"),
        ("alarm_clock", "alarm clock"),
        ("T-shirt", "t-shirt"),
    ],
)
def test_plain_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_names_with_vectors_need_no_encoder(unlabelled: Unlabelled, cache: FeatureCache) -> None:
    concepts = read_concepts(unlabelled.concepts, "clip", no_encoder, cache)
    assert concepts.names == tuple(map(plain_name, NAMES))
    assert concepts.rows.shape == (len(NAMES), 512)
    assert concepts.teacher("clip", 1.0, no_encoder, cache).background.mean.shape == (512,)


def test_names_in_a_text_file(cache: FeatureCache, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("a_dog\n\nApple\napple\n", encoding="utf-8")
    concepts = read_concepts(file, "lite", MiniLMTextEncoder, cache)
    assert concepts.names == ("a dog", "apple")
    expected = MiniLMTextEncoder().encode(["an apple"])[0].pooled
    np.testing.assert_allclose(concepts.rows[1], expected, atol=1e-3)


def test_built_in_names(cache: FeatureCache) -> None:
    names = concept_names()
    assert len(set(names)) == len(names)
    assert {"tench", "potter's wheel", "street", "vehicle"} <= set(names)
    assert "kite" not in names  # mostly means something else than the class, which is a bird
    page = Path(__file__).parents[3] / "docs" / "training.md"
    assert f"{len(names):,} names of objects" in page.read_text(encoding="utf-8")


def write_vectors(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"names": ["a", "b"]}, "cannot be read"),
        ({"names": ["a", "b"], "text": np.ones((2, 3), np.float32)}, "do not fit the features"),
        ({"names": ["a", "b", "c"], "text": np.ones((2, 512), np.float32)}, "do not fit the features"),
        ({"names": ["a", "b"], "text": np.full((2, 512), np.nan, np.float32)}, "not finite"),
        ({"names": ["a", "a"], "text": np.ones((2, 512), np.float32)}, "holds 1 name, but at least 2"),
    ],
)
def test_unusable_vectors(arrays: dict[str, object], words: str, cache: FeatureCache, tmp_path: Path) -> None:
    file = write_vectors(tmp_path / "c.npz", **arrays)
    with pytest.raises(UsageError, match=words) as caught:
        read_concepts(file, "clip", no_encoder, cache)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"dog\n", b"\xff\xfe\x00"])
def test_unusable_names(content: bytes, cache: FeatureCache, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"names\.txt"):
        read_concepts(file, "clip", no_encoder, cache)


# What is planned


def test_a_file_of_annotations_and_unlabelled_videos(unlabelled: Unlabelled, config_file: Path) -> None:
    experiment = planned(unlabelled, config_file, "training.epochs=20")
    assert experiment.config.pretraining.epochs == 12
    assert not experiment.unlabelled_only
    assert planned(unlabelled, config_file, "pretraining.epochs=1").config.pretraining.epochs == 1


def test_unlabelled_videos_alone(unlabelled: Unlabelled, config_file: Path) -> None:
    experiment = plan_experiment(None, config=str(config_file), inputs=unlabelled.inputs, options=OPTIONS)
    assert experiment.unlabelled_only
    assert experiment.config.pretraining.epochs == 0


def test_epochs_without_unlabelled_videos(unlabelled: Unlabelled, config_file: Path) -> None:
    with pytest.raises(UsageError, match="name a folder of unlabelled videos with --pretrain"):
        plan_experiment(
            str(unlabelled.annotations), config=str(config_file), overrides=["pretraining.epochs=2"]
        )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("pretraining.epochs=-1", "must not be negative"),
        ("pretraining.epochs=4", "training.epochs is 3"),
        ("pretraining.labels_per_video=0", "must be positive"),
        ("pretraining.templates=[]", "at least one sentence"),
        ("pretraining.templates=['a dog']", "once"),
        ("pretraining.templates=['{} {}']", "once"),
        ("pretraining.templates=['{0} {}']", "once"),
    ],
)
def test_invalid_configuration(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        unlabelled_config(override)
    assert override.partition("=")[0] in str(caught.value)


def test_no_moments_no_pretraining() -> None:
    with pytest.raises(ConfigError, match=r"pretraining.epochs: must be 0: tvsum has no moments"):
        load_config("tvsum-slowfast-clip", ["pretraining.epochs=1"])


# How it is learnt from


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(unlabelled_config(), tmp_path_factory.mktemp("config") / "c.toml")


def planned(unlabelled: Unlabelled, config_file: Path, *overrides: str) -> Experiment:
    """The annotated queries of the same folder, and its videos without them."""
    return plan_experiment(
        str(unlabelled.annotations),
        config=str(config_file),
        overrides=overrides,
        inputs=unlabelled.inputs,
        options=OPTIONS,
    )


def train_experiment(experiment: Experiment, cache: FeatureCache, folder: Path, resume: bool = False) -> Run:
    splits = experiment.splits(cache=cache, options=OPTIONS)
    found = experiment.unlabelled(splits[1], cache=cache, options=OPTIONS)
    pseudo_labels = found.annotations if found is not None else splits[0].annotations + splits[1].annotations
    run = Run(folder) if resume else experiment.begin(folder, "cpu", pseudo_labels)
    run_experiment(experiment.config, experiment.inputs, run, splits, unlabelled=found, device="cpu")
    return run


def predictions(run: Run) -> list[dict[str, Any]]:
    lines = (run.folder / "best_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def weights(run: Run) -> bytes:
    return b"".join(tensor.numpy().tobytes() for _, tensor in sorted(load_file(run.last).items()))


def test_the_first_epochs_have_all_samples(unlabelled: Unlabelled) -> None:
    batches = EpochBatches([9.0] * 7, unlabelled_config().training, early=3, early_epochs=2)
    for epoch, count in ((1, 7), (2, 7), (3, 4), (9, 4)):
        batches.epoch = epoch
        found = list(batches)
        assert len(found) == len(batches)
        assert sorted(index for batch in found for _, index in batch) == list(range(count))


def test_late_epochs_do_not_depend_on_pseudo_labels(unlabelled: Unlabelled) -> None:
    training = unlabelled_config().training
    alone, mixed = (
        EpochBatches([9.0] * 4, training),
        EpochBatches([9.0] * 7, training, early=3, early_epochs=1),
    )
    alone.epoch = mixed.epoch = 2
    assert list(alone) == list(mixed)


def test_joined_samples(unlabelled: Unlabelled, config_file: Path, cache: FeatureCache) -> None:
    experiment = planned(unlabelled, config_file)
    learnt, scored = experiment.splits(cache=cache, options=OPTIONS)
    found = experiment.unlabelled(scored, cache=cache, options=OPTIONS)
    assert found is not None
    held_out = {line.vid for line in scored.annotations}
    assert held_out
    assert held_out.isdisjoint(line.vid for line in found.annotations)
    config = experiment.config
    first = learnt.dataset(config, labelled=True)
    second = found.dataset(config, labelled=True, first_index=len(first))
    joined = JoinedDataset(first, second)
    assert len(joined) == len(first) + len(second)
    assert joined.annotations == first.annotations + second.annotations
    assert joined.longest_clips() == CLIPS
    assert joined[1, len(first)].annotation == second.annotations[0]
    assert joined[1, 0].annotation.qid == first.annotations[0].qid
    # Of the same query, other clips are drawn.
    again = learnt.dataset(config, labelled=True, first_index=len(first))
    draws = [[dataset[1, index].labels for index in range(len(first))] for dataset in (first, again)]
    assert any(not np.array_equal(a.negative, b.negative) for a, b in zip(*draws, strict=True) if a and b)


def test_mixed_epochs_come_first_and_a_run_resumes(
    unlabelled: Unlabelled, config_file: Path, cache: FeatureCache, tmp_path: Path
) -> None:
    whole = train_experiment(
        planned(unlabelled, config_file, "pretraining.epochs=2"), cache, tmp_path / "a" / "run"
    )
    rows = [json.loads(line) for line in whole.pseudo_labels.read_text(encoding="utf-8").splitlines()]
    assert {row["qid"] for row in rows} == {f"pseudo-{number}" for number in range(len(rows))}
    assert whole.config().pretraining.epochs == 2
    state = whole.read_state()
    assert state is not None
    real = len(unlabelled.vids) - len({line["vid"] for line in predictions(whole)})
    assert state.progress.step == 2 * math.ceil((real + len(rows)) / 4) + math.ceil(real / 4)
    assert load_checkpoint(whole.best).config == whole.config()

    begun = planned(unlabelled, config_file, "pretraining.epochs=2", "training.epochs=2")
    run = train_experiment(begun, cache, tmp_path / "b" / "run")
    again = resumed_experiment(run, ["training.epochs=3"])
    assert again.inputs.pseudo_labels == run.pseudo_labels
    train_experiment(again, cache, run.folder, resume=True)
    assert weights(run) == weights(whole)


def test_a_run_on_unlabelled_videos_alone(
    unlabelled: Unlabelled, config_file: Path, cache: FeatureCache, tmp_path: Path
) -> None:
    experiment = plan_experiment(None, config=str(config_file), inputs=unlabelled.inputs, options=OPTIONS)
    run = train_experiment(experiment, cache, tmp_path / "run")
    # The labels it found are annotations from here on: other videos there change nothing.
    resumed = resumed_experiment(run)
    assert not resumed.unlabelled_only
    before, after = (one.splits(cache=cache, options=OPTIONS) for one in (experiment, resumed))
    for old, new in zip(before, after, strict=True):
        assert new.annotations == old.annotations
    assert resumed.unlabelled(after[1], cache=cache, options=OPTIONS) is None


def test_pseudo_labels_whose_features_are_gone(
    unlabelled: Unlabelled, config_file: Path, cache: FeatureCache, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(unlabelled.folder, folder)
    labels = tmp_path / "pseudo_labels.jsonl"
    split = unlabelled_split(unlabelled_config(), unlabelled.inputs, cache=cache)
    labels.write_text("".join(json.dumps(line.row) + "\n" for line in split.annotations), encoding="utf-8")
    inputs = replace(unlabelled.inputs, pretrain=folder, pseudo_labels=labels)
    again = unlabelled_split(unlabelled_config(), inputs, cache=cache)
    assert again.annotations == split.annotations
    (folder / "clip_features" / "v3.npz").unlink()
    with pytest.raises(DataMissing, match="v3 has pseudo-labels, but no features"):
        unlabelled_split(unlabelled_config(), inputs, cache=cache)


def test_pseudo_labels_go_with_epochs_for_them(
    unlabelled: Unlabelled, cache: FeatureCache, tmp_path: Path
) -> None:
    config = unlabelled_config("pretraining.epochs=1")
    split = unlabelled_split(config, unlabelled.inputs, cache=cache)
    dataset = split.dataset(config, labelled=True)
    with pytest.raises(ValueError, match="some epochs learn from them"):
        train(config, dataset, dataset, Run(tmp_path / "run"), device="cpu")
