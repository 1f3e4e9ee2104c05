"""Damaged and made-up input of every kind: an answer or one clear error, never a crash, a hang or foreign code.

`VTG_FUZZ_CASES` is the number of cases per target (few by default, so that the suite stays fast).
"""

from __future__ import annotations

import io
import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from extractors.cache.store import FeatureCache
from extractors.decoding.grid import Sampling
from extractors.decoding.subprocess_reader import DecodeProcess
from extractors.errors import VideoError, VtgError
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.config import ConfigError, available_configs, load_config
from model.datasets.annotations import AnnotationError, read_annotations
from model.datasets.features import FeatureFileError, FeatureFolder
from tests.cli.running import EXAMPLES
from tests.extractors.index_encoder import IndexEncoder, make_video
from tests.extractors.reading import Reading
from tests.extractors.rendering import render
from tests.fuzz.cases import SEEDS, VALUES, fuzz
from tests.hostile import mutate
from tests.model.grounding.test_trained import small_checkpoint

DATASETS = ("qvhighlights", "charades_sta", "tacos", "tvsum", "youtube_highlights", "custom")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def feature_files() -> dict[str, bytes]:
    rows = np.random.default_rng(0).standard_normal((9, 8)).astype(np.float16)
    npz, packed, npy, pt = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(npz, features=rows)
    np.savez_compressed(packed, features=rows)
    np.save(npy, rows)
    torch.save(torch.from_numpy(rows), pt)
    return {
        "a.npz": npz.getvalue(),
        "b.npz": packed.getvalue(),
        "c.npy": npy.getvalue(),
        "d.pt": pt.getvalue(),
    }


FEATURES = feature_files()


@fuzz
@given(name=st.sampled_from(sorted(FEATURES)), seed=SEEDS)
def test_feature_files(folder: Path, name: str, seed: int) -> None:
    content = FEATURES[name]
    (folder / name).write_bytes(mutate(content, random.Random(seed), head=len(content)))
    try:
        rows = FeatureFolder(folder, "made", 8).load(Path(name).stem)
    except FeatureFileError as error:
        assert name in str(error)
    else:
        assert rows.shape[1] == 8
        assert np.isfinite(rows).all()


ANNOTATION = {
    "qid": 1,
    "query": "a cat",
    "vid": "v_0_150",
    "duration": 150,
    "relevant_windows": [[0, 10], [20.5, 30]],
    "relevant_clip_ids": [0, 1],
    "saliency_scores": [[1, 2, 3], [4, 4, 4]],
    "label": [[1.0, 2.0], [5.0, 3.0]],
    "domain": "BK",
    "saliency": [0, 0.5, 1],
}


@fuzz
@given(
    dataset=st.sampled_from(DATASETS),
    changes=st.dictionaries(st.sampled_from(sorted(ANNOTATION)), VALUES, max_size=4),
    seed=st.none() | SEEDS,
)
def test_annotations(folder: Path, dataset: str, changes: dict[str, object], seed: int | None) -> None:
    path = folder / "annotations.jsonl"
    line = json.dumps(ANNOTATION | changes).encode()
    path.write_bytes(line if seed is None else mutate(line, random.Random(seed), head=len(line)))
    try:
        annotations = read_annotations(path, dataset)
    except AnnotationError as error:
        assert str(path) in str(error)
    else:
        for annotation in annotations:
            # Whatever an id is, the file it names lies in the folder of features.
            assert (folder / f"{annotation.vid}.npz").resolve().parent == folder.resolve()


@fuzz
@given(name=st.sampled_from(available_configs()), seed=SEEDS)
def test_configurations(folder: Path, name: str, seed: int) -> None:
    from importlib.resources import files

    content = (files("model") / "configs" / f"{name}.toml").read_bytes()
    path = folder / "config.toml"
    path.write_bytes(mutate(content, random.Random(seed), head=len(content)))
    try:
        load_config(path)
    except ConfigError as error:
        assert str(path) in str(error)


@fuzz
@given(override=st.text(max_size=60) | st.tuples(st.sampled_from(["model.heads", "training.epochs"]), VALUES))
def test_overrides(override: object) -> None:
    text = override if isinstance(override, str) else f"{override[0]}={override[1]}"  # type: ignore[index]
    with suppress(ConfigError):
        load_config("custom-lite", [text])


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> bytes:
    save_checkpoint(small_checkpoint(), folder / "whole.safetensors")
    return (folder / "whole.safetensors").read_bytes()


