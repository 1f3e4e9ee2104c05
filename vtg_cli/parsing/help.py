"""Help for people: paragraphs filled to the width of the terminal, no names of Python's types, errors on one line.

Where a text lists plug-ins it holds a placeholder, one of `LISTS`, which is filled when the help is shown: to know them
all takes a tenth of a second, which no command should wait for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from extractors.errors import UsageError
from vtg_cli.parsing.groups import grouped

_Function = TypeVar("_Function", bound=Callable[..., Any])
_TyperUsageError: Any = typer.BadParameter.__base__


class App(typer.Typer):
    """A Typer app whose commands and groups have such help texts."""

    def __init__(self, *, no_args_is_help: bool = True, **options: Any) -> None:
        super().__init__(cls=_Group, no_args_is_help=no_args_is_help, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        """Register a command, as `typer.Typer.command`; its parameters may be groups of options."""
        register = super().command(name, cls=_Command, **options)

        def add(function: _Function) -> _Function:
            register(grouped(function))
            return function

        return add


class _Command(TyperCommand):
    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=help and _indented(filled(help)), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for param in self.params:
            for text in ("help", "show_default"):
                if isinstance(getattr(param, text, None), str):
                    setattr(param, text, with_lists(getattr(param, text)))
        super().format_help(ctx, formatter)


class _Group(TyperGroup):
    def make_context(self, *args: Any, **options: Any) -> Any:
        with _plain_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _plain_errors():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn errors in the use of options and commands, which Typer draws boxes around, into ours."""
    try:
        yield
    except _TyperUsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
            raise
        message = error.format_message().rstrip(".")
        help_ = f"; see {error.ctx.command_path} -h" if error.ctx is not None else ""
        raise UsageError(f"{message[:1].lower()}{message[1:]}{help_}") from None


def _indented(text: str) -> str:
    """The text with indented lines behind a tag without effect, as Typer takes away what all lines are indented by."""
    return re.sub(r"^ +.*$", r"[not dim]\g<0>[/]", text, flags=re.MULTILINE)


def filled(text: str) -> str:
    """The text with each paragraph on one line, for the terminal to wrap; lines that are indented stay as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.cleandoc(text))


def with_lists(text: str) -> str:
    """The text with its placeholders filled."""
    for name, listed in LISTS.items():
        if name in text:
            text = text.replace(name, listed())
    return text


def _video_features() -> str:
    from extractors.encoders.registry import families, video_feature_names

    return ", ".join([*video_feature_names(), *(family.form for family in families())])


def _default_rates() -> str:
    """Features under the rate they are made at: `0.5 for clip and slowfast, 1 for lite`."""
    from extractors.encoders.registry import features

    names: dict[float, list[str]] = {}
    for feature in features():
        if feature.video_encoder is not None:
            names.setdefault(feature.fps, []).append(feature.name)
    return ", ".join(f"{fps:g} for {' and '.join(names[fps])}" for fps in sorted(names))


def _endings() -> str:
    from vtg_cli.writers.formats import formats

    return ", ".join(form.suffix.removeprefix(".") for form in formats() if form.suffix)


def _formats() -> str:
    from vtg_cli.writers.formats import formats

    return ", ".join(form.name for form in formats())


LISTS: Mapping[str, Callable[[], str]] = {
    "{video_features}": _video_features,
    "{default_rates}": _default_rates,
    "{endings}": _endings,
    "{formats}": _formats,
}


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if param.param_type_name == "argument":
            # The only way: it would be the type even beside a name that says what it is.
            param.display_type_rich = _nothing
        elif param.is_flag and param.metavar is None:
            param.metavar = ""
    return params


def _nothing(ctx: Any) -> None:
    return None
