"""What the fuzz targets share: the number of cases, and checks for what must never happen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("VTG_FUZZ_CASES", "40"))

fuzz = settings(
    max_examples=CASES,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)

SEEDS = st.integers(0, 2**32 - 1)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
"""Anything JSON can say."""

called: list[str] = []
"""What a file got to run; always empty."""

_WATCHED = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pickle.find_class",
)
_watching = False


def canary(*arguments: object) -> object:
    """What hostile files try to have called."""
    called.append(f"canary{arguments}")
    return None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    # Python's own unpickler announces the names it looks up; readers with a list of their own never ask it.
    if _watching and event.startswith(_WATCHED):
        called.append(f"{event}{arguments}")


sys.addaudithook(_audit)  # for good: a hook cannot be taken away


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Fail if a program is started, a name of a pickle looked up, or `canary` called."""
    global _watching  # noqa: PLW0603
    called.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False
    assert not called


@pytest.fixture(scope="module")
def bounded() -> Iterator[None]:
    """No file of these sizes is a reason to take a gigabyte."""
    import resource

    import torch

    torch.zeros(1)  # what libraries take for themselves is not the file's doing
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:  # noqa: PTH123
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30), hard))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400 * 1024, f"{grown / 1024:.0f} MB were taken"
