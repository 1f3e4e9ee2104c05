"""Feature files of the published datasets: one NumPy or torch file per video or query, found by its name.

Nothing in a file is trusted: no pickled object is read, and a header is accepted only if the file is long enough for
it.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.errors import VtgError
from extractors.files.npy import Unbacked, read_header, require_backed
from extractors.weights.pickles import require_modest

Array = NDArray[np.floating[Any]]

VIDEO_KEY, TEXT_KEY = "features", "last_hidden_state"

_MAX_BYTES = 1 << 32  # 4 GiB: a day of rows
_MOST_COMPRESSED = 20  # times that rows of numbers are smaller when packed: 2 are common
_SLACK_BYTES = 64 << 20
_PAIR = ("_rgb", "_opt")  # TVSum's I3D features come as two files, to be read side by side


class FeatureFileError(VtgError):
    """A feature file is missing, damaged, or of another shape; the message names it."""


class FeatureFolder:
    """The rows of one stream, one file per video (or query).

    Args:
        folder: where the files lie.
        name: the stream's name, for messages.
        dim: length of a row.
        key: of the array inside an `.npz`.
    """

    def __init__(self, folder: str | Path, name: str, dim: int, *, key: str = VIDEO_KEY) -> None:
        self.folder = Path(folder)
        self.name = name
        self.dim = dim
        self._key = key

    def find(self, stem: str) -> Path | None:
        """The file of a video or query; `.npz` before `.pt` before `.npy`. None if there is none.

        Of a pair `<stem>_rgb.npy`, `<stem>_opt.npy` the first is given.
        """
        names = [f"{stem}.npz", f"{stem}.pt", f"{stem}.npy", f"{stem}{_PAIR[0]}.npy"]
        return next((path for path in map(self.folder.joinpath, names) if path.is_file()), None)

    def stems(self) -> list[str]:
        """The names of all videos or queries that have a file here, in order."""
        files = (path for path in self.folder.iterdir() if path.suffix in (".npz", ".pt", ".npy"))
        names = (path.stem.removesuffix(_PAIR[0]) for path in files if not path.stem.endswith(_PAIR[1]))
        return sorted(set(names))

    def load(self, *stems: str) -> Array:
        """Read the rows of a video or query.

        Args:
            stems: names it may go by, without suffix; the first that is there is read.

        Returns:
            (N, dim), in the type they are stored in.

        Raises:
            FeatureFileError: if there is no such file, or it does not hold N > 0 rows of finite numbers.
        """
        path = next((found for found in map(self.find, stems) if found is not None), None)
        if path is None:
            raise FeatureFileError(f"{self.folder / stems[0]}.npz: there are no '{self.name}' features")
        try:
            rows = self._read(path)
        except (FeatureFileError, Unbacked) as error:
            raise FeatureFileError(f"{path}: {error}") from None
        except Exception as error:  # damaged archives raise whatever their readers happen to trip over
            reason = str(error) or type(error).__name__
            raise FeatureFileError(f"{path}: damaged, or not a feature file ({reason})") from error
        if rows.ndim != 2 or rows.shape[1] != self.dim or len(rows) == 0:
            raise FeatureFileError(f"{path}: {self._misshapen(rows)}")
        if not np.isfinite(rows).all():
            raise FeatureFileError(f"{path}: holds numbers that are not finite; extract it again")
        return rows

    def _misshapen(self, rows: Array) -> str:
        form = (
            f"holds an array of shape {list(rows.shape)}, while '{self.name}' features are rows of {self.dim}"
        )
        if rows.ndim != 2 or rows.shape[1] == self.dim or len(rows) == 0:
            return form
        table = (
            "data.text_features and model.text_dim"
            if self._key == TEXT_KEY
            else "data.video_features and model.video_dim"
        )
        return f"{form}; for rows of {rows.shape[1]}, set {table}"

    def _read(self, path: Path) -> Array:
        if path.suffix == ".npz":
            return _flat(_read_npz(path, self._key))
        if path.suffix == ".pt":
            return _flat(_read_pt(path))
        if (
            path.stem.endswith(_PAIR[0])
            and path.with_name(path.name.replace(f"{_PAIR[0]}.npy", f"{_PAIR[1]}.npy")).is_file()
        ):
            parts = [
                _flat(_read_npy(path)),
                _flat(_read_npy(path.with_name(path.name.replace(f"{_PAIR[0]}.npy", f"{_PAIR[1]}.npy")))),
            ]
            count = min(map(len, parts))
            return np.concatenate([part[:count] for part in parts], axis=1)
        return _flat(_read_npy(path))


def missing(folders: Sequence[FeatureFolder], stems: Sequence[str]) -> list[str]:
    """Those stems that lack a file in at least one of the folders, each once, in order."""
    return [stem for stem in dict.fromkeys(stems) if any(folder.find(stem) is None for folder in folders)]


def _read_npz(path: Path, key: str) -> Array:
    with zipfile.ZipFile(path) as archive:
        try:
            member = archive.getinfo(f"{key}.npy")
        except KeyError:
            names = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:5])
            raise FeatureFileError(f"holds no array '{key}', but {names or 'nothing'}") from None
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FeatureFileError("is compressed in a way that NumPy does not write; save it again")
        with archive.open(member) as file:
            shape, dtype = _read_header(file)
            packed = path.stat().st_size
            room = 0 if member.compress_size > packed else _SLACK_BYTES + _MOST_COMPRESSED * packed
            _check_size(shape, dtype, min(member.file_size, room))
            size = int(np.prod(shape)) * dtype.itemsize
            data = file.read(size + 1)  # to the end, where the archive's checksum is compared
    if len(data) != size:
        raise FeatureFileError(f"does not hold an array of shape {list(shape)}, as it claims")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _read_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape, columns_first, dtype = read_header(file)
    if columns_first and len(shape) > 1:
        raise FeatureFileError("is stored column by column; store it row by row")
    return shape, dtype


def _read_npy(path: Path) -> Array:
    with path.open("rb") as file:
        shape, dtype = _read_header(file)
    _check_size(shape, dtype, path.stat().st_size)
    # Not mapped into memory: rows that are kept would each keep a file open.
    rows: Array = np.load(path, allow_pickle=False)
    return rows


def _read_pt(path: Path) -> Array:
    import torch

    if path.stat().st_size > _MAX_BYTES:
        raise FeatureFileError("is larger than any feature file")
    try:
        require_modest(path)
    except ValueError as error:
        raise FeatureFileError(f"is refused: {error}, which a feature file never does") from error
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message advises to execute what the file holds
        raise FeatureFileError("holds something else than a tensor, which is not read") from error
    if not isinstance(tensor, torch.Tensor):
        raise FeatureFileError("does not hold a tensor")
    # Rows may be repeated without being stored.
    require_backed(tensor.shape, tensor.element_size(), path.stat().st_size)
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    rows: Array = tensor.detach().numpy()
    _check_kind(rows.dtype)
    return rows


def _check_size(shape: Sequence[int], dtype: np.dtype[Any], file_bytes: int) -> None:
    _check_kind(dtype)
    require_backed(shape, dtype.itemsize, min(file_bytes, _MAX_BYTES))


def _check_kind(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiu":
        raise FeatureFileError(f"holds values of type {dtype}, not numbers")


def _flat(rows: Array) -> Array:
    """(N, D) of what may also be (1, N, D) or (N, 1, D), as some extractors leave it."""
    if rows.ndim == 3 and 1 in rows.shape[:2]:
        return rows.reshape(-1, rows.shape[2])
    return rows
