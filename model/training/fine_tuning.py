"""Fine-tuning: training that begins with the weights of a trained model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extractors.errors import FeatureMismatch, UsageError
from extractors.features import FeatureSpec, folder_name
from model.checkpoints.checkpoint import Checkpoint, feature_specs
from model.checkpoints.store import model_name, read_model, require_model
from model.config import Config, ConfigError, load_config, override_config
from model.dataset_entry import OWN, require_dataset
from model.network.flashvtg import FlashVTG
from model.training.run import Progress, ResumeState

# Fields of the model that may differ from the checkpoint's, because they change no parameter that is loaded.
_FREE = ("existence", "dropout", "input_dropout", "dummy_dropout")


@dataclass(frozen=True)
class Start:
    """The trained model that fine-tuning begins with.

    Attributes:
        path: its file.
        checkpoint: the content of the file.
    """

    path: Path
    checkpoint: Checkpoint

    def require_features(self, video: Sequence[FeatureSpec], text: FeatureSpec) -> None:
        """Raise UsageError, naming both sides, unless the model reads these features."""
        try:
            self.checkpoint.require_features(video, text)
        except FeatureMismatch as error:
            raise UsageError(f"--from {self.path}: {error}") from None

    def first_of(self, names: Sequence[str], overrides: Sequence[str] = ()) -> Config | None:
        """Return the first of these configurations whose features the model reads; None if there is none."""
        for name in names:
            config = load_config(name, overrides)
            try:
                self.checkpoint.require_features(*feature_specs(config))
            except FeatureMismatch:
                continue
            return config
        return None

    def own_config(self, overrides: Sequence[str] = ()) -> Config:
        """Return a configuration for the user's own data with the features that the model reads.

        Raises:
            ConfigError: if a change is not valid.
        """
        names = require_dataset(OWN).configs
        if (config := self.first_of(names, overrides)) is not None:
            return config
        base, data = load_config(names[0]), self.checkpoint.config.data
        config = replace(
            base,
            name="-".join(["custom", *(folder_name(feature.name) for feature in data.video_features)]),
            data=replace(
                base.data,
                clip_length_s=data.clip_length_s,
                video_features=data.video_features,
                text_features=data.text_features,
            ),
            model=replace(base.model, video_dim=data.video_dim, text_dim=data.text_features.dim),
        )
        return override_config(config, overrides)

    def adapt(self, config: Config, overrides: Sequence[str] = ()) -> Config:
        """Replace the network of a configuration with the checkpoint's.

        Args:
            config: the experiment, with its overrides applied.
            overrides: the same overrides; dropout is the checkpoint's unless they change it. `config`
                determines whether there is an existence head.

        Raises:
            UsageError: if the features are not those of the checkpoint, or an override asks for another network.
        """
        self.require_features(*feature_specs(config))
        trained = self.checkpoint.config.model
        keys = [[key.strip() for key in override.partition("=")[0].split(".")] for override in overrides]
        asked = [key[1] for key in keys if key[0] == "model" and len(key) > 1]
        for name in asked:
            wanted, found = getattr(config.model, name), getattr(trained, name)
            if name not in _FREE and wanted != found:
                raise UsageError(
                    f"--set model.{name}: is {found} in --from {self.path}, whose network is kept; leave it out"
                )
        kept = {name: getattr(config.model, name) for name in _FREE if name in asked or name == "existence"}
        try:
            return replace(config, model=replace(trained, **kept))
        except ConfigError as error:
            raise UsageError(
                f"--from {self.path}: its network cannot be trained with {config.name}: {error}"
            ) from None

    def begin(self, config: Config) -> Beginning:
        """Return the weights that training begins with.

        Args:
            config: from `adapt`; parameters that the checkpoint lacks are initialized randomly with its seed.
        """
        weights = drawn_weights(config)
        found = self.checkpoint.weights
        return Beginning(
            model=model_name(self.path, self.checkpoint.config),
            path=self.path,
            state=ResumeState(
                Progress(), {name: found.get(name, value) for name, value in weights.items()}, {}
            ),
            loaded=tuple(sorted(weights.keys() & found.keys())),
            new=tuple(sorted(weights.keys() - found.keys())),
            left_out=tuple(sorted(found.keys() - weights.keys())),
        )


def drawn_weights(config: Config) -> dict[str, Tensor]:
    """Return the random weights that training begins with for the configuration's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return {name: value.detach() for name, value in FlashVTG(config.model).state_dict().items()}


@dataclass(frozen=True)
class Beginning:
    """The first weights of a fine-tuned network.

    Attributes:
        model: name of the trained model.
        path: its file.
        state: the weights before the first step.
        loaded: names of the parameters that are loaded from the trained model.
        new: names of the parameters that the trained model lacks.
        left_out: names of the parameters that only the trained model has.
    """

    model: str
    path: Path
    state: ResumeState
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert everything but the weights to plain values."""
        return {
            "model": self.model,
            "path": str(self.path.absolute()),
            "loaded": list(self.loaded),
            "new": list(self.new),
            "left_out": list(self.left_out),
        }

    def __str__(self) -> str:
        parts = [f"{_parameters(len(self.loaded))} loaded from {self.path}"]
        parts += [
            f"{title}: {_by_part(names)}"
            for title, names in (("new", self.new), ("left out", self.left_out))
            if names
        ]
        return "; ".join(parts)


def read_start(name: str) -> Start:
    """Read the trained model that `--from` names.

    Args:
        name: a file (also of the released code), the folder of a run or a name, as for `require_model`.

    Raises:
        UsageError: if there is no such model, or there is one model per domain.
        WeightsMissing, WeightsInvalid: as for `read_model`.
    """
    path = require_model(name)
    return Start(path, read_model(path))


def _by_part(names: Iterable[str]) -> str:
    """List the parts of the network, with the number of parameters in each."""
    counts = Counter(name.partition(".")[0] for name in names)
    return ", ".join(f"{part} ({_parameters(count)})" for part, count in sorted(counts.items()))


def _parameters(count: int) -> str:
    return f"{count} parameter{'' if count == 1 else 's'}"
