"""Libraries of plain colours."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from extractors.encoders import registry


@pytest.fixture(autouse=True, scope="module")
def colours_are_known() -> Iterator[None]:
    """The features of colours are registered for these modules alone; other tests count the features there are."""
    with patch.dict(registry._FEATURES._added):
        from tests.plugins.toy_encoder import FEATURE

        registry.register(FEATURE)
        yield
