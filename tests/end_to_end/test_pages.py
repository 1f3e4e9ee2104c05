"""Every command of every page in docs/ runs as written, in one process, or is listed here with the reason.

The README's and the tutorial's are run as processes of their own, by test_readme.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extractors.errors import VtgError
from extractors.storage import filesystems
from tests.buckets import Bucket, serving_buckets
from tests.cli.running import EXAMPLES
from tests.end_to_end.test_readme import COMMANDS
from tests.extractors.cues.rendering import LINES, render_video
from tests.extractors.cues.screen.rendering import Slide, render_slides
from tests.extractors.index_encoder import make_video
from vtg_cli.app import app
from vtg_cli.terminal.console import verbosity

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "tutorial.md"]
BENCHMARK = re.compile(r".*\bpython (benchmarks/\w+\.py)(.*)")
# What follows belongs to the shell.
SHELL = re.compile(r"\s(#|<|>|\||&&).*$")

NOT_RUN = {
    r"pip install .*": "installs packages",
    r"torchrun .*": "tests/cli/commands/test_train.py starts two processes as it does",
    r"vtg .*--ray .*": "needs a cluster; tests/cli/commands/test_ray.py has one",
    r"vtg .*--devices 0,1.*": "needs two GPUs",
    r"vtg serve .*": "goes on until it is stopped; tests/serve stops it",
    r"vtg mcp (?!.*--config).*": "goes on until it is stopped; tests/cli/mcp stops it",
    r"vtg ground --watch .*": "goes on until it is stopped; tests/cli/commands/test_watch.py stops it",
    r"vtg bench( --json.*)?": "takes half a minute; with --seconds 10 it is run",
    r"vtg bench --features clip,slowfast.*": "takes a minute; tests/cli/commands/test_bench.py runs small ones",
    r"python tests/model/search/endurance.py .*": "takes minutes; test_endurance.py beside it runs a short one",
    r"\$ curl .*": "tests/serve/test_api.py makes the same requests",
    r"\s+… .*": "the end of the command above it",
    r"vtg train --dataset mine.jsonl --videos videos/( --preset best)?": "an hour; run first, with a small network",
    r"vtg train (.* )?--pretrain .*": "takes an hour; tests/cli/commands/test_train.py trains a small network",
    r"vtg train --from .*": "takes an hour; tests/cli/commands/test_train.py trains a small network",
    r"vtg train --config .*": "needs a dataset that is not part of vtg; see tests/cli/commands/test_train.py",
    r"vtg eval --checkpoint \S+ --data charades_clip.*": "the same",
    r"vtg weights combine .*": "needs trained models; tests/model/checkpoints/test_combined.py has some",
    r"vtg ground .*--model three.safetensors": "the same",
}
NEEDS_MORE = {
    # There is no network in tests: the name is known, and the message names what helps.
    r"vtg ground .*--features open_clip:ViT-L-14/openai": "vtg weights add",
    r"vtg (index add|extract) .*--features clip.*": "vtg weights add",
    r"vtg ground .*--model flashvtg-qvhl": "vtg weights",
    r"vtg (transcript|ground|index add) .*--speech.*": "vtg weights pull whisper-small",
    r"vtg weights pull whisper-small": "connections are switched off",
    r"vtg train --dataset (qvhl|tvsum|charades).*": "vtg datasets",
    r"vtg eval --checkpoint best.safetensors --dataset qvhl .*": "there is no such file of annotations",
    r"vtg datasets (check|pull) .*": "qvhighlights|charades",
    # These files are other people's.
    r"vtg datasets add .*": "no such file|does not exist|there is no",
    r"vtg weights add (results|slowfast).*": "no such file|does not exist|there is no",
}


def _lines(page: Path) -> Iterator[str]:
    """The commands of a page; a backslash continues a line."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():
            yield line.partition(" #")[0].rstrip()


def _cases() -> list[tuple[str, str]]:
    """Page and command, each command once, without those that README and tutorial have."""
    known = {" ".join(command) for command in COMMANDS}
    cases: dict[str, str] = {}
    for page in PAGES:
        for line in _lines(page):
            if line and " ".join(_words(line, expand=False)) not in known:
                cases.setdefault(line, page.stem)
    # What others read is deleted last.
    return sorted(((page, line) for line, page in cases.items()), key=lambda case: "clear" in case[1].split())


def _words(line: str, *, expand: bool = True) -> list[str]:
    """A line as a shell splits it: `*` outside quotes stands for files, and `~` for the home folder."""
    words = []
    for raw in re.findall(r"""(?:"[^"]*"|'[^']*'|\S)+""", SHELL.sub("", line)):
        (word,) = shlex.split(raw) or [""]
        if expand and word == raw and "*" in word:
            words += sorted(map(str, Path().glob(word)))
        else:
            words.append(str(Path(word).expanduser()) if expand and raw.startswith("~") else word)
    return words


