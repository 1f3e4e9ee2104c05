"""What a shell completes values with, asked as bash asks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.running import clean_environment


def completed(line: str, home) -> list[str]:
    asked = {
        "_VTG_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "vtg_cli.main"],
        env=clean_environment(home) | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vtg gro", ["ground"]),
        ("vtg weights pull clip-vit-b-32-o", ["clip-vit-b-32-openai"]),
        ("vtg ground v.mp4 x --features slow", ["slowfast"]),
        ("vtg ground v.mp4 x --features clip,slow", ["clip,slowfast"]),
        ("vtg ground v.mp4 x --features clip,cl", []),
        ("vtg ground v.mp4 x --model zero", ["zero-shot"]),
        ("vtg ground v.mp4 x --format jsonl", ["jsonl"]),
        ("vtg ground v.mp4 x --decoder p", ["pyav"]),
        ("vtg train --config charades-clip", ["charades-clip-minilm", "charades-clip-plus"]),
        ("vtg train --dataset ta", ["tacos"]),
        ("vtg datasets check tv", ["tvsum"]),
    ],
)
def test_values_are_completed(line, expected, tmp_path):
    assert completed(line, tmp_path) == expected
