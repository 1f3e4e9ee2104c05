"""Where vtg stores what it downloads and makes."""

from __future__ import annotations

import os
from pathlib import Path


def vtg_home() -> Path:
    """`VTG_HOME`, else `vtg` in the user's cache folder."""
    if home := os.environ.get("VTG_HOME"):
        return Path(home).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("vtg", appauthor=False)


def vtg_data() -> Path:
    """Where vtg stores what a user builds up and would miss: `VTG_HOME`, else `vtg` in the user's data folder."""
    if home := os.environ.get("VTG_HOME"):
        return Path(home).expanduser()
    from platformdirs import user_data_path

    return user_data_path("vtg", appauthor=False)
