"""Entries by name: encoders, formats and datasets, those of vtg and those that other packages bring.

A package adds its own through an entry point of the group `vtg.plugins`, which names a module. The module is imported
when a name is asked for that vtg itself does not have, or when all names are listed, and calls `register` of
`extractors.encoders.registry`, `vtg_cli.writers.formats` or `model.dataset_entry`. docs/contributing.md shows how.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache, cached_property
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

GROUP = "vtg.plugins"
"""Group of the entry points that are read."""


class Entry(Protocol):
    """One plug-in and all its facts."""

    @property
    def name(self) -> str:
        """What it is called everywhere."""
        ...


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """Entries of one kind.

    Args:
        read_own: gives those of vtg; called once, when it is first needed.
    """

    def __init__(self, read_own: Callable[[], list[E]]) -> None:
        self._read_own = read_own
        self._added: dict[str, E] = {}

    def register(self, entry: E) -> None:
        """Add an entry; to add the same one again changes nothing.

        Raises:
            ValueError: if another entry has this name.
        """
        if (self._own | self._added).get(entry.name, entry) != entry:
            raise ValueError(f"the name '{entry.name}' is taken")
        if entry.name not in self._own:
            self._added[entry.name] = entry

    def find(self, name: str) -> E | None:
        """The entry of a name; None if there is none."""
        if name not in self._own and name not in self._added:
            load_plugins()
        return self._own.get(name) or self._added.get(name)

    def own(self) -> tuple[E, ...]:
        """The entries of vtg itself, in order of name: what is chosen where nobody names one."""
        return tuple(entry for _, entry in sorted(self._own.items()))

    def all(self) -> tuple[E, ...]:
        """Every entry, in order of name."""
        load_plugins()
        return tuple(entry for _, entry in sorted((self._own | self._added).items()))

    @cached_property
    def _own(self) -> dict[str, E]:
        return {entry.name: entry for entry in self._read_own()}


def entries_of(package: str, attribute: str, *, folders: bool = False) -> list[Any]:
    """What the modules of a package, or only its folders, hold under a name; those without it are passed over."""
    infos = pkgutil.iter_modules(import_module(package).__path__)
    modules = [import_module(f"{package}.{info.name}") for info in infos if info.ispkg or not folders]
    return [getattr(module, attribute) for module in modules if hasattr(module, attribute)]


def imported(what: Any) -> Any:
    """The object that a text `package.module:name` stands for, imported now; anything else is returned as it is."""
    if not isinstance(what, str):
        return what
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)


@cache
def load_plugins() -> tuple[str, ...]:
    """Import the modules that other packages name as plug-ins, once; returns what went wrong, a sentence for each."""
    from importlib.metadata import entry_points

    problems = []
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # whatever is wrong with it must not keep vtg from working
            problems.append(f"the plug-in '{point.name}' ({point.value}) cannot be loaded: {error!r}")
    return tuple(problems)


def known(names: list[str]) -> str:
    """Names for the end of a message about an unknown one, and what may have kept it from being there."""
    return "; ".join([", ".join(names), *load_plugins()])
