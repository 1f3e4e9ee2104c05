"""Checks that Python finds vtg's packages and not other modules with the same names."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_NAMES = ("extractors", "model")


def require_own_packages() -> None:
    """Make sure that `extractors` and `model` are vtg's.

    Both names are common: a `model.py` in the working folder hides ours from `python -m` and from notebooks.

    Raises:
        ImportError: if another module is found first; the message names its file.
    """
    for name in _NAMES:
        found = _location(name)
        if found is None:
            raise ImportError(f"vtg's package '{name}' is missing from {_ROOT}; install vtg again")
        if found.parent != _ROOT:
            raise ImportError(
                f"{found} hides vtg's package '{name}', because Python searches that folder first; rename it, or "
                "start from another folder"
            )


def _location(name: str) -> Path | None:
    """The file of a module, or the folder of a package."""
    try:
        spec = find_spec(name)
    except ValueError:  # a module without a spec, made by hand
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None
