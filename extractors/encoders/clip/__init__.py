"""CLIP ViT-B/32: frames and queries in one space."""

from extractors.encoders.entry import Feature

FEATURE = Feature(
    name="clip",
    row="image features after the projection, not normalised",
    dim=512,
    network="OpenAI CLIP ViT-B/32",
    video_encoder="extractors.encoders.clip.encoder:ClipVideoEncoder",
    text_encoder="extractors.encoders.clip.encoder:ClipTextEncoder",
    good_for="anything a frame shows",
    most_tokens=32,
    aligned_with_text=True,
    preferred=True,
    weights="clip-vit-b-32",
    write_random_weights="extractors.encoders.clip.image_tower:write_random_weights",
    check_weights="extractors.encoders.clip.encoder:check_weights",
)
