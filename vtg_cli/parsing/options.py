"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from extractors.errors import UsageError
from vtg_cli.parsing import completion, values
from vtg_cli.terminal.console import verbosity

if TYPE_CHECKING:
    from extractors.cache.store import FeatureCache
    from extractors.decoding.clip_reader import Decoder as DecoderName
    from extractors.encoders.base import EncoderOptions
    from extractors.errors import CacheError
    from extractors.videos.events import Event
    from model import Grounder


def path_option(name: str, *more_names: str, existing: bool = False, **facts: Any) -> Any:
    """An option that names a file or folder.

    Args:
        name: the option, for errors too.
        more_names: other names of it.
        existing: whether there has to be something already.
        facts: of `typer.Option`.
    """
    read = values.existing if existing else values.path
    return typer.Option(name, *more_names, parser=read(name), **facts)


Features = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        autocompletion=completion.features,
        help="Features to use: auto, or names separated by commas ({video_features}).",
        rich_help_panel="Features",
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        parser=values.number("--fps"),
        help="Clips per second, 0.5 to 2.",
        show_default="{default_rates}",
        rich_help_panel="Features",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=values.device,
        autocompletion=completion.devices,
        help="Device of the encoders: auto, cpu, cuda, cuda:N or mps.",
        rich_help_panel="Features",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE|RUN",
        autocompletion=completion.models,
        help="Model that answers: auto, zero-shot, or a trained one by name, file or run folder.",
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Several devices at once, one process per device: 0,1 or cuda:0,cuda:1 or cpu,cpu.",
        rich_help_panel="Features",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=values.precision,
        autocompletion=completion.precisions,
        help="Precision of the encoders: auto, fp32, bf16 or fp16.",
        rich_help_panel="Features",
    ),
]
Decoder = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=values.decoder,
        autocompletion=completion.decoders,
        help="What decodes videos: auto, decord or pyav.",
        rich_help_panel="Features",
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Weights file for a feature, instead of the default one; can be given several times.",
        rich_help_panel="Features",
    ),
]
Cache = Annotated[
    Path | None,
    path_option(
        "--cache",
        metavar="FOLDER",
        help="Folder of the feature cache.",
        show_default="VTG_CACHE, else the user's cache folder",
        rich_help_panel="Features",
    ),
]
Videos = Annotated[
    Path | None,
    path_option(
        "--videos",
        metavar="FOLDER",
        help="Folder of videos named by their ids; missing features are extracted from them.",
        existing=True,
        rich_help_panel="Data",
    ),
]
SkipMissing = Annotated[
    bool,
    typer.Option(
        "--skip-missing", help="Leave out queries without features, with a note.", rich_help_panel="Data"
    ),
]


def _set(field: str) -> Any:
    def callback(value: bool) -> bool:
        # The option counts before and after the command's name, so its absence in one place must not undo the other.
        if value:
            setattr(verbosity, field, True)
        return value

    return callback


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only results and errors.", callback=_set("quiet"))
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print what each step does.", callback=_set("verbose"))
]


def _go_offline(value: bool) -> bool:
    if value:
        os.environ["VTG_OFFLINE"] = "1"
    return value


Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Open no connection, except to object storage that you name; same as VTG_OFFLINE=1.",
        callback=_go_offline,
    ),
]


@dataclass(frozen=True)
class EncoderArguments:
    """Where and how encoders run, and what is said meanwhile; `EncoderOptions` explains the former."""

    device: Device = "auto"
    precision: Precision = "auto"
    weights: Weights = None
    cache: Cache = None
    quiet: Quiet = False
    verbose: Verbose = False
    offline: Offline = False

    def options(self) -> EncoderOptions:
        """The same for encoders.

        Raises:
            UsageError: as `weights_by_feature`.
        """
        from extractors.encoders.base import EncoderOptions

        return EncoderOptions(
            device=self.device,
            precision=self.precision,
            weights=weights_by_feature(self.weights),
            offline=self.offline,
        )


@dataclass(frozen=True)
class ModelArguments:
    """What answers; `Grounder.load` explains the fields."""

    model: Model = "auto"
    features: Features = "auto"
    fps: Fps = None
    decoder: Decoder = "auto"
    encoders: EncoderArguments = EncoderArguments()

    def feature_cache(self, *, on_write_error: Callable[[CacheError], None] | None = None) -> FeatureCache:
        """The cache that is used; `on_write_error` as for `FeatureCache`."""
        from extractors.cache.store import FeatureCache

        return FeatureCache(self.encoders.cache, on_write_error=on_write_error)

    def load(
        self,
        *,
        on_event: Callable[[Event], None],
        on_download: Callable[[int, int | None], None],
        on_write_error: Callable[[CacheError], None] | None = None,
    ) -> Grounder:
        """Load what answers, as `Grounder.load`; `on_write_error` as for `FeatureCache`."""
        from extractors.extraction.options import ExtractionOptions
        from model import Grounder

        return Grounder.load(
            self.model,
            features=self.features,
            fps=self.fps,
            device=self.encoders.device,
            precision=self.encoders.precision,
            weights=weights_by_feature(self.encoders.weights),
            cache=self.feature_cache(on_write_error=on_write_error),
            offline=self.encoders.offline,
            extraction=ExtractionOptions(decoder=cast("DecoderName", self.decoder)),
            on_event=on_event,
            on_download=on_download,
        )


def weights_by_feature(pairs: list[str] | None) -> dict[str, Path]:
    """Read `NAME=FILE` pairs.

    Raises:
        UsageError: if one has another form, no features of that name have weights, or the file does not exist.
    """
    from extractors.encoders.registry import families, features, find_feature

    weights: dict[str, Path] = {}
    for pair in pairs or []:
        name, separator, path = pair.partition("=")
        if not separator or not name or not path:
            raise UsageError(f"--weights '{pair}': write it as NAME=FILE, for instance clip=ViT-B-32.pt")
        feature = find_feature(name)
        if feature is None or not feature.weights:
            able = ", ".join(
                [
                    *(feature.name for feature in features() if feature.weights),
                    *(family.form for family in families()),
                ]
            )
            raise UsageError(f"--weights {pair}: '{name}' has no weights to replace; {able} have")
        weights[name] = values.existing("--weights")(path)
    return weights
