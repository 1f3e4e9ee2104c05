"""ConSE: an image classifier's probabilities as a point in a sentence encoder's space.

An image is placed at the probability-weighted mean of the embeddings of its likeliest classes' glosses, so that it
can be compared with any sentence. Source: Norouzi et al., Zero-Shot Learning by Convex Combination of Semantic
Embeddings, ICLR 2014, equation 4.

The embeddings of the 1,000 ImageNet glosses are kept beside this module; `python -m extractors.encoders.lite.conse`
makes them again.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

TOP_CLASSES = 50
"""Classes that take part in the mean (T of equation 4)."""

_ASSET = "data/imagenet_gloss_embeddings.npy"


def embed_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Place images in the sentence encoder's space.

    Args:
        logits: (B, 1000) ImageNet class scores.

    Returns:
        (B, 384) unit vectors.

    Source: Norouzi et al. 2014, equation 4, with T = 50.
    """
    top = np.argpartition(logits, -TOP_CLASSES, axis=1)[:, -TOP_CLASSES:]  # (B, 50)
    scores = np.take_along_axis(logits, top, axis=1)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    points = np.einsum("bt,btd->bd", weights, gloss_embeddings()[top])  # (B, 384)
    unit: NDArray[np.float32] = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


@cache
def gloss_embeddings() -> NDArray[np.float32]:
    """The (1000, 384) unit embeddings of the ImageNet classes' glosses, in ImageNet's order."""
    with (files(__package__) / _ASSET).open("rb") as file:
        embeddings: NDArray[np.float32] = np.load(file, allow_pickle=False).astype(np.float32)
    return embeddings


def imagenet_glosses() -> list[str]:
    """`lemmas: definition` of each ImageNet class, in ImageNet's order, as timm's `ImageNetInfo` has them."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index, detailed=True) for index in range(info.num_classes())]


def build_gloss_embeddings() -> NDArray[np.float16]:
    """Embed every gloss; (1000, 384)."""
    from extractors.encoders.lite.minilm import MiniLMTextEncoder

    return np.stack([feature.pooled for feature in MiniLMTextEncoder().encode(imagenet_glosses())]).astype(
        np.float16
    )


if __name__ == "__main__":
    from pathlib import Path

    np.save(Path(__file__).parent / _ASSET, build_gloss_embeddings())
