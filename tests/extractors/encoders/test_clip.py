from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.encoders import registry
from extractors.encoders.base import EncoderOptions
from extractors.encoders.clip.encoder import (
    ClipTextEncoder,
    looks_like_openai_clip,
)
from extractors.encoders.clip.image_tower import open_clip
from extractors.encoders.clip.weights import read_state
from extractors.errors import WeightsInvalid, WeightsMissing
from extractors.features import FeatureSpec, TextFeatures
from extractors.weights.store import sha256
from tests.extractors.random_weights import (
    clip_model,
    random_frames,
    write_clip_safetensors,
    write_clip_state_dict,
    write_clip_torchscript,
)
from tests.shared_data import shared

load_video_encoder = partial(registry.load_video_encoder, "clip")
load_text_encoder = partial(registry.load_text_encoder, "clip")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip_safetensors(tmp_path_factory.mktemp("weights") / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def text_encoder(weights: Path) -> ClipTextEncoder:
    return load_text_encoder(options(weights))


def options(weights: Path, **changes: object) -> EncoderOptions:
    return EncoderOptions(device="cpu", weights={"clip": weights}, **changes)  # type: ignore[arg-type]


def reference_image_features(frames: np.ndarray) -> np.ndarray:
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((torch.from_numpy(frames).float() / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return clip_model().encode_image(pixels).numpy()


def reference_text_features(queries: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids (B, 77), states after the last layer norm (B, 77, 512), pooled (B, 512), over all 77 positions."""
    ids = open_clip.get_tokenizer("ViT-B-32-quickgelu")(queries)
    with torch.inference_mode():
        out = clip_model().forward_intermediates(
            text=ids, text_indices=1, normalize_intermediates=True, normalize=False
        )
    return ids, out["text_intermediates"][-1], out["text_features"]


def test_specs(weights: Path, text_encoder: ClipTextEncoder) -> None:
    video = load_video_encoder(options(weights, clip_length_s=1.0))
    assert (video.spec.name, video.spec.dim, video.spec.clip_length_s) == ("clip", 512, 1.0)
    assert (video.sampling.kind, video.sampling.clip_length_s) == ("center_frame", 1.0)
    assert (text_encoder.spec.name, text_encoder.spec.dim, text_encoder.spec.clip_length_s) == (
        "clip",
        512,
        0.0,
    )
    assert video.spec.weights_id == text_encoder.spec.weights_id


def test_image_features_equal_open_clip(weights: Path) -> None:
    frames = random_frames(5)
    features = load_video_encoder(options(weights, precision="fp32")).encode(frames[:, None])
    expected = reference_image_features(frames)
    assert features.shape == (5, 512)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(np.linalg.norm(features, axis=1) - 1).min() > 0.01


def test_bf16_image_features_keep_their_direction(weights: Path) -> None:
    frames = random_frames(5)
    features = load_video_encoder(options(weights, precision="bf16")).encode(frames[:, None])
    cosine = torch.cosine_similarity(
        torch.from_numpy(features), torch.from_numpy(reference_image_features(frames))
    )
    assert cosine.min() > 0.9998


def test_rows_do_not_depend_on_batches(weights: Path) -> None:
    encoder = load_video_encoder(options(weights, precision="fp32"))
    frames = random_frames(encoder.batch_size + 2)[:, None]
    together = encoder.encode(frames)
    alone = np.concatenate([encoder.encode(frames[i : i + 1]) for i in (0, 7, len(frames) - 1)])
    np.testing.assert_allclose(together[[0, 7, -1]], alone, rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(together[0] - together[7]) > 0.05 * np.linalg.norm(together[0])


def test_read_only_frames(weights: Path) -> None:
    encoder = load_video_encoder(options(weights, precision="fp32"))
    frames = random_frames(1)[:, None]
    expected = encoder.encode(frames)
    frames.flags.writeable = False
    np.testing.assert_array_equal(encoder.encode(frames), expected)


def test_input_of_another_shape_is_refused(weights: Path) -> None:
    encoder = load_video_encoder(options(weights))
    with pytest.raises(ValueError, match=r"\(2, 224, 224, 3\)"):
        encoder.encode(np.zeros((2, 224, 224, 3), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        encoder.encode(np.zeros((2, 1, 224, 224, 3), np.float32))  # type: ignore[arg-type]
    assert encoder.encode(np.zeros((0, 1, 224, 224, 3), np.uint8)).shape == (0, 512)


def test_text_features_equal_open_clip(text_encoder: ClipTextEncoder) -> None:
    queries = ["a man opens the fridge", "dog", "pouring milk into a glass, slowly!"]
    ids, states, pooled = reference_text_features(queries)
    for row, features in enumerate(text_encoder.encode(queries)):
        length = int(ids[row].argmax()) + 1  # the end of text has the largest id
        assert features.tokens.shape == (length, 512)
        assert features.tokens.dtype == features.pooled.dtype == np.float32
        np.testing.assert_allclose(features.tokens, states[row, :length], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(features.pooled, pooled[row], rtol=1e-4, atol=2e-5)


def test_long_query_is_truncated(text_encoder: ClipTextEncoder) -> None:
    words = ["red", "dog", "man", "car", "sun"] * 8  # one BPE token each
    long, cut = text_encoder.encode([" ".join(words), " ".join(words[:30])])
    assert long.tokens.shape == (32, 512)
    np.testing.assert_allclose(long.tokens, cut.tokens, atol=1e-5)
    _, states, pooled = reference_text_features([" ".join(words[:30])])
    np.testing.assert_allclose(long.tokens, states[0, :32], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(long.pooled, pooled[0], rtol=1e-4, atol=2e-5)


def test_token_zero_inside_a_query_is_a_token(text_encoder: ClipTextEncoder) -> None:
    query = "wow !;("  # its "!" has the id of the padding
    ids, states, _ = reference_text_features([query])
    length = int(ids[0].argmax()) + 1
    assert (ids[0, :length] == 0).any()
    (features,) = text_encoder.encode([query])
    np.testing.assert_allclose(features.tokens, states[0, :length], rtol=1e-4, atol=2e-5)


def test_an_empty_query_is_start_and_end(text_encoder: ClipTextEncoder) -> None:
    assert text_encoder.encode([""])[0].tokens.shape == (2, 512)
    assert text_encoder.encode([]) == []


@settings(max_examples=15)
@given(queries=st.lists(st.text(max_size=60), min_size=2, max_size=4))
def test_a_query_does_not_depend_on_its_neighbours(text_encoder: ClipTextEncoder, queries: list[str]) -> None:
    for together, query in zip(text_encoder.encode(queries), queries, strict=True):
        (alone,) = text_encoder.encode([query])
        assert 2 <= len(together.tokens) <= 32
        np.testing.assert_allclose(together.tokens, alone.tokens, atol=5e-5)
        np.testing.assert_allclose(together.pooled, alone.pooled, atol=5e-5)
        np.testing.assert_allclose(together.tokens[0], text_encoder.encode([""])[0].tokens[0], atol=5e-5)


def test_other_weights_are_recognised(text_encoder: ClipTextEncoder) -> None:
    assert not looks_like_openai_clip(text_encoder)


def test_published_text_features() -> None:
    stored = np.load(shared("data/univtg_sample/tmp/txt.npz"))
    state = next(array for array in (stored[name] for name in stored.files) if array.shape == (12, 512))[0]

    class Stored:
        spec = FeatureSpec("clip", 512, 0.0)

        def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
            return [TextFeatures(state[None].astype(np.float32), np.zeros(512, np.float32)) for _ in queries]

    assert looks_like_openai_clip(Stored())


@pytest.mark.parametrize("form", ["state dict", "trained in parallel", "state dict named safetensors"])
def test_every_form_gives_the_same_tensors(form: str, tmp_path: Path) -> None:
    name = "weights.safetensors" if form.endswith("safetensors") else "weights.bin"
    path = write_clip_state_dict(tmp_path / name, trained_in_parallel=form == "trained in parallel")
    expected = {k: v for k, v in clip_model().state_dict().items() if k.startswith("visual.")}
    state = read_state(path, expected)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_torchscript_needs_a_pinned_hash(tmp_path: Path) -> None:
    path = write_clip_torchscript(tmp_path / "ViT-B-32.pt")
    with pytest.raises(WeightsInvalid, match=r"ViT-B-32\.pt: a TorchScript archive that is not the one"):
        load_text_encoder(options(path)).encode(["a dog"])
    expected = {"ln_final.weight": clip_model().state_dict()["ln_final.weight"]}
    state = read_state(path, expected, trusted_sha256=[sha256(path)])
    assert state.keys() == expected.keys()
    assert torch.equal(state["ln_final.weight"], expected["ln_final.weight"].half())


def test_half_precision_weights(weights: Path, tmp_path: Path) -> None:
    half = {name: value.half() for name, value in clip_model().state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    (features,) = load_text_encoder(options(tmp_path / "half.pt")).encode(["a dog"])
    (expected,) = load_text_encoder(options(weights)).encode(["a dog"])
    np.testing.assert_allclose(features.tokens, expected.tokens, atol=0.02)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\x00" * 64, b"PK\x03\x04nonsense", b"\x80\x02}q\x00."]
)
def test_garbage_is_named_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match=r"garbage\.safetensors") as caught:
        load_video_encoder(options(path)).encode(np.zeros((1, 1, 224, 224, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_a_safetensors_file_cut_off_is_named(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(weights.read_bytes()[:200_000])
    with pytest.raises(WeightsInvalid, match=r"cut\.safetensors"):
        load_text_encoder(options(path)).encode(["a dog"])


def test_other_architecture_is_refused(tmp_path: Path) -> None:
    state = dict(clip_model().state_dict())
    state["visual.conv1.weight"] = torch.zeros(768, 3, 16, 16)  # ViT-B/16
    torch.save(state, tmp_path / "b16.pt")
    with pytest.raises(WeightsInvalid, match=r"b16\.pt: not CLIP ViT-B/32: visual.conv1.weight .*16.*32"):
        load_video_encoder(options(tmp_path / "b16.pt")).encode(np.zeros((1, 1, 224, 224, 3), np.uint8))
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsInvalid, match=r"other\.pt: not CLIP ViT-B/32"):
        load_text_encoder(options(tmp_path / "other.pt")).encode(["a dog"])


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"nowhere\.pt"):
        load_video_encoder(options(tmp_path / "nowhere.pt"))


@settings(max_examples=20)
@given(queries=st.lists(st.text(max_size=60), min_size=1, max_size=3))
def test_any_query_gives_the_rows_of_open_clip(text_encoder: ClipTextEncoder, queries: list[str]) -> None:
    ids, states, pooled = reference_text_features(queries)
    for row, features in enumerate(text_encoder.encode(queries)):
        length = int(ids[row].argmax()) + 1
        if length > 32:  # cut by the published features, not by open_clip
            continue
        np.testing.assert_allclose(features.tokens, states[row, :length], rtol=0, atol=1e-5)
        np.testing.assert_allclose(features.pooled, pooled[row], rtol=0, atol=1e-5)


def test_a_query_is_encoded_without_open_clip(weights: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from extractors.encoders.base import EncoderOptions;"
        "from extractors.encoders.registry import load_text_encoder;"
        "options = EncoderOptions(device='cpu', weights={'clip': Path(sys.argv[1])});"
        "assert load_text_encoder('clip', options).encode(['a dog'])[0].tokens.shape == (4, 512);"
        "assert 'torch' in sys.modules and not {'open_clip', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(weights)], check=True)


def test_making_an_encoder_imports_no_torch(weights: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from extractors.encoders.base import EncoderOptions;"
        "from extractors.encoders.registry import load_text_encoder, load_video_encoder;"
        "options = EncoderOptions(weights={name: Path(sys.argv[1]) for name in ('clip', 'slowfast')});"
        "specs = [load_video_encoder('clip', options).spec, load_text_encoder('clip', options).spec,"
        " load_video_encoder('slowfast', options).spec];"
        "assert all(spec.weights_id for spec in specs); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(weights)], check=True)
