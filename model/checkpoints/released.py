"""Checkpoints of the released code: their pickles read without running them, their names and options translated.

A released `model_best.ckpt` is a zip file. Its pickle holds tensors and objects of classes that need not be installed
here. Ordinary unpickling would import and call whatever the file names. The reader below accepts a short list of
harmless names, replaces the known foreign classes with inert placeholders, and refuses everything else before it is
looked up. `torch.load(weights_only=True)` cannot read these files, because it does not set items of dict subclasses,
and one of the foreign classes is one.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extractors.errors import WeightsInvalid
from extractors.weights.pickles import UNZIPPING_ERRORS, Listed, require_modest_archive
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

_DATASETS = {
    "hl": "qvhighlights",
    "qv_internvideo2": "qvhighlights",
    "charadesSTA": "charades_sta",
    "tacos": "tacos",
    "tvsum": "tvsum",
    "youtube_uni": "youtube_highlights",
}

# What the last folder of a feature path says of its rows.
_FOLDERS = (
    (re.compile("slowfast"), FeatureConfig("slowfast", 2304)),
    (re.compile("clip"), FeatureConfig("clip", 512)),
    (re.compile("vgg|rgb"), FeatureConfig("vgg", 4096)),
    (re.compile("6b|internvideo"), FeatureConfig("internvideo2", 768)),
)
_WITHOUT_MOMENTS = ("tvsum", "youtube_uni")
_SELECTION_METRICS = {
    "hl": ("MR-full-mAP",),
    "qv_internvideo2": ("MR-full-R1@0.5", "MR-full-R1@0.7"),
    "charadesSTA": ("MR-full-R1@0.5", "MR-full-R1@0.7"),
    "tacos": ("MR-full-R1@0.3",),
}
_MAX_INDEX = 2**62  # torch counts in 64 bits
_MAX_PLAIN = 10_000  # values in one option
_TEXT_NAMES = {512: "clip_text", 300: "glove", 4096: "llama_text"}

_Shapes = Mapping[str, "torch.Size | list[int]"]


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """What was read of a released checkpoint.

    Attributes:
        weights: released parameter names to tensors.
        options: the options of the run, as far as they are plain values.
        epoch: when it was saved, counted from 0; None if the file does not say.
    """

    weights: dict[str, Tensor]
    options: dict[str, Any]
    epoch: int | None


def read_released(path: str | Path) -> ReleasedCheckpoint:
    """Read a released checkpoint without running any code it carries.

    Args:
        path: `model_best.ckpt` or `model_latest.ckpt`, as written by `torch.save`.

    Raises:
        WeightsInvalid: if the file is truncated, not of this kind, or asks for code to be run.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = _read_archive(archive, path)
            if not isinstance(content, dict) or not isinstance(content.get("model"), Mapping):
                raise WeightsInvalid(f"{path}: holds no released checkpoint: there is no 'model' in it")
            stored = {
                str(name): tensor
                for name, tensor in content["model"].items()
                if isinstance(tensor, _StoredTensor)
            }
            if sum(tensor.size_bytes for tensor in stored.values()) > path.stat().st_size:
                raise WeightsInvalid(
                    f"{path}: its tensors hold more numbers than it does; the file is damaged"
                )
            weights = {name: tensor.load(archive, path) for name, tensor in stored.items()}
    except FileNotFoundError:
        raise WeightsInvalid(f"{path}: there is no such file") from None
    except (*UNZIPPING_ERRORS, ValueError, OSError) as error:
        raise WeightsInvalid(
            f"{path}: truncated, or not a file of torch.save ({error}); download it again"
        ) from error
    options, epoch = content.get("opt"), content.get("epoch")
    return ReleasedCheckpoint(
        weights,
        options.attributes() if isinstance(options, _Placeholder) else {},
        epoch if isinstance(epoch, int) else None,
    )


def read_options(path: str | Path) -> dict[str, Any]:
    """Read the `opt.json` of a release.

    Raises:
        WeightsInvalid: if it is missing or not a JSON object.
    """
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsInvalid(f"{path}: cannot be read as the options of a release: {error}") from error
    if not isinstance(options, dict):
        raise WeightsInvalid(f"{path}: cannot be read as the options of a release: not a JSON object")
    return options


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
    release = options["dset_name"]
    if release not in _DATASETS:
        raise WeightsInvalid(f"dset_name is '{release}'; known are {', '.join(_DATASETS)}")
    data = _data_config(release, options, shapes)
    return Config(
        "-".join([data.dataset.replace("_", "-"), *(feature.name for feature in data.video_features)]),
        data,
        _model_config(options, shapes),
        _training_config(release, options),
        _loss_config(release, options),
        _decoding_config(release, options),
    )


def _data_config(release: str, options: Mapping[str, Any], shapes: _Shapes) -> DataConfig:
    get = options.get
    video_dim, text_dim = _input_dims(shapes)
    normalized = release not in _WITHOUT_MOMENTS and text_dim != 300 and not get("no_norm_tfeat")
    return DataConfig(
        dataset=_DATASETS[release],  # type: ignore[arg-type]
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


def _loss_config(release: str, options: Mapping[str, Any]) -> LossConfig:
    get = options.get
    moments = release not in _WITHOUT_MOMENTS
    return LossConfig(
        classification="focal" if moments else "saliency",
        regression_weight=float(get("lw_reg", 1.0)) if moments else 0.0,
        classification_weight=float(get("lw_cls", 5.0)),
        nce_weight=float(get("lw_sal", 0.1)),
        saliency_weight=float(get("lw_saliency", 0.8)),
        clip_aware_weight=float(get("label_loss_coef", 4.0)),
        attention_weight=float(get("lw_wattn", 1.0)),
        negative_weight=0.0 if release == "youtube_uni" else 1.0,
        saliency_margin=float(get("saliency_margin", 0.2)),
        nce_over_batch=moments,
    )


def _decoding_config(release: str, options: Mapping[str, Any]) -> DecodingConfig:
    threshold = float(options.get("nms_thd", 0.7))
    return DecodingConfig(
        max_moments=int(options.get("max_num_moment", 50)),
        nms=options.get("nms_type", "normal") if threshold > 0 else "none",
        nms_threshold=threshold if threshold > 0 else 0.7,
        max_end_s=150.0 if release in ("hl", "charadesSTA") else None,
    )


def _training_config(release: str, options: Mapping[str, Any]) -> TrainingConfig:
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
        selection_metrics=_SELECTION_METRICS.get(release, ("mAP",)),
        negatives=bool(get("use_neg", True)),
        negative_identity="source" if release == "hl" else "video",
        seed=int(get("seed", 2024)),
    )


