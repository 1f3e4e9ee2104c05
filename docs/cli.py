"""Writes docs/cli.md, the reference of the commands, from the program itself: `python docs/cli.py`.

A test keeps the page equal to the program.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")


def reference() -> str:
    """The page, as Markdown."""
    from vtg_cli.parsing.help import with_lists

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "cli.md"
        command = ["typer", "vtg_cli.app", "utils", "docs", "--name", "vtg", "--output", str(written)]
        # Defaults that follow the environment are those of an empty one.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VTG_")}
        subprocess.run(
            [sys.executable, "-m", *command],
            check=True,
            capture_output=True,
            env=kept | {"COLUMNS": "100"},
            cwd=PAGE.parents[1],
        )
        text = html.unescape(written.read_text(encoding="utf-8"))
    text = with_lists(text)
    text = re.sub(r"\[/?(bold|not dim)\]|\[/\]|</?span[^>]*>", "", text)
    text = re.sub(r"^Examples\n((?:\n+  .*)+)", _as_block, text, flags=re.MULTILINE)
    text = text.replace("```console\n$ ", "```text\n")
    heading = (
        "# Commands\n\nMade from the program by `python docs/cli.py`. `vtg COMMAND -h` prints the same.\n"
    )
    return heading + text.partition("\n")[2].rstrip() + "\n"


def _as_block(match: re.Match[str]) -> str:
    lines = [line.strip() for line in match[1].splitlines() if line.strip()]
    return "**Examples**:\n\n```console\n" + "\n".join(lines) + "\n```"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
