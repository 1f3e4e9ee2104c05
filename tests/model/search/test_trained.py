"""A library that is searched with a trained model: candidates by their vectors, moments from the network."""

from __future__ import annotations

from functools import partial

import pytest

from extractors.errors import UsageError
from model import Grounder
from model.checkpoints.checkpoint import save_checkpoint
from model.search.library import Library
from tests.cli.running import EXAMPLES
from tests.model.grounding.test_trained import small_checkpoint

EXAMPLE = EXAMPLES / "example.mp4"


def test_trained_model_ranks_moments(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_checkpoint(small_checkpoint(), path)
    load = partial(Grounder.load, cache=tmp_path / "cache", offline=True)
    with Library.open(tmp_path / "index", model=str(path), load=load) as library:
        library.add([EXAMPLE])
        (result,) = library.search("a cat", per_video=2)
        (alone,) = library.grounder.ground(EXAMPLE, "a cat", top_k=2)
        expected = [(m.start_s, m.end_s, m.score) for m in alone.moments]
        # The last bits depend on how many queries and videos share a batch.
        assert [(h.start_s, h.end_s, h.score) for h in result.hits] == [
            pytest.approx(moment, rel=1e-5) for moment in expected
        ]
        assert result.clear_match is None
        assert {hit.clear_match for hit in result.hits} == {None}
        with pytest.raises(UsageError, match="--only-clear"):
            library.search("a cat", only_clear=True)
        assert library.verify() == []
    with Library.open(tmp_path / "index", model="zero-shot", load=load) as library:
        assert library.search("a cat")[0].clear_match
