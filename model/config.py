"""Configurations: TOML files read into frozen dataclasses; unknown fields are errors.

A configuration defines one experiment of the paper: a dataset, its features, the network, the losses, the decoding and
the training recipe. The released ones are in `configs/`, one per dataset and backbone. A model can be built from its
`model` table alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from extractors.errors import UsageError
from extractors.features import folder_name
from extractors.files import toml
from model.dataset_entry import DatasetInfo, own_datasets, require_dataset

TEF_DIM = 2
"""Channels of the temporal endpoint feature, which follow the features of every clip."""

T = TypeVar("T")

_SUFFIX = ".toml"
_NAME = re.compile(r"\w[\w.-]*")
_LARGEST_FLOAT = 1 << 1023
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_LARGEST_SEED = (1 << 32) - 1
_SHORTEST_CLIP_S, _LONGEST_CLIP_S = 0.001, 3600.0
_NAME_BYTES = 100  # with a date, a prefix and an ending it still fits a file system


class ConfigError(UsageError):
    """A configuration is invalid; the message starts with the field."""


def name_problem(name: str) -> str | None:
    """Why a name cannot be that of a configuration or a model, both of which become names of files; None if it can."""
    if _NAME.fullmatch(name) and len(name.encode("utf-8", "surrogatepass")) <= _NAME_BYTES:
        return None
    return (
        f"must be letters, digits, '-', '_' and '.', not beginning with '-' or '.', of at most {_NAME_BYTES} bytes; "
        f"is {_shortened(name)}"
    )


@dataclass(frozen=True)
class FeatureConfig:
    """One stream of features, as a model is trained on it.

    Attributes:
        name: the feature's name, as in `<name>_features/` of the published layout.
        dim: length of a row.
        normalization: what is done to each row before the streams are concatenated.
    """

    name: str
    dim: int
    normalization: Literal["l2", "none"] = "l2"

    def __post_init__(self) -> None:
        _require_name(folder_name(self.name))
        _require_positive(self, "dim")


@dataclass(frozen=True)
class DataConfig:
    """The training data.

    Attributes:
        dataset: entry that selects the annotations, the metrics and the label rules; `custom` for your own.
        clip_length_s: seconds one feature row stands for.
        video_features: the video streams, in the order they are concatenated.
        text_features: the token rows of a query.
        max_clips: rows after this many are cut off; None keeps all.
        max_words: tokens after this many are cut off; None keeps all.
        window_clips: clips of the longest training videos; longer ones are grounded in overlapping windows
            of this length. None takes max_clips, or what the training split had.
        train_annotations: file of the training split.
        eval_annotations: file of the split that chooses the checkpoint.
        domains: values of the annotations' `domain`, one model per domain; empty if one model covers all.
    """

    dataset: str
    clip_length_s: float
    video_features: tuple[FeatureConfig, ...]
    text_features: FeatureConfig
    max_clips: int | None = None
    max_words: int | None = None
    window_clips: int | None = None
    train_annotations: str = ""
    eval_annotations: str = ""
    domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            require_dataset(self.dataset)
        except UsageError as error:
            raise ConfigError(f"dataset: {error}") from error
        _require(
            _SHORTEST_CLIP_S <= self.clip_length_s <= _LONGEST_CLIP_S,
            "clip_length_s",
            f"must be from {_SHORTEST_CLIP_S:g} to {_LONGEST_CLIP_S:g} seconds, is {self.clip_length_s}",
        )
        _require(len(self.video_features) > 0, "video_features", "needs at least one stream")
        _require_positive_if_given(self, "max_clips", "max_words")
        _require_all(self, ["window_clips"], lambda value: value > 1, "must be at least 2 or left out")
        for domain in self.domains:
            _require(
                _is_one_folder(domain), "domains", f"cannot be the name of a folder: {_shortened(domain)}"
            )

    @property
    def video_dim(self) -> int:
        """Length of a concatenated video row."""
        return sum(feature.dim for feature in self.video_features)

    @property
    def info(self) -> DatasetInfo:
        """The entry of the dataset."""
        return require_dataset(self.dataset)

    @property
    def annotates_moments(self) -> bool:
        """Whether the dataset has moments; TVSum and YouTube Highlights have saliency alone."""
        return self.info.has_moments


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        video_dim: length of a video row, without the temporal endpoint feature.
        text_dim: length of a token row.
        hidden_dim: width of everything after the projections.
        heads: attention heads.
        feedforward_dim: inner width of the feed-forward networks.
        input_layers: layers of each input projection.
        dummies: dummy tokens that soak up attention where no word matches.
        dummy_layers: Transformer layers that condition the dummies on the query.
        cross_attention_layers: layers of Adaptive Cross Attention.
        encoder_layers: Transformer layers over the fused clips.
        feature_layering: Temporal Feature Layering; off, only the first stride is used (paper, table 8).
        strides: clips one point of each level stands for, powers of two, ascending from 1.
        score_refinement: Adaptive Score Refinement; off, the intra-scale score alone is the confidence and
            the Clip-Aware Score Loss is left out (paper, table 8).
        score_kernel: kernel of the score heads' convolutions.
        score_convolutions: convolutions of each score head.
        score_layers: linear layers of each score head.
        dropout: in attention, feed-forward networks and residual paths.
        input_dropout: in the input projections.
        dummy_dropout: `dropout` of the dummy encoder.
        existence: a head that judges whether a video shows what a query asks for at all; not part of the paper.
        networks: networks whose answers are averaged; more than 1 only in models that `vtg weights combine` made.
        alignment_dim: width of the space in which the alignment head compares clips with the query; 0 leaves the head
            out. It is not part of the paper.
        alignment_kernel: kernel of the head's convolution over clips; 1 reads each clip alone.
        alignment_dropout: on the clips and queries that the head reads.
    """

    video_dim: int
    text_dim: int
    hidden_dim: int = 256
    heads: int = 8
    feedforward_dim: int = 1024
    input_layers: int = 2
    dummies: int = 40
    dummy_layers: int = 2
    cross_attention_layers: int = 6
    encoder_layers: int = 3
    feature_layering: bool = True
    strides: tuple[int, ...] = (1, 2, 4, 8)
    score_refinement: bool = True
    score_kernel: int = 5
    score_convolutions: int = 1
    score_layers: int = 5
    dropout: float = 0.1
    input_dropout: float = 0.5
    dummy_dropout: float = 0.1
    existence: bool = False
    alignment_dim: int = 0
    alignment_kernel: int = 1
    alignment_dropout: float = 0.3
    networks: int = 1

    def __post_init__(self) -> None:
        _require_positive(self, "video_dim", "text_dim", "hidden_dim", "heads", "feedforward_dim", "dummies")
        _require_positive(self, "input_layers", "dummy_layers", "cross_attention_layers", "encoder_layers")
        _require_positive(self, "score_kernel", "score_convolutions", "alignment_kernel")
        _require(
            self.hidden_dim % (2 * self.heads) == 0,
            "hidden_dim",
            f"must be an even multiple of heads; {self.hidden_dim} is not one of {self.heads}",
        )
        _require_all(self, ["score_kernel", "alignment_kernel"], lambda size: size % 2 == 1, "must be odd")
        _require(self.score_layers > 1, "score_layers", f"must be at least 2, is {self.score_layers}")
        _require(
            self.strides == tuple(2**level for level in range(len(self.strides))) and len(self.strides) > 0,
            "strides",
            f"must be 1, 2, 4, …, each once, is {list(self.strides)}",
        )
        _require_not_negative(self, "alignment_dim")
        _require_positive(self, "networks")
        rates = ("dropout", "input_dropout", "dummy_dropout", "alignment_dropout")
        _require_all(self, rates, lambda rate: 0 <= rate < 1, "must be in [0, 1)")

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Strides of the levels that are built."""
        return self.strides if self.feature_layering else self.strides[:1]


@dataclass(frozen=True)
class LossConfig:
    """Weights and constants of the losses (section 3.6).

    Attributes:
        classification: `focal` on points inside moments; `quality`, the same with the IoU of a point's moment as its
            target, which is not part of the paper; or `saliency`: binary cross-entropy of each clip's confidence
            against its saliency label, for datasets without moments.
        regression_weight, classification_weight, nce_weight, saliency_weight, clip_aware_weight: the terms.
        existence_weight: the cross-entropy of `model.existence`; without effect where that is off.
        alignment_weight: the contrast of `model.alignment_dim` likewise.
        attention_weight: the saliency loss on the attention mass, relative to the one on saliency.
        negative_weight: the penalty on saliency under another video's query, relative likewise.
        saliency_margin: of the hinge between salient and other clips.
        saliency_temperature: of the rank contrast.
        nce_temperature: of SampledNCE.
        nce_over_batch: also contrast each query with the salient clips of the batch's other videos.
        sample_radius: points this many strides around a moment's centre may be positive.
    """

    classification: Literal["focal", "quality", "saliency"] = "focal"
    regression_weight: float = 1.0
    classification_weight: float = 5.0
    nce_weight: float = 0.1
    saliency_weight: float = 0.8
    clip_aware_weight: float = 4.0
    existence_weight: float = 1.0
    alignment_weight: float = 1.0
    attention_weight: float = 1.0
    negative_weight: float = 1.0
    saliency_margin: float = 0.2
    saliency_temperature: float = 0.5
    nce_temperature: float = 0.07
    nce_over_batch: bool = True
    sample_radius: float = 1.5

    def __post_init__(self) -> None:
        _require_not_negative(self, *(entry.name for entry in fields(self) if entry.name.endswith("_weight")))
        _require_positive(self, "saliency_temperature", "nce_temperature", "sample_radius")


@dataclass(frozen=True)
class DecodingConfig:
    """From offsets to ranked moments.

    Attributes:
        max_moments: kept per query.
        nms: `normal` sets the score of overlapping moments to 0, `linear` fades it; `none` leaves them.
        nms_threshold: overlap (IoU) from which `normal` suppresses.
        round_to_clips: round both ends to multiples of the clip length, as the benchmarks are scored.
        max_end_s: moments are cut here as well as at the video's end; None: at the video's end only.
    """

    max_moments: int = 50
    nms: Literal["normal", "linear", "none"] = "normal"
    nms_threshold: float = 0.7
    round_to_clips: bool = True
    max_end_s: float | None = None

    def __post_init__(self) -> None:
        _require_positive(self, "max_moments")
        _require_positive_if_given(self, "max_end_s")
        _require(0 < self.nms_threshold <= 1, "nms_threshold", f"must be in (0, 1], is {self.nms_threshold}")


@dataclass(frozen=True)
class TrainingConfig:
    """The recipe: AdamW, gradients clipped to a norm; by default at a constant rate, as in the paper.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per step.
        content_mixing: share of samples in which the content of another video surrounds the moment; not part of the
            paper.
        unmixed_epochs: the last epochs, which do without it.
        time_stretching: share of samples whose videos are played faster or slower; not part of the paper. Videos with
            a label for each clip stay as they are.
        drop_last: leave out the last, smaller batch.
        length_groups: batches cut at a time from a shuffled group of samples sorted by length. Larger values pad less;
            1 is plain shuffling, as in the released code.
        learning_rate: of every step but those of a warm-up or a decay.
        warmup_steps: the first steps, in which the rate rises linearly; 0 begins with the whole rate.
        decay_epochs: the last epochs, in which the rate falls linearly towards 0; 0 keeps it constant.
        average_decay: what is left of a moving average of the weights at each step, at step n at most
            (1 + n) / (10 + n). The average is evaluated and kept in place of the last weights; 0 averages nothing.
        weight_decay: on every parameter.
        gradient_clip: largest norm of all gradients together; 0 does not clip.
        evaluate_every: epochs between evaluations.
        patience: evaluations without improvement after which training stops; None never stops.
        selection_metrics: the checkpoint with the highest mean of these, before NMS, is kept.
        negatives: contrast each video with the query of another sample. `model.existence` learns from all such pairs of
            a batch, and from a file of further negatives if this is its path, as it is or inside the data's folder.
        negative_identity: what makes two samples share a video: the whole id, or for ids of the form
            `<source>_<start>_<end>` the source they were cut from.
        resample_labels: draw positive and negative clips again each epoch; off, they are drawn once, which the
            released code does by accident.
        precision: of the network in training; `bf16` and `fp16` are autocast, losses stay in float32.
        workers: processes that read and pad batches; 0 does it between steps, enough once features are in memory.
        seed: of weights, shuffling, dropout and label sampling.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    selection_metrics: tuple[str, ...]
    weight_decay: float = 1e-4
    gradient_clip: float = 0.1
    warmup_steps: int = 0
    decay_epochs: int = 0
    average_decay: float = 0.0
    content_mixing: float = 0.0
    unmixed_epochs: int = 0
    time_stretching: float = 0.0
    drop_last: bool = False
    length_groups: int = 1
    evaluate_every: int = 1
    patience: int | None = None
    negatives: bool | str = True
    negative_identity: Literal["video", "source"] = "video"
    resample_labels: bool = True
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    workers: int = 0
    seed: int = 2024

    def __post_init__(self) -> None:
        _require_positive(self, "epochs", "batch_size", "learning_rate", "length_groups", "evaluate_every")
        _require_positive_if_given(self, "patience")
        _require_not_negative(
            self, "weight_decay", "gradient_clip", "workers", "warmup_steps", "decay_epochs", "unmixed_epochs"
        )
        _require_all(self, ["average_decay"], lambda decay: 0 <= decay < 1, "must be in [0, 1)")
        _require_all(
            self, ["content_mixing", "time_stretching"], lambda share: 0 <= share <= 1, "must be in [0, 1]"
        )
        _require(
            self.decay_epochs <= self.epochs,
            "decay_epochs",
            f"is {self.decay_epochs}, but there are {self.epochs} epochs",
        )
        _require(
            0 <= self.seed <= _LARGEST_SEED, "seed", f"must be from 0 to {_LARGEST_SEED}, is {self.seed}"
        )
        _require(len(self.selection_metrics) > 0, "selection_metrics", "must name at least one metric")
        _require(self.negatives != "", "negatives", "must be true, false or the path of a file")

    @property
    def negatives_file(self) -> str | None:
        """The file of further negatives, as the configuration names it."""
        return self.negatives if isinstance(self.negatives, str) else None


