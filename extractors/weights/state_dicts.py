"""Named tensors from weights files, recognised by their content, without running code."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extractors.errors import WeightsInvalid
from extractors.weights.pickles import UNZIPPING_ERRORS, is_zip, require_modest

Wanted = Callable[[str], bool]


def is_torch_archive(path: Path) -> bool:
    """Whether the file is a zip archive, as torch writes them."""
    return is_zip(path)


def is_torchscript(path: Path) -> bool:
    """Whether a torch archive holds a program beside its tensors; a damaged one holds nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except UNZIPPING_ERRORS:
        return False


def is_safetensors(path: Path) -> bool:
    """Whether the file begins like a safetensors file: the length of a JSON header, and the header."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size


def read_safetensors(path: Path, wanted: Wanted) -> dict[str, Tensor]:
    """Map the wanted tensors of a safetensors file into memory; the others are never read.

    Raises:
        WeightsInvalid: if the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsInvalid(f"{path}: damaged safetensors file ({error})") from error


def read_torch(path: Path) -> Any:
    """Read what `torch.save` wrote, tensors and plain containers only.

    Raises:
        WeightsInvalid: if the file is damaged or holds anything else.
    """
    try:
        require_modest(path)
        with path.open("rb") as file:  # not the path: torch would believe its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on bytes that are not its own
        cause = str(error).strip().partition("\n")[0]
        raise WeightsInvalid(f"{path}: not a file of plain tensors ({cause[:120]})") from error


def named_tensors(path: Path, content: Any, *, nested_in: tuple[str, ...]) -> dict[str, Tensor]:
    """Find the tensors in what a training program saved.

    Args:
        path: the file, for messages.
        content: what the file holds.
        nested_in: keys the tensors may lie under; also looked for at the top.

    Raises:
        WeightsInvalid: if there are no named tensors.
    """
    for key in nested_in:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise WeightsInvalid(f"{path}: holds no named tensors")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsInvalid(f"{path}: holds no named tensors")
    if all(name.startswith("module.") for name in tensors):  # left by data-parallel training
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def require_shapes(
    path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, architecture: str
) -> None:
    """Check that each expected tensor exists with the network's shape.

    Raises:
        WeightsInvalid: if not; the message names the file, the architecture and the first disagreement.
    """
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise WeightsInvalid(
            f"{path}: not {architecture}: {len(missing)} of {len(expected)} tensors are not there, "
            f"among them {missing[0]}"
        )
    for name, parameter in expected.items():
        if tensors[name].shape != parameter.shape:
            raise WeightsInvalid(
                f"{path}: not {architecture}: {name} is {tuple(tensors[name].shape)} "
                f"and should be {tuple(parameter.shape)}"
            )
        if not tensors[name].is_floating_point():
            raise WeightsInvalid(f"{path}: not {architecture}: {name} holds {tensors[name].dtype}")
