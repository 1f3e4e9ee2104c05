"""Help: complete, without type names, and filled to the width of the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from extractors.encoders.registry import families, video_feature_names
from extractors.errors import UsageError
from vtg_cli.app import app
from vtg_cli.parsing.help import LISTS, filled, with_lists
from vtg_cli.writers.formats import formats

WIDTH = 80


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
every_command = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def shown(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*path, "-h"], env={"COLUMNS": str(WIDTH), "TERM": "dumb"})
    assert done.exit_code == 0
    return done.stdout


def words(text: str) -> str:
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def default_of(param: Any) -> str:
    """What the help has to name as the default."""
    if isinstance(param.show_default, str):
        return with_lists(param.show_default)
    has_one = param.show_default and param.default is not None and not param.is_flag
    return str(param.default) if has_one else ""


def test_some_defaults_are_told_in_words():
    told = [
        param.show_default
        for command in COMMANDS.values()
        for param in command.params
        if hasattr(param, "show_default")
    ]
    assert sum(isinstance(text, str) for text in told) >= 10


@every_command
def test_defaults_are_shown(path):
    text = words(shown(path))
    for param in COMMANDS[path].params:
        if param.param_type_name == "option" and (default := default_of(param)):
            assert default in text, param.name
            assert re.search(rf"\[default: \(?{re.escape(words(default))}", text), param.name


@every_command
def test_nothing_is_lost_to_markup(path):
    command = COMMANDS[path]
    help_ = re.sub(r"\[(?:bold|not dim)\](.*?)\[/\]", r"\1", command.help or "")
    for text in (help_, *(param.help or "" for param in command.params)):
        assert Text.from_markup(text).plain == text.replace("\\[", "[")
        assert "[default" not in text


@every_command
def test_values_have_names_and_no_types(path):
    assert not re.search(r"<[a-z]|list\[|\b(TEXT|INTEGER|FLOAT|BOOLEAN)\b", shown(path))


@every_command
def test_paragraphs_and_examples(path):
    text = shown(path)
    lines = [line.rstrip() for line in text.splitlines()]
    for paragraph in filled(COMMANDS[path].help or "").split("\n\n"):
        plain = Text.from_markup(paragraph).plain.rstrip()
        if plain.strip().startswith("vtg "):
            assert f"   {plain.strip()}" in lines
            continue
        wrapped = Text(plain).wrap(_console(), WIDTH - 2)
        assert "\n".join(f" {line.plain.rstrip()}" for line in wrapped) in "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["ground", "--nope"],
            "no such option: --nope (Possible options: --copy, --no-cues, --top-k); see vtg ground -h",
        ),
        (["groun"], "no such command 'groun'. Did you mean 'ground'?; see vtg -h"),
        (["cache", "nope"], "no such command 'nope'; see vtg cache -h"),
        (["extract"], "missing argument 'PATH'; see vtg extract -h"),
        (["serve", "--port"], "option '--port' requires an argument"),
    ],
)
def test_usage_errors_are_one_line(arguments, message):
    with pytest.raises(UsageError) as error:
        app(arguments, prog_name="vtg")
    assert str(error.value) == message


@pytest.mark.parametrize("arguments", [[], ["cache"]])
def test_nothing_to_do_prints_the_help(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        app(arguments, prog_name="vtg")
    assert end.value.code == 2
    assert "Usage: vtg" in capsys.readouterr().out


def _console() -> Any:
    from rich.console import Console

    return Console(width=WIDTH)


@every_command
def test_lists_of_plugins_are_filled(path):
    assert not any(placeholder in shown(path) for placeholder in LISTS)


def test_lists_of_plugins_are_complete():
    text = words(shown(("ground",)))
    names = [*video_feature_names(), *(family.form for family in families())]
    assert f"({', '.join(names)})" in text
    assert f"selects the format: {', '.join(form.suffix[1:] for form in formats() if form.suffix)}." in text
    assert f"does not select one: {', '.join(form.name for form in formats())}." in text
