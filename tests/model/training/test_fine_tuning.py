"""Training that begins with a trained model: what is loaded, what is refused, and how a run resumes."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.synthetic_data import write_synthetic
from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.errors import UsageError
from model.checkpoints.checkpoint import Checkpoint, feature_specs, load_checkpoint, save_checkpoint
from model.config import Config, load_config
from model.network.flashvtg import FlashVTG
from model.training.data.inputs import Inputs
from model.training.experiments import run_experiment
from model.training.fine_tuning import Start, read_start
from model.training.plan import Experiment, plan_experiment, resumed_experiment
from model.training.run import Run, RunError
from tests.model.training.training_setup import TINY, small_config, tiny_config, write_config
from tests.model.training.unlabelled import unlabelled_config, write_unlabelled
from tests.shared_data import shared

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = EncoderOptions(offline=True)


def trained(config: Config, path: Path) -> Path:
    """A checkpoint with weights that no seed of a test gives."""
    torch.manual_seed(99)
    specs = feature_specs(config)
    save_checkpoint(Checkpoint(config, *specs, FlashVTG(config.model).state_dict()), path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a head for existence."""
    return trained(tiny_config(), tmp_path_factory.mktemp("plain") / "plain.safetensors")


def planned(
    checkpoint: Path, config: Config, folder: Path, data: Path, overrides: Sequence[str] = ()
) -> Experiment:
    file = write_config(config, folder / "config.toml")
    return plan_experiment(
        None,
        config=str(file),
        overrides=overrides,
        inputs=Inputs(data=data),
        options=OPTIONS,
        start=read_start(str(checkpoint)),
    )


def train_experiment(experiment: Experiment, run: Run, tmp_path: Path) -> None:
    splits = experiment.splits(cache=FeatureCache(tmp_path / "cache"), options=OPTIONS)
    run_experiment(
        experiment.config, experiment.inputs, run, splits, domains=experiment.domains, device="cpu"
    )


def first_weights(run: Run) -> Mapping[str, Tensor]:
    state = run.read_state()
    assert state is not None
    assert state.progress.epoch == state.progress.step == 0
    assert not state.moments
    return state.weights


# What is loaded


def test_loaded_and_new_parameters(plain: Path, tiny: Path, tmp_path: Path) -> None:
    config = tiny_config("model.existence=true", "training.seed=5")
    run = planned(plain, config, tmp_path, tiny).begin(tmp_path / "run", "cpu")
    weights, trained_weights = first_weights(run), load_file(plain)
    torch.manual_seed(5)
    random = FlashVTG(config.model).state_dict()
    assert weights.keys() == random.keys()
    for name, value in weights.items():
        expected = trained_weights.get(name, random[name])
        assert torch.equal(value, expected), name
    begun = json.loads((run.folder / "inputs.json").read_text())["from"]
    assert begun["model"] == "plain"
    assert begun["path"] == str(plain)
    assert begun["loaded"] == sorted(trained_weights)
    assert begun["new"] == sorted(random.keys() - trained_weights.keys())
    assert begun["left_out"] == []
    assert {name.partition(".")[0] for name in begun["new"]} == {"existence"}


def test_left_out_parameters(tiny: Path, tmp_path: Path) -> None:
    both = trained(tiny_config("model.existence=true"), tmp_path / "both.safetensors")
    beginning = planned(both, tiny_config(), tmp_path, tiny).beginning
    assert beginning is not None
    count = len(beginning.left_out)
    assert count == len(load_file(both)) - len(beginning.loaded) > 1
    assert str(beginning).endswith(f"loaded from {both}; left out: existence ({count} parameters)")


def test_training_begins_with_them(plain: Path, tiny: Path, tmp_path: Path) -> None:
    overrides = ("training.epochs=1", "training.learning_rate=1e-9", "training.average_decay=0.9")
    experiment = planned(plain, tiny_config(*overrides), tmp_path, tiny)
    run = experiment.begin(tmp_path / "run", "cpu")
    train_experiment(experiment, run, tmp_path)
    tuned = load_checkpoint(run.last)
    assert tuned.provenance["fine_tuned_from"] == "plain"
    for name, value in load_file(plain).items():
        torch.testing.assert_close(tuned.weights[name], value, rtol=0, atol=1e-6)


