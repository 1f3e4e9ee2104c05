"""VGG-16: single frames, for models that were trained on the VGG features of Charades-STA."""

from extractors.encoders.entry import Feature

FEATURE = Feature(
    name="vgg",
    row="fc7 after its ReLU",
    dim=4096,
    network="VGG-16 of torchvision",
    video_encoder="extractors.encoders.vgg.encoder:VggEncoder",
    fps=6.0,
    good_for="models that were trained on the VGG features of Charades-STA",
    weights="vgg16",
    write_random_weights="extractors.encoders.vgg.encoder:write_random_weights",
)