@fuzz
@given(seed=SEEDS)
def test_checkpoints(folder: Path, checkpoint: bytes, seed: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(mutate(checkpoint, random.Random(seed)))
    try:
        load_checkpoint(path)
    except VtgError as error:
        assert str(path) in str(error)


@fuzz
@given(seed=SEEDS)
def test_cache_entries(folder: Path, seed: int) -> None:
    video, cache = folder / "video.bin", FeatureCache(folder / "cache")
    if not video.exists():
        video.write_bytes(b"stands for a video")
    encoder = IndexEncoder()
    from extractors.videos.facts import VideoInfo

    info = VideoInfo(video, 4.0, 10.0, 16, 16, 40, "h264", 0, "pyav", "")
    rows = np.arange(2, dtype=np.float32)[:, None]
    cache.store_video(video, encoder.spec, rows, info)
    entry = next((folder / "cache").rglob("*.npz"))
    whole = entry.read_bytes()
    entry.write_bytes(mutate(whole, random.Random(seed), head=len(whole)))
    found = cache.load_video(video, encoder.spec)
    assert found is None or np.array_equal(found.features, rows)


OTHER_CODECS = [
    ("libx265", ".mp4"), ("libvpx-vp9", ".webm"), ("libsvtav1", ".mkv"), ("mpeg4", ".avi"), ("libvpx", ".webm"),
]  # fmt: skip


@pytest.fixture(scope="module")
def videos(folder: Path) -> list[tuple[str, bytes]]:
    """Suffix and content of small videos: tiny ones of many containers, so that many can be tried, and real ones."""
    tiny = [
        render(folder / f"tiny{suffix}", frames=12, fps=10, width=16, height=16)
        for suffix in (".mp4", ".mkv", ".avi", ".ts", ".mov")
    ]
    small = make_video(folder / "seed.mp4", seconds=2.0)
    others = [
        render(folder / f"{codec}{suffix}", frames=12, fps=10, width=32, height=32, codec=codec)
        for codec, suffix in OTHER_CODECS
    ]
    # Long enough to be decoded in several parts at once.
    long = render(folder / "long.mp4", frames=60, fps=2, width=16, height=16, gop=4)
    contents = [(path.suffix, path.read_bytes()) for path in (*tiny, small, *others, long)]
    contents.insert(6, (".mp4", (EXAMPLES / "example.mp4").read_bytes()[:60_000]))
    return contents


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecodeProcess]:
    with DecodeProcess(stall_s=60.0) as process:
        yield process


@fuzz
@given(which=st.integers(0, 7 + len(OTHER_CODECS)), seed=SEEDS)
@example(which=3, seed=253)  # frames of no width
def test_videos(
    folder: Path, videos: list[tuple[str, bytes]], decoder: DecodeProcess, which: int, seed: int
) -> None:
    suffix, content = videos[which]
    path = folder / f"mutated{suffix}"
    path.write_bytes(mutate(content, random.Random(seed)))
    try:
        with Reading(decoder, path, [Sampling("center_frame", 1.0)]) as reader:
            clips = sum(len(chunk.rows[0]) for chunk in reader)
    except VideoError as error:
        assert str(path) in str(error)
        assert "no progress" not in error.reason
        assert "cannot be decoded (" not in error.reason  # an error of ours: the decoders' have names
    else:
        assert clips <= reader.clip_counts[0]


def test_second_claiming_a_year(folder: Path, decoder: DecodeProcess) -> None:
    path = render(folder / "year.avi", frames=20, fps=10, width=16, height=16)
    content = bytearray(path.read_bytes())
    place = content.index(b"strh") + 8 + 20  # how long a frame is shown: a scale, a rate
    content[place : place + 8] = (2_000_000).to_bytes(4, "little") + (1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"20 frames last 4[0-9]+ days; its times are damaged"):
        Reading(decoder, path, [Sampling("center_frame", 1.0)])


def test_title_in_another_encoding(folder: Path, decoder: DecodeProcess) -> None:
    path = render(folder / "titled.mkv", frames=20, fps=10, width=16, height=16)
    name = b"Lavf"  # who wrote the file, as Matroska's metadata say
    content = path.read_bytes()
    assert name in content
    path.write_bytes(content.replace(name, b"\xe9\xff\xfe\x80"))
    with Reading(decoder, path, [Sampling("center_frame", 1.0)]) as reader:
        assert sum(len(chunk.rows[0]) for chunk in reader) == 2


def test_unknown_codec_is_named(folder: Path, decoder: DecodeProcess) -> None:
    path = render(folder / "unknown.mkv", frames=20, fps=10, width=16, height=16)
    content = path.read_bytes()
    place = content.index(b"V_")
    path.write_bytes(content[:place] + b"V_UNK" + content[place + 5 :])
    with pytest.raises(
        VideoError, match=r"unknown\.mkv: its video stream is of a codec that FFmpeg cannot decode"
    ):
        Reading(decoder, path, [Sampling("center_frame", 1.0)])


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[None]:
    names = {"VTG_HOME": str(folder / "home"), "VTG_OFFLINE": "1", "HOME": str(folder)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        (folder / "within" / "here").mkdir(parents=True)
        patch.chdir(folder / "within" / "here")
        yield


WORDS = st.sampled_from(
    ["--json", "--top-k", "-3", "0", "nan", "--features", "clip", "lite,", "--fps", "1e9", "--model", "..", "/nowhere",
     "-", "--set", "a=b", "--split", "--config", "custom-lite", "--dataset", "qvhl", "x.jsonl", "--checkpoint", "\0",
     "🎬"]
) | st.text(max_size=12).filter(lambda word: word.strip("/. "))  # fmt: skip
"""Nothing that stands for the whole disk: it would be searched."""


@fuzz
@example(command="ground", arguments=["\0", "a cat"])
@given(
    command=st.sampled_from(
        ["ground", "extract", "eval", "train", "datasets check", "weights path", "cache info"]
    ),
    arguments=st.lists(WORDS, max_size=6),
)
def test_command_lines(home: None, command: str, arguments: list[str]) -> None:
    from vtg_cli.app import app

    result = CliRunner().invoke(app, [*command.split(), *arguments])
    expected = result.exception is None or isinstance(result.exception, (SystemExit, VtgError))
    assert expected, result.exception
    assert result.exit_code in (0, 1, 2)
