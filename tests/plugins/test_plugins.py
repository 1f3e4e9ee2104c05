"""Encoders, formats and datasets of another package work through the same ways as vtg's own.

Each toy is one file. Here they are installed as packages are: a folder on the path, with an entry point.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from extractors.encoders.entry import Feature
from extractors.encoders.registry import register
from tests.cli.running import EXAMPLES, clean_environment

HERE = Path(__file__).parent
CONFIG = """
name = "toys-lite"
[data]
dataset = "toys"
clip_length_s = 1.0
video_features = [{ name = "lite", dim = 384 }]
text_features = { name = "lite", dim = 384 }
[model]
video_dim = 384
text_dim = 384
[training]
epochs = 1
batch_size = 1
learning_rate = 1e-4
selection_metrics = ["MR-full-mAP"]
"""


def install(folder: Path, *modules: str) -> Path:
    """Install modules of this folder as a package with entry points."""
    site = folder / "site"
    info = site / "vtg_toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vtg-toys\nVersion: 1.0\n")
    lines = "".join(f"{module} = {module}\n" for module in modules)
    (info / "entry_points.txt").write_text(f"[vtg.plugins]\n{lines}")
    for module in modules:
        if (HERE / f"{module}.py").is_file():
            shutil.copy(HERE / f"{module}.py", site)
    return site


def run(*arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `vtg`, or Python code after `-c`, where the toys are installed."""
    start = [] if arguments[0] == "-c" else ["-m", "vtg_cli.main"]
    environment = clean_environment(home)
    path = f"{home / 'site'}:{environment.get('PYTHONPATH', '')}".rstrip(":")
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    install(folder, "toy_encoder", "toy_writer", "toy_dataset")
    return folder


@pytest.fixture(scope="module")
def video(home: Path) -> Path:
    """Twelve seconds: blue, then red from 4 s to 7 s, then green."""
    path = home / "colours.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(120):
            colour = (20, 20, 230) if index < 40 else (230, 20, 20) if index < 70 else (20, 230, 20)
            image = np.full((120, 160, 3), colour, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_encoder_extracts(home: Path, video: Path) -> None:
    done = run("extract", video, "--features", "colour,lite", "--output", home / "out", home=home)
    assert done.returncode == 0, done.stderr
    rows = np.load(home / "out" / "colour_features" / "colours.npz")["features"]
    assert rows.shape == (12, 16)
    assert rows[:, :3].argmax(axis=1).tolist() == [2] * 4 + [0] * 3 + [1] * 5


def test_encoder_extracts_in_workers(home: Path, video: Path) -> None:
    options = ("--features", "colour", "--devices", "cpu,cpu", "--cache", home / "workers")
    done = run("extract", video, *options, home=home)
    assert done.returncode == 0, done.stderr
    assert list((home / "workers").glob("colour-*/colour_features/*.npz"))


def test_encoder_and_writer_answer(home: Path, video: Path) -> None:
    target = home / "red.spans"
    done = run("ground", video, "something red", "--features", "colour", "-k", "1", "-o", target, home=home)
    assert done.returncode == 0, done.stderr
    assert "zero-shot on colour features" in done.stdout
    assert target.read_text() == "4-7 something red\n"


def test_writer_by_name(home: Path, video: Path) -> None:
    options = ("--features", "colour", "-k", "1", "--all", "-o", "-", "--format", "spans")
    done = run("ground", video, "blue", *options, home=home)
    assert done.stdout == "0-4 blue\n", done.stderr


def test_all_are_listed(home: Path) -> None:
    help_ = " ".join(run("ground", "-h", home=home).stdout.replace("│", " ").split())
    assert "(clip, colour, lite, slowfast, vgg, open_clip:MODEL/PRETRAINED)" in help_
    assert "otio, spans, srt" in help_
    assert "chapters, csv, edl, fcpxml, json, jsonl, otio, spans, srt, text, vtt." in help_
    findings = {
        (found["topic"], found["name"]): found
        for found in json.loads(run("doctor", "--json", home=home).stdout)
    }
    assert findings["features", "colour"]["text"] == "needs no download: colours"
    names = [info["name"] for info in json.loads(run("datasets", "list", "--json", home=home).stdout)]
    assert names == ["charades_sta", "qvhighlights", "tacos", "toys", "tvsum", "youtube_highlights"]
    code = "from vtg_cli.writers.formats import formats; print([form.label for form in formats() if form.appendable])"
    assert run("-c", code, home=home).stdout == "['CSV table', 'JSON Lines', 'Spans']\n"


def test_dataset_is_read_and_scored(home: Path) -> None:
    annotations = home / "toys" / "toys_val.jsonl"
    annotations.parent.mkdir(exist_ok=True)
    row = {"qid": 1, "vid": "colours", "query": "red", "duration": 120, "relevant_windows": [[4, 7]]}
    annotations.write_text(json.dumps(row | {"stars": [0, 0, 0, 0, 4, 4, 4, 0, 0, 0, 0, 0]}) + "\n")
    (home / "toys.toml").write_text(CONFIG)
    code = (
        "import sys; from model.config import load_config; from model.datasets.annotations import read_annotations\n"
        "from model.training.evaluation import score_rows\n"
        "config = load_config(sys.argv[1]); truth = read_annotations(sys.argv[2], config.data.dataset)\n"
        "print(truth[0].duration_s, truth[0].saliency.tolist(), truth[0].relevant_clips)\n"
        "row = {'qid': 1, 'query': 'red', 'vid': 'colours', 'pred_relevant_windows': [[4, 7, 0.9]]}\n"
        "print(score_rows([row], truth, config)['MR-full-mAP'])"
    )
    done = run("-c", code, home / "toys.toml", annotations, home=home)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout
        == "12.0 [0.0, 0.0, 0.0, 0.0, 12.0, 12.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0] (4, 5, 6)\n100.0\n"
    )
    checked = run("datasets", "check", "toy", "--data", home, "--config", home / "toys.toml", home=home)
    assert checked.stdout.startswith(f"Toys, toys-lite, in {home / 'toys'}"), checked.stderr


def test_unknown_names_list_all(home: Path, video: Path) -> None:
    done = run("ground", video, "red", "--features", "colours", home=home)
    assert done.returncode == 2
    assert "known are clip, colour, lite, slowfast, vgg" in done.stderr


def test_broken_plugin_is_reported(tmp_path: Path) -> None:
    install(tmp_path, "no_such_module")
    done = run("ground", EXAMPLES / "example.mp4", "red", "--features", "colour", home=tmp_path)
    assert (
        "the plug-in 'no_such_module' (no_such_module) cannot be loaded: ModuleNotFoundError" in done.stderr
    )
    done = run("doctor", "--json", home=tmp_path)
    broken = [found for found in json.loads(done.stdout) if found["name"] == "plug-ins"]
    assert [found["state"] for found in broken] == ["wrong"]
    assert done.returncode == 1


def test_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match="the name 'clip' is taken"):
        register(Feature(name="clip", row="", dim=1, network=""))
