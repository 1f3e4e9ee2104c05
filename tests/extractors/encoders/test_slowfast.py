from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from extractors.encoders import registry
from extractors.encoders.base import EncoderOptions
from extractors.encoders.slowfast.network import SLOW_FRAMES, SlowFastTrunk
from extractors.encoders.slowfast.weights import read_slowfast
from extractors.errors import UsageError, WeightsInvalid, WeightsMissing
from tests.extractors.random_weights import (
    random_frames,
    slowfast_model,
    slowfast_reference,
    write_slowfast_caffe2,
    write_slowfast_pyslowfast,
    write_slowfast_pytorchvideo,
)

load_video_encoder = partial(registry.load_video_encoder, "slowfast")

WRITERS = {
    "caffe2": write_slowfast_caffe2,
    "pyslowfast": write_slowfast_pyslowfast,
    "pytorchvideo": write_slowfast_pytorchvideo,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slowfast_caffe2(tmp_path_factory.mktemp("weights") / "SLOWFAST_8x8_R50.pkl")


def options(weights: Path, **changes: object) -> EncoderOptions:
    return EncoderOptions(device="cpu", weights={"slowfast": weights}, **changes)  # type: ignore[arg-type]


def test_the_slow_pathway_reads_the_published_frames() -> None:
    assert tuple(torch.linspace(0, 31, 8).long().tolist()) == SLOW_FRAMES


def test_spec_says_slow_first(weights: Path) -> None:
    encoder = load_video_encoder(options(weights, clip_length_s=1.0))
    assert (encoder.spec.name, encoder.spec.dim, encoder.spec.clip_length_s) == ("slowfast", 2304, 1.0)
    assert encoder.spec.order == ("slow:2048", "fast:256")
    assert (encoder.sampling.kind, encoder.sampling.clip_length_s) == ("slowfast", 1.0)


def test_weights_id_follows_the_content_of_the_file(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.bin"
    copy.write_bytes(weights.read_bytes())
    other = write_slowfast_caffe2(tmp_path / "other.pkl", seed=1)
    ids = [load_video_encoder(options(path)).spec.weights_id for path in (weights, copy, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.slow
def test_fp32_equals_the_plain_network(weights: Path) -> None:
    clips = random_frames(3, 32)
    features = load_video_encoder(options(weights, precision="fp32")).encode(clips)
    expected = slowfast_reference(clips).numpy()
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_bf16_keeps_the_direction_of_every_row(weights: Path) -> None:
    clips = random_frames(2, 32)
    features = load_video_encoder(options(weights, precision="bf16")).encode(clips)
    rows, expected = torch.from_numpy(features), slowfast_reference(clips)
    assert torch.cosine_similarity(rows, expected).min() > 0.9995
    assert torch.cosine_similarity(rows, expected.flip(0)).max() < 0.998  # two clips are further apart


@pytest.mark.slow
def test_a_row_does_not_depend_on_its_neighbours(weights: Path) -> None:
    trunk = SlowFastTrunk(weights, torch.device("cpu"), torch.float32)
    clips = random_frames(3, 32)
    together = trunk(torch.from_numpy(clips)).numpy()
    alone = load_video_encoder(options(weights, precision="fp32")).encode(clips)  # one by one on a CPU
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert np.linalg.norm(together[0] - together[1]) > 0.05 * np.linalg.norm(together[0])


@pytest.mark.slow
def test_batches_may_differ_in_size(weights: Path) -> None:
    trunk = SlowFastTrunk(weights, torch.device("cpu"), torch.float32)
    clips = torch.from_numpy(random_frames(2, 32))
    first = trunk(clips[:1])  # weights are packed for this size
    torch.testing.assert_close(trunk(clips)[:1], first, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trunk(clips), slowfast_reference(clips.numpy()), rtol=1e-4, atol=1e-3)


def test_input_of_another_shape_is_refused(weights: Path) -> None:
    encoder = load_video_encoder(options(weights))
    with pytest.raises(ValueError, match=r"\(1, 31, 224, 224, 3\)"):
        encoder.encode(np.zeros((1, 31, 224, 224, 3), np.uint8))
    assert encoder.encode(np.zeros((0, 32, 224, 224, 3), np.uint8)).shape == (0, 2304)


def test_a_device_that_is_not_there_is_named(weights: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    encoder = load_video_encoder(EncoderOptions(device="cuda", weights={"slowfast": weights}))
    with pytest.raises(UsageError, match="cuda"):
        encoder.encode(np.zeros((1, 32, 224, 224, 3), np.uint8))


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_gives_the_same_tensors(form: str, tmp_path: Path) -> None:
    found, tensors = read_slowfast(WRITERS[form](tmp_path / "weights"))
    assert found == form
    trunk = {
        name: value
        for name, value in slowfast_model().state_dict().items()
        if not name.startswith("blocks.6.") and not name.endswith("num_batches_tracked")
    }
    assert tensors.keys() == trunk.keys()
    assert all(torch.equal(tensors[name], value) for name, value in trunk.items())


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_caffe2_pickles_of_python_2_and_3_are_read(protocol: int, tmp_path: Path) -> None:
    form, tensors = read_slowfast(write_slowfast_caffe2(tmp_path / "weights", protocol=protocol))
    name = "blocks.3.multipathway_fusion.norm.running_var"
    assert form == "caffe2"
    assert torch.equal(tensors[name], slowfast_model().state_dict()[name])


def test_checkpoints_of_old_torch_are_read(tmp_path: Path) -> None:
    assert read_slowfast(write_slowfast_pyslowfast(tmp_path / "old.pyth", legacy=True))[0] == "pyslowfast"


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


@pytest.mark.parametrize("how", ["caffe2", "torch", "legacy torch"])
def test_pickle_runs_no_code(how: str, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pkl", tmp_path / "ran"
    if how == "caffe2":
        path.write_bytes(pickle.dumps({"blobs": {"conv1_w": Bomb(marker)}}))
    else:
        torch.save({"model_state": Bomb(marker)}, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsInvalid, match=r"evil\.pkl"):
        read_slowfast(path)
    assert not marker.exists()


def test_pickle_only_reaches_arrays(tmp_path: Path) -> None:
    path = tmp_path / "objects.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": np.array([object], dtype=object)}}))
    with pytest.raises(WeightsInvalid, match="not a pickle of plain numbers"):
        read_slowfast(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\x80\x02}q\x00.",
        pickle.dumps({"blobs": {}}),
        pickle.dumps({"blobs": {"a": 1}}),
        b"PK\x03\x04",
    ],
)
def test_garbage_is_named_as_such(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "garbage.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsInvalid, match=r"garbage\.pkl") as caught:
        read_slowfast(path)
    assert "\n" not in str(caught.value)


def test_missing_and_extra_tensors(tmp_path: Path) -> None:
    state = dict(slowfast_model().state_dict())
    name = "blocks.2.multipathway_blocks.1.res_blocks.3.branch2.norm_b.bias"
    torch.save({k: v for k, v in state.items() if k != name}, tmp_path / "missing.pyth")
    with pytest.raises(WeightsInvalid, match=name):
        read_slowfast(tmp_path / "missing.pyth")
    extra = "blocks.3.multipathway_blocks.0.res_blocks.6.branch2.conv_a.weight"  # as R101 has
    torch.save({**state, extra: torch.zeros(1)}, tmp_path / "extra.pyth")
    with pytest.raises(WeightsInvalid, match=extra):
        read_slowfast(tmp_path / "extra.pyth")


def test_another_fusion_kernel_is_refused(tmp_path: Path) -> None:
    state = dict(slowfast_model().state_dict())
    name = "blocks.0.multipathway_fusion.conv_fast_to_slow.weight"
    state[name] = state[name][:, :, 1:-1].clone()  # 5 frames, as SlowFast 4x16 has
    torch.save(state, tmp_path / "4x16.pyth")
    encoder = load_video_encoder(options(tmp_path / "4x16.pyth"))
    with pytest.raises(WeightsInvalid, match=name):
        encoder.encode(np.zeros((1, 32, 224, 224, 3), np.uint8))


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"nowhere\.pkl"):
        load_video_encoder(options(tmp_path / "nowhere.pkl"))
