"""The two towers of a model, built by open_clip, with weights that are read without running code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extractors.encoders.torch_encoder import without_deprecations
from extractors.errors import WeightsInvalid, WeightsMissing
from extractors.weights.open_clip_table import OpenClipModel
from extractors.weights.state_dicts import (
    is_safetensors,
    is_torch_archive,
    is_torchscript,
    named_tensors,
    read_safetensors,
    read_torch,
    require_shapes,
)

with without_deprecations():
    import open_clip
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_UNUSED = ("logit_scale", "logit_bias")  # of training; rows do not depend on them


class ImageTower:
    """Frames in, projected image features out.

    Args:
        model: which model.
        weights: safetensors, or a state dict saved by torch.
        device: where it runs.
        dtype: number format it computes in.

    Raises:
        WeightsMissing: if the network needs a package that is not installed.
        WeightsInvalid: if the file is damaged, or does not hold this model.
    """

    def __init__(self, model: OpenClipModel, weights: Path, device: torch.device, dtype: torch.dtype) -> None:
        self._network = _load(model, weights, device, dtype)
        for name in [name for name, _ in self._network.named_children() if name != "visual"]:
            delattr(self._network, name)
        mean, std = (torch.tensor(values, device=device) for values in (model.mean, model.std))
        self._mean, self._std = mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
        self._dtype = dtype

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        """Encode (B, size, size, 3) uint8 RGB frames, on any device; (B, dim) float32, not normalised."""
        pixels = frames.to(self._mean.device).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
        rows: Tensor = self._network.encode_image(((pixels - self._mean) / self._std).to(self._dtype))
        return rows.float()


class TextTower:
    """Sentences in, token states and one pooled row out, both projected.

    Args:
        model, weights, device, dtype: as for `ImageTower`.
        offline: whether a tokenizer on the hub is looked for in the hub's cache alone.

    Raises:
        WeightsMissing: if the tokenizer, or a package that it or the network needs, is not here.
        WeightsInvalid: if the file is damaged, or does not hold this model.
    """

    def __init__(
        self, model: OpenClipModel, weights: Path, device: torch.device, dtype: torch.dtype, *, offline: bool
    ) -> None:
        self._tokenize = _tokenizer(model, offline=offline)
        self._network = _load(model, weights, device, dtype)
        del self._network.visual
        self._pad_id = model.pad_id
        self._device = device
        owner = getattr(self._network, "text", self._network)
        self._projection = getattr(owner, "text_projection", None)
        self._states: Tensor | None = None
        self._has_states = isinstance(getattr(owner, "ln_final", None), nn.Module)
        if self._has_states:
            owner.ln_final.register_forward_hook(self._keep_states)

    @torch.inference_mode()
    def __call__(self, queries: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Encode B sentences; of each (T, dim) rows of tokens and (dim,) the pooled row, float32."""
        ids = self._tokenize(list(queries)).to(self._device)  # (B, L)
        pooled = self._network.encode_text(ids).float()  # (B, dim)
        if not self._has_states or self._states is None:
            return [(row[None], row) for row in pooled]
        tokens = self._projected(self._states).float()  # (B, L, dim)
        self._states = None
        places = torch.arange(1, ids.shape[1] + 1, device=self._device)
        lengths = ((ids != self._pad_id) * places).amax(dim=1).clamp(min=1).tolist()
        return [(tokens[b, :length], pooled[b]) for b, length in enumerate(lengths)]

    def _keep_states(self, module: nn.Module, inputs: Any, states: Tensor) -> None:
        self._states = states

    def _projected(self, states: Tensor) -> Tensor:
        if self._projection is None:
            return states
        if isinstance(self._projection, nn.Module):
            projected: Tensor = self._projection(states)
        else:
            projected = states @ self._projection
        return projected


def write_random_weights(model: OpenClipModel, folder: Path) -> Path:
    """Write a file of random weights, of the size and form of a published one."""
    from safetensors.torch import save_file

    state = _build(model, "fp32", torch.device("cpu")).state_dict()
    path = folder / f"{model.model}.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def _load(model: OpenClipModel, weights: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The whole network with its weights, ready for use."""
    network = _build(model, _PRECISIONS[dtype], device)
    state = convert_state_dict(network, _read(weights, model))
    if "positional_embedding" in state and not hasattr(network, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)  # of a model whose text tower had no name of its own
    expected = {name: value for name, value in network.state_dict().items() if name not in _UNUSED}
    floating = {name: value for name, value in expected.items() if value.is_floating_point()}
    require_shapes(weights, state, floating, architecture=f"{model.model} of open_clip")
    network.load_state_dict({name: state[name] for name in expected if name in state}, strict=False)
    return network.eval().requires_grad_(False)


def _build(model: OpenClipModel, precision: str, device: torch.device) -> Any:
    try:
        with _quiet():
            return open_clip.create_model(
                model.model,
                precision=precision,
                device=device,
                pretrained_image=False,
                pretrained_text=False,
            )
    except (ImportError, OSError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise WeightsMissing(
            f"{model.name}: open_clip cannot build the network ({_first_line(error)})"
        ) from error


def _tokenizer(model: OpenClipModel, *, offline: bool) -> Any:
    try:
        with _quiet():
            only_here = {"local_files_only": True} if model.tokenizer and offline else {}
            return open_clip.get_tokenizer(model.model, **only_here)
    except ImportError as error:
        raise WeightsMissing(
            f"{model.name}: its tokenizer needs a package that is not installed ({error}); pip install transformers"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsMissing(
            f"{model.name}: its tokenizer, {model.tokenizer} on the Hugging Face hub, cannot be had "
            f"({_first_line(error)}); run the command once with a connection, without --offline"
        ) from error


def _read(path: Path, model: OpenClipModel) -> dict[str, Tensor]:
    if is_safetensors(path):
        return read_safetensors(path, lambda _: True)
    if is_torch_archive(path) and is_torchscript(path):
        raise WeightsInvalid(
            f"{path}: a TorchScript archive, which holds a program; the same weights as plain tensors: "
            f"vtg weights pull {model.name}"
        )
    return named_tensors(path, read_torch(path), nested_in=("state_dict",))


@contextmanager
def _quiet() -> Iterator[None]:
    """Around calls of open_clip, which reports on the root logger, and sets that up if nobody has."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_nothing)
    try:
        yield
    finally:
        root.removeFilter(_nothing)
        root.removeHandler(handler)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:160]
