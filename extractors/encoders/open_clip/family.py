"""The entry of a model of open_clip, made from open_clip's own tables."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from extractors.encoders.base import EncoderOptions
from extractors.encoders.entry import Feature
from extractors.encoders.open_clip.encoder import OpenClipTextEncoder, OpenClipVideoEncoder
from extractors.weights.open_clip_table import OpenClipModel, open_clip_model


@cache
def open_clip_feature(name: str) -> Feature:
    """The entry of a model.

    Args:
        name: `open_clip:MODEL/PRETRAINED`, or `open_clip:MODEL` for weights from a file.

    Raises:
        UsageError: if open_clip has no such model, or no such weights of it.
    """
    model = open_clip_model(name)
    return Feature(
        name=name,
        row="image features after the projection, not normalised",
        dim=model.dim,
        network=f"{model.model} of open_clip",
        video_encoder=partial(_video_encoder, model),
        text_encoder=partial(_text_encoder, model),
        good_for="anything a frame shows",
        most_tokens=model.context_length,
        aligned_with_text=True,
        weights=name,
        write_random_weights=partial(_write_random_weights, model),
    )


def _video_encoder(model: OpenClipModel, weights: Path, options: EncoderOptions) -> OpenClipVideoEncoder:
    return OpenClipVideoEncoder(open_clip_feature(model.name), model, weights, options)


def _text_encoder(model: OpenClipModel, weights: Path, options: EncoderOptions) -> OpenClipTextEncoder:
    return OpenClipTextEncoder(model, weights, options)


def _write_random_weights(model: OpenClipModel, folder: Path) -> Path:
    from extractors.encoders.open_clip.network import write_random_weights

    return write_random_weights(model, folder)
