"""CLIP in the layout of the transformers library: the same tensors, features and identity as in OpenAI's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from extractors.cache.store import FeatureCache
from extractors.encoders import registry
from extractors.encoders.base import EncoderOptions
from extractors.encoders.clip.identity import clip_identity
from extractors.encoders.clip.layouts import NAMES
from extractors.encoders.clip.weights import read_state
from extractors.errors import WeightsInvalid
from extractors.extraction.pipeline import extract_features
from extractors.files.identity import file_identity
from extractors.weights import store as weights
from tests.extractors.random_weights import (
    clip_model,
    clip_transformers_state,
    random_frames,
    write_clip_safetensors,
    write_clip_transformers,
)
from tests.extractors.rendering import render

load_video_encoder = partial(registry.load_video_encoder, "clip")
load_text_encoder = partial(registry.load_text_encoder, "clip")

FORMS = ("model.safetensors", "pytorch_model.bin")
SMALL = (
    "visual.proj",
    "transformer.resblocks.3.attn.in_proj_bias",
    "transformer.resblocks.3.attn.in_proj_weight",
)
REPOSITORY = "huggingface/hub/models--openai--clip-vit-base-patch32"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("layouts")
    write_clip_safetensors(folder / "open_clip_model.safetensors")
    for name in FORMS:
        write_clip_transformers(folder / name)
    yield folder
    shutil.rmtree(folder)


def options(path: Path) -> EncoderOptions:
    return EncoderOptions(device="cpu", weights={"clip": path}, precision="fp32")


def encode_frames(path: Path) -> np.ndarray:
    return load_video_encoder(options(path)).encode(random_frames(5)[:, None])


def write_state(path: Path, state: dict[str, Any]) -> Path:
    torch.save(state, path)
    return path


def test_names_are_those_of_the_network() -> None:
    assert sorted(NAMES) == sorted(clip_model().state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_tensors_are_equal(form: str, folder: Path) -> None:
    expected = clip_model().state_dict()
    state = read_state(folder / form, expected)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name
        assert state[name].is_contiguous(), name


@pytest.mark.parametrize("form", FORMS)
def test_features_are_equal_to_the_last_bit(form: str, folder: Path) -> None:
    reference = folder / "open_clip_model.safetensors"
    np.testing.assert_array_equal(encode_frames(folder / form), encode_frames(reference))
    queries = ["a man opens the fridge", "dog", ""]
    ours = load_text_encoder(options(folder / form)).encode(queries)
    for mine, theirs in zip(ours, load_text_encoder(options(reference)).encode(queries), strict=True):
        np.testing.assert_array_equal(mine.tokens, theirs.tokens)
        np.testing.assert_array_equal(mine.pooled, theirs.pooled)


@pytest.mark.parametrize("form", FORMS)
def test_identity_across_layouts(form: str, folder: Path) -> None:
    reference = folder / "open_clip_model.safetensors"
    assert clip_identity(folder / form) == clip_identity(reference) == file_identity(reference)
    for load in (load_video_encoder, load_text_encoder):
        assert load(options(folder / form)).spec == load(options(reference)).spec


@pytest.mark.parametrize("form", FORMS)
def test_extracted_files_are_equal_and_found_again(form: str, folder: Path, tmp_path: Path) -> None:
    video = render(tmp_path / "squares.mp4", frames=60, fps=10, width=64, height=48)
    written = {}
    for name in ("open_clip_model.safetensors", form):
        encoder, cache = load_video_encoder(options(folder / name)), FeatureCache(tmp_path / name)
        assert extract_features([video], [encoder], cache).extracted == 1
        (path,) = cache.export(video, [encoder.spec], tmp_path / f"from {name}")
        written[name] = path.read_bytes()
    assert len(set(written.values())) == 1
    shared = FeatureCache(tmp_path / "open_clip_model.safetensors")
    assert extract_features([video], [load_video_encoder(options(folder / form))], shared).cached == 1


def test_identity_of_half_precision(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    half = {name: value.half() for name, value in clip_model().state_dict().items()}
    save_file(half, tmp_path / "openai.safetensors")
    theirs = {name: value.half().contiguous() for name, value in clip_transformers_state().items()}
    save_file(theirs, tmp_path / "transformers.safetensors")
    assert clip_identity(tmp_path / "transformers.safetensors") == file_identity(
        tmp_path / "openai.safetensors"
    )


def test_identity_follows_the_tensors(folder: Path, tmp_path: Path) -> None:
    other = write_clip_transformers(tmp_path / "other.safetensors", seed=1)
    assert clip_identity(other) != clip_identity(folder / "model.safetensors")


def test_identity_of_other_files(tmp_path: Path) -> None:
    state = clip_transformers_state()
    text = {name: value for name, value in state.items() if name.startswith("text_")}
    mixed = state | {"logit_scale": state["logit_scale"].half()}
    paths = [write_state(tmp_path / f"{index}.bin", part) for index, part in enumerate([text, mixed])]
    torch.save(state, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    (tmp_path / "nonsense.bin").write_bytes(b"PK\x03\x04nonsense")
    for path in (*paths, tmp_path / "legacy.bin", tmp_path / "nonsense.bin"):
        assert clip_identity(path) == file_identity(path)


def test_identity_imports_no_torch(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from extractors.encoders.clip.identity import clip_identity;"
        "assert len({clip_identity(Path(path)) for path in sys.argv[1:]}) == 1; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, *(str(folder / name) for name in FORMS)], check=True)


def test_other_forms_of_saving_give_the_same_tensors(tmp_path: Path) -> None:
    expected = {name: clip_model().state_dict()[name] for name in SMALL}
    state = {
        name: value
        for name, value in clip_transformers_state().items()
        if name.startswith(("text_model.encoder.layers.3.self_attn.", "visual_projection."))
    }
    torch.save(state, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    write_state(tmp_path / "nested.bin", {"epoch": 1, "state_dict": state})
    write_state(tmp_path / "parallel.bin", {f"module.{name}": value for name, value in state.items()})
    write_state(tmp_path / "contiguous.bin", {name: value.clone() for name, value in state.items()})
    with (
        zipfile.ZipFile(write_state(tmp_path / "plain.bin", state)) as plain,
        zipfile.ZipFile(tmp_path / "packed.bin", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    for name in ("legacy", "nested", "parallel", "contiguous", "packed"):
        found = read_state(tmp_path / f"{name}.bin", expected)
        assert all(torch.equal(found[key], value) for key, value in expected.items()), name


def test_only_wanted_tensors_are_read(folder: Path, tmp_path: Path) -> None:
    """Damage in one tower goes unnoticed by the other."""
    content = bytearray((folder / "pytorch_model.bin").read_bytes())
    patch = clip_model().state_dict()["visual.conv1.weight"].numpy().tobytes()
    content[content.index(patch[:4096]) + 4096] ^= 1
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    assert load_text_encoder(options(path)).encode(["a dog"])[0].tokens.shape == (4, 512)
    with pytest.raises(
        WeightsInvalid, match=r"pytorch_model\.bin: not a file of plain tensors .*damaged archive"
    ):
        encode_frames(path)


def test_wrong_tensor_of_a_large_checkpoint(tmp_path: Path) -> None:
    state = clip_transformers_state()
    state["vision_model.embeddings.patch_embedding.weight"] = torch.zeros(768, 3, 16, 16)  # ViT-B/16
    state["text_model.encoder.layers.0.self_attn.k_proj.weight"] = torch.zeros(768, 768)  # ViT-L/14
    path = write_state(tmp_path / "pytorch_model.bin", state)
    with pytest.raises(
        WeightsInvalid,
        match=r"pytorch_model\.bin: not CLIP ViT-B/32: vision_model.embeddings.patch_embedding.weight is .*16.*32",
    ):
        encode_frames(path)
    with pytest.raises(
        WeightsInvalid,
        match=r"text_model.encoder.layers.0.self_attn.k_proj.weight is \(768, 768\) and should be",
    ):
        load_text_encoder(options(path)).encode(["a dog"])


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = clip_transformers_state()
    del state["text_model.encoder.layers.11.self_attn.v_proj.bias"]
    path = write_state(tmp_path / "pytorch_model.bin", state)
    with pytest.raises(
        WeightsInvalid,
        match=r"1 of 197 tensors are not there, .*text_model.encoder.layers.11.self_attn.v_proj.bias",
    ):
        load_text_encoder(options(path)).encode(["a dog"])
    text = {name: value for name, value in state.items() if name.startswith("text_")}
    with pytest.raises(WeightsInvalid, match=r"not CLIP ViT-B/32: 152 of 152 tensors are not there"):
        encode_frames(write_state(tmp_path / "text.bin", text))


def test_half_precision(folder: Path, tmp_path: Path) -> None:
    half = {name: value.half() for name, value in clip_transformers_state().items()}
    path = write_state(tmp_path / "half.bin", half)
    (features,) = load_text_encoder(options(path)).encode(["a dog"])
    (expected,) = load_text_encoder(options(folder / "model.safetensors")).encode(["a dog"])
    np.testing.assert_allclose(features.tokens, expected.tokens, atol=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_files_in_the_hub_cache_are_found(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "vtg"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    snapshots = tmp_path / REPOSITORY / "snapshots"
    (snapshots / "3d74").mkdir(parents=True)
    (snapshots / "c237").mkdir()
    (snapshots / "3d74" / "model.safetensors").symlink_to("../../blobs/gone")  # its blob has been removed
    assert weights.find("clip-vit-b-32") is None
    (snapshots / "c237" / form).write_bytes(b"x")
    assert weights.find("clip-vit-b-32") == snapshots / "c237" / form
    assert weights.locate("clip-vit-b-32") is None
    if form == "pytorch_model.bin":  # of the two, the one that is read faster
        (snapshots / "3d74" / "model.safetensors").unlink()
        (snapshots / "3d74" / "model.safetensors").write_bytes(b"x")
        assert weights.find("clip-vit-b-32") == snapshots / "3d74" / "model.safetensors"
