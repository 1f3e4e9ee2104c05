"""From the name of a dataset, or from your own file, to splits for training and scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.compute.device import resolve_device
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import (
    has_text_encoder,
    has_video_encoder,
    load_text_encoder,
    load_video_encoder,
)
from extractors.errors import UsageError, VtgError
from extractors.events import Event
from extractors.extraction.collect import collect_videos
from extractors.extraction.pipeline import extract_features
from extractors.features import FeatureSpec
from model.checkpoints.checkpoint import Checkpoint, feature_specs
from model.config import Config, load_config
from model.datasets.annotations import Annotation, read_annotations, select_domain
from model.datasets.features import TEXT_KEY, FeatureFolder
from model.datasets.fit import require_fit
from model.datasets.grounding import GroundingDataset
from model.datasets.library.catalogue import (
    AnnotationFile,
    dataset_folder,
    dataset_info,
    find_annotations,
    find_features,
    missing_data_message,
)
from model.datasets.sources import (
    CachedVideos,
    EncodedTexts,
    FolderTexts,
    FolderVideos,
    TextSource,
    VideoSource,
)
from model.grounding.choice import plan_features, text_encoder_name
from model.training.evaluation import Evaluation, evaluate_model
from model.training.events import Event as TrainingEvent
from model.training.events import TrainingResult
from model.training.loop import continue_run, train
from model.training.run import Run

_HELD_OUT = 10  # every tenth of the user's videos is held out by default


class DataMissing(VtgError):
    """Annotations or features are not on this machine; the message says which, and how to get them."""


@dataclass(frozen=True)
class Inputs:
    """The paths of an experiment's data.

    Attributes:
        data: folder of the dataset, or one above it; None for the usual place.
        train: the user's annotations to train on.
        evaluate: the user's annotations to score on; None holds out every tenth video of `train`.
        videos: folder of videos whose features are extracted where they are missing.
        skip_missing: leave out queries whose features are missing, instead of refusing to begin.
    """

    data: Path | None = None
    train: Path | None = None
    evaluate: Path | None = None
    videos: Path | None = None
    skip_missing: bool = False

    def to_json(self) -> dict[str, str | bool | None]:
        """Plain values, paths made absolute; `from_json` reads them."""
        paths = {name: getattr(self, name) for name in ("data", "train", "evaluate", "videos")}
        absolute = {name: None if path is None else str(path.absolute()) for name, path in paths.items()}
        return {**absolute, "skip_missing": self.skip_missing}

    @classmethod
    def from_json(cls, values: dict[str, object]) -> Inputs:
        """Read what `to_json` wrote."""
        paths = {
            name: Path(str(values[name]))
            for name in ("data", "train", "evaluate", "videos")
            if values.get(name)
        }
        return cls(skip_missing=bool(values.get("skip_missing")), **paths)

    def require_there(self, named_in: str, *, scoring: bool = False, but: str = "") -> None:
        """Refuse paths that do not exist any more.

        Args:
            named_in: the file that names them, for the message.
            scoring: whether the inputs are only scored on, so that `train` is needed only without `evaluate`.
            but: what else can be done about it.

        Raises:
            DataMissing: if one does not exist.
        """
        train = None if scoring and self.evaluate is not None else self.train
        for path in (self.data, train, self.evaluate, self.videos):
            if path is not None and not path.exists():
                raise DataMissing(
                    f"{named_in}: {path} no longer exists; restore it, or correct its path there{but}"
                )


@dataclass(frozen=True)
class Split:
    """Annotations and where their features come from.

    Attributes:
        annotations: the queries that have all their features.
        videos: rows of their videos.
        texts: rows of their queries.
        video_specs: what the video rows are, in order.
        text_spec: what the text rows are.
        left_out: names of what was left out for missing features.
        origin: what the annotations were read from, for people.
    """

    annotations: tuple[Annotation, ...]
    videos: VideoSource
    texts: TextSource
    video_specs: tuple[FeatureSpec, ...]
    text_spec: FeatureSpec
    left_out: tuple[str, ...] = ()
    origin: str = ""

    def dataset(self, config: Config, *, labelled: bool) -> GroundingDataset:
        """The split as samples."""
        return GroundingDataset(self.annotations, self.videos, self.texts, config, labelled=labelled)

    def of_domain(self, domain: str) -> Split:
        """The part of one domain; raises AnnotationError if there is none."""
        return replace(self, annotations=tuple(select_domain(self.annotations, domain)))


def config_for(dataset: str, overrides: Sequence[str] = ()) -> Config:
    """The default configuration of a published dataset, by its name or a short one (`qvhl`).

    Raises:
        UsageError: if the dataset is unknown.
        ConfigError: if an override is not valid.
    """
    return load_config(dataset_info(dataset).configs[0], overrides)


def own_config(
    folder: Path, videos: Path | None, overrides: Sequence[str], options: EncoderOptions
) -> tuple[Config, str]:
    """The default configuration for your own annotations.

    Args:
        folder: where features may lie.
        videos: a folder of videos, if features are to be extracted.
        overrides: changes to it.
        options: weights given by path, and the offline switch.

    Returns:
        SlowFast and CLIP where their features lie in the folder or can be extracted, else `lite`; and what the user
        should know of the choice, a sentence or nothing.
    """
    strong, lite = "custom-slowfast-clip", "custom-lite"
    wanted = [spec.name for spec in load_config(strong).data.video_features]
    if videos is None:
        there = all(_own_feature_folder(name, folder) is not None for name in wanted)
        return load_config(strong if there else lite, overrides), ""
    plan = plan_features("auto", wanted, None, options)
    return load_config(strong if plan.names == tuple(wanted) else lite, overrides), " ".join(plan.notes)


def training_splits(
    config: Config,
    inputs: Inputs,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Split, Split]:
    """What a configuration is trained on, and what it is scored on.

    Args:
        config: the experiment.
        inputs: where its data lies.
        cache: of features that are extracted; the user's own by default.
        options: of encoders, where features are extracted.
        on_event: called with the events of extraction.

    Raises:
        DataMissing: if something is not there.
        AnnotationError: if a file cannot be used.
    """
    if inputs.train is not None:
        train = read_annotations(inputs.train, config.data.dataset)
        if inputs.evaluate is not None:
            held_out = read_annotations(inputs.evaluate, config.data.dataset)
        else:
            train, held_out = _hold_out(train, inputs.train)
    else:
        folder = data_folder(config, inputs)
        message = "" if inputs.videos is not None else missing_data_message(config, folder)
        if message:
            raise DataMissing(message)
        train, held_out = (
            read_annotations(_annotation_file(config, folder, name), config.data.dataset)
            for name in (config.data.train_annotations, config.data.eval_annotations)
        )
    # Together, so that features are looked for once and encoders are loaded once.
    both = _with_features([*train, *held_out], config, inputs, cache, options, on_event)
    chosen = {id(annotation) for annotation in both.annotations}
    splits = [
        replace(both, annotations=tuple(a for a in some if id(a) in chosen)) for some in (train, held_out)
    ]
    for split, verb in zip(splits, ("train on", "score on"), strict=True):
        if not split.annotations:
            raise DataMissing(f"there is no query to {verb} with all its features")
    return splits[0], splits[1]


def evaluation_split(
    config: Config,
    inputs: Inputs,
    *,
    cache: FeatureCache | None = None,
    options: EncoderOptions | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Split:
    """What a configuration is scored on; arguments and errors as for `training_splits`.

    Which queries these are, `evaluation_annotations` says.
    """
    annotations, origin = evaluation_annotations(config, inputs)
    split = _with_features(annotations, config, inputs, cache, options, on_event)
    if not split.annotations:
        raise DataMissing("there is no query to score on with all its features")
    return replace(split, origin=origin)


def evaluation_annotations(config: Config, inputs: Inputs) -> tuple[list[Annotation], str]:
    """The queries that a configuration is scored on, and what they were read from, for people.

    `inputs.evaluate` may be a file, the name of one in the dataset's folder, or the name of a published split (`val`).
    Without it, these are the videos held out of `inputs.train`; without that, the configuration's own split.

    Raises:
        DataMissing: if there is no such file.
        AnnotationError: if it cannot be used.
    """
    if inputs.evaluate is None and inputs.train is not None:
        annotations = read_annotations(inputs.train, config.data.dataset)
        return _hold_out(annotations, inputs.train)[1], f"the videos held out of {inputs.train}"
    folder = data_folder(config, inputs)
    file = inputs.evaluate
    if file is None:
        file = _annotation_file(config, folder, config.data.eval_annotations)
    elif not file.is_file():
        file = _annotation_file(config, folder, _file_of_split(config, str(file), folder))
    return read_annotations(file, config.data.dataset), str(file)


def run_experiment(
    config: Config,
    inputs: Inputs,
    run: Run,
    splits: tuple[Split, Split],
    *,
    domains: Sequence[str] = (),
    device: str = "auto",
    on_begin: Callable[[str], None] | None = None,
    on_event: Callable[[TrainingEvent], None] | None = None,
) -> dict[str, TrainingResult]:
    """Train a model, or one per domain, or resume.

    Args:
        config: the experiment.
        inputs: where its data lies; kept beside the runs.
        run: its folder, created; a domain's run is the folder of that name in it.
        splits: the training split and the split that is scored.
        domains: one model each; empty trains one of all.
        device: where the network trains.
        on_begin: called with each domain before its first epoch; empty if there is one model.
        on_event: called with the events of training.

    Returns:
        domain, or an empty name, to how its run ended.

    Raises:
        what `model.training.loop.train` raises.
    """
    train_split, eval_split = splits
    results = {}
    if domains:
        continue_run(run, config)
    for domain in domains or ("",):
        part = Run(run.folder / domain) if domain else run
        if domain and not (part.folder / "config.toml").is_file():
            part.create(config, {**inputs.to_json(), "domain": domain})
        learnt, scored = (
            (split.of_domain(domain) if domain else split) for split in (train_split, eval_split)
        )
        if on_begin is not None:
            on_begin(domain)
        results[domain] = train(
            config,
            learnt.dataset(config, labelled=True),
            scored.dataset(config, labelled=False),
            part,
            specs=(train_split.video_specs, train_split.text_spec),
            device=device,
            on_event=on_event,
        )
    return results


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    split: Split,
    *,
    device: str = "auto",
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Ground a split with a trained model, and score the answers.

    Args:
        checkpoint: the model; one of a domain is scored on that domain.
        split: from `evaluation_split` of its configuration.
        device: where the network runs.
        batch_size: queries at a time; the answers do not depend on it.
        on_progress: called with queries done and in all.

    Raises:
        FeatureMismatch: if the model was trained on other features.
    """
    checkpoint.require_features(split.video_specs, split.text_spec)
    if domain := checkpoint.provenance.get("domain"):
        split = split.of_domain(domain)
    place = resolve_device(device)
    return evaluate_model(
        checkpoint.build_model().to(place),
        split.dataset(checkpoint.config, labelled=False),
        device=place,
        batch_size=batch_size,
        on_progress=on_progress,
    )


