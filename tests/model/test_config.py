from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.config import Config, ConfigError, available_configs, load_config, override_config
from model.network.flashvtg import FlashVTG

# Parameters of the released models, and the unused text position table that each carries besides.
RELEASED_PARAMETERS = {
    "qvhighlights-slowfast-clip": (10_469_400, 40),
    "qvhighlights-internvideo2": (11_393_049, 40),
    "charades-sta-slowfast-clip": (10_467_352, 32),
    "charades-sta-vgg": (10_891_888, 100),
    "charades-sta-internvideo2": (11_975_448, 23),
    "tacos-slowfast-clip": (13_112_603, 100),
    "tvsum-slowfast-clip": (7_764_497, 100),
    "youtube-highlights-clip-slowfast": (7_894_033, 100),
}


@pytest.fixture
def config() -> Config:
    return load_config("qvhighlights-slowfast-clip")


def test_every_released_experiment_has_a_configuration() -> None:
    assert set(RELEASED_PARAMETERS) < set(available_configs())


def test_none_in_overrides(config: Config) -> None:
    changed = override_config(config, ["decoding.nms=none", "data.max_clips=none"])
    assert changed.decoding.nms == "none"
    assert changed.data.max_clips is None


@pytest.mark.parametrize("name", available_configs())
def test_every_configuration_is_valid(name: str) -> None:
    assert load_config(name).name == name


HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "x/../../../../pwned",
    "../../../pwned",
    "/tmp/pwned",
    "a\\b",
    "C:b",
    ".hidden",
    "-x",
    "a b",
    "a\nb",
    "a\x1b[31mb",
    "\ud800",
    "x" * 101,
    "ü" * 51,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_one_of_a_file(config: Config, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^name: must be letters, digits") as refused:
        Config.from_dict({**config.to_dict(), "name": name})
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["v1.2_b-c", "Küche", "x" * 100])
def test_names_that_can_be(config: Config, name: str) -> None:
    assert Config.from_dict({**config.to_dict(), "name": name}).name == name


@pytest.mark.parametrize("domain", ["", ".", "../x", "a/b", "a\\b", "C:", "a\tb", " a", "x" * 101])
def test_a_domain_is_the_name_of_a_folder(config: Config, domain: str) -> None:
    with pytest.raises(ConfigError, match=r"^domains: cannot be the name of a folder"):
        replace(config.data, domains=("dog", domain))
    assert replace(config.data, domains=("pets & birds", "Küche")).domains == ("pets & birds", "Küche")


@pytest.mark.parametrize("name", sorted(RELEASED_PARAMETERS))
def test_parameters_of_the_released_model(name: str) -> None:
    config = load_config(name)
    released, position_rows = RELEASED_PARAMETERS[name]
    unused = position_rows * 256 + 2 * 256
    assert config.name == name
    assert sum(parameter.numel() for parameter in FlashVTG(config.model).parameters()) == released - unused


@pytest.mark.parametrize("name", sorted(RELEASED_PARAMETERS))
def test_configuration_survives_a_round_trip(name: str) -> None:
    config = load_config(name)
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dropuot=0.1", r"model\.dropuot: unknown field"),
        ("training.batch_size=many", r"training\.batch_size: must be a whole number, is 'many'"),
        ("training.batch_size=true", r"training\.batch_size: must be a whole number"),
        ("training.drop_last=yes", r"training\.drop_last: must be true or false, is 'yes'"),
        ("training.seed=4294967296", r"training\.seed: must be from 0 to 4294967295, is 4294967296"),
        ("training.seed=-1", r"training\.seed: must be from 0 to 4294967295, is -1"),
        ("training.selection_metrics=[]", r"training\.selection_metrics: must name at least one metric"),
        ("data.clip_length_s=1e300", r"data\.clip_length_s: must be from 0\.001 to 3600 seconds"),
        ("training.batch_size=0", r"training\.batch_size: must be positive, is 0"),
        ("training.patience=0", r"training\.patience: must be positive or left out, is 0"),
        ("data.window_clips=1", r"data\.window_clips: must be at least 2 or left out, is 1"),
        ("loss.nce_weight=-1", r"loss\.nce_weight: must not be negative, is -1"),
        ("model.strides=[1,3]", r"model\.strides: must be 1, 2, 4"),
        ("model.strides=4", r"model\.strides: must be a list"),
        ("model.dropout=1.0", r"model\.dropout: must be in \[0, 1\)"),
        ("model.score_kernel=4", r"model\.score_kernel: must be odd"),
        ("model.heads=5", r"model\.hidden_dim: must be an even multiple of heads"),
        ("model.video_dim=512", r"model\.video_dim: is 512, but data\.video_features add up to 2816"),
        ("model.text_dim=300", r"model\.text_dim: is 300, but data\.text_features has 512"),
        ("decoding.nms=soft", r"decoding\.nms: must be one of 'normal', 'linear', 'none'"),
        ("data.dataset=tvsum", r"loss\.classification: must be 'saliency'"),
        ("data.dataset=tacos", r"training\.negative_identity: 'source' reads the ids of qvhighlights"),
        (
            "data.video_features=[{name='clip', dim='wide'}]",
            r"data\.video_features\[0\]\.dim: must be a whole number",
        ),
        ("model.nowhere.field=1", r"no table 'nowhere'"),
        ("loss.nce_weight=inf", r"loss\.nce_weight: must be a finite number, is inf"),
        (f"loss.nce_weight=1{'0' * 400}", r"loss\.nce_weight: must be a number"),
        ("data.text_features={name='../x', dim=512}", r"data\.text_features\.name: must be letters"),
        ("data.domains=['../../x']", r"data\.domains: cannot be the name of a folder: '\.\./\.\./x'"),
        ("model.dropout", "write an override as"),
        ("training.epochs=none", r"training\.epochs: must be a whole number, is 'none'"),
        ("model=3", r"model: must be a table"),
    ],
)
def test_faults_name_the_field(config: Config, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override_config(config, [override])


def test_overrides_are_toml(config: Config) -> None:
    changed = override_config(
        config,
        [
            "training.batch_size=8",
            "training.learning_rate=1e-3",
            "decoding.nms=linear",
            "decoding.max_end_s=none",
            "model.strides = [1, 2]",
            "data.video_features=[{name='clip', dim=512}]",
            "model.video_dim=512",
        ],
    )
    assert changed.training.batch_size == 8
    assert changed.training.learning_rate == 1e-3
    assert changed.decoding.nms == "linear"
    assert changed.decoding.max_end_s is None
    assert changed.model.strides == (1, 2)
    assert changed.data.video_dim == 512
    assert config.training.batch_size == 64


def test_configuration_from_a_file(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "model/configs/tvsum-slowfast-clip.toml"
    path = tmp_path / "own.toml"
    path.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_config(path, ["training.epochs=3"]).training.epochs == 3


def test_faults_of_a_file_name_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration 'flashier'.*qvhighlights-slowfast-clip"):
        load_config("flashier")
    path = tmp_path / "own.toml"
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.toml: not a TOML file"):
        load_config(path)
    path.write_text("name = 'x'", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"own\.toml: data: is missing"):
        load_config(path)
