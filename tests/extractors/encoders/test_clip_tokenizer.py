"""The tokens of a query: equal to open_clip's, without open_clip."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extractors.encoders.clip import tokenizer
from extractors.encoders.clip.image_tower import ARCHITECTURE, open_clip
from extractors.encoders.clip.tokenizer import END, START, Tokenizer, load_tokenizer

TOKENIZER = Tokenizer()
REFERENCE = open_clip.get_tokenizer(ARCHITECTURE)

# What a query may hold beside words: entities, marks, contractions, emoji, joiners, broken encodings, blanks.
_AWKWARD = (
    "man dog fridge it's DON'T we'll '\u017fs 1234 \u0664\u0662 \u00bd e\u0301 \u00e9 \u0130stanbul \u1e9e \ufb01sh "
    "\u2019s \u201cred\u201d &amp; &amp;amp; &lt;b&gt; &#39; &notin &eacute; <start_of_text> <END_OF_TEXT> <|x|> "
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \u5b57\u5178 \ud55c\uae00 \u0939\u093f "
    "\u00c3\u00a9 \u00e2\u20ac\u2122 \uff21\uff22 \ufffd \x1b[31m \x00 \x7f ... ?!? --- _ '' \\ /"
)
PIECES = st.sampled_from(_AWKWARD.split(" "))
GAPS = st.sampled_from(["", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u200b", "\u2028", "\x1f"])


@settings(max_examples=400)
@given(st.text(max_size=80))
@example("")
@example("   \n\t ")
@example("'\u017f '\u017fT 's'S")
@example("<\u017ftart_of_text>")
@example("a" * 300)
@example("\ud800 lone \udfff")
def test_any_text_gives_open_clips_tokens(text: str) -> None:
    assert TOKENIZER.encode(text) == REFERENCE.encode(text)


@settings(max_examples=400)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=120))
def test_ascii_shortcut(text: str) -> None:
    assert TOKENIZER.encode(text) == REFERENCE.encode(text)


@settings(max_examples=400)
@given(st.lists(st.tuples(PIECES, GAPS), max_size=40))
def test_awkward_pieces_give_open_clips_tokens(pieces: list[tuple[str, str]]) -> None:
    text = "".join(piece + gap for piece, gap in pieces)
    assert TOKENIZER.encode(text) == REFERENCE.encode(text)


def test_a_text_beyond_77_tokens_is_not_cut_here() -> None:
    text = "red dog man car sun " * 40
    assert TOKENIZER.encode(text) == REFERENCE.encode(text)
    assert len(TOKENIZER.encode(text)) == 200


def test_start_and_end_are_open_clips() -> None:
    assert (REFERENCE.sot_token_id, REFERENCE.eot_token_id) == (START, END)


@pytest.mark.parametrize("change", [("open_clip", "moved.txt.gz", ""), None])
def test_unknown_vocabulary_uses_open_clip(
    change: tuple[str, str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, file, _ = tokenizer._VOCABULARY
    monkeypatch.setattr(tokenizer, "_VOCABULARY", change or (package, file, "0" * 64))
    load_tokenizer.cache_clear()
    try:
        encode = load_tokenizer()
        assert not isinstance(getattr(encode, "__self__", None), Tokenizer)
        assert encode("A man opens the fridge!") == TOKENIZER.encode("A man opens the fridge!")
    finally:
        load_tokenizer.cache_clear()


def test_plain_query_imports_nothing_heavy() -> None:
    program = (
        "import sys; from extractors.encoders.clip.tokenizer import load_tokenizer;"
        "assert load_tokenizer()('a man opens the fridge');"
        "assert not {'open_clip', 'timm', 'torch', 'ftfy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
