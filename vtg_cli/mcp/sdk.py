"""The SDK of the protocol, which is not part of every installation."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from extractors.errors import VtgError

_REQUIREMENT = "mcp>=2.3,<3"


def require_sdk() -> None:
    """Raise VtgError, with the command that installs it, if the SDK is not there."""
    if find_spec("mcp") is None or find_spec("mcp.server.mcpserver") is None:
        raise VtgError(
            f"vtg mcp needs a package that is not installed: {sys.executable} -m pip install '{_REQUIREMENT}'"
        )
