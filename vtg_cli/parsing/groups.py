"""Options in groups: a command takes dataclasses, and the fields of these are its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, TypeGuard, get_type_hints

from typer.models import OptionInfo


def grouped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as Typer reads it: each parameter that is a dataclass is replaced by the fields of that class.

    Fields that are options are annotated as a command's parameters are, and have defaults. Fields that are dataclasses
    are groups in turn; all others are no options. A class may have a `PANEL`, the heading of its options in the help.
    """
    signature = inspect.signature(function, eval_str=True)
    groups: dict[str, type] = {}
    flat: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        if _is_group(parameter.annotation):
            groups[name] = parameter.annotation
            flat += _options(groups[name])
        else:
            flat.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    @wraps(function)
    def command(**values: Any) -> Any:
        made = {name: _made(kind, values) for name, kind in groups.items()}
        return function(**values, **made)

    command.__signature__ = signature.replace(parameters=flat)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return command


def _is_group(annotation: object) -> TypeGuard[type]:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options(kind: type) -> Iterator[Parameter]:
    for name, default, annotation in _fields(kind):
        if _is_group(annotation):
            yield from _options(annotation)
        else:
            yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _made(kind: type, values: dict[str, Any]) -> Any:
    """An object of a group, out of values that are taken from those of all options."""
    return kind(
        **{
            name: _made(annotation, values) if _is_group(annotation) else values.pop(name)
            for name, _, annotation in _fields(kind)
        }
    )


def _fields(kind: type) -> Iterator[tuple[str, Any, Any]]:
    """Name, default and annotation of the fields that are options or groups."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        annotation = hints[field.name]
        if _is_group(annotation):
            yield field.name, field.default, annotation
        elif hasattr(annotation, "__metadata__"):
            info = copy(annotation.__metadata__[0])
            if isinstance(info, OptionInfo):
                info.rich_help_panel = info.rich_help_panel or getattr(kind, "PANEL", None)
            yield field.name, field.default, Annotated[annotation.__origin__, info]