@dataclass(frozen=True)
class PretrainingConfig:
    """Learning from unlabelled videos, by moments that zero-shot grounding finds in them; not part of the paper.

    Attributes:
        epochs: the first epochs of training, in which pseudo-labels are mixed with the annotated queries; 0 uses none.
        labels_per_video: pseudo-labels of a video at most.
        templates: sentences of pseudo-labels, with `{}` for the name of what is seen and its article.
    """

    epochs: int = 0
    labels_per_video: int = 3
    templates: tuple[str, ...] = (
        "{}",
        "there is {}",
        "a person with {}",
        "a person uses {}",
        "{} can be seen",
    )

    def __post_init__(self) -> None:
        _require_not_negative(self, "epochs")
        _require_positive(self, "labels_per_video")
        _require(len(self.templates) > 0, "templates", "must hold at least one sentence")
        for template in self.templates:
            _require(
                template.count("{}") == 1 and not set(template.replace("{}", "")) & set("{}"),
                "templates",
                f"must each hold {{}} once, for a name; {_shortened(template)} does not",
            )


@dataclass(frozen=True)
class Config:
    """One experiment.

    Attributes:
        name: the name of its runs and its model: letters, digits, `-`, `_` and `.`.
        data, model, training, loss, decoding, pretraining: its tables.

    Raises:
        ConfigError: if the tables contradict each other; the message names the fields.
    """

    name: str
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    loss: LossConfig = field(default_factory=LossConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)

    def __post_init__(self) -> None:
        _require_name(self.name)
        _require(
            self.model.video_dim == self.data.video_dim,
            "model.video_dim",
            f"is {self.model.video_dim}, but data.video_features add up to {self.data.video_dim}",
        )
        _require(
            self.model.text_dim == self.data.text_features.dim,
            "model.text_dim",
            f"is {self.model.text_dim}, but data.text_features has {self.data.text_features.dim}",
        )
        if not self.data.annotates_moments:
            _require(
                self.loss.classification == "saliency",
                "loss.classification",
                f"must be 'saliency': {self.data.dataset} has no moments to classify",
            )
            _require(
                self.loss.regression_weight == 0,
                "loss.regression_weight",
                f"must be 0: {self.data.dataset} has no moments to regress",
            )
        if self.loss.classification == "saliency":
            _require(
                self.model.level_strides == (1,),
                "model.strides",
                "must be [1] where loss.classification is 'saliency', which scores clips, not points",
            )
        _require(
            bool(self.training.negatives) or not self.model.existence,
            "model.existence",
            "is learned from negative queries; set training.negatives=true, or model.existence=false",
        )
        _require(
            self.model.existence or self.training.negatives_file is None,
            "training.negatives",
            "names a file, from which only the existence head learns; set model.existence=true, or "
            "training.negatives=true",
        )
        _require(
            self.data.annotates_moments or not self.model.existence,
            "model.existence",
            f"must be false: {self.data.dataset} has no moments that may be there or not",
        )
        _require(
            self.pretraining.epochs <= self.training.epochs,
            "pretraining.epochs",
            f"is {self.pretraining.epochs}, but training.epochs is {self.training.epochs}, which includes them",
        )
        _require(
            self.data.annotates_moments or self.pretraining.epochs == 0,
            "pretraining.epochs",
            f"must be 0: {self.data.dataset} has no moments to learn from unlabelled videos",
        )
        _require(
            self.training.negative_identity == "video" or self.data.info.vids_name_source,
            "training.negative_identity",
            f"'source' reads the ids of {', '.join(info.name for info in own_datasets() if info.vids_name_source)}; "
            f"data.dataset is {self.data.dataset}",
        )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON types, without the fields that are None; `from_dict` reads it."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Config:
        """Read and validate a nested table.

        Raises:
            ConfigError: on an unknown key, a missing one, a wrong type or a bad combination.
        """
        return _build(cls, table, "")


