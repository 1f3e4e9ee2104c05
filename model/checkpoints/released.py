"""Released checkpoints: their parameter names and options translated into ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from extractors.errors import WeightsInvalid
from model.config import (
    TEF_DIM,
    Config,
    ConfigError,
    DataConfig,
    DecodingConfig,
    FeatureConfig,
    LossConfig,
    ModelConfig,
    TrainingConfig,
)
from model.dataset_entry import require_dataset

# Released parameter names to ours: every rule is applied, in order; an empty result drops the parameter.
# The learned text positions are stored in every release, but no released model reads them.
_NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^txt_position_embed\..*", ""),
    (r"^dummy_rep_token$", "fusion.dummies"),
    (r"^dummy_rep_pos$", "fusion.dummy_positions"),
    (r"^token_type_embeddings\.weight$", "fusion.modality"),
    (r"^pooling\.att\.", "fusion.query_pooling."),
    (r"^input_vid_proj\.", "fusion.video_projection."),
    (r"^input_txt_proj\.", "fusion.text_projection."),
    (r"_projection\.(\d+)\.LayerNorm\.", r"_projection.norms.\1."),
    (r"_projection\.(\d+)\.net\.1\.", r"_projection.linears.\1."),
    (r"^txtproj_encoder\.", "fusion.dummy_encoder."),
    (r"^transformer\.t2v_encoder\.", "fusion.cross_attention."),
    (r"^transformer\.encoder\.", "fusion.encoder."),
    (r"\.self_attn\.in_proj_", ".input."),
    (r"\.self_attn\.out_proj\.", ".output."),
    (r"\.linear1\.", ".feedforward.expand."),
    (r"\.linear2\.", ".feedforward.contract."),
    (r"\.activation\.weight$", ".feedforward.slope"),
    (r"^saliency_proj1\.", "highlight.clip_projection."),
    (r"^saliency_proj2\.", "highlight.video_projection."),
    # Each halving is five modules in a row, of which the second convolves and the fourth normalises.
    (
        r"^pyramid\.blocks\.(\d+)\.(\d+)\.",
        lambda found: (
            f"layering.levels.{found[1]}.{int(found[2]) // 5}."
            + {1: "linear.", 3: "norm."}.get(int(found[2]) % 5, "unknown.")
        ),
    ),
    (r"^coef$", "boundaries.scale"),
    (r"^coord_head\.module\.1\.", "boundaries.hidden."),
    (r"^coord_head\.module\.3\.", "boundaries.output."),
    (r"^class_head\.", "refinement.intra."),
    (r"^conf_head\.", "refinement.inter."),
    (r"\.convs\.", ".convolutions."),
    (r"\.fc\.layers\.", ".linears."),
    (r"^x$", "refinement.balance"),
)

# What the last folder of a feature path says of its rows.
_FOLDERS = (
    (re.compile("slowfast"), FeatureConfig("slowfast", 2304)),
    (re.compile("clip"), FeatureConfig("clip", 512)),
    (re.compile("vgg|rgb"), FeatureConfig("vgg", 4096)),
    (re.compile("6b|internvideo"), FeatureConfig("internvideo2", 768)),
)
_TEXT_NAMES = {512: "clip_text", 300: "glove", 4096: "llama_text"}

_Shapes = Mapping[str, "torch.Size | list[int]"]


@dataclass(frozen=True)
class _Release:
    """What the released code has in its source for a dataset, and not in the options of a run.

    Attributes:
        dataset: ours.
        selection_metrics: by which its checkpoints were chosen.
        streams_of_2816: order of CLIP and SlowFast in rows of this length.
        negative_weight: as in `LossConfig`.
        negative_identity: as in `TrainingConfig`.
        max_end_s: as in `DecodingConfig`.
    """

    dataset: str
    selection_metrics: tuple[str, ...] = ("mAP",)
    streams_of_2816: tuple[str, str] = ("slowfast", "clip")
    negative_weight: float = 1.0
    negative_identity: Literal["video", "source"] = "video"
    max_end_s: float | None = None

    @property
    def has_moments(self) -> bool:
        """Whether its annotations have moments."""
        return require_dataset(self.dataset).has_moments


_R1 = ("MR-full-R1@0.5", "MR-full-R1@0.7")
_RELEASES = {
    "hl": _Release("qvhighlights", ("MR-full-mAP",), negative_identity="source", max_end_s=150.0),
    "qv_internvideo2": _Release("qvhighlights", _R1),
    "charadesSTA": _Release("charades_sta", _R1, max_end_s=150.0),
    "tacos": _Release("tacos", ("MR-full-R1@0.3",)),
    "tvsum": _Release("tvsum"),
    "youtube_uni": _Release("youtube_highlights", streams_of_2816=("clip", "slowfast"), negative_weight=0.0),
}


def our_name(name: str) -> str | None:
    """Name of a released parameter here; None for those that no released model reads."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name or None


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released weights under our names and in our shapes."""
    renamed = {}
    for name, value in weights.items():
        ours = our_name(name)
        if ours is None:
            continue
        if value.dim() == 4:  # convolutions over time, written with kernels of height 1
            renamed[ours] = value.squeeze(2)
        elif name.startswith("pyramid.") and value.dim() == 3:  # convolutions of kernel and stride 2
            renamed[ours] = value.transpose(1, 2).flatten(1)
        else:
            renamed[ours] = value
    return renamed


def config_from_options(options: Mapping[str, Any], shapes: _Shapes) -> Config:
    """Translate the options of a released run.

    Options that nobody knows are ignored: released files hold some. What the weights tell by their shapes is
    taken from there.

    Args:
        options: of `opt.json`, or as stored in the checkpoint.
        shapes: released parameter names to shapes.

    Raises:
        WeightsInvalid: if the options are not those of a known dataset, or contradict the weights.
    """
    try:
        return _config(options, shapes)
    except KeyError as error:
        raise WeightsInvalid(f"the options or weights of this release lack {error}") from error
    except ConfigError as error:
        raise WeightsInvalid(f"the options of this release are inconsistent: {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise WeightsInvalid(
            f"the options or weights of this release are of another kind: {error}"
        ) from error


def _config(options: Mapping[str, Any], shapes: _Shapes) -> Config:
    name = options["dset_name"]
    if name not in _RELEASES:
        raise WeightsInvalid(f"dset_name is '{name}'; known are {', '.join(_RELEASES)}")
    release = _RELEASES[name]
    data = _data_config(release, options, shapes)
    return Config(
        "-".join([data.dataset.replace("_", "-"), *(feature.name for feature in data.video_features)]),
        data,
        _model_config(options, shapes),
        _training_config(release, options),
        _loss_config(release, options),
        _decoding_config(release, options),
    )


def _data_config(release: _Release, options: Mapping[str, Any], shapes: _Shapes) -> DataConfig:
    get = options.get
    video_dim, text_dim = _input_dims(shapes)
    normalized = release.has_moments and text_dim != 300 and not get("no_norm_tfeat")
    return DataConfig(
        dataset=release.dataset,
        clip_length_s=float(options["clip_length"]),
        video_features=_video_features(release, list(get("v_feat_dirs") or ()), video_dim),
        text_features=FeatureConfig(
            _TEXT_NAMES.get(text_dim, "text"), text_dim, "l2" if normalized else "none"
        ),
        max_clips=_limit(get("max_v_l")),
        max_words=_limit(get("max_q_l")),
        train_annotations=Path(get("train_path") or "").name,
        eval_annotations=Path(get("eval_path") or "").name,
        domains=(str(options["dset_domain"]),) if get("dset_domain") else (),
    )


def _model_config(options: Mapping[str, Any], shapes: _Shapes) -> ModelConfig:
    get = options.get
    video_dim, text_dim = _input_dims(shapes)
    return ModelConfig(
        video_dim=video_dim,
        text_dim=text_dim,
        hidden_dim=shapes["dummy_rep_token"][1],
        heads=int(get("nheads", 8)),
        feedforward_dim=shapes["transformer.encoder.layers.0.linear1.weight"][0],
        input_layers=_count(shapes, r"input_vid_proj\.(\d+)\."),
        dummies=shapes["dummy_rep_token"][0],
        dummy_layers=_count(shapes, r"txtproj_encoder\.layers\.(\d+)\."),
        cross_attention_layers=_count(shapes, r"transformer\.t2v_encoder\.layers\.(\d+)\."),
        encoder_layers=_count(shapes, r"transformer\.encoder\.layers\.(\d+)\."),
        strides=tuple(2**level for level in range(shapes["coef"][0])),
        score_kernel=shapes["class_head.convs.0.weight"][3],
        score_convolutions=_count(shapes, r"class_head\.convs\.(\d+)\."),
        score_layers=_count(shapes, r"class_head\.fc\.layers\.(\d+)\."),
        dropout=float(get("dropout", 0.1)),
        input_dropout=float(get("input_dropout", 0.5)),
    )


def _loss_config(release: _Release, options: Mapping[str, Any]) -> LossConfig:
    get = options.get
    moments = release.has_moments
    return LossConfig(
        classification="focal" if moments else "saliency",
        regression_weight=float(get("lw_reg", 1.0)) if moments else 0.0,
        classification_weight=float(get("lw_cls", 5.0)),
        nce_weight=float(get("lw_sal", 0.1)),
        saliency_weight=float(get("lw_saliency", 0.8)),
        clip_aware_weight=float(get("label_loss_coef", 4.0)),
        attention_weight=float(get("lw_wattn", 1.0)),
        negative_weight=release.negative_weight,
        saliency_margin=float(get("saliency_margin", 0.2)),
        nce_over_batch=moments,
    )


def _decoding_config(release: _Release, options: Mapping[str, Any]) -> DecodingConfig:
    threshold = float(options.get("nms_thd", 0.7))
    return DecodingConfig(
        max_moments=int(options.get("max_num_moment", 50)),
        nms=options.get("nms_type", "normal") if threshold > 0 else "none",
        nms_threshold=threshold if threshold > 0 else 0.7,
        max_end_s=release.max_end_s,
    )


def _training_config(release: _Release, options: Mapping[str, Any]) -> TrainingConfig:
    get = options.get
    return TrainingConfig(
        epochs=int(get("n_epoch", 200)),
        batch_size=int(get("bsz", 32)),
        drop_last=bool(get("drop_last", False)),
        learning_rate=float(get("lr", 5e-4)),
        weight_decay=float(get("wd", 1e-4)),
        gradient_clip=float(get("grad_clip", 0.1)),
        evaluate_every=int(get("eval_epoch", 1)),
        patience=_limit(get("max_es_cnt")),
        selection_metrics=release.selection_metrics,
        negatives=bool(get("use_neg", True)),
        negative_identity=release.negative_identity,
        seed=int(get("seed", 2024)),
    )


def _input_dims(shapes: _Shapes) -> tuple[int, int]:
    """Lengths of a video row, without the temporal endpoint feature, and of a token row."""
    video, text = (shapes[f"input_{kind}_proj.0.LayerNorm.weight"][0] for kind in ("vid", "txt"))
    return video - TEF_DIM, text


def _video_features(release: _Release, folders: list[str], video_dim: int) -> tuple[FeatureConfig, ...]:
    found = []
    for folder in folders:
        known = (feature for pattern, feature in _FOLDERS if pattern.search(folder.rstrip("/").lower()))
        # The whole path is searched, the last folder first: `charades_clip/vgg_features/rgb_features`.
        leaf = Path(folder).name.lower()
        found += [next((f for pattern, f in _FOLDERS if pattern.search(leaf)), None) or next(known, None)]
    features = tuple(feature for feature in found if feature is not None)
    if len(features) == len(folders) > 0 and sum(feature.dim for feature in features) == video_dim:
        return features
    by_dim = {
        2816: release.streams_of_2816,
        4096: ("vgg",),
        768: ("internvideo2",),
    }
    if video_dim not in by_dim:
        raise WeightsInvalid(
            f"it is unclear which features have {video_dim} numbers per clip; v_feat_dirs are {folders}"
        )
    dims = {feature.name: feature for _, feature in _FOLDERS}
    return tuple(dims[name] for name in by_dim[video_dim])


def _limit(value: Any) -> int | None:
    """The released -1 stands for no limit."""
    return int(value) if value is not None and int(value) > 0 else None


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    found = {match[1] for match in (re.match(pattern, name) for name in shapes) if match}
    return len(found)
