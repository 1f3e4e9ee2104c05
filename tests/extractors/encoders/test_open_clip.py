"""Models of open_clip with random weights: rows are those that open_clip itself gives."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from extractors.benchmark.random_weights import write_random_weights
from extractors.decoding.clip_reader import ClipReader, DecodingOptions
from extractors.decoding.frames import Framing
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import (
    find_feature,
    has_video_encoder,
    load_text_encoder,
    load_video_encoder,
)
from extractors.errors import UsageError, WeightsInvalid, WeightsMissing
from extractors.weights import store
from tests.extractors.rendering import render
from tests.model.datasets.shop import open_shop

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import open_clip

PLAIN = "open_clip:ViT-S-32-alt"
SQUASHED = "open_clip:PE-Core-T-16-384/meta"
UNSCALED = "open_clip:MobileCLIP2-S0/dfndr2b"
QUERIES = ["a dog", "", "Two people, walking & talking", "a man opens the big red door " * 20]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("weights")
    yield {name: write_random_weights(name, folder) for name in (PLAIN, SQUASHED, UNSCALED)}
    shutil.rmtree(folder)


def options(files: dict[str, Path], **changes: Any) -> EncoderOptions:
    return replace(EncoderOptions(device="cpu", precision="fp32", weights=files, offline=True), **changes)


def blocks(count: int, size: int) -> np.ndarray:
    """(count, 1, size, size, 3) frames of coloured blocks, 16 pixels wide and high."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, size // 16, size // 16, 3), np.uint8)
    frames: np.ndarray = colours.repeat(16, axis=2).repeat(16, axis=3)
    return frames


def original(name: str, file: Path) -> tuple[Any, Any, Any]:
    """The model, its preprocessing and its tokenizer, by open_clip alone."""
    model, _, tag = name.removeprefix("open_clip:").partition("/")
    published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    keys = {f"image_{key}": published[key] for key in ("mean", "std", "resize_mode") if tag}
    network, preprocess = open_clip.create_model_from_pretrained(model, str(file), **keys)
    return network.eval(), preprocess, open_clip.get_tokenizer(model)


@torch.inference_mode()
def original_rows(name: str, file: Path, frames: list[np.ndarray]) -> np.ndarray:
    network, preprocess, _ = original(name, file)
    rows: np.ndarray = network.encode_image(
        torch.stack([preprocess(Image.fromarray(frame)) for frame in frames])
    ).numpy()
    return rows


def cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)


@pytest.mark.parametrize(
    ("name", "framing"),
    [(PLAIN, Framing(224)), (SQUASHED, Framing(384, "squash")), (UNSCALED, Framing(256))],
)
def test_rows(files, name, framing):
    encoder = load_video_encoder(name, options(files))
    assert encoder.sampling.framing == framing
    frames = blocks(3, framing.size)
    rows = encoder.encode(frames)
    expected = original_rows(name, files[name], list(frames[:, 0]))
    assert rows.shape == (3, encoder.spec.dim)
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", [PLAIN, SQUASHED])
def test_rows_of_a_wide_video(files, name, tmp_path):
    path = render(tmp_path / "v.mp4", frames=40, fps=10, width=640, height=256)
    encoder = load_video_encoder(name, options(files))
    with ClipReader(path, [encoder.sampling], DecodingOptions("pyav")) as reader:
        rows = encoder.encode(np.concatenate([chunk.frames[chunk.rows[0]] for chunk in reader]))
    # Decoded whole, to be scaled and cropped or squashed by open_clip.
    import av

    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    expected = original_rows(name, files[name], [whole[9], whole[29]])
    other = original_rows(name, files[name], [np.ascontiguousarray(whole[9][:, :256])])
    same = cosine(rows, expected)
    assert same.min() > 0.99
    assert 1 - same[0] < (1 - cosine(rows[0], other[0])) / 3


@pytest.mark.parametrize("name", [PLAIN, SQUASHED, UNSCALED])
def test_text(files, name):
    network, _, tokenize = original(name, files[name])
    ids = tokenize(QUERIES)
    with torch.inference_mode():
        expected = network.encode_text(ids).numpy()
    encoder = load_text_encoder(name, options(files))
    texts = encoder.encode(QUERIES)
    pooled = np.stack([text.pooled for text in texts])
    np.testing.assert_allclose(pooled, expected, atol=1e-4 * np.abs(expected).max())
    assert [len(text.tokens) for text in texts] == (ids != 0).sum(dim=1).tolist()
    assert len(texts[-1].tokens) == find_feature(name).most_tokens == ids.shape[1]
    for text in texts:  # the state of the last token is what is pooled
        np.testing.assert_allclose(text.tokens[-1], text.pooled, atol=1e-4 * np.abs(expected).max())


def test_bf16(files):
    frames = blocks(2, 224)
    full, half = (
        load_video_encoder(PLAIN, options(files, precision=precision)).encode(frames)
        for precision in ("fp32", "bf16")
    )
    assert not np.array_equal(full, half)
    assert cosine(full, half).min() > 0.999


