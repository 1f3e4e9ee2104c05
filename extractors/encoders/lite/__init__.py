"""The `lite` features: ImageNet classes in the space of MiniLM, without a download."""

from extractors.encoders.entry import Feature

FEATURE = Feature(
    name="lite",
    row="a point in MiniLM's sentence space",
    dim=384,
    network="EfficientNet-Lite0 and MiniLM, inside packages (Apache-2.0)",
    video_encoder="extractors.encoders.lite.encoder:LiteVideoEncoder",
    text_encoder="extractors.encoders.lite.minilm:MiniLMTextEncoder",
    fps=1.0,
    good_for="scenes and objects of ImageNet's classes; no actions, attributes or people",
    note="which show scenes and objects, but no actions, attributes or people",
    most_tokens=128,
    aligned_with_text=True,
    fallback=True,
    class_embeddings="extractors.encoders.lite.conse:gloss_embeddings",
    class_words="extractors.encoders.lite.class_words:class_words",
    concepts="extractors.encoders.lite.class_words:concept_names",
)