def test_the_callers_random_numbers_stay(plain: Path, tiny: Path, tmp_path: Path) -> None:
    experiment = planned(plain, tiny_config(), tmp_path, tiny)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert experiment.beginning is not None
    assert torch.equal(torch.rand(4), expected)


def test_a_released_checkpoint_on_own_data(tmp_path: Path) -> None:
    path = tmp_path / "model_best.ckpt"
    with gzip.open(shared("oracles/checkpoint/model_best.ckpt.gz")) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    shutil.copy(shared("oracles/checkpoint/opt.json"), tmp_path)
    start = read_start(str(path))
    (tmp_path / "mine.jsonl").write_text("")
    experiment = plan_experiment(str(tmp_path / "mine.jsonl"), options=OPTIONS, start=start)
    assert experiment.config.data.info.is_own
    found = first_weights(experiment.begin(tmp_path / "run", "cpu"))
    for name, value in start.checkpoint.weights.items():
        assert torch.equal(found[name], value), name


# Which configuration


def test_the_network_is_the_checkpoints(plain: Path, tiny: Path, tmp_path: Path) -> None:
    config = tiny_config("model.hidden_dim=32", "model.strides=[1,2]", "training.learning_rate=3e-5")
    overrides = ["model.dropout=0.3", "training.epochs=9"]
    chosen = planned(plain, config, tmp_path, tiny, overrides).config
    assert chosen.model == replace(tiny_config().model, dropout=0.3)
    assert chosen.training == replace(config.training, epochs=9)
    assert chosen.loss == config.loss


def start_of(config: Config) -> Start:
    """As far as planning reads it."""
    return Start(Path("m.safetensors"), Checkpoint(config, *feature_specs(config), {}))


@pytest.mark.parametrize(
    ("trained_with", "name"),
    [
        ("custom-lite", "custom-lite"),
        ("custom-slowfast-clip", "custom-slowfast-clip"),
        ("qvhighlights-slowfast-clip", "custom-slowfast-clip"),
        ("charades-clip-minilm", "custom-clip"),
    ],
)
def test_own_data_are_read_as_the_model_reads_them(trained_with: str, name: str, tmp_path: Path) -> None:
    start = start_of(load_config(trained_with))
    (tmp_path / "mine.jsonl").write_text("")
    chosen = plan_experiment(
        str(tmp_path / "mine.jsonl"), overrides=["training.epochs=7"], options=OPTIONS, start=start
    ).config
    assert chosen.name == name
    assert chosen.data.info.is_own
    assert feature_specs(chosen) == feature_specs(start.checkpoint.config)
    assert chosen.model == replace(start.checkpoint.config.model, existence=True)
    assert chosen.training.epochs == 7


