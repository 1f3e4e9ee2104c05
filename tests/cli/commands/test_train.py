"""`vtg train` and `vtg eval --checkpoint`, as people run them: processes, files, signals."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.synthetic_data import SyntheticSpec, write_synthetic
from model.checkpoints.checkpoint import Checkpoint, feature_specs, save_checkpoint
from model.config import load_config
from model.network.flashvtg import FlashVTG
from model.training.run import Run
from tests.cli.running import clean_environment, vtg
from tests.extractors.rendering import render
from tests.model.datasets.own import OwnData
from tests.model.datasets.small import small_config as own_config
from tests.model.training.training_setup import TINY, small_config, tiny_config, write_config

SCREEN = 24
# Epochs of a second or so, so that a signal meets one at work.
STEADY = SyntheticSpec(train_queries=60, val_queries=8, clip_dim=16, slowfast_dim=8, text_dim=16)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Path:
    """A dataset in the published layout."""
    write_synthetic(home / "tiny", TINY)
    return home / "tiny"


@pytest.fixture(scope="module")
def config(home: Path) -> Path:
    return write_config(tiny_config("training.epochs=2"), home / "tiny.toml")


@pytest.fixture(scope="module")
def trained(home: Path, tiny: Path, config: Path) -> tuple[subprocess.CompletedProcess[str], Run]:
    """Two epochs."""
    run = Run(home / "trained")
    done = vtg("train", "--config", config, "--data", tiny, "--output", run.folder, home=home)
    return done, run


def lines_of(log: str) -> list[list[str]]:
    return [line.split() for line in log.splitlines()]


# What people see


def test_a_run_is_shown_and_kept(trained: tuple[subprocess.CompletedProcess[str], Run]) -> None:
    done, run = trained
    assert done.returncode == 0, done.stderr
    shown = done.stderr.splitlines()
    assert shown[0].startswith("note: tiny: 18 queries to train on and 6 queries to score on")
    assert [line.split("  ")[0] for line in shown[1:]] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss" in line and "score" in line for line in shown[1:])
    kept = json.loads((run.folder / "best_metrics.json").read_text())
    table = {row[0]: row[1] for row in lines_of(done.stdout) if len(row) >= 2}
    for name, value in kept["decoded"].items():
        assert table[name] == f"{value:.2f}"
    assert done.stdout.splitlines()[-1] == f"best checkpoint: epoch {kept['epoch']}, {run.best}"
    assert json.loads((run.folder / "environment.json").read_text())["command"][1] == "train"


def test_quiet_says_the_answer_alone(
    trained: tuple[subprocess.CompletedProcess[str], Run], home: Path, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(trained[1].folder, tmp_path / "run"))
    done = vtg("train", "--resume", run.folder, "--set", "training.epochs=3", "--quiet", home=home)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("best checkpoint: epoch ")
    assert [row["epoch"] for row in run.log()] == [1, 2, 3]
    assert run.config().training.epochs == 3


def test_missing_dataset_is_explained(tmp_path: Path) -> None:
    done = vtg("train", "--dataset", "qvhl", home=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= SCREEN
    assert "vtg datasets pull qvhighlights" in done.stderr
    assert "vtg datasets add qvhighlights" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "qvhl", "--set", "training.epoch=3"], "training.epoch: unknown field"),
        (["--dataset", "qvhl", "--set", "training.epochs=many"], "training.epochs: must be a whole number"),
        (["--dataset", "no.jsonl"], "--dataset no.jsonl: does not exist"),
        (["--dataset", "mine.csv"], "mine.csv: cannot be read as annotations; your own is a .jsonl file"),
        (["--dataset", "qvhi"], "known are charades_sta, "),
        (["--dataset", "mine.jsonl", "--eval", "no.jsonl"], "--eval no.jsonl: does not exist"),
        (["--dataset", "mine.jsonl", "--data", "no"], "--data no: does not exist"),
        (["--dataset", "mine.jsonl", "--videos", "no"], "--videos no: does not exist"),
        (["--dataset", "mine.jsonl", "--device", "tpu"], "known are auto, cpu, cuda, cuda:N, mps"),
        (["--dataset", "mine.jsonl", "--precision", "int8"], "known are auto, fp32, bf16, fp16"),
        (["--dataset", "mine.jsonl", "--output", "."], "is not empty"),
        (
            ["--config", "custom-lite"],
            "custom-lite is trained on your own data: give --dataset FILE.jsonl",
        ),
        ([], "--dataset"),
        (["--pretrain", "no"], "--pretrain no: does not exist"),
        (["--dataset", "mine.jsonl", "--concepts", "builtin"], "--concepts goes with --pretrain FOLDER"),
        (["--pretrain", ".", "--concepts", "no.txt"], "--concepts no.txt: there is no such file"),
        (["--pretrain", "."], "holds no video"),
        (
            ["--dataset", "mine.jsonl", "--set", "pretraining.epochs=2"],
            "name a folder of unlabelled videos with",
        ),
        (["--resume", "no"], "--resume no: does not exist"),
        (["--resume", ".", "--dataset", "qvhl"], "--resume continues a run with its own settings"),
        (["--resume", ".", "--from", "mine.jsonl"], "--resume continues a run with its own settings"),
        (["--dataset", "mine.jsonl", "--from", "best"], "there is no model 'best' here"),
        (["--dataset", "tvsum", "--domain", "XX"], "--domain XX: tvsum-slowfast-clip has the domains: BK"),
        (["--dataset", "qvhl", "--config", "tacos-slowfast-clip"], "is for tacos, not for qvhl"),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.csv", "mine.jsonl"):
        Path(name).write_text('{"vid": "v", "query": "a", "relevant_windows": [[0, 1]]}')
    done = vtg("train", *arguments, home=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_writes_nothing(home: Path, tiny: Path, config: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = vtg(
        "train", "--config", config, "--data", tiny, "--seed", "7", "--output", output, "--dry-run", home=home
    )
    assert done.returncode == 0
    (tmp_path / "shown.toml").write_text(done.stdout)
    assert load_config(tmp_path / "shown.toml").training.seed == 7
    assert "tiny: 18 queries to train on and 6 queries to score on" in done.stderr
    assert not output.exists()


def test_a_run_is_never_written_over(
    trained: tuple[subprocess.CompletedProcess[str], Run], home: Path, tiny: Path, config: Path
) -> None:
    _, run = trained
    before = run.best.read_bytes()
    done = vtg("train", "--config", config, "--data", tiny, "--output", run.folder, home=home)
    assert done.returncode == 2
    assert f"vtg train --resume {run.folder}" in done.stderr
    assert run.best.read_bytes() == before


# Interruptions


@pytest.fixture(scope="module")
def steady(home: Path) -> list[str | Path]:
    """Arguments of a run of five epochs of many steps."""
    write_synthetic(home / "steady", STEADY)
    config = write_config(
        small_config(STEADY, "training.epochs=5", "training.batch_size=4", "model.dropout=0.1"),
        home / "steady.toml",
    )
    return ["train", "--config", config, "--data", home / "steady"]


@pytest.fixture(scope="module")
def unbroken(home: Path, steady: list[str | Path]) -> Run:
    run = Run(home / "unbroken" / "run")
    done = vtg(*steady, "--output", run.folder, home=home)
    assert done.returncode == 0, done.stderr
    return run


def stop(arguments: list[str | Path], home: Path, when: Callable[[], bool], number: int) -> tuple[int, str]:
    """Send a signal to a `vtg` at work.

    Returns:
        its exit status and what it wrote to standard error.
    """
    command = [sys.executable, "-m", "vtg_cli.main", *map(str, arguments)]
    with subprocess.Popen(
        command,
        env=clean_environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C may be switched off where tests run in the background, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        deadline = time.monotonic() + 240
        while not when():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors


def epochs_done(run: Run) -> int:
    path = run.folder / "log.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def assert_the_same(run: Run, expected: Run) -> None:
    """Weights, metrics and log are those of another run."""
    # Of the whole file the name of the folder is a part, so both have the same.
    assert run.folder.name == expected.folder.name
    for name in ("best.safetensors", "last.safetensors", "best_metrics.json", "best_predictions.jsonl"):
        assert (run.folder / name).read_bytes() == (expected.folder / name).read_bytes(), name
    clock = {"seconds": 0, "evaluation_seconds": 0}
    assert [row | clock for row in run.log()] == [row | clock for row in expected.log()]
    assert not list(run.folder.glob(".*.tmp"))


@pytest.mark.slow
def test_killed_run_resumes(home: Path, steady: list[str | Path], unbroken: Run) -> None:
    run = Run(home / "killed" / "run")
    status, _ = stop(
        [*steady, "--output", run.folder],
        home,
        after(lambda: epochs_done(run) >= 1, 0.3),
        signal.SIGKILL,
    )
    assert status == -signal.SIGKILL
    assert 1 <= epochs_done(run) < 5
    # Again, this time as soon as the log is written: in the midst of putting an epoch on disk.
    begun = epochs_done(run)
    status, _ = stop(
        ["train", "--resume", run.folder], home, lambda: epochs_done(run) > begun, signal.SIGKILL
    )
    assert status == -signal.SIGKILL
    done = vtg("train", "--resume", run.folder, home=home)
    assert done.returncode == 0, done.stderr
    assert_the_same(run, unbroken)


def after(condition: Callable[[], bool], delay_s: float) -> Callable[[], bool]:
    """True once a condition has held for some time."""
    since: list[float] = []

    def due() -> bool:
        if not since and condition():
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= delay_s

    return due


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on(home: Path, steady: list[str | Path], unbroken: Run) -> None:
    run = Run(home / "interrupted" / "run")
    status, errors = stop(
        [*steady, "--output", run.folder], home, after(lambda: epochs_done(run) >= 1, 0.2), signal.SIGINT
    )
    assert status == 130
    last = errors.splitlines()[-1]
    assert last.startswith("vtg: interrupted")
    assert f"vtg train --resume {run.folder}" in last
    assert "Traceback" not in errors
    assert vtg("train", "--resume", run.folder, home=home).returncode == 0
    assert_the_same(run, unbroken)


# Scoring a checkpoint


def scores(*arguments: str | Path, home: Path) -> dict[str, float]:
    done = vtg("eval", *arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    parsed: dict[str, float] = json.loads(done.stdout)
    return parsed


@pytest.mark.slow
def test_checkpoint_and_predictions_score_the_same(
    trained: tuple[subprocess.CompletedProcess[str], Run], home: Path, tiny: Path, tmp_path: Path
) -> None:
    _, run = trained
    kept = json.loads((run.folder / "best_metrics.json").read_text())
    submission = tmp_path / "sub.jsonl"
    measured = scores("--checkpoint", run.folder, "--data", tiny, "--output", submission, home=home)
    assert measured == kept["suppressed"]
    assert submission.read_bytes() == (run.folder / "best_predictions.jsonl").read_bytes()
    assert scores("--predictions", submission, "--annotations", tiny / "val.jsonl", home=home) == measured
    decoded = scores("--checkpoint", run.best, "--data", tiny, "--no-nms", "--split", "val.jsonl", home=home)
    assert decoded == kept["decoded"]


# Datasets of other forms


@pytest.mark.slow
def test_train_on_unlabelled_videos_and_ground(home: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(3):
        render(videos / f"clip{number}.mp4", frames=60 + 20 * number, fps=5, width=96, height=96, gop=10)
    run = Run(tmp_path / "run")
    small = (
        "hidden_dim=16",
        "heads=2",
        "feedforward_dim=16",
        "cross_attention_layers=1",
        "alignment_dim=384",
    )
    options = [argument for change in small for argument in ("--set", f"model.{change}")]
    done = vtg(
        "train",
        "--pretrain",
        videos,
        "--output",
        run.folder,
        "--set",
        "training.epochs=1",
        *options,
        home=home,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in run.pseudo_labels.read_text(encoding="utf-8").splitlines()]
    assert {row["vid"] for row in found} == {"clip0", "clip1", "clip2"}
    assert "custom-lite: 6 queries to train on and 3 queries to score on" in done.stderr
    assert "the alignment head begins with 1,302 names of vtg" in done.stderr
    (videos / "later.mp4").write_bytes(b"")  # what came later is not looked at
    done = vtg("train", "--resume", run.folder, "--set", "training.epochs=2", home=home)
    assert done.returncode == 0, done.stderr
    assert epochs_done(run) == 2
    done = vtg("ground", videos / "clip1.mp4", found[0]["query"], "--model", run.folder, "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["model"] == "run"


def test_a_run_begins_with_another(
    trained: tuple[subprocess.CompletedProcess[str], Run], home: Path, tiny: Path, tmp_path: Path
) -> None:
    _, first = trained
    config = write_config(tiny_config("training.epochs=1", "model.existence=true"), tmp_path / "c.toml")
    run = Run(tmp_path / "run")
    arguments = ["train", "--from", first.folder, "--config", config, "--data", tiny]
    done = vtg(*arguments, "--output", run.folder, home=home)
    assert done.returncode == 0, done.stderr
    weights = load_file(first.best)
    begun = json.loads((run.folder / "inputs.json").read_text())["from"]
    assert begun["loaded"] == sorted(weights)
    assert done.stderr.splitlines()[0] == (
        f"note: {len(weights)} parameters loaded from {first.best}; new: existence ({len(begun['new'])} parameters)"
    )
    refused = vtg(*arguments, "--set", "model.hidden_dim=32", "--dry-run", home=home)
    assert refused.returncode == 2
    assert f"--set model.hidden_dim: is 16 in --from {first.best}" in refused.stderr


def render_annotated(videos: Path, count: int) -> list[dict[str, object]]:
    """Render videos into a new folder; returns their annotations, one moment each."""
    videos.mkdir()
    rows: list[dict[str, object]] = []
    for number in range(count):
        render(videos / f"clip{number}.mp4", frames=60, fps=5, width=96, height=96, gop=10)
        window = [2 * number, 2 * number + 4]
        rows.append({"vid": f"clip{number}", "query": "white squares", "relevant_windows": [window]})
    return rows


@pytest.mark.slow
def test_fine_tune_on_own_videos_and_ground(home: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    rows = render_annotated(videos, 3)
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    small = ("hidden_dim=16", "heads=2", "feedforward_dim=16", "cross_attention_layers=1", "existence=false")
    model = load_config("custom-lite", [f"model.{change}" for change in small])
    checkpoint = tmp_path / "small.safetensors"
    save_checkpoint(Checkpoint(model, *feature_specs(model), FlashVTG(model.model).state_dict()), checkpoint)
    run = Run(tmp_path / "run")
    done = vtg(
        "train", "--from", checkpoint, "--dataset", mine, "--videos", videos, "--set", "training.epochs=1",
        "--output", run.folder, home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"loaded from {checkpoint}; new: existence (" in done.stderr
    assert run.config().model == replace(model.model, existence=True)
    checkpoint.unlink()
    done = vtg("train", "--resume", run.folder, "--set", "training.epochs=2", home=home)
    assert done.returncode == 0, done.stderr
    assert epochs_done(run) == 2
    done = vtg("ground", videos / "clip1.mp4", "white squares", "--model", run.folder, "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["model"] == "run"


@pytest.mark.slow
def test_train_and_ground_own_videos(home: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    rows = render_annotated(videos, 5)
    mine, held_out = tmp_path / "mine.jsonl", tmp_path / "held_out.jsonl"
    mine.write_text("".join(f"{json.dumps(row)}\n" for row in rows[:3]))
    held_out.write_text("".join(f"{json.dumps(row)}\n" for row in rows[3:]))
    small = [
        "model.hidden_dim=16",
        "model.heads=2",
        "model.feedforward_dim=16",
        "model.cross_attention_layers=1",
        "training.epochs=2",
    ]
    output = tmp_path / "run"
    options = [argument for change in small for argument in ("--set", change)]
    done = vtg(
        "train", "--dataset", mine, "--videos", videos, "--eval", held_out, "--output", output, *options,
        home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "custom-lite: 3 queries to train on and 2 queries to score on" in done.stderr
    assert "MR-full-mAP" in done.stdout

    model = Run(output).best
    grounded = vtg("ground", videos / "clip3.mp4", "white squares", "--model", model, "--json", home=home)
    assert grounded.returncode == 0, grounded.stderr
    (answer,) = json.loads(grounded.stdout)["results"]
    assert answer["model"] == "run"
    # The same model and the same video, so the same moments as in the predictions of its evaluation.
    first = json.loads((output / "best_predictions.jsonl").read_text().splitlines()[0])
    assert first["vid"] == "clip3"
    found = [[moment["start_s"], moment["end_s"]] for moment in answer["moments"]]
    assert found[0] == pytest.approx(first["pred_relevant_windows"][0][:2], abs=2e-3)
    own = scores("--checkpoint", model, "--annotations", held_out, "--videos", videos, home=home)
    assert own == json.loads((output / "best_metrics.json").read_text())["suppressed"]
    # The folder of a run knows its videos.
    assert scores("--checkpoint", output, home=home) == own


@pytest.mark.slow
def test_a_run_is_scored_on_what_it_held_out(home: Path, tmp_path: Path) -> None:
    own, run = OwnData(tmp_path), Run(tmp_path / "run")
    config = write_config(own_config("custom-slowfast-clip", "training.epochs=1"), tmp_path / "c.toml")
    mine = own.write()
    done = vtg("train", "--config", config, "--dataset", mine, "--output", run.folder, home=home)
    assert done.returncode == 0, done.stderr
    assert "11 queries to train on and 1 query to score on" in done.stderr
    kept = json.loads((run.folder / "best_metrics.json").read_text())["suppressed"]

    shown = vtg("eval", "--checkpoint", run.folder, "--json", home=home)
    assert json.loads(shown.stdout) == kept
    assert shown.stderr == f"note: scored on 1 query: the videos held out of {mine}\n"
    predictions = run.folder / "best_predictions.jsonl"
    assert scores("--predictions", predictions, home=home) == kept
    both = ("--predictions", predictions, "--annotations", mine)
    refused = vtg("eval", *both, home=home)
    assert refused.returncode == 1
    assert "11 missing (query 0 is not predicted); --skip-missing leaves" in refused.stderr
    assert scores(*both, "--skip-missing", home=home) == kept

    mine.rename(tmp_path / "moved.jsonl")
    gone = vtg("eval", "--checkpoint", run.folder, home=home)
    assert gone.returncode == 1
    assert f"{mine} no longer exists" in gone.stderr
    moved = ["--annotations", tmp_path / "moved.jsonl"]
    assert vtg("eval", "--checkpoint", run.folder, *moved, home=home).returncode == 0


@pytest.mark.slow
def test_a_model_is_trained_for_each_domain(home: Path, tmp_path: Path) -> None:
    spec = replace(TINY, highlights=True, classes=2)
    data = tmp_path / "tvsum"
    write_synthetic(data, spec)
    config = small_config(
        spec,
        'data.domains=["guitar","car"]',
        "training.epochs=2",
        "training.batch_size=4",
        released="tvsum-slowfast-clip",
    )
    run = tmp_path / "run"
    done = vtg(
        "train", "--config", write_config(config, tmp_path / "c.toml"), "--data", data, "--output", run,
        home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in lines_of(done.stdout)[:-1]][-3:] == ["guitar", "car", "Avg"]
    assert "guitar epoch 2/2" in done.stderr
    assert "car epoch 1/2" in done.stderr
    assert {path.parent.name for path in run.glob("*/best.safetensors")} == {"guitar", "car"}

    measured = scores("--checkpoint", run, "--data", data, home=home)
    assert set(measured) == {"guitar", "car", "Avg"}
    for domain in ("guitar", "car"):
        kept = json.loads((run / domain / "best_metrics.json").read_text())
        assert measured[domain] == kept["decoded"]["mAP"]
    assert measured["Avg"] == pytest.approx((measured["guitar"] + measured["car"]) / 2)
    shown = vtg("eval", "--checkpoint", run, "--data", data, home=home)
    assert {row[0] for row in lines_of(shown.stdout) if len(row) == 2} >= set(measured)

    again = vtg("train", "--resume", run, "--set", "training.epochs=3", home=home)
    assert again.returncode == 0, again.stderr
    assert [len(Run(run / domain).log()) for domain in ("guitar", "car")] == [3, 3]
    assert [Run(path).config().training.epochs for path in (run, run / "guitar", run / "car")] == [3, 3, 3]
    assert scores("--checkpoint", run, home=home) == scores("--checkpoint", run, "--data", data, home=home)


# Several processes


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_two_processes_write_one_run(
    named: bool, home: Path, tiny: Path, config: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vtg_cli"]
    arguments = ["train", "--config", config, "--data", tiny, "--device", "cpu"]
    output = ["--output", "runs/mine"] if named else []
    done = subprocess.run(
        [*command, *map(str, arguments), *output],
        env=clean_environment(home) | {"MASTER_PORT": "0", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    run = Run(folder)
    assert [row["epoch"] for row in run.log()] == [1, 2]
    assert done.stdout.count("best checkpoint") == 1
    assert done.stderr.count("epoch 1/2") == 1
    assert load_file(run.last).keys() == load_file(run.best).keys()
    measured = scores("--checkpoint", folder, "--data", tiny, home=home)
    assert measured == json.loads((folder / "best_metrics.json").read_text())["suppressed"]


@pytest.fixture(scope="module")
def exact(home: Path) -> Callable[..., list[str | Path]]:
    """The arguments of a training without dropout, by its batch size, and its output."""
    write_synthetic(home / "exact", STEADY)

    def arguments(batch_size: int, output: Path) -> list[str | Path]:
        overrides = ("model.dropout=0", "model.input_dropout=0", "model.dummy_dropout=0", "training.epochs=3")
        config = write_config(
            tiny_config(*overrides, f"training.batch_size={batch_size}"), home / f"exact-{batch_size}.toml"
        )
        return ["train", "--config", config, "--data", home / "exact", "--device", "cpu", "--output", output]

    return arguments


@pytest.fixture(scope="module")
def of_two(home: Path, exact: Callable[..., list[str | Path]]) -> Run:
    """The run of two processes."""
    done = _train_in_processes([*_TWO, *exact(3, home / "of-two")], home, home)
    assert done.returncode == 0, done.stderr
    return Run(home / "of-two")


@pytest.mark.slow
def test_two_processes_learn_as_one_does(
    home: Path, exact: Callable[..., list[str | Path]], of_two: Run, tmp_path: Path
) -> None:
    done = vtg(*exact(6, tmp_path / "one"), home=home)
    assert done.returncode == 0, done.stderr
    one = [row["losses"]["total"] for row in Run(tmp_path / "one").log()]
    two = [row["losses"]["total"] for row in of_two.log()]
    # What is logged is the loss of the first process's half of the samples.
    assert one[-1] < 0.5 * one[0]
    assert two == pytest.approx(one, rel=0.1)


@pytest.mark.slow
def test_two_processes_go_on_after_one_was_killed(
    home: Path, exact: Callable[..., list[str | Path]], of_two: Run, tmp_path: Path
) -> None:
    broken = Run(tmp_path / "broken")
    started = subprocess.Popen(
        [*map(str, [*_TWO, *exact(3, broken.folder)])],
        env=_processes_environment(home),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + 240
    while not (broken.folder / "log.jsonl").exists() or not broken.log():
        assert started.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    workers = [one for one in psutil.Process(started.pid).children() if "vtg_cli" in one.cmdline()]
    assert len(workers) == 2
    workers[1].kill()
    assert started.wait(timeout=240) != 0
    assert 1 <= len(broken.log()) < 3

    command = [*_TWO, "train", "--resume", broken.folder, "--device", "cpu"]
    resumed = _train_in_processes(command, home, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    losses = [[row["losses"]["total"] for row in run.log()] for run in (of_two, broken)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    weights, same = load_file(of_two.last), load_file(broken.last)
    for name, value in weights.items():
        torch.testing.assert_close(value, same[name], rtol=1e-4, atol=1e-6)


_TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vtg_cli"]


def _processes_environment(home: Path) -> dict[str, str]:
    return clean_environment(home) | {"MASTER_PORT": "0", "OMP_NUM_THREADS": "1"}


def _train_in_processes(
    command: Sequence[str | Path], home: Path, folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        env=_processes_environment(home),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