def _input_dims(shapes: _Shapes) -> tuple[int, int]:
    """Lengths of a video row, without the temporal endpoint feature, and of a token row."""
    video, text = (shapes[f"input_{kind}_proj.0.LayerNorm.weight"][0] for kind in ("vid", "txt"))
    return video - TEF_DIM, text


def _video_features(release: str, folders: list[str], video_dim: int) -> tuple[FeatureConfig, ...]:
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
        2816: ("clip", "slowfast") if release == "youtube_uni" else ("slowfast", "clip"),
        4096: ("vgg",),
        768: ("internvideo2",),
    }
    if video_dim not in by_dim:
        raise WeightsInvalid(
            f"cannot tell which features have {video_dim} numbers per clip; v_feat_dirs are {folders}"
        )
    dims = {feature.name: feature for _, feature in _FOLDERS}
    return tuple(dims[name] for name in by_dim[video_dim])


def _limit(value: Any) -> int | None:
    """The released -1 stands for no limit."""
    return int(value) if value is not None and int(value) > 0 else None


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    found = {match[1] for match in (re.match(pattern, name) for name in shapes) if match}
    return len(found)


class _Placeholder(dict):  # type: ignore[type-arg]
    """Stands where an object of a foreign class stood: holds what was put into it, and does nothing."""

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)

    def attributes(self) -> dict[str, Any]:
        """Its plain values."""
        return {key: value for key, value in self.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    """Whether it is a value of JSON, or a list of such; lists may hold each other, or themselves."""
    waiting, left = [value], _MAX_PLAIN
    while waiting:
        value = waiting.pop()
        left -= 1
        if isinstance(value, (list, tuple)) and len(value) <= left:
            waiting.extend(value)
        elif not (value is None or type(value) in (bool, int, float, str)) or left < 0:
            return False
    return True


@dataclass(frozen=True)
class _Storage:
    """A persistent id of the pickle: one block of numbers in the archive."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class _StoredTensor:
    """A tensor not yet read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes once it is read."""
        return abs(math.prod(self.size)) * self.storage.dtype.itemsize

    def load(self, archive: zipfile.ZipFile, path: Path) -> Tensor:
        if min(self.size, default=0) < 0 or len(self.size) != len(self.stride):
            raise WeightsInvalid(f"{path}: a tensor has no possible shape; the file is damaged")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        in_range = self.offset >= 0 and all(s >= 0 for s in self.stride) and last < self.storage.numel
        if math.prod(self.size) > 0 and not in_range:
            raise WeightsInvalid(f"{path}: a tensor reaches beyond its numbers; the file is damaged")
        if max(*self.size, *self.stride, 0, 0) > _MAX_INDEX:
            raise WeightsInvalid(f"{path}: a tensor has no possible shape; the file is damaged")
        raw = archive.read(f"{_root(archive, path)}data/{self.storage.key}")
        if len(raw) != self.storage.numel * self.storage.dtype.itemsize:
            raise WeightsInvalid(f"{path}: a tensor is shorter than it says; the file is damaged")
        numbers = torch.frombuffer(bytearray(raw), dtype=self.storage.dtype) if raw else torch.empty(0)
        return numbers.as_strided(self.size, self.stride, self.offset).clone()


_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _StoredTensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return _StoredTensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


# All that a pickle may name. None of these does more than hold its arguments.
_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): Listed(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): Listed(_rebuild_parameter),
    ("torch", "Size"): tuple,
    ("torch", "device"): _Placeholder,
    ("argparse", "Namespace"): _Placeholder,
    ("nncore.utils.config", "Config"): _Placeholder,
    ("nncore.utils.config", "CfgNode"): _Placeholder,
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
}


class _Refused(Exception):
    """The pickle names something that is not on the list."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise _Refused(f"{module}.{name}")
        return _HARMLESS[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _, numel = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("an unknown kind of reference")
        return _Storage(str(key), dtype, int(numel))


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Any:
    root = _root(archive, path)
    try:
        require_modest_archive(archive)
    except ValueError as error:
        raise WeightsInvalid(f"{path}: refused: {error}, which a checkpoint never does") from error
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise WeightsInvalid(f"{path}: written on a big-endian machine, which is not supported")
    try:
        return _Reader(io.BytesIO(archive.read(f"{root}data.pkl"))).load()
    except _Refused as refused:
        raise WeightsInvalid(
            f"{path}: refused: the file asks for {refused}, which a checkpoint does not need and which could "
            "run code; none of it was run. Do not trust its source"
        ) from None
    except WeightsInvalid:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise WeightsInvalid(f"{path}: damaged: its pickle cannot be read ({error})") from error


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    for name in archive.namelist():
        if name.count("/") == 1 and name.endswith("/data.pkl"):
            return name.removesuffix("data.pkl")
    raise WeightsInvalid(f"{path}: a zip file, but not one of torch.save: it has no data.pkl")