def mean_metrics(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Domain to its mAP in percent, and their mean as `Avg`, as the tables of TVSum and YouTube Highlights have it."""
    means = {domain: float(scores["mAP"]) for domain, scores in metrics.items()}
    return means | {"Avg": sum(means.values()) / len(means)}


def data_folder(config: Config, inputs: Inputs) -> Path:
    """Where the dataset of a configuration lies, or should."""
    if config.data.dataset == "custom":
        beside = inputs.train or inputs.evaluate
        return inputs.data or (beside.parent if beside is not None else Path())
    return dataset_folder(dataset_info(config.data.dataset), inputs.data)


def _annotation_file(config: Config, folder: Path, name: str) -> Path:
    if config.data.dataset == "custom":
        if not name:
            raise UsageError(
                "this model was trained on your own data: name the data to score on with --annotations FILE and "
                "--videos FOLDER"
            )
        path: Path | None = folder / name if (folder / name).is_file() else None
    else:
        path = find_annotations(dataset_info(config.data.dataset), name, folder)
    if path is None:
        raise DataMissing(
            f"{folder / name}: there is no such file of annotations; name another, or its folder with --data"
        )
    return path


def _file_of_split(config: Config, name: str, folder: Path) -> str:
    """The file of a published split, or of this name; raises UsageError if there is no such split or file."""
    if config.data.dataset == "custom":
        published: tuple[AnnotationFile, ...] = ()
    else:
        info = dataset_info(config.data.dataset)
        published = info.annotations
        if find_annotations(info, name, folder) is not None:
            return name
    file = next((entry.file for entry in published if name in (entry.split, entry.file)), None)
    if file is None and not (folder / name).is_file():
        splits = ", ".join(entry.split for entry in published)
        known = f"; splits of {config.data.dataset} are {splits}" if splits else ""
        raise UsageError(f"{name}: there is no such file of annotations, nor one in {folder}{known}")
    return file or name


def _hold_out(annotations: list[Annotation], path: Path) -> tuple[list[Annotation], list[Annotation]]:
    """Every tenth video, by a hash of its id: the same ones whatever else the file holds; of a few videos, one."""
    videos = {a.vid for a in annotations}
    held_out = {vid for vid in videos if _hash(vid) % _HELD_OUT == 0} or {min(videos, key=_hash)}
    train = [a for a in annotations if a.vid not in held_out]
    rest = [a for a in annotations if a.vid in held_out]
    if not train:
        raise UsageError(f"{path}: too few videos to hold one out; name a file to score on with --eval")
    return train, rest


def _hash(vid: str) -> int:
    return int.from_bytes(hashlib.blake2b(vid.encode(), digest_size=8).digest(), "big")


def _with_features(
    annotations: list[Annotation],
    config: Config,
    inputs: Inputs,
    cache: FeatureCache | None,
    options: EncoderOptions | None,
    on_event: Callable[[Event], None] | None,
) -> Split:
    cache = cache or FeatureCache()
    options = options or EncoderOptions()
    folder = data_folder(config, inputs)
    videos, video_specs = _video_source(annotations, config, inputs, folder, cache, options, on_event)
    lacking_videos = set(videos.missing([annotation.vid for annotation in annotations]))
    there = [annotation for annotation in annotations if annotation.vid not in lacking_videos]
    texts, text_spec, lacking_texts = _text_source(there, config, folder, cache, options)
    left_out = (*sorted(lacking_videos), *lacking_texts)
    if left_out and not inputs.skip_missing:
        raise DataMissing(_lacking(sorted(lacking_videos), lacking_texts, videos, config, inputs, folder))
    lacking = set(lacking_texts)
    chosen = tuple(a for a in there if f"qid{a.qid}" not in lacking)
    require_fit(chosen, videos, config.data)
    # Rows of another length than the configuration's are found before anything begins; published files are of one make.
    if config.data.dataset == "custom":
        for annotation in chosen:
            texts.load(annotation)
    elif chosen:
        videos.load(chosen[0].vid)
        texts.load(chosen[0])
    return Split(chosen, videos, texts, video_specs, text_spec, left_out)


def _lacking(
    vids: list[str], queries: list[str], videos: VideoSource, config: Config, inputs: Inputs, folder: Path
) -> str:
    """What to do about videos and queries of the annotations that have no features."""
    if isinstance(videos, CachedVideos):
        absent = [vid for vid in vids if vid not in videos.paths]
        unread = [vid for vid in vids if vid in videos.paths]
        found = [
            _some(
                absent,
                "video of the annotations is",
                "videos of the annotations are",
                f"not in {inputs.videos}",
            ),
            _some(unread, "video", "videos", "cannot be read"),
            _some(queries, "query has", "queries have", "no features"),
        ]
        advice = "Put files of these names there" if absent else "Bring what is missing"
    else:
        found = [
            _some(vids, "video of the annotations has", "videos of the annotations have", "no features"),
            _some(queries, "query has", "queries have", "no features"),
        ]
        own = config.data.dataset == "custom" or inputs.train is not None
        advice = (
            f"Put feature files of these names into {folder}, or name a folder of videos with --videos"
            if own
            else "Bring them (`vtg datasets check` lists them)"
        )
    return f"{' and '.join(filter(None, found))}. {advice}, or leave their queries out with --skip-missing"


def _some(names: list[str], one: str, many: str, state: str) -> str:
    """How many are in a state, and the first of them; empty if there is none."""
    if not names:
        return ""
    first = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} {state} ({first})"


def _video_source(
    annotations: list[Annotation],
    config: Config,
    inputs: Inputs,
    folder: Path,
    cache: FeatureCache,
    options: EncoderOptions,
    on_event: Callable[[Event], None] | None,
) -> tuple[VideoSource, tuple[FeatureSpec, ...]]:
    data = config.data
    if inputs.videos is None:
        folders = [
            FeatureFolder(_feature_folder(config, spec.name, folder), spec.name, spec.dim)
            for spec in data.video_features
        ]
        return FolderVideos(folders), feature_specs(config)[0]
    unmakable = [spec.name for spec in data.video_features if not has_video_encoder(spec.name)]
    if unmakable:
        raise UsageError(
            f"{config.name} reads {', '.join(unmakable)} features, which vtg cannot extract from videos; "
            "give the folder of their files with --data instead of --videos"
        )
    encoders = [
        load_video_encoder(spec.name, replace(options, clip_length_s=data.clip_length_s))
        for spec in data.video_features
    ]
    wanted = {annotation.vid for annotation in annotations}
    files: dict[str, Path] = {}
    for path in collect_videos([inputs.videos]):
        for vid in (path.stem, path.name):
            if vid in wanted:
                files.setdefault(vid, path)
    if files:
        extract_features(list(files.values()), encoders, cache, on_event=on_event)
    specs = tuple(encoder.spec for encoder in encoders)
    for spec, feature in zip(specs, data.video_features, strict=True):
        if spec.dim != feature.dim:
            raise UsageError(
                f"{config.name} reads '{feature.name}' rows of {feature.dim} numbers, but those made of "
                f"{inputs.videos} have {spec.dim}; set data.video_features and model.video_dim"
            )
    model_specs = tuple(
        replace(spec, normalization=feature.normalization)
        for spec, feature in zip(specs, data.video_features, strict=True)
    )
    return CachedVideos(cache, specs, files), model_specs


def _text_source(
    annotations: list[Annotation],
    config: Config,
    folder: Path,
    cache: FeatureCache,
    options: EncoderOptions,
) -> tuple[TextSource, FeatureSpec, list[str]]:
    """Published tokens where they are, else those of vtg's own encoder of the same name."""
    feature = config.data.text_features
    spec = feature_specs(config)[1]
    place = _find_feature_folder(config, feature.name, folder)
    if place is not None:
        texts = FolderTexts(FeatureFolder(place, feature.name, feature.dim, key=TEXT_KEY))
        return texts, spec, texts.missing(annotations)
    name = text_encoder_name(feature.name)
    if not has_text_encoder(name):
        raise DataMissing(
            f"{folder / (feature.name + '_features')}: there is no such folder, and vtg cannot make '{feature.name}' "
            "tokens itself"
        )
    encoder = load_text_encoder(name, options)
    encoded = EncodedTexts([annotation.query for annotation in annotations], encoder, cache)
    made = replace(encoder.spec, name=feature.name, normalization=feature.normalization)
    if made.dim != feature.dim:
        raise UsageError(
            f"{config.name} reads '{feature.name}' tokens of {feature.dim} numbers, but those made here have "
            f"{made.dim}; set data.text_features and model.text_dim"
        )
    return encoded, made, []


def _feature_folder(config: Config, stream: str, folder: Path) -> Path:
    place = _find_feature_folder(config, stream, folder)
    if place is None:
        raise DataMissing(
            f"{config.name} reads '{stream}' features, but there is no folder {folder / (stream + '_features')}; "
            "extract them from a folder of videos with --videos, or name the folder that holds theirs with --data"
        )
    return place


def _find_feature_folder(config: Config, stream: str, folder: Path) -> Path | None:
    if config.data.dataset != "custom":
        return find_features(dataset_info(config.data.dataset), stream, folder)
    return _own_feature_folder(stream, folder)


def _own_feature_folder(stream: str, folder: Path) -> Path | None:
    places = (folder / f"{stream}_features", folder / "features" / f"{stream}_features", folder / stream)
    return next(filter(Path.is_dir, places), None)
