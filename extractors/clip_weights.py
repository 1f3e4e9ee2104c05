"""CLIP's tensors out of a file of any published form."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from extractors.errors import WeightsInvalid
from extractors.state_dicts import (
    Wanted,
    is_safetensors,
    is_torch_archive,
    is_torchscript,
    named_tensors,
    read_safetensors,
    read_torch,
)
from extractors.weights import artefacts, sha256

NETWORK = "CLIP ViT-B/32"
"""What the files hold, for messages."""


def read_state(
    path: Path, wanted: Wanted, *, trusted_sha256: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Read CLIP's tensors from a file of any published form, told apart by content.

    Accepted are safetensors, a state dict saved by torch (plain, or under `state_dict`), and the TorchScript
    archive OpenAI released. The last holds a program, so it is opened only if its hash is a pinned one.

    Args:
        path: the file.
        wanted: which tensors to return, by name.
        trusted_sha256: hashes of TorchScript archives that may be opened; those of the artefacts by default.

    Raises:
        WeightsInvalid: if the file is damaged, of another kind, or a TorchScript archive of unknown origin.
    """
    if is_safetensors(path):
        return read_safetensors(path, wanted)
    if is_torch_archive(path) and is_torchscript(path):
        if trusted_sha256 is None:
            trusted_sha256 = [item.sha256 for item in artefacts() if item.feature == "clip" and item.sha256]
        if sha256(path) not in trusted_sha256:
            raise WeightsInvalid(
                f"{path}: a TorchScript archive that is not the one OpenAI published; "
                "save its state dict with safetensors, or download ViT-B-32.pt again"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls the format deprecated; the file is what it is
            content = torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    else:
        content = read_torch(path)
    tensors = named_tensors(path, content, nested_in=("state_dict",))
    return {name: value for name, value in tensors.items() if wanted(name)}
