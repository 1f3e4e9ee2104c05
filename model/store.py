"""Trained models on this machine: where they lie, what they are called, and how one is added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, WeightsMissing
from extractors.weights import weights_dir
from model.config import name_problem

if TYPE_CHECKING:
    from model.checkpoint import Checkpoint

_SUFFIX = ".safetensors"
_SHORTHANDS: Mapping[str, str] = {
    "qvhl": "qvhighlights",
    "charades": "charades-sta",
    "youtube": "youtube-highlights",
}
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
    if name.endswith((_SUFFIX, ".ckpt")):
        path = Path(name)
        return path if path.is_file() else None
    models = installed_models()
    full = "-".join(_SHORTHANDS.get(part, part) for part in name.split("-"))
    for wanted in (name, full):
        for model, path in models.items():
            if model == wanted or model.startswith(f"{wanted}-"):
                return path
    return None


def add_model(file: str | Path, name: str | None = None) -> Path:
    """Bring a trained model here: a checkpoint of ours, or one of the released code with its `opt.json` beside it.

    No code that a file may carry is run.

    Args:
        file: `*.safetensors`, `model_best.ckpt`, or the folder of the latter.
        name: what to call it; by default `flashvtg-` and the name of its configuration.

    Raises:
        WeightsMissing: if there is no such file.
        WeightsInvalid: if it is damaged, would run code, or is no FlashVTG.
        UsageError: if the name cannot be one of a file.
    """
    from model.checkpoint import save_checkpoint

    if name is not None and (problem := name_problem(name)):
        raise UsageError(f"the name of a model {problem}")
    path = Path(file)
    checkpoint = read_model(path / "model_best.ckpt" if path.is_dir() else path)
    target = _place(f"flashvtg-{checkpoint.config.name}" if name is None else name)
    save_checkpoint(checkpoint, target)
    return target


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
    from model.checkpoint import import_released, load_checkpoint

    if not path.is_file():
        raise WeightsMissing(f"{path}: no such file")
    if path.name.endswith(_SUFFIX):
        return load_checkpoint(path)
    options = path.with_name("opt.json")
    return import_released(path, options if options.is_file() else None)
