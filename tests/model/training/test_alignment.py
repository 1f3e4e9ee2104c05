"""The first weights of the alignment head: what names and their vectors teach before any training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.errors import UsageError
from model.config import Config, override_config
from model.network.flashvtg import FlashVTG
from model.rows import append_tef, clip_rows, pad_rows, token_rows
from model.training.data.inputs import Inputs
from model.training.data.splits import Split, training_splits
from model.training.experiments import run_experiment
from model.training.plan import Experiment, plan_experiment, resumed_experiment
from model.training.pretraining.alignment import AlignmentStart, alignment_start
from model.training.run import Run, RunError
from tests.model.training.training_setup import write_config
from tests.model.training.unlabelled import END, START, Unlabelled, unlabelled_config, write_unlabelled

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = EncoderOptions(offline=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Unlabelled:
    return write_unlabelled(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return FeatureCache(tmp_path_factory.mktemp("cache"))


def aligned_config(*overrides: str) -> Config:
    return unlabelled_config("model.alignment_dim=512", "training.epochs=1", *overrides)


@pytest.fixture(scope="module")
def experiment(
    data: Unlabelled, cache: FeatureCache, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Experiment, tuple[Split, Split]]:
    config = write_config(aligned_config(), tmp_path_factory.mktemp("config") / "c.toml")
    planned = plan_experiment(
        str(data.annotations), config=str(config), inputs=Inputs(data=data.folder, concepts=data.concepts)
    )
    return planned, planned.splits(cache=cache, options=OPTIONS)


@pytest.fixture(scope="module")
def start(experiment: tuple[Experiment, tuple[Split, Split]], cache: FeatureCache) -> AlignmentStart:
    planned, splits = experiment
    found = planned.alignment(splits[0], cache=cache, options=OPTIONS)
    assert found is not None
    return found


def mean_places(network: FlashVTG, config: Config, split: Split) -> float:
    """The mean share of other clips that a clip of the moment is closer to the query than."""
    shares = []
    for annotation in split.annotations:
        video, video_mask = pad_rows([clip_rows(split.videos.load(annotation.vid), config.data)])
        text, text_mask = pad_rows([token_rows(split.texts.load(annotation), config.data)])
        with torch.inference_mode():
            curve = network.eval()(append_tef(video, video_mask), video_mask, text, text_mask).alignment[0]
        inside = np.zeros(len(curve), dtype=bool)
        inside[START:END] = True
        shares.append(np.mean(curve.numpy()[inside][:, None] > curve.numpy()[~inside]))
    return float(np.mean(shares))


def test_moments_stand_out_before_training(
    experiment: tuple[Experiment, tuple[Split, Split]], start: AlignmentStart
) -> None:
    planned, (learnt, _) = experiment
    torch.manual_seed(0)
    network = FlashVTG(planned.config.model)
    assert mean_places(network, planned.config, learnt) < 0.7
    missing = network.load_state_dict(dict(start.weights), strict=False)
    assert not missing.unexpected_keys
    assert mean_places(network, planned.config, learnt) > 0.9


def test_mean_clip_and_mean_query_are_the_origin(
    experiment: tuple[Experiment, tuple[Split, Split]], start: AlignmentStart
) -> None:
    planned, (learnt, _) = experiment
    network = FlashVTG(planned.config.model)
    network.load_state_dict(dict(start.weights), strict=False)
    head, data = network.alignment, planned.config.data
    assert head is not None
    clip = np.mean(
        [clip_rows(learnt.videos.load(a.vid), data).numpy().mean(0) for a in learnt.annotations], axis=0
    )
    query = np.mean(
        [token_rows(learnt.texts.load(a), data).numpy().mean(0) for a in learnt.annotations], axis=0
    )
    with torch.inference_mode():
        assert head.clip_projection(torch.from_numpy(clip)).abs().max() < 1e-5
        assert head.query_projection(torch.from_numpy(query)).abs().max() < 1e-5


def test_a_run_begins_with_them_and_goes_on(
    experiment: tuple[Experiment, tuple[Split, Split]],
    start: AlignmentStart,
    tmp_path: Path,
) -> None:
    planned, splits = experiment
    run = planned.begin(tmp_path / "run", "cpu", (), start)
    first = run.read_state()
    assert first is not None
    torch.manual_seed(planned.config.training.seed)
    for name, value in FlashVTG(planned.config.model).state_dict().items():
        torch.testing.assert_close(first.weights[name], start.weights.get(name, value), rtol=0, atol=0)
    assert json.loads((run.folder / "inputs.json").read_text())["alignment"] == start.origin
    resumed = resumed_experiment(run)
    run_experiment(resumed.config, resumed.inputs, run, splits, device="cpu")
    assert len(run.log()) == 1
    assert run.log()[0]["losses"]["alignment"] > 0


def test_a_run_whose_first_weights_are_lost(
    experiment: tuple[Experiment, tuple[Split, Split]], start: AlignmentStart, tmp_path: Path
) -> None:
    run = experiment[0].begin(tmp_path / "run", "cpu", (), start)
    (run.folder / "resume.safetensors").unlink()
    with pytest.raises(RunError, match="before its first weights were stored"):
        resumed_experiment(Run(run.folder))


def test_other_streams_have_no_part_in_the_space(
    data: Unlabelled, cache: FeatureCache, tmp_path: Path
) -> None:
    config = override_config(
        aligned_config(),
        ['data.video_features=[{name="slowfast",dim=3},{name="clip",dim=512}]', "model.video_dim=515"],
    )
    (tmp_path / "slowfast_features").mkdir()
    for file in (data.folder / "clip_features").iterdir():
        np.savez(tmp_path / "slowfast_features" / file.name, features=np.ones((30, 3), np.float32))
    (tmp_path / "clip_features").symlink_to(data.folder / "clip_features")
    inputs = Inputs(data=tmp_path, train=data.annotations, concepts=data.concepts)
    learnt, _ = training_splits(config, inputs, cache=cache)
    found = alignment_start(config, inputs, learnt, cache=cache)
    assert found is not None
    projection = found.weights["alignment.clip_projection.weight"]
    assert torch.equal(projection, torch.cat([torch.zeros(512, 3), torch.eye(512)], dim=1))


def test_random_weights_where_nothing_is_known(
    experiment: tuple[Experiment, tuple[Split, Split]], cache: FeatureCache
) -> None:
    planned, (learnt, _) = experiment
    # The weights of CLIP's text encoder are not here.
    without = replace(planned, inputs=replace(planned.inputs, concepts=None))
    nowhere = replace(OPTIONS, weights={"clip": Path("nowhere")})
    assert without.alignment(learnt, cache=cache, options=nowhere) is None
    assert (
        replace(planned, config=unlabelled_config()).alignment(learnt, cache=cache, options=OPTIONS) is None
    )


def test_another_width_is_refused(
    experiment: tuple[Experiment, tuple[Split, Split]], cache: FeatureCache
) -> None:
    planned, (learnt, _) = experiment
    narrow = replace(planned, config=override_config(planned.config, ["model.alignment_dim=64"]))
    with pytest.raises(UsageError, match=r"model\.alignment_dim: is 64, but 'clip' rows, .* set it to 512"):
        narrow.alignment(learnt, cache=cache, options=OPTIONS)