@pytest.mark.parametrize(
    ("dataset", "config"), [("charades", "charades-sta-vgg"), ("qvhl", "qvhighlights-internvideo2")]
)
def test_of_a_datasets_configurations_the_fitting_one(dataset: str, config: str) -> None:
    assert plan_experiment(dataset, start=start_of(load_config(config))).config.name == config
    with pytest.raises(UsageError, match=r"--from m\.safetensors: this model reads lite"):
        plan_experiment(dataset, start=start_of(load_config("custom-lite")))


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('data.text_features={name="clip_text",dim=12} model.text_dim=12', r"clip_text \(16\).*\(12\)"),
        ("data.clip_length_s=1.0", "clip_length_s is 1.0, the model's is 2.0"),
        (
            'data.video_features=[{name="clip",dim=16},{name="slowfast",dim=8}]',
            r"slowfast \(8\) \+ clip \(16\) .* given clip \(16\) \+ slowfast \(8\).*the order differs",
        ),
        ('data.video_features=[{name="lite",dim=24}]', r"given lite \(24\)"),
    ],
)
def test_other_features(change: str, words: str, plain: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--from .*plain.safetensors: .*{words}") as caught:
        planned(plain, tiny_config(*change.split()), tmp_path, tiny)
    assert "\n" not in str(caught.value)


def test_features_of_other_weights(tmp_path: Path) -> None:
    data = write_unlabelled(tmp_path / "data")
    config = unlabelled_config()
    other = replace(start_of(config).checkpoint.text_features, weights_id="other", recipe="1")
    start = start_of(config)
    start = replace(start, checkpoint=replace(start.checkpoint, text_features=other))
    experiment = plan_experiment(
        str(data.annotations), config=str(write_config(config, tmp_path / "c.toml")), start=start
    )
    with pytest.raises(UsageError, match=r"--from m\.safetensors: .*lite_text: weights_id is .*'other'"):
        experiment.splits(cache=FeatureCache(tmp_path / "cache"), options=OPTIONS)


def test_another_network(plain: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--set model\.hidden_dim: is 16 in --from .*plain") as caught:
        planned(plain, tiny_config(), tmp_path, tiny, ["model.hidden_dim=32"])
    assert "leave it out" in str(caught.value)
    planned(plain, tiny_config(), tmp_path, tiny, ["model.hidden_dim=16"])


def test_a_network_that_cannot_learn_the_dataset(plain: Path, tiny: Path, tmp_path: Path) -> None:
    config = small_config(TINY, released="tvsum-slowfast-clip")
    with pytest.raises(UsageError, match=r"plain\.safetensors: its network cannot be .*model\.strides"):
        planned(plain, config, tmp_path, tiny)


# Resuming


def weights(run: Run) -> bytes:
    return b"".join(tensor.numpy().tobytes() for _, tensor in sorted(load_file(run.last).items()))


def test_a_run_resumes_without_the_checkpoint(tiny: Path, tmp_path: Path) -> None:
    checkpoint = trained(tiny_config(), tmp_path / "m.safetensors")
    config = tiny_config("model.existence=true", "training.epochs=2", "training.average_decay=0.9")
    experiment = planned(checkpoint, config, tmp_path, tiny)
    whole = experiment.begin(tmp_path / "a" / "run", "cpu")
    train_experiment(experiment, whole, tmp_path)
    run = experiment.begin(tmp_path / "b" / "run", "cpu")
    checkpoint.unlink()
    for epochs in (1, 2):  # from the first weights, then from an epoch
        train_experiment(resumed_experiment(run, [f"training.epochs={epochs}"]), run, tmp_path)
        assert len(run.log()) == epochs
    assert weights(run) == weights(whole)


def test_a_run_whose_first_weights_are_lost(plain: Path, tiny: Path, tmp_path: Path) -> None:
    run = planned(plain, tiny_config(), tmp_path, tiny).begin(tmp_path / "run", "cpu")
    resumed_experiment(run)
    (run.folder / "resume.safetensors").unlink()
    with pytest.raises(RunError, match="before its first weights were stored"):
        resumed_experiment(run)


def test_each_domain_begins_with_the_model(tmp_path: Path) -> None:
    spec = replace(TINY, highlights=True, classes=2)
    write_synthetic(tmp_path / "data", spec)
    config = small_config(
        spec,
        'data.domains=["guitar","car"]',
        "training.epochs=1",
        "training.batch_size=4",
        "training.learning_rate=1e-9",
        released="tvsum-slowfast-clip",
    )
    checkpoint = trained(config, tmp_path / "m.safetensors")
    experiment = planned(checkpoint, config, tmp_path, tmp_path / "data")
    run = experiment.begin(tmp_path / "run", "cpu")
    train_experiment(experiment, run, tmp_path)
    for domain in ("guitar", "car"):
        tuned = load_checkpoint(run.folder / domain / "last.safetensors")
        assert tuned.provenance["domain"] == domain
        assert tuned.provenance["fine_tuned_from"] == "m"
        for name, value in load_file(checkpoint).items():
            torch.testing.assert_close(tuned.weights[name], value, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="has a model for each domain"):
        read_start(str(run.folder))
    assert read_start(str(run.folder / "car")).path == run.folder / "car" / "best.safetensors"
