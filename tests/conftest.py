"""What tests of all packages share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import settings

from extractors.storage import filesystems
from tests.buckets import Bucket, serving_buckets

_numbers = count()

# How long an example takes depends on what else the machine does.
settings.register_profile("without-deadline", settings.default, deadline=None)
settings.load_profile("without-deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with many slow tests first, so that no process is left with one of them while the others have ended."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def new_bucket() -> Iterator[Callable[[], Bucket]]:
    """Makes an empty bucket on a server that all tests share."""
    with serving_buckets() as make:
        yield lambda: make(f"bucket-{next(_numbers)}")


@pytest.fixture
def bucket(new_bucket: Callable[[], Bucket], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, which the environment leads to."""
    made = new_bucket()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    # Clients are kept, and each test has an environment of its own.
    monkeypatch.setattr(filesystems, "_opened", {})
    return made
