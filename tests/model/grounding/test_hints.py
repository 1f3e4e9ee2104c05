"""Hints on how queries are worded."""

from __future__ import annotations

import json

import pytest

from extractors.encoders.clip import FEATURE as CLIP
from extractors.encoders.clip.text_tower import MAX_BPE_TOKENS
from extractors.encoders.lite import FEATURE as LITE
from model.grounding.hints import query_hints
from tests.cli.running import EXAMPLES, vtg

ENGLISH = [
    "a cat", "man opens fridge", "a dog barking at the mailman", "two men in suits", "café au lait on a table",
    "someone does the cancan", "NBA final", "los angeles skyline", "el capitan", "cats", "die casting",
]  # fmt: skip
FOREIGN = [
    "eine katze", "ein mann öffnet den kühlschrank", "un chien dans la rue", "una mujer con un perro", "кошка", "猫",
    "um homem com uma bola", "een man fietst", "قطة", "un uomo che apre una porta",
]  # fmt: skip


@pytest.mark.parametrize("query", ENGLISH)
def test_english_needs_no_hint(query):
    assert query_hints(query, 5, 128) == ()


@pytest.mark.parametrize("query", [query for query in FOREIGN if len(query) > 1])
def test_other_languages(query):
    (hint,) = query_hints(query, 5, 128)
    assert "English" in hint


@pytest.mark.parametrize("query", ["x", "?", "7", "猫", "a 1"])
def test_hardly_a_word(query):
    (hint,) = query_hints(query, 3, 128)
    assert "hardly a word" in hint


def test_a_query_that_is_cut():
    assert query_hints("a cat", 127, 128) == ()
    (hint,) = query_hints("a cat", 128, 128)
    assert "only the first 126 tokens" in hint
    assert query_hints("a cat", 1000, None) == ()


def test_the_limits_are_those_of_the_encoders():
    from extractors.encoders.lite.minilm import MiniLMTextEncoder

    assert CLIP.most_tokens == MAX_BPE_TOKENS + 2
    (features,) = MiniLMTextEncoder().encode(["cat " * 300])
    assert len(features.tokens) == LITE.most_tokens


def test_the_answer_carries_the_hint(tmp_path):
    long = "a cat " * 100
    done = vtg("ground", EXAMPLES / "example.mp4", "a cat", "eine katze", long, "--json", home=tmp_path)
    hints = [result["hints"] for result in json.loads(done.stdout)["results"]]
    assert [len(of_query) for of_query in hints] == [0, 1, 1]
    done = vtg("ground", EXAMPLES / "example.mp4", "eine katze", home=tmp_path)
    assert "hint: the text encoders know English best" in done.stdout
