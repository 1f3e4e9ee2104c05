"""The two layouts of CLIP files: OpenAI's, which open_clip kept, and that of the transformers library.

The layouts hold the same numbers. They differ in names, in the storage of the three attention projections (one tensor
or three), and in the direction of the two projections into the shared space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LAYERS = 12  # of either tower
_IN_LAYER = (
    *(f"{norm}.{kind}" for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")),
    *(f"{linear}.{kind}" for linear in ("mlp.c_fc", "mlp.c_proj") for kind in ("weight", "bias")),
    *("attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"),
)

NAMES = (
    *("logit_scale", "positional_embedding", "text_projection", "token_embedding.weight"),
    *("visual.class_embedding", "visual.conv1.weight", "visual.positional_embedding", "visual.proj"),
    *(
        f"{norm}.{kind}"
        for norm in ("ln_final", "visual.ln_pre", "visual.ln_post")
        for kind in ("weight", "bias")
    ),
    *(
        f"{tower}transformer.resblocks.{layer}.{name}"
        for tower in ("", "visual.")
        for layer in range(_LAYERS)
        for name in _IN_LAYER
    ),
)
"""Every tensor of CLIP ViT-B/32, by OpenAI's name."""

# OpenAI's names to those of transformers: every rule is applied, in order. `*` stands for q, k and v.
_RULES = (
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),  # as the library spells it
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.attn\.in_proj_", ".self_attn.*_proj."),
)
_TRANSPOSED = frozenset({"text_projection", "visual.proj"})


@dataclass(frozen=True)
class Source:
    """What one tensor of OpenAI's layout is made of in a file of the transformers library.

    Attributes:
        names: the tensors it is made of, joined along the first axis.
        transposed: whether it is the transpose of that.
    """

    names: tuple[str, ...]
    transposed: bool


def transformers_source(name: str) -> Source:
    """The source of a tensor, given by OpenAI's name."""
    theirs = name
    for pattern, replacement in _RULES:
        theirs = re.sub(pattern, replacement, theirs)
    names = tuple(theirs.replace("*", part) for part in "qkv") if "*" in theirs else (theirs,)
    return Source(names, name in _TRANSPOSED)
