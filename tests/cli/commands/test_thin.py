"""Commands are thin: they parse, check, call once, and hand over."""

from __future__ import annotations

import inspect

import pytest

from tests.cli.parsing.test_help import COMMANDS

MOST_LINES = 60
FUNCTIONS = {
    path: inspect.unwrap(command.callback)
    for path, command in COMMANDS.items()
    if not hasattr(command, "commands")
}


def test_every_command_is_looked_at():
    assert len(FUNCTIONS) > 15
    assert all(function.__module__.startswith("vtg_cli.commands.") for function in FUNCTIONS.values())


@pytest.mark.parametrize("path", FUNCTIONS, ids=" ".join)
def test_commands_are_short(path):
    assert len(inspect.getsource(FUNCTIONS[path]).splitlines()) <= MOST_LINES
