"""SlowFast 8x8 R50 weights in their three published forms, read into one.

PySlowFast's zoo has Caffe2 pickles and PySlowFast checkpoints; PyTorchVideo has a third form. The network is the same,
but the names differ. `_layers` lists every layer of the trunk with its three names, and is the only place that does.

Source: Feichtenhofer et al., SlowFast Networks for Video Recognition, table 1.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from extractors.encoders.torch_encoder import without_deprecations
from extractors.errors import WeightsInvalid
from extractors.weights.pickles import Listed, require_modest
from extractors.weights.state_dicts import is_torch_archive, named_tensors, read_torch

WeightsForm = Literal["pytorchvideo", "pyslowfast", "caffe2"]

STAGE_DEPTHS = (3, 4, 6, 3)
"""Residual blocks of res2 to res5."""

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle in files of torch before 1.6

# Suffixes of a layer's tensors: torch's name, Caffe2's name.
_CONV = {"weight": "w"}
_NORM = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}

# What a file may hold beyond the trunk: the classifier, counters, and the state of the optimizer.
_HEADS = ("blocks.6.proj.", "head.projection.", "pred_")
_TRAINING = ("num_batches_tracked", "_momentum")
_COUNTERS = frozenset({"lr", "model_iter"})


@dataclass(frozen=True)
class _Layer:
    """A convolution or a normalisation under the names the three projects gave it."""

    pytorchvideo: str
    pyslowfast: str
    caffe2: str
    tensors: Mapping[str, str]

    def names(self, form: WeightsForm) -> Iterator[tuple[str, str]]:
        """(name in pytorchvideo, name in that form) of each tensor."""
        for torch_suffix, caffe2_suffix in self.tensors.items():
            names = {
                "pytorchvideo": f"{self.pytorchvideo}.{torch_suffix}",
                "pyslowfast": f"{self.pyslowfast}.{torch_suffix}",
                "caffe2": f"{self.caffe2}_{caffe2_suffix}",
            }
            yield names["pytorchvideo"], names[form]


def read_slowfast(path: Path) -> tuple[WeightsForm, dict[str, Tensor]]:
    """Read a weights file in any of the three forms, recognised by its content.

    Args:
        path: a Caffe2 pickle or PySlowFast checkpoint of the PySlowFast zoo, or PyTorchVideo's checkpoint.

    Returns:
        Its form, and the tensors of the trunk (everything but the classifier) under pytorchvideo's names.

    Raises:
        WeightsInvalid: if the file is damaged, holds anything but numbers, or is of another network. Nothing
            the file holds is executed.
    """
    tensors = _read(path)
    for form in ("caffe2", "pyslowfast", "pytorchvideo"):
        names = [pair for layer in _layers() for pair in layer.names(form)]
        if names[0][1] in tensors:
            return form, _translate(path, tensors, names)
    raise WeightsInvalid(f"{path}: not SlowFast 8x8 R50: none of its {len(tensors)} tensors is the stem's")


def write_random_weights(folder: Path) -> Path:
    """Write a file of random weights, of the size and form of PyTorchVideo's."""
    path = folder / "slowfast.pyth"
    torch.save({"model_state": random_slowfast().state_dict()}, path)
    return path


