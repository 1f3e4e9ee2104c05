"""Answers on terminals of all kinds, and into pipes that are closed early."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import EXAMPLES, clean_environment, pieces, vtg

VIDEO = str(EXAMPLES / "example.mp4")
COLOUR = re.compile(rb"\x1b\[[0-9;]*\b(?:3[0-7]|9[0-7]|38;5;\d+)m")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A home whose cache holds the example, so that nothing but answers is written."""
    home = tmp_path_factory.mktemp("home")
    assert vtg("ground", VIDEO, "a cat", "--json", home=home).returncode == 0
    return home


def ground(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "vtg_cli.main", "ground", VIDEO, *map(str, arguments)]


def on_terminal(home: Path, *arguments: str, columns: int = 60, **environment: str) -> bytes:
    """What `vtg ground` writes to a terminal of a width; standard error goes elsewhere."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, b"\x28\x00" + bytes([columns, 0, 0, 0, 0, 0]))
    inherited = {
        name: value
        for name, value in clean_environment(home).items()
        if name not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TERM")
    }
    process = subprocess.Popen(
        ground(*arguments),
        env=inherited | {"TERM": "xterm-256color"} | environment,
        stdin=its_end,
        stdout=its_end,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_end)
    shown = b"".join(pieces(terminal))
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return shown


def lines_of(shown: bytes, encoding: str = "utf-8") -> list[str]:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(encoding))
    return text.replace("\r", "").split("\n")


@pytest.mark.parametrize("columns", [60, 80, 132])
def test_answers_are_as_wide_as_the_terminal(home, columns):
    lines = lines_of(on_terminal(home, "a cat", columns=columns))[1:]  # the first names the file
    widest = max(map(len, lines))
    assert min(columns, 120) - 2 <= widest <= columns
    assert any("━" in line for line in lines)


def test_dumb_terminal(home):
    shown = on_terminal(home, "a cat", TERM="dumb")
    assert b"\x1b" not in shown
    assert max(len(line) for line in lines_of(shown)[1:]) in (58, 59, 60)
    assert lines_of(shown)[1:] == lines_of(on_terminal(home, "a cat"))[1:]


def test_no_color(home):
    coloured, plain = on_terminal(home, "a cat"), on_terminal(home, "a cat", NO_COLOR="1")
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    assert lines_of(coloured) == lines_of(plain)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gb18030"])
def test_terminals_with_other_encodings(home, encoding):
    shown = on_terminal(home, "a café 猫", PYTHONIOENCODING=encoding)
    text = "\n".join(lines_of(shown, encoding))
    query = "a café 猫".encode(encoding, "backslashreplace").decode(encoding)
    assert query in text
    assert ("━" in text) == (encoding == "gb18030")
    assert max(len(line) for line in lines_of(shown, encoding)[1:]) <= 60


def test_pipe_escapes_unknown_letters(home):
    done = vtg("ground", VIDEO, "a café 猫", home=home, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert r"a caf\xe9 \u732b" in done.stdout
    done = vtg("ground", VIDEO, "a café 猫", "--json", home=home, PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0


def test_pipe_gets_plain_text(home):
    done = vtg("ground", VIDEO, "a cat", home=home)
    assert "\x1b" not in done.stdout + done.stderr


# Readers that leave, and outputs that cannot be written.


def into_broken_pipe(home: Path, *arguments: str | Path, stderr_too: bool = False) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        ground(*arguments),
        env=clean_environment(home),
        stdout=writing,
        stderr=writing if stderr_too else subprocess.PIPE,
        check=False,
        timeout=120,
    )
    os.close(writing)
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize("json_too", [False, True], ids=["tables", "json"])
@pytest.mark.parametrize("stderr_too", [False, True], ids=["stdout", "both"])
def test_files_are_written_after_a_closed_pipe(home, tmp_path, json_too, stderr_too):
    files = [tmp_path / name for name in ("a.csv", "a.html", "a.svg")]
    options = ["-o", files[0], "--html", files[1], "--plot", files[2], *(["--json"] if json_too else [])]
    code, said = into_broken_pipe(home, "a cat", "a dog", *options, stderr_too=stderr_too)
    assert code == 0
    assert all(line.startswith("note: ") for line in said.splitlines())
    assert all(file.stat().st_size > 100 for file in files)


def test_pipe_into_head(home):
    command = " ".join(f"'{part}'" for part in ground("a cat", "a dog", "-q"))
    done = subprocess.run(
        f"{command} | head -n 1; echo ${{PIPESTATUS[@]}}",
        shell=True, executable="/bin/bash", env=clean_environment(home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert re.fullmatch(r".*example\.mp4 .*\n0 0\n", done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["tables", "json"])
def test_a_full_disk_is_told_in_a_line(home, options):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            ground("a cat", "-q", *options),
            env=clean_environment(home), stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("vtg: standard output")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the stream")
def test_closed_streams(home):
    command = " ".join(f"'{part}'" for part in ground("a cat", "--json"))

    def run(closing: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            f"{command} {closing}",
            shell=True,
            env=clean_environment(home),
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("2>&-")
    assert (done.returncode, json.loads(done.stdout)["results"][0]["query"]) == (0, "a cat")
    done = run("-q >&-")
    assert done.returncode == 1
    assert done.stderr == "vtg: standard output is closed; write to a file with -o instead\n"
