"""Locations of an experiment's data: its folder and its annotation files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from extractors.errors import UsageError, VtgError
from model.config import Config
from model.datasets.library.catalogue import dataset_folder, find_annotations

_PATHS = ("data", "train", "evaluate", "videos", "negatives", "pretrain", "concepts")


class DataMissing(VtgError):
    """Annotations or features are not on this machine; the message names them and how to get them."""


@dataclass(frozen=True)
class Inputs:
    """The paths of an experiment's data.

    Attributes:
        data: folder of the dataset, or one above it; None for the default location.
        train: the user's annotations to train on.
        evaluate: the user's annotations to score on; None holds out every tenth video of `train`.
        videos: folder of videos whose features are extracted if they are missing.
        negatives: additional negatives to train on; None if there are none.
        skip_missing: leave out queries whose features are missing, instead of raising an error.
        pretrain: folder of unlabelled videos, or of their feature files, to learn from first; None if there is none.
        concepts: file of names to look for in them; None for the names that come with vtg.
        pseudo_labels: file of pseudo-labels found in them earlier, which a resumed run continues to use; part
            of the run, not recorded in its inputs.
    """

    data: Path | None = None
    train: Path | None = None
    evaluate: Path | None = None
    videos: Path | None = None
    skip_missing: bool = False
    negatives: Path | None = None
    pretrain: Path | None = None
    concepts: Path | None = None
    pseudo_labels: Path | None = None

    def to_json(self) -> dict[str, str | bool | None]:
        """Convert to plain values with absolute paths; `from_json` reads them."""
        paths = {name: getattr(self, name) for name in _PATHS}
        absolute = {name: None if path is None else str(path.absolute()) for name, path in paths.items()}
        return {**absolute, "skip_missing": self.skip_missing}

    @classmethod
    def from_json(cls, values: dict[str, object]) -> Inputs:
        """Read what `to_json` wrote."""
        paths = {name: Path(str(values[name])) for name in _PATHS if values.get(name)}
        return cls(skip_missing=bool(values.get("skip_missing")), **paths)

    def require_there(self, named_in: str, *, scoring: bool = False, but: str = "") -> None:
        """Check that the paths still exist.

        Args:
            named_in: the file that names them, for the message.
            scoring: whether the inputs are used only for scoring; then `train` is needed only without
                `evaluate`, and other training data is not needed.
            but: further advice, appended to the message.

        Raises:
            DataMissing: if one does not exist.
        """
        train = None if scoring and self.evaluate is not None else self.train
        learnt = () if scoring else (self.negatives, self.pretrain)
        for path in (self.data, train, self.evaluate, self.videos, *learnt):
            if path is not None and not path.exists():
                raise DataMissing(
                    f"{named_in}: {path} no longer exists; restore it, or correct its path there{but}"
                )


def data_folder(config: Config, inputs: Inputs) -> Path:
    """Return the folder where the dataset of a configuration is, or is expected."""
    if config.data.info.is_own:
        beside = inputs.train or inputs.evaluate
        return inputs.data or (beside.parent if beside is not None else Path())
    return dataset_folder(config.data.info, inputs.data)


def negatives_file(config: Config, inputs: Inputs) -> Path | None:
    """Return the file that `training.negatives` names; None if it names none.

    Raises:
        UsageError: if there is no such file.
    """
    name = config.training.negatives_file
    if name is None or inputs.negatives is not None:
        return inputs.negatives
    folder = data_folder(config, inputs)
    for path in (Path(name), folder / name):
        if path.is_file():
            return path
    raise UsageError(f"training.negatives: there is no file {name}, nor one of this name in {folder}")


def annotation_file(config: Config, folder: Path, name: str) -> Path:
    """Return an annotation file in the folder of a configuration's dataset.

    Raises:
        UsageError: if the dataset is the user's own and no name is given.
        DataMissing: if there is no such file.
    """
    if config.data.info.is_own:
        if not name:
            raise UsageError(
                "this model was trained on your own data: name the data to score on with --annotations FILE and "
                "--videos FOLDER"
            )
        path: Path | None = folder / name if (folder / name).is_file() else None
    else:
        path = find_annotations(name, folder)
    if path is None:
        raise DataMissing(
            f"{folder / name}: there is no such file of annotations; name another, or its folder with --data"
        )
    return path


def file_of_split(config: Config, name: str, folder: Path) -> str:
    """Return the file of a published split, or of this name; raise UsageError if there is neither."""
    published = config.data.info.annotations
    if published and find_annotations(name, folder) is not None:
        return name
    file = next((entry.file for entry in published if name in (entry.split, entry.file)), None)
    if file is None and not (folder / name).is_file():
        splits = ", ".join(entry.split for entry in published)
        known = f"; splits of {config.data.dataset} are {splits}" if splits else ""
        raise UsageError(f"{name}: there is no such file of annotations, nor one in {folder}{known}")
    return file or name
