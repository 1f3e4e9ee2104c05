"""CLIP's tensors from a file in any published form."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from extractors.encoders.clip import FEATURE
from extractors.encoders.clip.layouts import transformers_source
from extractors.errors import WeightsInvalid
from extractors.weights.state_dicts import (
    Wanted,
    is_safetensors,
    is_torch_archive,
    is_torchscript,
    named_tensors,
    read_safetensors,
    read_torch,
    require_shapes,
)
from extractors.weights.store import sha256, with_equivalents
from extractors.weights.tensor_archive import StoredTensor, find_tensors, read_tensors

NETWORK = "CLIP ViT-B/32"
"""What the files hold, for messages."""


def read_state(
    path: Path, expected: Mapping[str, Tensor], *, trusted_sha256: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Read CLIP's tensors from a file in any published form, recognised by its content.

    Accepted are safetensors, a state dict saved by torch (plain, or under `state_dict`), and the TorchScript
    archive OpenAI released. The last holds a program, so it is opened only if its hash is a pinned one. Names are
    OpenAI's, or those of the transformers library (`vision_model.*`, `text_model.*`).

    Args:
        path: the file.
        expected: the tensors to read by OpenAI's name, of the shapes the network has; others are not read.
        trusted_sha256: hashes of TorchScript archives that may be opened; those of the artefacts by default.

    Returns:
        The tensors of `expected`, as precise as the file has them.

    Raises:
        WeightsInvalid: if the file is damaged, of another kind or network, or a TorchScript archive of unknown
            origin. A tensor that is wrong is named as the file names it.
    """
    sources = {name: transformers_source(name) for name in expected}
    theirs = {part for source in sources.values() for part in source.names}
    tensors = _read(path, lambda name: name in expected or name in theirs, trusted_sha256)
    if theirs.isdisjoint(tensors):
        require_shapes(path, tensors, expected, architecture=NETWORK)
        return {name: tensors[name] for name in expected}

    parts: dict[str, Tensor] = {}
    for name, source in sources.items():
        whole = expected[name].T if source.transposed else expected[name]
        parts |= zip(source.names, whole.chunk(len(source.names)) if whole.ndim else [whole], strict=True)
    require_shapes(path, tensors, parts, architecture=NETWORK)
    state = {}
    for name, source in sources.items():
        found = [tensors.pop(part) for part in source.names]
        whole = found[0] if len(found) == 1 else torch.cat(found)
        state[name] = (whole.T if source.transposed else whole).contiguous()
    return state


def _read(path: Path, wanted: Wanted, trusted_sha256: Collection[str] | None) -> dict[str, Tensor]:
    if is_safetensors(path):
        return read_safetensors(path, wanted)
    if is_torch_archive(path) and is_torchscript(path):
        content = _read_torchscript(path, trusted_sha256)
    else:
        stored = _find(path)
        if names := [name for name in stored if wanted(name)]:
            try:
                return read_tensors(path, stored, names)
            except ValueError as error:
                raise WeightsInvalid(f"{path}: not a file of plain tensors ({error})") from error
        content = read_torch(path)
    tensors = named_tensors(path, content, nested_in=("state_dict",))
    return {name: value for name, value in tensors.items() if wanted(name)}


def _find(path: Path) -> dict[str, StoredTensor]:
    try:
        return find_tensors(path)
    except ValueError:  # damaged, or of an older format: torch reads it, or reports what is wrong
        return {}


def _read_torchscript(path: Path, trusted_sha256: Collection[str] | None) -> dict[str, Tensor]:
    if trusted_sha256 is None:
        trusted_sha256 = [item.sha256 for item in with_equivalents(FEATURE.weights) if item.sha256]
    if sha256(path) not in trusted_sha256:
        raise WeightsInvalid(
            f"{path}: a TorchScript archive that is not the one OpenAI published; "
            "save its state dict with safetensors, or download ViT-B-32.pt again"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the format deprecated; the file is what it is
        content: dict[str, Tensor] = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        ).state_dict()
    return content
