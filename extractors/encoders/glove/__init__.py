"""GloVe: word vectors, for models that were trained on VGG features."""

from extractors.encoders.entry import Feature

FEATURE = Feature(
    name="glove",
    row="a word vector as published, zeros for an unknown word",
    dim=300,
    network="GloVe 6B",
    text_encoder="extractors.encoders.glove.encoder:GloveTextEncoder",
    good_for="queries of models that were trained on `vgg`",
    weights="glove-6b-300d",
)
