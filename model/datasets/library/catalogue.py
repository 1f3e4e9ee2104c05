"""Where the files of a dataset are on this machine, what a configuration needs of them, and how to get the rest.

Files may be in vtg's layout or in that of a published archive: both are found by the names of their folders.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from extractors.errors import VtgError
from extractors.features import folder_name
from extractors.files.user_folders import vtg_home
from model.config import Config, available_configs
from model.dataset_entry import DatasetInfo, FeatureArchive

_ANNOTATION_PLACES = ("", "annotations", "data")
_FEATURE_PLACES = ("", "features")
_TEXT_SUFFIX = "_text"


class DatasetError(VtgError):
    """A dataset's files are missing, damaged, or cannot be downloaded; the message explains how to get them."""


@dataclass(frozen=True)
class Requirement:
    """Something a configuration reads.

    Attributes:
        what: for people, for instance `clip features`.
        path: where it lies or, where it is missing, should lie.
        present: whether it is there.
        how: what to do when it is missing.
        optional: whether vtg can do without it.
    """

    what: str
    path: Path
    present: bool
    how: str
    optional: bool = False


def data_dir() -> Path:
    """Where datasets lie: `VTG_DATA`, else `datasets` in vtg's own folder."""
    if folder := os.environ.get("VTG_DATA"):
        return Path(folder).expanduser()
    return vtg_home() / "datasets"


def dataset_folder(info: DatasetInfo, root: Path | None = None) -> Path:
    """The folder of a dataset, whether or not it is there.

    Args:
        info: the dataset.
        root: the folder itself, or one above it; None for `data_dir()`.

    Returns:
        The root if annotations or features of the dataset lie in it; else the first of `info.folders` that is in the
        root; else the root if it goes by one of those names, or holds something of the dataset a level deeper; else
        the folder to make.
    """
    root = data_dir() if root is None else Path(root)
    if _holds(info, root, annotation_places=("",), feature_places=("",)):
        return root
    if (inside := next(filter(Path.is_dir, (root / name for name in info.folders)), None)) is not None:
        return inside
    if root.name in info.folders or _holds(info, root):
        return root
    return root / info.name


def find_annotations(file: str, folder: Path) -> Path | None:
    """Find a file of annotations: in the dataset's folder, or in `annotations/` or `data/` there.

    Args:
        info: the dataset.
        file: its name, from the catalogue or the user.
        folder: of the dataset.
    """
    return _find_file(file, folder, _ANNOTATION_PLACES)


def find_features(info: DatasetInfo, stream: str, folder: Path) -> Path | None:
    """Find the folder of a stream: in the dataset's folder, or in `features/` there.

    Args:
        info: the dataset.
        stream: name of the features, as in a configuration.
        folder: of the dataset.
    """
    return _find_features(info, stream, folder, _FEATURE_PLACES)


def own_feature_folder(stream: str) -> str:
    """Name of a stream's folder in vtg's own layout."""
    return f"{folder_name(stream)}_features"


def requirements(config: Config, folder: Path) -> tuple[Requirement, ...]:
    """What a configuration reads, in the order it is read: two files of annotations, video streams, the text stream.

    Args:
        config: the configuration.
        folder: of its dataset.
    """
    info = config.data.info
    data = config.data
    video = [_stream_requirement(info, config, spec.name, folder) for spec in data.video_features]
    return (
        _annotation_requirement(info, config, "train", data.train_annotations, folder),
        _annotation_requirement(info, config, "eval", data.eval_annotations, folder),
        *video,
        _text_requirement(info, config, folder),
    )


def is_complete(wanted: Iterable[Requirement]) -> bool:
    """Whether everything required is there."""
    return all(item.present or item.optional for item in wanted)


def missing_data_message(config: Config, folder: Path) -> str:
    """What is missing for a configuration and how to get it, as plain text of less than 24 lines.

    Args:
        config: the configuration.
        folder: of its dataset.

    Returns:
        The message; empty if nothing is missing.
    """
    lacking = [item for item in requirements(config, folder) if not item.present and not item.optional]
    if not lacking:
        return ""
    lines = [f"{config.name} needs data that is not in {folder}:"]
    lines += [f"  {item.what}: {_inside(item.path, folder)}" for item in lacking]
    lines += how_to_get(config, folder)
    if not config.data.info.is_own:
        lines += [
            "Is it elsewhere on this machine? Name its folder with --data or VTG_DATA, and see what is found:",
            f"  {_command(config.data.info, 'check', config, folder)}",
        ]
    return "\n".join(lines)


def how_to_get(config: Config, folder: Path) -> list[str]:
    """What to do about what is missing, as lines of text; things that come together are named together.

    Args:
        config: the configuration.
        folder: of its dataset.
    """
    groups: dict[str, list[str]] = {}
    for item in requirements(config, folder):
        if not item.present and not item.optional:
            groups.setdefault(item.how, []).append(item.what)
    return [line for how, things in groups.items() for line in (f"{', '.join(things)}:", f"  {how}")]