def _reason(line: str, table: dict[str, str]) -> str | None:
    return next((reason for pattern, reason in table.items() if re.fullmatch(pattern, line)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's folder, with the files that the pages name, and a bucket."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("video", "kitchen"):
        shutil.copy(EXAMPLES / "example.mp4", folder / f"{name}.mp4")
    for number, name in enumerate(("one", "two", "holidays/three", "old/four", "pets/five")):
        make_video(folder / "videos" / f"{name}.mp4", seconds=4, variant=number)
    for name in ("talks/a", "clips/b", "clips/draft1"):
        make_video(folder / f"{name}.mp4", seconds=2, variant=len(name))
    render_video(folder / "talk.mkv", tracks=[("srt", LINES, "en")])
    render_video(folder / "talk.mp4", tracks=[("mov_text", LINES, "eng")])
    slide = Slide(0, 2, (("EXIT to the garden", 60),))
    render_slides(folder / "slides.mp4", [slide], duration_s=2)
    rows = [
        {"qid": number, "query": "a cat", "vid": vid, "duration": 4, "relevant_windows": [[0, 2]]}
        for number, vid in enumerate(("one", "two"))
    ]
    for name in ("mine", "other", "gt"):
        _write(folder / f"{name}.jsonl", rows)
    _write(folder / "preds.jsonl", [{**row, "pred_relevant_windows": [[0, 2, 0.9]]} for row in rows])
    for name in ("absent", "no"):
        _write(
            folder / f"{name}.jsonl", [{**row, "query": "a zebra", "relevant_windows": []} for row in rows]
        )
    (folder / "sentences.txt").write_text("a cat\na dog\n")
    with pytest.MonkeyPatch.context() as patch, serving_buckets() as make:
        bucket: Bucket = make("bucket")
        for key in ("video.mp4", "videos/one.mp4", "talks/2026/one.mp4"):
            bucket.put(key, (folder / "videos" / "one.mp4").read_bytes())
        for name, value in bucket.environment().items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.startswith(("VTG_", "HF_"))]:
            patch.delenv(name)
        for name, setting in {
            "HOME": folder,
            "VTG_HOME": folder / "vtg",
            "XDG_CACHE_HOME": folder / ".cache",
            "VTG_OFFLINE": 1,
            "COLUMNS": 100,
        }.items():
            patch.setenv(name, str(setting))
        patch.setattr(filesystems, "_opened", {})
        patch.chdir(folder)
        _train(folder)
        for library in ("library", "matches", "holidays"):
            _run("index", "add", "videos/", "--library", library)
        yield folder


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _run(*arguments: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.stderr, done.exception)


def _train(folder: Path) -> None:
    """Make the runs that the pages name: of the command of docs/training.md, with a small network."""
    small = ("model.hidden_dim=16", "model.heads=2", "model.feedforward_dim=16", "training.epochs=1")
    options = [word for change in small for word in ("--set", change)]
    _run("train", "--dataset", "mine.jsonl", "--videos", "videos/", "--output", "runs/NAME", *options)
    for name in ("mine", "qvhighlights-slowfast-clip-20261125-120000"):
        shutil.copytree(folder / "runs" / "NAME", folder / "runs" / name)
    for name in ("mine", "best"):
        shutil.copy(folder / "runs" / "NAME" / "best.safetensors", folder / f"{name}.safetensors")


CASES = _cases()


@pytest.fixture(autouse=True)
def _own_verbosity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands set it for their process, which is that of the tests here."""
    monkeypatch.setattr(verbosity, "quiet", False)
    monkeypatch.setattr(verbosity, "verbose", False)


@pytest.mark.parametrize(
    "line", [line for _, line in CASES if line.startswith("vtg ") and _reason(line, NOT_RUN) is None]
)
def test_command_of_a_page(line: str, folder: Path) -> None:
    # A page does not go on from what its lines above have written.
    (folder / "talk.srt").unlink(missing_ok=True)
    done = CliRunner().invoke(app, _words(line)[1:], input="y\n")
    assert done.exception is None or isinstance(done.exception, (SystemExit, VtgError)), done.exception
    said = f"{done.stdout}\n{done.stderr}\n{done.exception}"
    needed = _reason(line, NEEDS_MORE)
    if needed is None:
        # With --only-clear, 3 is an answer, too.
        assert done.exit_code == 0 or (done.exit_code == 3 and "||" in line), said
    else:
        assert re.search(needed, said), said


@pytest.mark.parametrize("script", sorted({m[1] for _, line in CASES if (m := BENCHMARK.match(line))}))
def test_options_of_a_benchmark_exist(script: str) -> None:
    source = (ROOT / script).read_text(encoding="utf-8")
    named = [m[2] for _, line in CASES if (m := BENCHMARK.match(line)) and m[1] == script]
    for option in re.findall(r"--[a-z-]+", " ".join(named)):
        assert f'"{option}"' in source, option


def test_every_command_is_run_or_there_is_a_reason() -> None:
    for page, line in CASES:
        assert line.startswith("vtg ") or BENCHMARK.match(line) or _reason(line, NOT_RUN), (page, line)
    lines = [line for _, line in CASES]
    for path in re.findall(r"tests/[\w/.]+", " ".join(NOT_RUN.values())):
        assert (ROOT / path).exists(), path
    for pattern in (*NOT_RUN, *NEEDS_MORE):
        assert any(re.fullmatch(pattern, line) for line in lines), f"no page has {pattern}"
