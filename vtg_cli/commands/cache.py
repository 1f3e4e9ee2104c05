"""`vtg cache`: show or empty the feature cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vtg_cli.parsing import values
from vtg_cli.parsing.help import App
from vtg_cli.parsing.options import Cache
from vtg_cli.terminal.console import counted, print_json, printable
from vtg_cli.terminal.sizes import size

if TYPE_CHECKING:
    from extractors.cache.usage import CacheInfo

app = App(help="Show or empty the feature cache.")


@app.command()
def info(
    cache: Cache = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show where the cache is and what it holds.

    [bold]Example[/]

      vtg cache info
    """
    from extractors.cache.store import FeatureCache

    held = FeatureCache(cache).info()
    if json:
        specs = [
            {
                "folder": usage.folder,
                "spec": None if usage.spec is None else usage.spec.to_json(),
                "files": usage.files,
                "size_bytes": usage.size_bytes,
                "outdated": usage.outdated,
            }
            for usage in held.specs
        ]
        print_json({"root": str(held.root), "specs": specs})
        return

    from vtg_cli.terminal.table import print_table

    typer.echo(
        f"{printable(str(held.root))}: {counted(held.files, 'entry', 'entries')}, {size(held.size_bytes)}"
    )
    if held.specs:
        rows = []
        for usage in held.specs:
            clip = f"{usage.spec.clip_length_s:g} s" if usage.spec and usage.spec.clip_length_s else ""
            rows.append((usage.folder, clip, str(usage.files), size(usage.size_bytes)))
        print_table(("features", "clip", "entries", "size"), rows, right=(1, 2, 3))
    if held.outdated:
        typer.echo(
            f"{held.outdated} of them are damaged or from another version of vtg; they are made again when needed"
        )


@app.command()
def clear(
    features: Annotated[
        str | None,
        typer.Argument(
            metavar="FEATURES",
            help="Only these features: a name, or a folder from `vtg cache info`.",
            show_default=False,
        ),
    ] = None,
    older_than_days: Annotated[
        float,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            parser=values.number("--older-than", least=0, most=100_000),
            help="Only entries older than this many days.",
        ),
    ] = 0.0,
    cache: Cache = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove entries from the cache. They are made again when needed.

    [bold]Examples[/]

      vtg cache clear --yes

      vtg cache clear lite --older-than 30
    """
    from extractors.cache.store import FeatureCache

    store = FeatureCache(cache)
    if features is not None:
        _check_features(features, store.info())
    if not yes:
        typer.confirm(f"Remove {features or 'everything'} from {store.root}?", abort=True)
    removed = store.clear(features, older_than_s=older_than_days * 86400)
    typer.echo(f"removed {counted(removed.files, 'entry', 'entries')}, {size(removed.size_bytes)}")


def _check_features(name: str, held: CacheInfo) -> None:
    """Raise UsageError if neither vtg nor the cache knows features, or a folder of entries, of this name."""
    from extractors.encoders.registry import video_feature_names
    from extractors.errors import UsageError

    here = {usage.spec.name for usage in held.specs if usage.spec is not None}
    names = dict.fromkeys([*video_feature_names(), *sorted(here)])
    if name not in names and name not in {usage.folder for usage in held.specs}:
        raise UsageError(
            f"'{name}': unknown features; known are {', '.join(names)}, and the folders of `vtg cache info`"
        )
