from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
import torch

from extractors.compute import processor
from extractors.compute.device import (
    cpu_favours_bf16,
    favours_bf16,
    has_tensor_cores,
    multiplies_bf16,
    resolve_device,
    resolve_devices,
    resolve_precision,
)
from extractors.compute.processor import cpu_vendor
from extractors.errors import UsageError
from extractors.subprocesses.cores import CORES, usable_cores

CPU = torch.device("cpu")


def test_auto_is_the_best_device_there_is() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve_device("auto") == torch.device(best)
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:-1", "mps:0", "auto:1", ""])
def test_an_unknown_device_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="known are auto, cpu, cuda, cuda:N, mps"):
        resolve_device(name)


def test_missing_device_is_refused() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=rf"cuda:{count}.*torch sees {count} CUDA device"):
        resolve_device(f"cuda:{count}")
    if not torch.backends.mps.is_available():
        with pytest.raises(UsageError, match="mps"):
            resolve_device("mps")


def test_a_list_of_devices_may_name_one_twice() -> None:
    assert resolve_devices("cpu") == ("cpu",)
    assert resolve_devices("cpu, cpu") == ("cpu", "cpu")
    assert resolve_devices("auto") == (str(resolve_device("auto")),)


@pytest.mark.parametrize("names", ["", "cpu,", "cpu,gpu", "-1", "0 1", "²"])
def test_a_list_with_an_unknown_device_is_refused(names: str) -> None:
    with pytest.raises(UsageError, match="known are auto, cpu, cuda, cuda:N, mps"):
        resolve_devices(names)


def test_numbers_in_a_list_are_gpus() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=rf"cuda:{count}.*torch sees {count} CUDA device"):
        resolve_devices(f"{count}")
    numbers = ",".join(map(str, range(count)))
    assert not numbers or resolve_devices(numbers) == tuple(f"cuda:{number}" for number in range(count))


def test_auto_precision_follows_the_device() -> None:
    on_cpu = torch.bfloat16 if cpu_favours_bf16() else torch.float32
    assert resolve_precision("auto", CPU) == on_cpu
    assert resolve_precision("auto", torch.device("mps")) == torch.float32


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "vendor", "expected"),
    [
        (True, True, "GenuineIntel", True),
        (False, True, "GenuineIntel", False),
        (False, True, "AuthenticAMD", True),
        (False, False, "AuthenticAMD", False),
        (False, False, "", False),
    ],
)
def test_bf16_is_for_cpus_that_multiply_it_faster(
    amx: bool, avx512_bf16: bool, vendor: str, expected: bool
) -> None:
    assert favours_bf16(amx=amx, avx512_bf16=avx512_bf16, vendor=vendor) is expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's list of processors")
def test_vendor_is_that_of_the_list() -> None:
    listed = dict(
        [part.strip() for part in line.split(":", 1)]
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if ":" in line
    )
    assert cpu_vendor() == listed.get("vendor_id", "")


def test_vendor_where_windows_describes_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_listed", lambda key: "")
    monkeypatch.setattr(platform, "processor", lambda: "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD")
    assert processor.cpu_vendor() == "AuthenticAMD"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_precision_follows_the_gpu() -> None:
    expected = torch.float16 if has_tensor_cores(torch.cuda.get_device_capability(0)) else torch.float32
    assert resolve_precision("auto", torch.device("cuda")) == expected


def test_formats_of_gpus_follow_their_generation() -> None:
    generations = [(5, 2), (6, 1), (7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (12, 0)]
    assert [has_tensor_cores(each) for each in generations] == [False] * 2 + [True] * 6
    assert [multiplies_bf16(each) for each in generations] == [False] * 4 + [True] * 4


def test_requested_precision() -> None:
    assert resolve_precision("fp32", CPU) == torch.float32
    assert resolve_precision("bf16", CPU) == torch.bfloat16
    assert resolve_precision("fp16", torch.device("cuda")) == torch.float16
    with pytest.raises(UsageError, match="fp16"):
        resolve_precision("fp16", CPU)
    with pytest.raises(UsageError, match="known are auto, fp32, bf16, fp16"):
        resolve_precision("int8", CPU)


@pytest.mark.parametrize(
    ("value", "cores"), [("1", 1), ("0", 1), ("", None), ("many", None), ("100000", None)]
)
def test_cores_can_be_limited(value: str, cores: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CORES, raising=False)
    every = usable_cores()
    monkeypatch.setenv(CORES, value)
    assert usable_cores() == (every if cores is None else cores)
