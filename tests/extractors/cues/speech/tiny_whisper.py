"""A Whisper made by hand: it hears which of two vowels is said in each second, and says a word for it.

All of the code that runs a real Whisper runs it: features, encoder, decoder, attention that tells times, languages. The
weights are chosen so that what it says is known:

- The encoder tells frames of `u` from frames of `i` by their spectrum, and knows in which second a frame is.
- The decoder attends to second k of the sound when it says word k, and says the word of the vowel that is heard there.
- The language is that of the first second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WORDS: Mapping[str, tuple[str, ...]] = {
    "u": (" We", " discuss", " the", " budget."),
    "i": (" Wir", " sehen", " den", " Garten."),
}
"""What is said where a vowel is heard, word by word."""

LANGUAGES: Mapping[str, str] = {"u": "en", "i": "de"}

_PROMPT = 3  # tokens before the first one that is said: start, language, task
_PLACES = 448
_FRAMES = 1500
_FRAMES_PER_S = 50
_END, _START, *_LANGUAGES = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{one}|>" for one in LANGUAGES.values()),
)
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
# Bands of the spectrum in which the vowels differ, in parts of its height: about 600 to 1000 Hz, and 2000 to 3300 Hz.
_BANDS = {"u": (0.175, 0.31), "i": (0.54, 0.72)}


@dataclass(frozen=True)
class Shape:
    """Sizes of a Whisper.

    Attributes:
        size: dimensions; the last two are for vowels, and the others for places and times.
        heads: of each attention.
        encoder_layers, decoder_layers: all but the first ones of the decoder pass on what they get.
        mels: bands of the spectrum.
        tokens: in the vocabulary, at least.
    """

    size: int = 64
    heads: int = 1
    encoder_layers: int = 1
    decoder_layers: int = 1
    mels: int = 80
    tokens: int = 0


def make_whisper(
    folder: Path,
    shape: Shape = Shape(),
    *,
    words: Mapping[str, tuple[str, ...]] = WORDS,
    word_s: float = 1.0,
) -> Path:
    """Write the weights of a Whisper, with its tokenizer, into a folder; returns the folder.

    Args:
        folder: where to.
        shape: its sizes.
        words: what it says.
        word_s: seconds for each word.
    """
    from ctranslate2.specs.whisper_spec import WhisperSpec

    tokens = _tokens(words, shape.tokens)
    maker = _Maker(shape, words, word_s, tokens)
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    maker.encoder(spec.encoder)
    maker.decoder(spec.decoder)
    spec.register_vocabulary(tokens)
    spec.config.lang_ids = [tokens.index(language) for language in _LANGUAGES]
    spec.config.alignment_heads = [[0, head] for head in range(shape.heads)]
    spec.config.suppress_ids = spec.config.suppress_ids_begin = []
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    _write_tokenizer(folder / "tokenizer.json", tokens)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": shape.mels}))
    return folder


def _tokens(words: Mapping[str, tuple[str, ...]], least: int) -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    said = dict.fromkeys(_token(word) for several in words.values() for word in several)
    times = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    special = [_END, _START, *_LANGUAGES, *(f"<|{task}|>" for task in _TASKS), *times]
    # A Whisper knows more languages than English if it has the empty token.
    known = [*sorted(ByteLevel.alphabet()), *said, ""]
    unused = range(least - len(known) - len(special))
    return [*known, *(f"unused{number}" for number in unused), *special]


def _token(word: str) -> str:
    return word.replace(" ", "Ġ")


def _write_tokenizer(path: Path, tokens: Sequence[str]) -> None:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    tokenizer = Tokenizer(BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = Decoder()
    special = tokens[tokens.index(_END) :]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(path))


class _Maker:
    """Sets weights."""

    def __init__(
        self, shape: Shape, words: Mapping[str, tuple[str, ...]], word_s: float, tokens: Sequence[str]
    ) -> None:
        self._shape, self._size = shape, shape.size
        self._words, self._word_s, self._tokens = words, word_s, tokens
        self._places = shape.size - len(LANGUAGES)
        self._vowels = {vowel: self._places + number for number, vowel in enumerate(LANGUAGES)}

    def encoder(self, encoder: Any) -> None:
        first = np.zeros((self._size, self._shape.mels, 3), np.float32)
        for vowel, dimension in self._vowels.items():
            for name, (low, high) in _BANDS.items():
                band = slice(round(low * self._shape.mels), round(high * self._shape.mels))
                sign = 1 if name == vowel else -1
                first[dimension, band, 1] = sign / (band.stop - band.start)
        second = np.zeros((self._size, self._size, 3), np.float32)
        for dimension in self._vowels.values():
            second[dimension, dimension, 1] = 1  # little beside times, which attention goes by
        for layer, weight in ((encoder.conv1, first), (encoder.conv2, second)):
            layer.weight, layer.bias = weight, np.zeros(self._size, np.float32)
        # The difference is about 1 for `u` and 0 for `i`.
        encoder.conv1.bias[list(self._vowels.values())] = -0.3, 0.3
        times_s = np.arange(_FRAMES) / _FRAMES_PER_S
        encoder.position_encodings.encodings = self._one_hot(times_s / self._word_s)
        self._norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._no_attention(layer.self_attention)
            self._no_change(layer.ffn)

    def decoder(self, decoder: Any) -> None:
        decoder.embeddings.weight = np.zeros((len(self._tokens), self._size), np.float32)
        decoder.position_encodings.encodings = self._one_hot(np.arange(_PLACES))
        self._norm(decoder.layer_norm)
        for number, layer in enumerate(decoder.layer):
            self._no_attention(layer.self_attention)
            self._listen(layer.attention, 0 if number else 4)
            self._no_change(layer.ffn)
        said = np.zeros((len(self._tokens), self._size), np.float32)
        bias = np.full(len(self._tokens), -20, np.float32)
        count = len(next(iter(self._words.values())))
        last = f"<|{count * self._word_s:.2f}|>"
        for token, place in (("<|0.00|>", 2), (last, _PROMPT + count), (_END, _PROMPT + count + 1)):
            said[self._tokens.index(token), place] = 10
            bias[self._tokens.index(token)] = 0
        for vowel, dimension in self._vowels.items():
            language = self._tokens.index(f"<|{LANGUAGES[vowel]}|>")
            said[language, [0, dimension]] = 10
            bias[language] = 0
            for number, word in enumerate(self._words[vowel]):
                token = self._tokens.index(_token(word))
                said[token, [_PROMPT + number, dimension]] = 10
                bias[token] = 0
        decoder.projection.weight, decoder.projection.bias = said, bias

    def _one_hot(self, places: Any) -> Any:
        """(N, size), large enough to outweigh what is heard."""
        found = np.zeros((len(places), self._size), np.float32)
        found[np.arange(len(places)), np.minimum(places.astype(int), self._places - 1)] = 8
        return found

    def _listen(self, attention: Any, loudness: float) -> None:
        """Attention of place k + 3 to word k, and of the first place to the first word."""
        queries = np.zeros((self._size, self._size), np.float32)
        for place in range(self._places):
            queries[max(place - _PROMPT, 0), place] = 8
        keys = np.eye(self._size, dtype=np.float32)
        values = np.zeros((self._size, self._size), np.float32)
        for dimension in self._vowels.values():
            keys[dimension], values[dimension, dimension] = 0, loudness
        first, both, last = attention.linear
        first.weight, first.bias = queries, np.zeros(self._size, np.float32)
        both.weight, both.bias = np.concatenate([keys, values]), np.zeros(2 * self._size, np.float32)
        last.weight, last.bias = np.eye(self._size, dtype=np.float32), np.zeros(self._size, np.float32)
        self._norm(attention.layer_norm)

    def _no_attention(self, attention: Any) -> None:
        first, last = attention.linear
        self._zero(first, 3 * self._size, self._size)
        self._zero(last, self._size, self._size)
        self._norm(attention.layer_norm)

    def _no_change(self, ffn: Any) -> None:
        self._zero(ffn.linear_0, 4 * self._size, self._size)
        self._zero(ffn.linear_1, self._size, 4 * self._size)
        self._norm(ffn.layer_norm)

    def _norm(self, norm: Any) -> None:
        norm.gamma, norm.beta = np.ones(self._size, np.float32), np.zeros(self._size, np.float32)

    @staticmethod
    def _zero(linear: Any, rows: int, columns: int) -> None:
        linear.weight, linear.bias = np.zeros((rows, columns), np.float32), np.zeros(rows, np.float32)
