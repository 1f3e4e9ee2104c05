"""Names, shapes and options of every released model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from extractors.errors import WeightsInvalid
from model.checkpoints.released import config_from_options, our_weights
from model.config import available_configs, load_config
from model.network.flashvtg import FlashVTG

# dset_name, video dim, text dim, levels, dummies, dummy layers, cross attention layers, kernel, convolutions,
# layers of the score heads, rows of the text positions, tensors in the released state dict.
RELEASES: dict[str, tuple[str, int, int, int, int, int, int, int, int, int, int, int]] = {
    "qvhighlights-slowfast-clip": ("hl", 2816, 512, 4, 40, 2, 6, 5, 1, 5, 40, 212),
    "qvhighlights-internvideo2": ("qv_internvideo2", 768, 4096, 5, 40, 2, 6, 5, 1, 5, 40, 228),
    "charades-sta-slowfast-clip": ("charadesSTA", 2816, 512, 4, 40, 2, 6, 5, 1, 5, 32, 212),
    "charades-sta-vgg": ("charadesSTA", 4096, 300, 4, 40, 2, 6, 3, 2, 5, 100, 216),
    "charades-sta-internvideo2": ("charadesSTA", 768, 4096, 4, 40, 2, 6, 7, 2, 3, 23, 208),
    "tacos-slowfast-clip": ("tacos", 2816, 512, 4, 35, 3, 8, 5, 2, 5, 100, 251),
    "tvsum-slowfast-clip": ("tvsum", 2816, 512, 1, 3, 2, 2, 3, 3, 3, 100, 144),
    "youtube-highlights-clip-slowfast": ("youtube_uni", 2816, 512, 1, 1, 2, 2, 5, 2, 3, 100, 140),
}

# The options in which the releases differ: clip_length, lw_cls, lw_sal, lw_saliency, label_loss_coef, dropout.
OPTIONS: dict[str, tuple[float, float, float, float, float, float]] = {
    "qvhighlights-slowfast-clip": (2, 5, 0.1, 0.8, 4, 0.1),
    "qvhighlights-internvideo2": (2, 5, 0.1, 0.8, 0, 0.1),
    "charades-sta-slowfast-clip": (1, 5, 0.01, 0.8, 0.1, 0.1),
    "charades-sta-vgg": (0.166666, 5, 0.01, 0.8, 0.1, 0.1),
    "charades-sta-internvideo2": (1, 5, 0.01, 0.8, 0.1, 0.1),
    "tacos-slowfast-clip": (2, 5, 0.05, 0.8, 4, 0),
    "tvsum-slowfast-clip": (2, 5, 0.1, 0.8, 4, 0.1),
    "youtube-highlights-clip-slowfast": (1, 0.6, 0.5, 0.7, 5, 0.1),
}


def released_shapes(name: str) -> dict[str, list[int]]:
    """The state dict of a release, as its code lays it out."""
    _, video, text, levels, dummies, dummy_layers, cross_layers, kernel, convs, mlp, rows, _ = RELEASES[name]
    shapes: dict[str, list[int]] = {
        "dummy_rep_token": [dummies, 256],
        "dummy_rep_pos": [dummies, 256],
        "coef": [levels],
        "x": [],
        "txt_position_embed.position_embeddings.weight": [rows, 256],
        "token_type_embeddings.weight": [2, 256],
        "pooling.att.weight": [1, 256],
    }

    def add(prefix: str, *weight: int) -> None:
        shapes[f"{prefix}.weight"], shapes[f"{prefix}.bias"] = list(weight), [weight[0]]

    stacks = (
        ("transformer.t2v_encoder", cross_layers, False),
        ("transformer.encoder", 3, True),
        ("txtproj_encoder", dummy_layers, True),
    )
    for stack, count, projects in stacks:
        for layer in range(count):
            prefix = f"{stack}.layers.{layer}"
            if projects:
                shapes[f"{prefix}.self_attn.in_proj_weight"] = [768, 256]
                shapes[f"{prefix}.self_attn.in_proj_bias"] = [768]
            add(f"{prefix}.self_attn.out_proj", 256, 256)
            add(f"{prefix}.linear1", 1024, 256)
            add(f"{prefix}.linear2", 256, 1024)
            add(f"{prefix}.norm1", 256)
            add(f"{prefix}.norm2", 256)
            shapes[f"{prefix}.activation.weight"] = [1]
    add("txt_position_embed.LayerNorm", 256)
    add("saliency_proj1", 256, 256)
    add("saliency_proj2", 256, 256)
    for modality, dim in (("txt", text), ("vid", video + 2)):
        for layer, width in enumerate((dim, 256)):
            add(f"input_{modality}_proj.{layer}.LayerNorm", width)
            add(f"input_{modality}_proj.{layer}.net.1", 256, width)
    for level in range(1, levels):
        for repetition in range(level):
            add(f"pyramid.blocks.{level}.{5 * repetition + 1}", 256, 256, 2)
            add(f"pyramid.blocks.{level}.{5 * repetition + 3}", 256)
    for head in ("conf_head", "class_head"):
        for index in range(convs):
            add(f"{head}.convs.{index}", 256, 256, 1, kernel)
        widths = [256] + [128] * (mlp - 1) + [1]
        for index in range(mlp):
            add(f"{head}.fc.layers.{index}", widths[index + 1], widths[index])
    add("coord_head.module.1", 256, 256, 3)
    add("coord_head.module.3", 2, 256, 3)
    return shapes


def released_options(name: str) -> dict[str, Any]:
    names = ("clip_length", "lw_cls", "lw_sal", "lw_saliency", "label_loss_coef", "dropout")
    return {"dset_name": RELEASES[name][0], **dict(zip(names, OPTIONS[name], strict=True)), "nobody_knows": 1}


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_weights_of_every_release_fit(name: str) -> None:
    shapes = released_shapes(name)
    assert len(shapes) == RELEASES[name][-1]
    model = FlashVTG(load_config(name).model)
    weights = our_weights({key: torch.empty(shape) for key, shape in shapes.items()})
    model.load_state_dict(weights, strict=True)


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_options_of_every_release(name: str) -> None:
    ours = load_config(name)
    theirs = config_from_options(released_options(name), released_shapes(name))
    assert theirs.name == ours.name
    assert theirs.model == ours.model
    assert theirs.loss == ours.loss
    assert theirs.decoding == ours.decoding
    assert theirs.data.video_features == ours.data.video_features
    assert theirs.data.text_features == ours.data.text_features
    assert theirs.data.clip_length_s == ours.data.clip_length_s
    assert theirs.training.selection_metrics == ours.training.selection_metrics
    assert theirs.training.negative_identity == ours.training.negative_identity


def test_every_release_has_a_shipped_configuration() -> None:
    assert set(RELEASES) == set(OPTIONS) <= set(available_configs())


def test_halvings_keep_the_order_of_their_two_rows() -> None:
    """The released convolution of kernel and stride 2, against the linear map of pairs."""
    torch.manual_seed(0)
    shapes = released_shapes("qvhighlights-slowfast-clip")
    weights = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    model = FlashVTG(load_config("qvhighlights-slowfast-clip").model)
    model.load_state_dict(our_weights(weights))
    x = torch.randn(1, 6, 256)
    prefix = "pyramid.blocks.1"
    expected = torch.nn.functional.conv1d(
        x.transpose(1, 2), weights[f"{prefix}.1.weight"], weights[f"{prefix}.1.bias"], stride=2
    ).transpose(1, 2)
    expected = torch.nn.functional.layer_norm(
        expected, (256,), weights[f"{prefix}.3.weight"], weights[f"{prefix}.3.bias"]
    ).relu()
    torch.testing.assert_close(model.layering.levels[1](x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/data/slowfast_features", "/data/clip_features"], ("slowfast", "clip")),
        (["features/vid_clip", "features/vid_slowfast/"], ("clip", "slowfast")),
        (["elsewhere/a", "elsewhere/b"], ("slowfast", "clip")),
    ],
)
def test_features_of_a_release(folders: list[str], names: tuple[str, ...]) -> None:
    options = {**released_options("qvhighlights-slowfast-clip"), "v_feat_dirs": folders}
    config = config_from_options(options, released_shapes("qvhighlights-slowfast-clip"))
    assert tuple(feature.name for feature in config.data.video_features) == names


def test_features_of_unknown_length_are_refused() -> None:
    shapes = released_shapes("qvhighlights-slowfast-clip")
    shapes["input_vid_proj.0.LayerNorm.weight"] = [1026]
    with pytest.raises(WeightsInvalid, match="which features have 1024 numbers per clip"):
        config_from_options(released_options("qvhighlights-slowfast-clip"), shapes)
