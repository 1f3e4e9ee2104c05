"""The two towers of CLIP ViT-B/32 as networks: built one at a time, each reading only its own weights."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extractors.errors import WeightsInvalid
from extractors.state_dicts import (
    Wanted,
    is_safetensors,
    is_torch_archive,
    is_torchscript,
    named_tensors,
    read_safetensors,
    read_torch,
    require_shapes,
)
from extractors.weights import artefacts, sha256

with warnings.catch_warnings():
    # Its dependencies script functions at import, which today's torch calls deprecated.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    import open_clip

ARCHITECTURE = "ViT-B-32-quickgelu"
"""OpenAI trained with QuickGELU; under plain `ViT-B-32` the same weights give other features."""

MAX_BPE_TOKENS = 30
"""Tokens kept of a query, between start and end of text, in the published text features."""

_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
_PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageTower(nn.Module):
    """Frames in, projected image features out.

    Args:
        weights: a file `read_state` can read.
        device: where it runs.
        dtype: number format it computes in.

    Raises:
        WeightsInvalid: if the file does not hold CLIP ViT-B/32.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        clip = _bare_clip()
        state = read_state(weights, lambda name: name.startswith("visual."))
        expected = {name: value for name, value in clip.state_dict().items() if name.startswith("visual.")}
        _fill(clip, weights, state, expected)
        self.visual: nn.Module = clip.visual.to(device=device, dtype=dtype)
        scale, shift = pixel_affine(_PIXEL_MEAN, _PIXEL_STD)
        self.register_buffer("scale", scale.view(1, 3, 1, 1).to(device))
        self.register_buffer("shift", shift.view(1, 3, 1, 1).to(device))
        self.dtype = dtype
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames.

        Args:
            frames: (B, 224, 224, 3) uint8 RGB, on any device.

        Returns:
            (B, 512) float32, not normalised.
        """
        pixels = frames.to(self.scale.device).permute(0, 3, 1, 2)  # (B, 3, H, W)
        pixels = torch.addcmul(self.shift, pixels.float(), self.scale)  # in fp32: rounded once, by the cast
        features: Tensor = self.visual(pixels.to(self.dtype))
        return features.float()


class TextTower(nn.Module):
    """Sentences in, token states and projected sentence features out.

    Attention is causal, so only the tokens of the longest query of a batch are computed, not all 77.

    Args:
        weights: a file `read_state` can read.
        device: where it runs.
        dtype: number format it computes in.

    Raises:
        WeightsInvalid: if the file does not hold CLIP ViT-B/32.
    """

    def __init__(self, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        clip = _bare_clip()
        state = read_state(weights, lambda name: not name.startswith("visual."))
        unused = ("visual.", "logit_scale")
        expected = {name: value for name, value in clip.state_dict().items() if not name.startswith(unused)}
        _fill(clip, weights, state, expected)
        self.token_embedding: nn.Embedding = clip.token_embedding
        self.positional_embedding: nn.Parameter = clip.positional_embedding
        self.transformer: nn.Module = clip.transformer
        self.ln_final: nn.Module = clip.ln_final
        self.text_projection: nn.Parameter = clip.text_projection
        self.to(device=device, dtype=dtype)
        self.eval().requires_grad_(False)
        self.tokenizer = open_clip.get_tokenizer(ARCHITECTURE)

    @torch.inference_mode()
    def forward(self, queries: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Encode queries.

        Args:
            queries: B sentences; of each the first `MAX_BPE_TOKENS` tokens count.

        Returns:
            For each query (T, 512) states after the last layer norm, start and end of text included, and
            (512,) the state of the end of text, projected; float32.
        """
        start, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        ids = [[start, *self.tokenizer.encode(query)[:MAX_BPE_TOKENS], end] for query in queries]
        length = max(map(len, ids))
        device = self.positional_embedding.device
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids], device=device)  # (B, T)

        states = self.token_embedding(padded) + self.positional_embedding[:length]  # (B, T, D)
        causal = torch.full((length, length), -torch.inf, device=device, dtype=states.dtype).triu(1)
        states = self.ln_final(self.transformer(states, attn_mask=causal))  # (B, T, D)
        ends = states[torch.arange(len(ids), device=device), [len(row) - 1 for row in ids]]  # (B, D)
        pooled = (ends @ self.text_projection).float()  # (B, E)
        return [(states[b, : len(row)].float(), pooled[b]) for b, row in enumerate(ids)]


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


def pixel_affine(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The (3,) scale and shift that turn bytes x into `(x / 255 - mean) / std` as `shift + x * scale`."""
    mean_t, std_t = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    return (1 / (255 * std_t)).float(), (-mean_t / std_t).float()


def _bare_clip() -> Any:
    """CLIP without memory behind its parameters: a random start would take longer than all the rest."""
    with torch.device("meta"):
        return open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE))


def _fill(clip: Any, path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    require_shapes(path, state, expected, architecture="CLIP ViT-B/32")
    clip.load_state_dict({name: state[name] for name in expected}, strict=False, assign=True)