def random_slowfast() -> nn.Module:
    """PyTorchVideo's own SlowFast 8x8 R50, with statistics in its normalisations that keep its states in range.

    Without them the states of a random network this deep grow from layer to layer, and rows say nothing of the clip.
    """
    with without_deprecations():
        from pytorchvideo.models.hub.slowfast import slowfast_r50

    network: Any = slowfast_r50(pretrained=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # the statistics of the one batch below
    fast = torch.randn(2, 3, 32, 56, 56)
    pathways = [fast[:, :, ::4], fast]
    with torch.no_grad():
        for block in network.train().blocks[:5]:
            pathways = block(pathways)
    random: nn.Module = network.eval().requires_grad_(False)
    return random


def _translate(path: Path, tensors: Mapping[str, Tensor], names: list[tuple[str, str]]) -> dict[str, Tensor]:
    missing = [theirs for _, theirs in names if theirs not in tensors]
    if missing:
        raise WeightsInvalid(
            f"{path}: not SlowFast 8x8 R50: {len(missing)} of {len(names)} tensors are not there, "
            f"among them {missing[0]}"
        )
    known = {theirs for _, theirs in names}
    extra = [
        name
        for name in tensors
        if name not in known | _COUNTERS and not name.startswith(_HEADS) and not name.endswith(_TRAINING)
    ]
    if extra:
        raise WeightsInvalid(
            f"{path}: not SlowFast 8x8 R50: {len(extra)} tensors it has no place for, among them {extra[0]}"
        )
    return {ours: tensors[theirs] for ours, theirs in names}


def _layers() -> Iterator[_Layer]:
    """Every layer of the trunk, the slow pathway's stem first."""
    for pathway, prefix in enumerate(("", "t_")):  # slow, fast
        stem = f"blocks.0.multipathway_blocks.{pathway}"
        theirs = f"s1.pathway{pathway}_stem"
        yield _Layer(f"{stem}.conv", f"{theirs}.conv", f"{prefix}conv1", _CONV)
        yield _Layer(f"{stem}.norm", f"{theirs}.bn", f"{prefix}res_conv1_bn", _NORM)
        for stage, depth in enumerate(STAGE_DEPTHS, start=2):
            for block in range(depth):
                yield from _residual_block(stage, pathway, block, prefix)

    # Lateral connections, fast to slow: after the stem and after res2 to res4.
    sources = [
        "t_pool1",
        *(f"t_res{s}_{d - 1}_branch2c_bn" for s, d in enumerate(STAGE_DEPTHS[:-1], start=2)),
    ]
    for stage, source in enumerate(sources, start=1):
        fusion = f"blocks.{stage - 1}.multipathway_fusion"
        yield _Layer(f"{fusion}.conv_fast_to_slow", f"s{stage}_fuse.conv_f2s", f"{source}_subsample", _CONV)
        yield _Layer(f"{fusion}.norm", f"s{stage}_fuse.bn", f"{source}_subsample_bn", _NORM)


def _residual_block(stage: int, pathway: int, block: int, prefix: str) -> Iterator[_Layer]:
    ours = f"blocks.{stage - 1}.multipathway_blocks.{pathway}.res_blocks.{block}"
    theirs = f"s{stage}.pathway{pathway}_res{block}"
    caffe2 = f"{prefix}res{stage}_{block}"
    if block == 0:  # the shortcut changes width there
        yield _Layer(f"{ours}.branch1_conv", f"{theirs}.branch1", f"{caffe2}_branch1", _CONV)
        yield _Layer(f"{ours}.branch1_norm", f"{theirs}.branch1_bn", f"{caffe2}_branch1_bn", _NORM)
    for step in "abc":
        yield _Layer(
            f"{ours}.branch2.conv_{step}", f"{theirs}.branch2.{step}", f"{caffe2}_branch2{step}", _CONV
        )
        yield _Layer(
            f"{ours}.branch2.norm_{step}", f"{theirs}.branch2.{step}_bn", f"{caffe2}_branch2{step}_bn", _NORM
        )


def _read(path: Path) -> dict[str, Tensor]:
    if not is_torch_archive(path):
        content = _read_numbers(path)
        if content != _TORCH_MAGIC:
            blobs = content.get("blobs") if isinstance(content, Mapping) else None
            if not isinstance(blobs, Mapping):
                raise WeightsInvalid(f"{path}: a pickle without the `blobs` of a Caffe2 model")
            return {name: torch.from_numpy(blob) for name, blob in blobs.items() if _is_tensor(blob)}
    return named_tensors(path, read_torch(path), nested_in=("model_state", "state_dict"))


def _is_tensor(blob: object) -> bool:
    return isinstance(blob, np.ndarray) and blob.dtype.kind == "f" and blob.dtype.isnative


def _read_numbers(path: Path) -> Any:
    try:
        require_modest(path)
        with path.open("rb") as file:
            return _NumbersOnly(file, encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # unpickling raises nearly anything on bytes that are not a pickle
        cause = str(error).strip().partition("\n")[0]
        raise WeightsInvalid(f"{path}: not a pickle of plain numbers ({cause[:120]})") from error


class _NumbersOnly(pickle.Unpickler):
    """Unpickles numpy arrays of numbers and plain containers; any other name in the file is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return Listed(_empty_array)
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return Listed(_number_dtype)
        if (module, name) == ("_codecs", "encode"):
            return Listed(_latin1_bytes)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a number")


def _empty_array(kind: object, shape: object, typecode: object) -> np.ndarray[Any, Any]:
    """What numpy begins an array with; its content follows from the pickle."""
    return np.ndarray((0,), np.dtype("i1"))


def _number_dtype(code: str, *_flags: object) -> np.dtype[Any]:
    dtype = np.dtype(code)
    if dtype.kind not in "fiub" or dtype.hasobject:
        raise pickle.UnpicklingError(f"it holds arrays of {code}, which are not numbers")
    return np.dtype(code, copy=True)  # type: ignore[call-overload, no-any-return]


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into pickles that Python 2 can read."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds text in {encoding}")
    return text.encode("latin1")