def test_spec_follows_weights_and_preprocessing(files, tmp_path):
    spec = load_video_encoder(PLAIN, options(files)).spec
    assert (spec.name, spec.dim, spec.clip_length_s) == (PLAIN, 256, 2.0)
    assert spec.weights_id == load_text_encoder(PLAIN, options(files)).spec.weights_id
    other = write_random_weights(PLAIN, tmp_path, seed=1)
    assert load_video_encoder(PLAIN, options({PLAIN: other})).spec != spec
    alike, other_mean = "open_clip:ViT-L-14/openai", "open_clip:ViT-L-14/laion2b_s32b_b82k"
    assert preprocessing(alike, other) == preprocessing("open_clip:ViT-L-14/datacomp_xl_s13b_b90k", other)
    assert preprocessing(alike, other) != preprocessing(other_mean, other)


def preprocessing(name: str, file: Path) -> str:
    return load_video_encoder(name, options({name: file})).spec.weights_id.rpartition(":")[2]


@pytest.mark.parametrize("form", ["state_dict", "parallel"])
def test_files_saved_by_torch(files, tmp_path, form):
    from safetensors.torch import load_file

    state = load_file(files[PLAIN])
    if form == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    path = tmp_path / "epoch_3.pt"
    torch.save({"epoch": 3, "state_dict": state}, path)
    frames = blocks(1, 224)
    left, right = (
        load_video_encoder(PLAIN, options({PLAIN: file})).encode(frames) for file in (path, files[PLAIN])
    )
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_wrong_files(files, tmp_path):
    frames = blocks(1, 224)
    nonsense = tmp_path / "nonsense.pt"
    nonsense.write_bytes(b"no weights" * 1000)
    program = tmp_path / "program.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(program))
    for file, reason in [
        (files[UNSCALED], "not ViT-S-32-alt of open_clip"),
        (nonsense, "not a file of plain tensors"),
        (program, "TorchScript"),
    ]:
        with pytest.raises(WeightsInvalid, match=reason) as caught:
            load_video_encoder(PLAIN, options({PLAIN: file})).encode(frames)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:ViT-L14/openai", "no model 'ViT-L14'; close to it are ViT-L-14"),
        ("open_clip:vit-l-14/openai", "close to it are ViT-L-14"),
        ("open_clip:ViT-L-14/opnai", "no weights 'opnai' of ViT-L-14; close to it are openai"),
        ("open_clip:ViT-L-14/", "it has openai"),
        ("open_clip:ViT-S-32-alt/openai", "it has no weights"),
        ("open_clip:", "no model ''"),
    ],
)
def test_unknown_names(name, message):
    for find in (find_feature, store.artefact):
        with pytest.raises(UsageError, match=message):
            find(name)
    assert not has_video_encoder(name)


def test_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(
        WeightsMissing, match=r"connections are switched off.*vtg weights add open_clip:ViT-L-14/op"
    ):
        load_video_encoder("open_clip:ViT-L-14/openai", options({}))
    with pytest.raises(WeightsMissing, match="vtg weights pull open_clip:ViT-L-14/openai"):
        store.require("open_clip:ViT-L-14/openai")
    with pytest.raises(
        WeightsMissing, match=r"--weights open_clip:ViT-B-32=FILE, or name .*open_clip:ViT-B-32/openai"
    ):
        load_video_encoder("open_clip:ViT-B-32", options({}))


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_pull(files, tmp_path, monkeypatch, file):
    name = UNSCALED
    repo = open_clip.get_pretrained_cfg("MobileCLIP2-S0", "dfndr2b")["hf_hub"].rstrip("/")
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("VTG_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with open_shop() as shop:
        monkeypatch.setenv("HF_ENDPOINT", shop.url)
        shop.files[f"/{repo}/resolve/main/{file}"] = files[name].read_bytes()
        pulled = store.pull(name)
    assert pulled.read_bytes() == files[name].read_bytes()
    assert pulled.relative_to(tmp_path / "weights").parts[:3] == ("open_clip", "MobileCLIP2-S0", "dfndr2b")
    assert load_video_encoder(name, options({})).encode(blocks(1, 256)).shape == (1, 512)


def test_weights_in_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    place = (
        tmp_path
        / "hub/models--timm--vit_large_patch14_clip_224.openai/snapshots/1/open_clip_model.safetensors"
    )
    place.parent.mkdir(parents=True)
    place.touch()
    assert store.find("open_clip:ViT-L-14/openai") == place


def test_tokenizer_from_the_hub(tmp_path):
    name = "open_clip:ViT-B-16-SigLIP2/webli"
    path = tmp_path / "unread.safetensors"
    path.write_bytes(b"")
    feature = find_feature(name)
    assert (feature.dim, feature.most_tokens) == (768, 64)
    with pytest.raises(WeightsMissing, match="tokenizer"):
        load_text_encoder(name, options({name: path})).encode(["a dog"])


def test_logging_is_left_alone(files):
    root = logging.getLogger()
    before = list(root.handlers), list(root.filters), root.level
    load_text_encoder(PLAIN, options(files)).encode(["a dog"])
    assert (list(root.handlers), list(root.filters), root.level) == before


def test_open_clip_is_imported_only_for_its_names():
    code = (
        "import sys; from extractors.encoders.registry import features, families, find_feature\n"
        "features(); families(); find_feature('clip'); print('open_clip' in sys.modules, 'torch' in sys.modules)\n"
        "find_feature('open_clip:ViT-L-14/openai'); print('open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