def needed_archives(info: DatasetInfo, config: Config, folder: Path) -> tuple[FeatureArchive, ...]:
    """Archives that hold a stream which a configuration reads, which is missing, and which vtg cannot make itself."""
    lacking = {
        spec.name
        for spec in (*config.data.video_features, config.data.text_features)
        if find_features(info, spec.name, folder) is None and not _is_made_by_vtg(spec.name, config)
    }
    return tuple(archive for archive in info.archives if lacking & set(archive.streams))


def stream_of_folder(info: DatasetInfo, parts: tuple[str, ...]) -> str | None:
    """The stream whose files lie in a folder, recognised by the end of its path; None if it is not a feature folder.

    Args:
        info: the dataset.
        parts: components of the path.
    """
    for stream, names in info.features.items():
        for name in names:
            folder = tuple(name.split("/"))
            if parts[-len(folder) :] == folder:
                return stream
    return None


def _holds(
    info: DatasetInfo,
    folder: Path,
    annotation_places: tuple[str, ...] = _ANNOTATION_PLACES,
    feature_places: tuple[str, ...] = _FEATURE_PLACES,
) -> bool:
    return any(_find_file(item.file, folder, annotation_places) for item in info.annotations) or any(
        _find_features(info, stream, folder, feature_places) for stream in info.features
    )


def _find_file(file: str, folder: Path, places: tuple[str, ...]) -> Path | None:
    return next(filter(Path.is_file, (folder / place / file for place in places)), None)


def _find_features(info: DatasetInfo, stream: str, folder: Path, places: tuple[str, ...]) -> Path | None:
    names = info.features.get(stream, (own_feature_folder(stream),))
    candidates = (folder / place / name for place in places for name in names)
    return next(filter(Path.is_dir, candidates), None)


def _annotation_requirement(
    info: DatasetInfo, config: Config, role: str, file: str, folder: Path
) -> Requirement:
    what = f"{role} annotations"
    if not file:
        return Requirement(
            what, folder, False, f"name the file in the configuration: data.{role}_annotations"
        )
    found = find_annotations(file, folder)
    if any(item.file == file for item in info.annotations):
        how = _command(info, "pull", config, folder)
    else:
        how = "no published file has this name; put your own there"
    return Requirement(what, found or folder / file, found is not None, how)


def _stream_requirement(info: DatasetInfo, config: Config, stream: str, folder: Path) -> Requirement:
    found = find_features(info, stream, folder)
    path = found or folder / own_feature_folder(stream)
    return Requirement(
        f"{stream} features", path, found is not None, _how_to_get_stream(info, config, stream, folder)
    )


def _text_requirement(info: DatasetInfo, config: Config, folder: Path) -> Requirement:
    stream = config.data.text_features.name
    wanted = _stream_requirement(info, config, stream, folder)
    if not _is_made_by_vtg(stream, config):
        return wanted
    return Requirement(
        wanted.what, wanted.path, wanted.present, "vtg makes them from the queries", optional=True
    )


def _is_made_by_vtg(stream: str, config: Config) -> bool:
    """Whether a text encoder of vtg makes these tokens, so that no files are needed."""
    from extractors.encoders.registry import has_text_encoder

    names = (stream, stream.removesuffix(_TEXT_SUFFIX))
    return stream == config.data.text_features.name and any(map(has_text_encoder, names))


def _how_to_get_stream(info: DatasetInfo, config: Config, stream: str, folder: Path) -> str:
    archive = next((archive for archive in info.archives if stream in archive.streams), None)
    if archive is None:
        own = own_feature_folder(stream)
        return f"no published archive is known; put a file for each video or query into {folder / own}"
    if archive.url:
        return _command(info, "pull", config, folder)
    return by_hand(info, archive, folder)


def by_hand(info: DatasetInfo, archive: FeatureArchive, folder: Path) -> str:
    """How a person adds an archive, as a sentence."""
    add = f"{_command(info, 'add', None, folder)} {shlex.quote(archive.name)}"
    pages = " or ".join((archive.page, *archive.also))
    return f"download {archive.name} ({archive.size_text}) from {pages}, then `{add}`"


def _command(info: DatasetInfo, verb: str, config: Config | None, folder: Path) -> str:
    """A command line that acts on this folder and configuration, with no option that is the default."""
    words = ["vtg datasets", verb, info.name]
    if config is not None and config.name != info.configs[0]:
        words += ["--config", config.name if config.name in available_configs() else "CONFIG.toml"]
    if folder != dataset_folder(info):
        words += ["--data", shlex.quote(str(folder))]
    return " ".join(words)


def _inside(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) and path != folder else path
