"""What clients need to start the server or to connect to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer

from extractors.errors import UsageError
from extractors.places import Address, place_of
from model.search.filters import absolute
from vtg_cli.mcp.settings import Settings

_VARIABLES = (
    *("VTG_HOME", "VTG_CACHE", "VTG_DATA", "VTG_OFFLINE", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
    *("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
)
"""Where vtg finds things, without credentials; clients start servers with few variables."""


def client_config(context: typer.Context, settings: Settings) -> dict[str, Any]:
    """The document that `vtg mcp --config` prints, in the form that most clients read.

    Args:
        context: of the command, with what was given on the command line.
        settings: the same, as it is read.

    Raises:
        UsageError: if a server over HTTP would have another port or token each time.
    """
    entry = _http_entry(settings) if settings.http else _stdio_entry(context)
    return {"mcpServers": {"vtg": entry}}


def _stdio_entry(context: typer.Context) -> dict[str, Any]:
    command, *before = _executable()
    entry: dict[str, Any] = {"command": command, "args": [*before, "mcp", *_given(context)]}
    variables = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    return entry | ({"env": variables} if variables else {})


def _http_entry(settings: Settings) -> dict[str, Any]:
    from vtg_cli.serve.access.addresses import is_loopback, page_address
    from vtg_cli.serve.access.entrance import choose_token

    if settings.port == 0:
        raise UsageError("--config: needs a --port that is the same each time")
    local = is_loopback(settings.host)
    named = any((settings.token, settings.token_file, os.environ.get("VTG_TOKEN")))
    if not local and not named:
        raise UsageError("--config: needs a token that is the same each time; give --token-file FILE")
    token = choose_token(settings.token, settings.token_file, settings.host)
    address = page_address(settings.host, settings.port, None).rstrip("/")
    entry: dict[str, Any] = {"type": "http", "url": f"{address}/mcp"}
    return entry | ({"headers": {"Authorization": f"Bearer {token}"}} if token else {})


def _executable() -> list[str]:
    """The command that runs this program."""
    script = Path(sys.argv[0])
    if script.stem == "vtg" and script.suffix in ("", ".exe") and script.exists():
        return [str(absolute(script))]
    return [sys.executable, "-m", "vtg_cli.main"]


def _given(context: typer.Context) -> list[str]:
    """The arguments that were given, with absolute paths, because clients start servers in any folder."""
    arguments: list[str] = []
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if source is None or source.name != "COMMANDLINE" or param.name == "config":
            continue
        value = context.params[param.name or ""]
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if param.param_type_name == "argument":
                arguments.append(_from_root(param.name, one))
            elif isinstance(one, bool):
                arguments += [param.opts[0]] if one else []
            else:
                arguments += [param.opts[0], _from_root(param.name, one)]
    return arguments


def _from_root(option: str | None, value: object) -> str:
    """A value of an option as text, with the path in it made absolute if there is one."""
    if isinstance(value, Path):
        return str(absolute(value))
    text = str(value)
    if option == "weights":
        name, _, path = text.partition("=")
        return f"{name}={absolute(path)}"
    is_path = {
        "model": Path(text).exists(),
        "libraries": (os.sep in text or text in (".", "..")) and not isinstance(place_of(text), Address),
    }
    return str(absolute(Path(text).expanduser())) if is_path.get(option or "") else text
