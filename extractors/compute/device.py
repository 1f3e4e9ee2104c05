"""Where a frozen encoder runs and in which number format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extractors.compute.processor import cpu_vendor
from extractors.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def check_device(name: str) -> None:
    """Raise UsageError if a device's name is unknown. This does not check whether the machine has it."""
    kind, _, index = name.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps"} or (
        ":" in name and (kind != "cuda" or not (index.isascii() and index.isdecimal()))
    ):
        raise UsageError(f"unknown device '{name}'; known are {', '.join(DEVICES)}")


def check_precision(name: str) -> None:
    """Raise UsageError if a precision's name is unknown. This does not check whether a device supports it."""
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision '{name}'; known are {', '.join(PRECISIONS)}")


def resolve_device(name: str) -> torch.device:
    """Turn a device's name into the device.

    Args:
        name: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: CUDA if there is one, else MPS, else the CPU.

    Raises:
        UsageError: if the name is unknown or this machine has no such device.
    """
    check_device(name)
    kind, _, index = name.partition(":")
    import torch

    if kind == "auto":
        return torch.device(_best_device())
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            found = f"torch sees {count} CUDA device{'' if count == 1 else 's'} here"
            raise UsageError(f"device '{name}' is not there: {found}; use --device auto or cpu")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not there: torch sees no Apple GPU here; use --device auto or cpu")
    return torch.device(name)


def resolve_devices(names: str) -> tuple[str, ...]:
    """Read a list of devices to work on at once.

    Args:
        names: with commas between; a number N stands for `cuda:N`. A device named twice is there twice.

    Returns:
        Their names, as `resolve_device` takes them, in order.

    Raises:
        UsageError: if a name is unknown or this machine has no such device.
    """
    wanted = [name.strip() for name in names.split(",")]
    wanted = [f"cuda:{name}" if name.isascii() and name.isdecimal() else name for name in wanted]
    # A list of CPUs is known to be right without torch, which takes seconds to load.
    return tuple(name if name == "cpu" else str(resolve_device(name)) for name in wanted)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn a precision's name into the number format an encoder computes in.

    Args:
        name: `fp32`, `bf16`, `fp16`, or `auto`: fp16 on CUDA GPUs with tensor cores, where it has as many digits as the
            published `clip` features were made with, eight times those of bf16; bf16 on CPUs that multiply it faster
            than fp32, where features keep a cosine of .9997 or more to those of fp32; else fp32.
        device: where it will run.

    Raises:
        UsageError: if the name is unknown or the device cannot compute in it.
    """
    check_precision(name)
    import torch

    if name == "auto":
        if device.type == "cuda":
            return torch.float16 if has_tensor_cores(_capability(device)) else torch.float32
        return torch.bfloat16 if device.type == "cpu" and cpu_favours_bf16() else torch.float32
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision 'fp16' is for GPUs; on a CPU use fp32, bf16 or auto")
    if name == "bf16" and device.type == "cuda" and not multiplies_bf16(_capability(device)):
        raise UsageError(
            f"precision 'bf16' is not for this GPU ({device}), which is too old; use fp16, fp32 or auto"
        )
    return known[name]


def has_tensor_cores(capability: tuple[int, int]) -> bool:
    """Whether a CUDA GPU of a compute capability multiplies fp16 faster than fp32; some without are far slower."""
    return capability >= (7, 0)


def multiplies_bf16(capability: tuple[int, int]) -> bool:
    """Whether a CUDA GPU of a compute capability has bf16 products in hardware."""
    return capability >= (8, 0)


def cpu_favours_bf16() -> bool:
    """Whether this CPU multiplies bf16 faster than fp32."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    avx512_bf16, amx = (bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
    return favours_bf16(amx=amx, avx512_bf16=avx512_bf16, vendor=cpu_vendor())


def favours_bf16(*, amx: bool, avx512_bf16: bool, vendor: str) -> bool:
    """Whether a CPU multiplies bf16 faster than fp32.

    AMX does. AVX512-BF16 does on AMD processors, about twice as fast; on Intel's it is the slower of the two, and that
    is what is left where a virtual machine hides AMX.

    Args:
        amx: whether it has AMX.
        avx512_bf16: whether it has AVX512-BF16.
        vendor: as `cpu_vendor` gives it.
    """
    return amx or (avx512_bf16 and vendor == "AuthenticAMD")


def _capability(device: torch.device) -> tuple[int, int]:
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return major, minor


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
