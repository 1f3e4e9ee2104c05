"""`vtg datasets`: the output of the catalogue, of a check, and of failed downloads."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from extractors.errors import UsageError
from model.datasets.library.catalogue import DatasetError
from tests.model.datasets.shop import open_shop
from tests.shared_data import shared
from vtg_cli.commands.datasets import app

SCREEN = 24
CONFIG = """
name = "tiny"
[data]
dataset = "charades_sta"
clip_length_s = 1.0
video_features = [{ name = "clip", dim = 3 }]
text_features = { name = "own_text", dim = 2 }
train_annotations = "charades_sta_train_tvr_format.jsonl"
eval_annotations = "held_out.jsonl"
[model]
video_dim = 3
text_dim = 2
[training]
epochs = 1
batch_size = 1
learning_rate = 1e-4
selection_metrics = ["MR-full-R1@0.5"]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "VTG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "vtg"))
    monkeypatch.setenv("COLUMNS", "100")
    # `--offline` tells the process; registering the name lets it be forgotten again.
    monkeypatch.setenv("VTG_OFFLINE", "0")
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A complete little dataset and its configuration: three videos of ten seconds, a query each."""
    folder = tmp_path / "charades"
    (folder / "clip_features").mkdir(parents=True)
    (folder / "own_text_features").mkdir()
    rows = [
        {"qid": n, "query": "a cat", "vid": f"v{n}", "duration": 10.0, "relevant_windows": [[1, 2]]}
        for n in range(3)
    ]
    for row in rows:
        np.savez(folder / "clip_features" / f"{row['vid']}.npz", features=np.ones((10, 3), np.float16))
        np.savez(folder / "own_text_features" / f"qid{row['qid']}.npz", last_hidden_state=np.ones((4, 2)))
    for name in ("train", "held_out"):
        chosen = rows[:2] if name == "train" else rows[2:]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, chosen)))
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG.replace("charades_sta_train_tvr_format", "train"))
    return folder, config


# list


def test_list_fits_a_screen() -> None:
    done = run("list")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) <= SCREEN
    for name in ("qvhighlights", "charades_sta", "tacos", "tvsum", "youtube_highlights", "CC BY-NC-SA 4.0"):
        assert name in done.stdout


def test_the_list_says_what_is_here(home: Path) -> None:
    folder = home / "vtg" / "datasets" / "qvhighlight"
    (folder / "features" / "slowfast_features").mkdir(parents=True)
    (folder / "highlight_val_release.jsonl").write_text("{}")
    (qvhl,) = [row for row in json.loads(run("list", "--json").stdout) if row["name"] == "qvhighlights"]
    assert qvhl["features"]["slowfast"] == str(folder / "features" / "slowfast_features")
    assert qvhl["features"]["clip"] is None
    found = {item["split"]: item["path"] for item in qvhl["annotations"]}
    assert found["val"] == str(folder / "highlight_val_release.jsonl")
    assert found["train"] is None
    assert "1 of 5 files, slowfast" in run("list").stdout


# check


def test_a_complete_dataset_passes(own: tuple[Path, Path]) -> None:
    folder, config = own
    done = run("check", "charades", "--config", config, "--data", folder, "--deep")
    assert done.exit_code == 0, done.output
    assert "2 rows, 2 videos" in done.stdout
    assert "3 of 3 videos; all readable" in done.stdout
    assert "3 of 3 queries; all readable" in done.stdout
    assert done.stdout.splitlines()[-1] == "complete"


def test_videos_without_features_are_counted_and_named(own: tuple[Path, Path]) -> None:
    folder, config = own
    (folder / "clip_features" / "v1.npz").unlink()
    done = run("check", "charades", "--config", config, "--data", folder)
    assert done.exit_code == 1
    assert "faulty    clip features         clip_features: 2 of 3 videos; without a file: v1" in done.stdout


def test_a_deep_check_opens_every_file(own: tuple[Path, Path]) -> None:
    folder, config = own
    arguments = ("check", "charades", "--config", config, "--data", folder)
    np.savez(folder / "clip_features" / "v0.npz", features=np.ones((10, 4)))
    np.savez(folder / "clip_features" / "v1.npz", features=np.full((10, 3), np.nan))
    np.savez(folder / "clip_features" / "v2.npz", features=np.ones((30, 3)))
    assert run(*arguments).exit_code == 0
    done = run(*arguments, "--deep")
    assert done.exit_code == 1
    assert "2 cannot be read" in done.stdout
    assert "rows of 3" in done.stdout
    assert "1 do not fit the length of their video: v2 (30 rows)" in done.stdout


def test_damaged_annotations_are_shown_with_their_line(own: tuple[Path, Path]) -> None:
    folder, config = own
    with (folder / "train.jsonl").open("a") as file:
        file.write("\n{")
    done = run("check", "charades", "--config", config, "--data", folder)
    assert done.exit_code == 1
    assert "line 3" in done.stdout


def test_rows_are_counted_against_the_published_file(own: tuple[Path, Path]) -> None:
    folder, config = own
    config.write_text(CONFIG)
    (folder / "train.jsonl").rename(folder / "charades_sta_train_tvr_format.jsonl")
    done = run("check", "charades", "--config", config, "--data", folder)
    assert done.exit_code == 1
    assert "the published file has 12,404 rows" in done.stdout


@pytest.mark.parametrize("name", ["qvhl", "charades", "tacos", "tvsum", "youtube"])
def test_a_check_of_nothing_fits_a_screen(name: str) -> None:
    done = run("check", name)
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) <= SCREEN
    assert "vtg datasets pull" in done.stdout
    assert "drive.google.com" in done.stdout
    assert "optional" in done.stdout


def test_published_annotations_pass(home: Path) -> None:
    done = run("check", "qvhl", "--data", shared("data/annotations"))
    assert "7,218 rows, 7,100 videos\n" in done.stdout
    assert "1,550 rows, 1,519 videos\n" in done.stdout


def test_real_features_pass_a_deep_check() -> None:
    folder = shared("data/charades_clip")
    done = run("check", "charades", "--config", "charades-clip-minilm", "--data", folder, "--deep")
    assert "1,134 of 1,134 videos; all readable" in done.stdout


def test_a_configuration_of_another_dataset_is_refused() -> None:
    done = run("check", "tacos", "--config", "tvsum-slowfast-clip")
    assert isinstance(done.exception, UsageError)
    assert "is for tvsum, not for tacos" in str(done.exception)


# pull


def test_offline_every_file_is_named_with_its_address() -> None:
    done = run("pull", "tacos", "--offline")
    assert done.exit_code == 1
    for split in ("train", "val", "test"):
        assert f"/data/tacos/{split}.jsonl elsewhere" in done.stderr
    assert "vtg datasets add tacos tacos.zip" in done.stderr
    assert done.stdout == ""


def test_list_shows_found_and_missing(home: Path) -> None:
    folder = home / "vtg" / "datasets" / "tacos"
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        (folder / f"{split}.jsonl").write_text("{}")
    done = run("pull", "tacos")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [str(folder / f"{split}.jsonl") for split in ("train", "val", "test")]
    assert "Still missing for tacos-slowfast-clip" in done.stderr
    assert "290.7 MB" in done.stderr


def test_features_with_an_address_are_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "vtg" / "datasets" / "charades_sta"
    (folder / "llama_text_features").mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"charades_sta_{split}_tvr_format.jsonl").write_text("{}")
    name = "charade_sta_internvideo2_videoclip_6b_w1s"
    with open_shop() as shop:
        monkeypatch.setenv("HF_ENDPOINT", shop.url)
        shop.files[f"/datasets/cg1177/{name}/resolve/main/{name}.tar.gz"] = tar("charade_sta_6b/AO8RW.pt")
        done = run("pull", "charades", "--config", "charades-sta-internvideo2")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(folder / "internvideo2_features")
    assert (folder / "internvideo2_features" / "AO8RW.pt").read_bytes() == b"rows"
    assert "Still missing" not in done.stderr


def tar(name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"rows"))
    return packed.getvalue()


# add


def test_add_then_check(own: tuple[Path, Path], home: Path) -> None:
    folder, config = own
    new = home / "new"
    for file in ("train.jsonl", "held_out.jsonl"):
        (new / "charades").mkdir(parents=True, exist_ok=True)
        (folder / file).rename(new / "charades" / file)
    packed = home / "features.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*.npz"):
            archive.write(path, Path("any") / path.relative_to(folder))
    added = run("add", "charades", packed, "--data", new)
    assert added.exit_code == 0, added.output
    assert added.stdout.splitlines() == [str(new / "charades" / "clip_features")]
    done = run("check", "charades", "--config", config, "--data", new)
    assert done.exit_code == 1
    assert "3 of 3 videos" in done.stdout
    assert "own_text_features" in done.stdout


def test_what_cannot_be_added_is_an_error(home: Path) -> None:
    bad = home / "page.zip"
    bad.write_text("<html>")
    assert isinstance(run("add", "tacos", bad).exception, DatasetError)
    assert isinstance(run("add", "tacos", home / "absent.zip").exception, UsageError)
    assert isinstance(run("add", "nothing", bad).exception, UsageError)
