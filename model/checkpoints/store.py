"""Trained models on this machine: their paths, their names, and how one is added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, WeightsMissing
from extractors.weights.store import artefacts, require, weights_dir
from model.config import name_problem
from model.dataset_entry import own_datasets

if TYPE_CHECKING:
    from extractors.weights.store import Artefact
    from model.checkpoints.checkpoint import Checkpoint
    from model.config import Config

BEST = "best.safetensors"
"""Name of the best checkpoint in the folder of a run."""

_SUFFIX = ".safetensors"
_SUFFIXES = (_SUFFIX, ".ckpt")
_ROLES = frozenset({"best", "last", "model_best", "model_latest"})
_RUN = "config.toml"
_MAX_HEAD_BYTES = 1 << 24


def models_dir() -> Path:
    """Folder of trained models: `models` beside the named weights."""
    return weights_dir() / "models"


def installed_models() -> dict[str, Path]:
    """Name to file of every trained model here, in order of name."""
    return {path.name.removesuffix(_SUFFIX): path for path in sorted(models_dir().glob(f"*{_SUFFIX}"))}


def find_model(name: str) -> Path | None:
    """The file of a model here.

    Args:
        name: its name, or the beginning of it up to a hyphen (`flashvtg-qvhl` for
            `flashvtg-qvhighlights-slowfast-clip`); or the path of a file.
    """
    if name.endswith(_SUFFIXES):
        path = Path(name)
        return path if path.is_file() else None
    models = installed_models()
    for wanted in (name, _full_name(name)):
        for model, path in models.items():
            if model == wanted or model.startswith(f"{wanted}-"):
                return path
    return None


def published_model(name: str) -> Artefact | None:
    """The published model of a name, or of its short form, whether or not it is here."""
    published = {item.name: item for item in artefacts() if item.kind == "model"}
    return published.get(name) or published.get(_full_name(name))


def require_models(name: str) -> list[Path]:
    """The files that a name, a path or the folder of a run stands for: one, or of a run one for each domain.

    Args:
        name: as for `find_model`; or the path of any file; or a run's folder, of which the best checkpoint is meant.

    Raises:
        UsageError: if there is none.
        WeightsMissing: if it is a published model that is not here; the message says how to get it.
    """
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        best = path / BEST
        files = [best] if best.is_file() else sorted(path.glob(f"*/{BEST}"))
        if files:
            return files
    found = find_model(name)
    if found is not None:
        return [found]
    if path.is_dir():
        raise UsageError(f"{name}: there is no {BEST} in it, nor in folders of domains")
    if name.endswith(_SUFFIXES):
        raise UsageError(f"{name}: there is no such file")
    if (published := published_model(name)) is not None:
        return [require(published)]
    known = ", ".join(installed_models()) or "none"
    raise UsageError(
        f"there is no model '{name}' here; trained models here: {known}. To add one: vtg weights add FILE"
    )


def require_model(name: str) -> Path:
    """The one file that a name, a path or the folder of a run stands for.

    Raises:
        UsageError: if there is none, or a run has a model for each domain.
        WeightsMissing: as for `require_models`.
    """
    files = require_models(name)
    if len(files) > 1:
        parts = ", ".join(str(file.parent) for file in files)
        raise UsageError(f"{name}: has a model for each domain; name one of {parts}")
    return files[0]


def model_name(path: Path, config: Config) -> str:
    """What answers call a model.

    Args:
        path: its file.
        config: what it was trained with.

    Returns:
        the file's name without its ending; or where that says nothing, as `best.safetensors` of a run or
        `model_best.ckpt` of a release, the name of the run, with the domain if there is one, or of the configuration.
    """
    name = path.name.removesuffix(path.suffix)
    if name not in _ROLES:
        return name
    folder = path.resolve().parent
    if not (folder / _RUN).is_file():
        return config.name
    above = folder.parent
    return f"{above.name}-{folder.name}" if (above / _RUN).is_file() else folder.name


def add_model(file: str | Path, name: str | None = None) -> Path:
    """Bring a trained model here: a checkpoint of ours, or one of the released code with its `opt.json` beside it.

    No code that a file may carry is run.

    Args:
        file: `*.safetensors`, `model_best.ckpt`, or the folder of the latter.
        name: what to call it; by default `flashvtg-` and the name of its configuration.

    Raises:
        WeightsMissing: if there is no such file.
        WeightsInvalid: if it is damaged, would run code, or is not a FlashVTG.
        UsageError: if the name cannot be one of a file.
    """
    from model.checkpoints.checkpoint import save_checkpoint

    if name is not None and (problem := name_problem(name)):
        raise UsageError(f"the name of a model {problem}")
    path = Path(file)
    checkpoint = read_model(path / "model_best.ckpt" if path.is_dir() else path)
    target = _place(f"flashvtg-{checkpoint.config.name}" if name is None else name)
    save_checkpoint(checkpoint, target)
    return target


def _full_name(name: str) -> str:
    short = {alias: info.name.replace("_", "-") for info in own_datasets() for alias in info.aliases}
    return "-".join(short.get(part, part) for part in name.split("-"))


def _place(name: str) -> Path:
    """Where a model of that name lies: in the folder of models and nowhere else, whatever the name is."""
    target = models_dir() / f"{name}{_SUFFIX}"
    if target.parent != models_dir():
        raise UsageError(f"{target} is not in the folder of models; give the model another name")
    return target


def features_of(path: Path) -> tuple[tuple[str, ...], str]:
    """Names of the video features a model here reads, in order, and of its text features; empty if it is damaged.

    Only the head of the file is read, so that choosing a model loads none.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(min(length, _MAX_HEAD_BYTES)))
        description = json.loads(head["__metadata__"]["vtg"])
        video = tuple(str(spec["name"]) for spec in description["video_features"])
        return video, str(description["text_features"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return (), ""


def read_model(path: Path) -> Checkpoint:
    """Read a checkpoint of ours or of the released code; raises as `add_model`."""
    from model.checkpoints.checkpoint import import_released, load_checkpoint

    if not path.is_file():
        raise WeightsMissing(f"{path}: no such file")
    if path.name.endswith(_SUFFIX):
        return load_checkpoint(path)
    options = path.with_name("opt.json")
    return import_released(path, options if options.is_file() else None)