def available_configs() -> tuple[str, ...]:
    """Names of the configurations that come with the package."""
    folder = files("model") / "configs"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration.

    Args:
        source: a name of `available_configs`, or the path of a TOML file.
        overrides: `key=value` changes, see `override_config`.

    Raises:
        ConfigError: if it is not there, not TOML, or not valid.
    """
    label = str(source)
    if label in available_configs():
        text = (files("model") / "configs" / f"{label}{_SUFFIX}").read_text(encoding="utf-8")
    elif Path(source).is_file():
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{label}: cannot be read as text ({error})") from error
    else:
        raise ConfigError(
            f"no configuration '{label}': give a TOML file or one of {', '.join(available_configs())}"
        )
    try:
        table = toml.loads(text)
    except (toml.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{label}: not a TOML file: {error}") from error
    try:
        config = Config.from_dict(table)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error
    return override_config(config, overrides)


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """Change fields of a configuration.

    Args:
        config: the configuration to start from.
        overrides: changes of the form `table.field=value`, later ones winning; the value is written as in
            TOML, where a bare word is a string and `none` empties a field that may be empty.

    Raises:
        ConfigError: if a change is malformed, or what comes out is not valid. All changes are made before
            the result is checked, so fields that depend on each other can be changed together.
    """
    table = config.to_dict()
    for override in overrides:
        path, separator, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not separator or not all(keys):
            raise ConfigError(f"'{override}': write an override as table.field=value")
        target = table
        for key in keys[:-1]:
            if not isinstance(target.get(key), dict):
                known = [name for name, value in target.items() if isinstance(value, dict)]
                raise ConfigError(
                    f"{path.strip()}: there is no table '{key}' here; tables are {', '.join(known)}"
                )
            target = target[key]
        if text.strip().lower() == "none" and _may_be_empty(keys):
            target.pop(keys[-1], None)
        else:
            try:
                target[keys[-1]] = _parse_value(text.strip())
            except RecursionError:
                raise ConfigError(f"{path.strip()}: is nested too deeply") from None
    return Config.from_dict(table)


def _may_be_empty(keys: Sequence[str]) -> bool:
    """Whether the field at a path is one that may be None."""
    kind: Any = Config
    for key in keys:
        if not is_dataclass(kind) or key not in get_type_hints(kind):
            return False
        kind = get_type_hints(kind)[key]
    return NoneType in get_args(kind)


def _parse_value(text: str) -> Any:
    try:
        return toml.loads(f"value = {text}")["value"]
    except toml.TOMLDecodeError:
        return text


def _require(holds: bool, name: str, message: str) -> None:
    if not holds:
        raise ConfigError(f"{name}: {message}")


def _require_all(
    config: object, names: Iterable[str], holds: Callable[[float], bool], requirement: str
) -> None:
    """Refuse an invalid value; None, where allowed, leaves the field out."""
    for name in names:
        value = getattr(config, name)
        _require(value is None or holds(value), name, f"{requirement}, is {value}")


def _require_positive(config: object, *names: str) -> None:
    _require_all(config, names, lambda value: value > 0, "must be positive")


def _require_positive_if_given(config: object, *names: str) -> None:
    _require_all(config, names, lambda value: value > 0, "must be positive or left out")


def _require_not_negative(config: object, *names: str) -> None:
    _require_all(config, names, lambda value: value >= 0, "must not be negative")


def _require_name(name: str) -> None:
    if problem := name_problem(name):
        raise ConfigError(f"name: {problem}")


def _is_one_folder(name: str) -> bool:
    """Whether a name is that of a folder inside another one, on any system."""
    return (
        name.isprintable()
        and not name.startswith(".")
        and name.strip() == name != ""
        and not set(name) & set('/\\:*?"<>|')
        and len(name.encode()) <= _NAME_BYTES
    )


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}…"


def _build(cls: type[T], table: Mapping[str, Any], prefix: str) -> T:
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    known = {entry.name: entry for entry in fields(cls)}
    for key in table:
        if key not in known:
            raise ConfigError(f"{prefix}{key}: unknown field; known are {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, entry in known.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], f"{prefix}{name}")
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigError(f"{prefix}{name}: is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        # The dataclass knows its own fields; which table it stands in is known only here.
        raise ConfigError(f"{prefix}{error}") from None


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}: must be a table, is {value!r}")
        return _build(kind, value, f"{path}.")
    if origin in (Union, UnionType):
        if value is None:
            return None
        kinds = [argument for argument in arguments if argument is not NoneType]
        kind = next((kind for kind in kinds if type(value) is kind), kinds[0])
        if len(kinds) > 1 and type(value) is not kind:
            expected = " or ".join(_KINDS[kind] for kind in kinds)
            raise ConfigError(f"{path}: must be {expected}, is {value!r}")
        return _convert(kind, value, path)
    if origin is Literal:
        if value not in arguments:
            choices = ", ".join(repr(argument) for argument in arguments)
            raise ConfigError(f"{path}: must be one of {choices}, is {value!r}")
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{path}: must be a list, is {value!r}")
        return tuple(_convert(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if kind is float and type(value) is int and abs(value) < _LARGEST_FLOAT:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path}: must be {_KINDS[kind]}, is {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{path}: must be a finite number, is {value}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
