"""TOML on every Python that vtg runs on, and the tables that come with its packages."""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files
from typing import Any

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

__all__ = ["TOMLDecodeError", "loads", "packaged_table"]


@cache
def packaged_table(package: str, name: str) -> dict[str, Any]:
    """The TOML file of a name inside a package; read once, so leave it as it is."""
    return loads((files(package) / name).read_text(encoding="utf-8"))
