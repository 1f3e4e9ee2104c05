"""The features of a split: published files, the user's own files, or rows extracted from videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.encoders.registry import (
    has_text_encoder,
    has_video_encoder,
    load_text_encoder,
    load_video_encoder,
)
from extractors.errors import UsageError
from extractors.extraction.collect import collect_videos
from extractors.extraction.pipeline import extract_features
from extractors.features import FeatureSpec, folder_name
from extractors.videos.events import Event
from model.checkpoints.checkpoint import feature_specs
from model.config import Config, FeatureConfig
from model.datasets.annotations import Annotation
from model.datasets.features import TEXT_KEY, FeatureFolder
from model.datasets.library.catalogue import find_features
from model.datasets.sources import (
    CachedVideos,
    EncodedTexts,
    FolderTexts,
    FolderVideos,
    TextSource,
    VideoSource,
)
from model.grounding.choice import text_encoder_name
from model.training.data.inputs import DataMissing, Inputs, data_folder


class SplitFeatures:
    """A finder of the features of annotations, which extracts those that can be extracted.

    Args:
        config: the configuration that names the features.
        inputs: where the data is.
        cache: cache of extracted features; the user's own by default.
        options: options of the encoders.
        on_event: called with the events of extraction.
    """

    def __init__(
        self,
        config: Config,
        inputs: Inputs,
        cache: FeatureCache | None,
        options: EncoderOptions | None,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._config = config
        self._inputs = inputs
        self._folder = data_folder(config, inputs)
        self._cache = cache or FeatureCache()
        self._options = options or EncoderOptions()
        self._on_event = on_event

    def videos(self, vids: Iterable[str]) -> tuple[VideoSource, tuple[FeatureSpec, ...]]:
        """Return the rows of videos, and their specifications."""
        data = self._config.data
        if self._inputs.videos is None:
            folders = [
                FeatureFolder(self._require_folder(spec.name), spec.name, spec.dim)
                for spec in data.video_features
            ]
            return FolderVideos(folders), feature_specs(self._config)[0]
        unmakable = [spec.name for spec in data.video_features if not has_video_encoder(spec.name)]
        if unmakable:
            raise UsageError(
                f"{self._config.name} reads {', '.join(unmakable)} features, which vtg cannot extract from videos; "
                "give the folder of their files with --data instead of --videos"
            )
        encoders = [
            load_video_encoder(spec.name, replace(self._options, clip_length_s=data.clip_length_s))
            for spec in data.video_features
        ]
        videos = extracted_videos(vids, self._inputs.videos, encoders, self._cache, on_event=self._on_event)
        specs = tuple(encoder.spec for encoder in encoders)
        for spec, feature in zip(specs, data.video_features, strict=True):
            if spec.dim != feature.dim:
                raise UsageError(
                    f"{self._config.name} reads '{feature.name}' rows of {feature.dim} numbers, but those made of "
                    f"{self._inputs.videos} have {spec.dim}; set data.video_features and model.video_dim"
                )
        model_specs = tuple(
            replace(spec, normalization=feature.normalization)
            for spec, feature in zip(specs, data.video_features, strict=True)
        )
        return videos, model_specs

    def texts(
        self, annotations: list[Annotation], *, published: bool = True
    ) -> tuple[TextSource, FeatureSpec, list[str]]:
        """Return the tokens of the queries, their specification, and the names of queries without tokens.

        These are published tokens if available, else those of vtg's own encoder of the same name. For queries
        that are not `published`, the encoder takes precedence: their ids may be those of published queries.
        """
        feature = self._config.data.text_features
        spec = feature_specs(self._config)[1]
        place = self._find_folder(feature.name)
        name = text_encoder_name(feature.name)
        if place is not None and (published or not has_text_encoder(name)):
            texts = FolderTexts(FeatureFolder(place, feature.name, feature.dim, key=TEXT_KEY))
            return texts, spec, texts.missing(annotations)
        if not has_text_encoder(name):
            raise DataMissing(
                f"{self._folder / (feature.name + '_features')}: there is no such folder, and vtg cannot make "
                f"'{feature.name}' tokens itself"
            )
        encoder = load_text_encoder(name, self._options)
        encoded = EncodedTexts([annotation.query for annotation in annotations], encoder, self._cache)
        made = replace(encoder.spec, name=feature.name, normalization=feature.normalization)
        if made.dim != feature.dim:
            raise UsageError(
                f"{self._config.name} reads '{feature.name}' tokens of {feature.dim} numbers, but those made here have "
                f"{made.dim}; set data.text_features and model.text_dim"
            )
        return encoded, made, []

    def problem(self, vids: list[str], queries: list[str], videos: VideoSource) -> str:
        """Return a message about videos and queries without features, with advice."""
        one, many = "video of the annotations", "videos of the annotations"
        if isinstance(videos, CachedVideos):
            absent = [vid for vid in vids if vid not in videos.paths]
            unread = [vid for vid in vids if vid in videos.paths]
            found = [
                _some(absent, f"{one} is", f"{many} are", f"not in {self._inputs.videos}"),
                _some(unread, "video", "videos", "cannot be read"),
            ]
            advice = "Put files of these names there" if absent else "Bring what is missing"
        else:
            found = [_some(vids, f"{one} has", f"{many} have", "no features")]
            own = self._config.data.info.is_own or self._inputs.train is not None
            put = f"Put feature files of these names into {self._folder}, or name a folder of videos with --videos"
            advice = put if own else "Bring them (`vtg datasets check` lists them)"
        found.append(_some(queries, "query has", "queries have", "no features"))
        what = " and ".join(filter(None, found))
        return f"{what}. {advice}, or leave their queries out with --skip-missing"

    def _require_folder(self, stream: str) -> Path:
        place = self._find_folder(stream)
        if place is None:
            raise DataMissing(
                f"{self._config.name} reads '{stream}' features, but there is no folder "
                f"{self._folder / (folder_name(stream) + '_features')}; extract them from a folder of videos with "
                "--videos, or name the folder that holds theirs with --data"
            )
        return place

    def _find_folder(self, stream: str) -> Path | None:
        info = self._config.data.info
        if not info.is_own:
            return find_features(info, stream, self._folder)
        return own_feature_folder(stream, self._folder)


def extracted_videos(
    vids: Iterable[str],
    folder: Path,
    encoders: Sequence[VideoEncoder],
    cache: FeatureCache,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> CachedVideos:
    """Find videos in a folder, by name with or without suffix, and extract features that the cache lacks."""
    wanted = set(vids)
    files: dict[str, Path] = {}
    for path in collect_videos([folder]):
        for vid in (path.stem, path.name):
            if vid in wanted:
                files.setdefault(vid, path)
    if files:
        extract_features(list(files.values()), encoders, cache, on_event=on_event)
    return CachedVideos(cache, [encoder.spec for encoder in encoders], files)


def holds_features(folder: Path, streams: Iterable[FeatureConfig]) -> bool:
    """Check whether a folder contains feature files of any stream, rather than videos."""
    return any(own_feature_folder(stream.name, folder) is not None for stream in streams)


def own_feature_folder(stream: str, folder: Path) -> Path | None:
    """Return the folder of a stream in the user's own data; None if there is none."""
    name = folder_name(stream)
    places = (folder / f"{name}_features", folder / "features" / f"{name}_features", folder / name)
    return next(filter(Path.is_dir, places), None)


def _some(names: list[str], one: str, many: str, state: str) -> str:
    """Describe how many names are in a state, with the first of them; empty if there are none."""
    if not names:
        return ""
    first = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} {state} ({first})"
