"""Where a frozen encoder runs and in which number format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extractors.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_device(name: str) -> torch.device:
    """Turn a device's name into the device.

    Args:
        name: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: CUDA if there is one, else MPS, else the CPU.

    Raises:
        UsageError: if the name is unknown or this machine has no such device.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind == "auto" and not index:
        return torch.device(_best_device())
    if kind not in {"cpu", "cuda", "mps"} or (index and (kind != "cuda" or not index.isdecimal())):
        raise UsageError(f"unknown device '{name}'; known are {', '.join(DEVICES)}")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            found = f"torch sees {count} CUDA device{'' if count == 1 else 's'} here"
            raise UsageError(f"device '{name}' is not there: {found}; use --device auto or cpu")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not there: torch sees no Apple GPU here; use --device auto or cpu")
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn a precision's name into the number format an encoder computes in.

    Args:
        name: `fp32`, `bf16`, `fp16`, or `auto`: fp16 on CUDA, as the published features were made;
            bf16 on CPUs that multiply it in hardware, where it is about twice as fast (on AVX512-BF16) or more
            (on AMX) and features keep a cosine of .9997 or more to those of fp32; else fp32.
        device: where it will run.

    Raises:
        UsageError: if the name is unknown or the device cannot compute in it.
    """
    import torch

    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bf16() else torch.float32
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name not in known:
        raise UsageError(f"unknown precision '{name}'; known are {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision 'fp16' is for GPUs; on a CPU use fp32, bf16 or auto")
    return known[name]


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has bf16 products in hardware (AVX512-BF16 or AMX); without them bf16 is the slower."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
