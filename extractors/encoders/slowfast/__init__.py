"""SlowFast 8x8 R50: motion."""

from extractors.encoders.entry import Feature

FEATURE = Feature(
    name="slowfast",
    row="slow pathway (2,048), then fast pathway (256)",
    dim=2304,
    network="SlowFast 8x8 R50 of the PySlowFast zoo",
    video_encoder="extractors.encoders.slowfast.encoder:SlowFastEncoder",
    frames_per_clip=32,
    good_for="motion; trained models read it beside `clip`",
    preferred=True,
    weights="slowfast-r50-8x8",
    write_random_weights="extractors.encoders.slowfast.weights:write_random_weights",
)
