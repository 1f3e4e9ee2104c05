"""Help texts for people: paragraphs filled to the width of the terminal, without Python's type names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

_Function = TypeVar("_Function", bound=Callable[..., Any])


class App(typer.Typer):
    """A Typer app whose commands and groups have such help texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=_Group, no_args_is_help=True, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[_Function], _Function]:
        """Register a command, as `typer.Typer.command`."""
        return super().command(name, cls=_Command, **options)


class _Command(TyperCommand):
    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=help and filled(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


def filled(text: str) -> str:
    """The text with each paragraph on one line, for the terminal to wrap; lines that are indented stay as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.cleandoc(text))


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
