"""Batches that are sent before the previous one is back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from extractors.cache.store import FeatureCache
from extractors.compute.gpu_batches import OverlappedNetwork
from extractors.compute.overlap import FutureRows, OverlappingEncoder
from extractors.encoders import registry
from extractors.encoders.base import EncoderOptions
from extractors.encoders.torch_encoder import choosing_kernels
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import encode_video, extract_features
from extractors.videos.events import VideoFinished
from tests.extractors.index_encoder import IndexEncoder, centre_indices, make_video
from tests.extractors.random_weights import random_frames, write_slowfast_pytorchvideo

load_video_encoder = partial(registry.load_video_encoder, "slowfast")

SHAPE = (2, 4, 4, 3)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


class _Sums:
    """A clip's sum and its square; notes how many clips it is given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, clips: Tensor) -> Tensor:
        self.batches.append(len(clips))
        sums = clips.flatten(1).float().sum(1)
        return torch.stack([sums, sums**2], 1)


def _clips(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def _expected(clips: NDArray[np.uint8]) -> NDArray[np.float32]:
    sums = clips.reshape(len(clips), -1).sum(1, dtype=np.float32)
    return np.stack([sums, sums**2], 1)


def _overlapped(device: str, network: Any = None, **options: Any) -> OverlappedNetwork:
    return OverlappedNetwork(
        network or _Sums(), torch.device(device), clip_shape=SHAPE, dim=2, batch_size=8, **options
    )


# --- slots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_rows_in_any_order(device: str, slots: int) -> None:
    network = _overlapped(device, slots=slots)
    batches = [_clips(count, seed) for seed, count in enumerate([8, 3, 8, 1, 5, 8, 7])]
    sent = [network.submit([batch]) for batch in batches]
    for batch, pending in reversed(list(zip(batches, sent, strict=True))):
        np.testing.assert_array_equal(pending.rows(), _expected(batch))
        assert pending.is_ready
        np.testing.assert_array_equal(pending.rows(), _expected(batch))


@pytest.mark.parametrize("device", DEVICES)
def test_parts_are_joined_and_reusable(device: str) -> None:
    network = _overlapped(device)
    parts = [_clips(2, 1), _clips(1, 2)[:, :, ::-1], _clips(4, 3)[::2]]
    expected = _expected(np.concatenate(parts))
    pending = network.submit(parts)
    for part in parts:
        part.fill(0)
    later = network.submit([_clips(8)])
    np.testing.assert_array_equal(pending.rows(), expected)
    np.testing.assert_array_equal(later.rows(), _expected(_clips(8)))


def test_rows_without_queues() -> None:
    assert _overlapped("cpu").submit([_clips(3)]).is_ready


@pytest.mark.parametrize("device", DEVICES)
def test_few_sizes_of_batches_are_run(device: str) -> None:
    sums = _Sums()
    network = _overlapped(device, sums, round_up=True)
    for count in range(1, 9):
        np.testing.assert_array_equal(network.submit([_clips(count)]).rows(), _expected(_clips(count)))
    assert sums.batches == [1, 2, 4, 4, 8, 8, 8, 8]
    full = OverlappedNetwork(sums, torch.device(device), clip_shape=SHAPE, dim=2, batch_size=6, round_up=True)
    full.submit([_clips(5)])
    assert sums.batches[-1] == 6


def test_failed_batch_leaves_the_others() -> None:
    sums = _Sums()

    def network(clips: Tensor) -> Tensor:
        if len(clips) == 5:
            raise RuntimeError("CUDA out of memory")
        return sums(clips)

    overlapped = _overlapped("cpu", network)
    before = overlapped.submit([_clips(3)])
    with pytest.raises(RuntimeError):
        overlapped.submit([_clips(5)])
    after = overlapped.submit([_clips(4, 1)])
    np.testing.assert_array_equal(before.rows(), _expected(_clips(3)))
    np.testing.assert_array_equal(after.rows(), _expected(_clips(4, 1)))


@pytest.mark.parametrize("counts", [[], [0], [9], [4, 5]])
def test_batch_size_limits(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="clips in a batch of 1 to 8"):
        _overlapped("cpu").submit([_clips(count) for count in counts])


def test_kernel_choice_keeps_settings() -> None:
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    seen = []

    def network(clips: Tensor) -> Tensor:
        seen.append((torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32))
        return clips.float()

    choosing_kernels(network)(torch.zeros(1, 2))
    assert seen == [(True, False)]
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_a_gpu_gives_the_rows_of_a_cpu(precision: str, tmp_path: Path) -> None:
    weights = {"slowfast": write_slowfast_pytorchvideo(tmp_path / "weights")}
    clips = random_frames(5, 32)
    expected = load_video_encoder(EncoderOptions(device="cpu", precision="fp32", weights=weights)).encode(
        clips
    )
    encoder = load_video_encoder(EncoderOptions(device="cuda", precision=precision, weights=weights))
    rows = encoder.encode(clips)
    cosines = (rows * expected).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.999


# --- the pipeline ---------------------------------------------------------------------------------


class _Later(IndexEncoder):
    """Encodes on a thread of its own, one batch after another."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._thread = ThreadPoolExecutor(1)
        self._sent: list[_Promise] = []
        self.most_unread = 0

    def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
        promise = _Promise(self._thread.submit(self.encode, np.concatenate(parts)))
        self._sent.append(promise)
        self.most_unread = max(self.most_unread, sum(not sent.is_read for sent in self._sent))
        return promise

    def close(self) -> None:
        self._thread.shutdown()


class _Promise:
    def __init__(self, future: Future[NDArray[np.float32]]) -> None:
        self._future = future
        self.is_read = False

    @property
    def is_ready(self) -> bool:
        return self._future.done()

    def rows(self) -> NDArray[np.float32]:
        self.is_read = True
        return self._future.result()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four videos of four clips, and one of ten."""
    folder = tmp_path_factory.mktemp("videos")
    short = [make_video(folder / f"v{variant}.mp4", variant=variant) for variant in range(4)]
    return [*short, make_video(folder / "v4.mp4", seconds=20, variant=4)]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def later() -> Iterator[_Later]:
    encoder = _Later(batch_size=3, shares_batches=True, delay_s=0.05)
    yield encoder
    encoder.close()


def test_encoders_say_whether_they_take_more(later: _Later, tmp_path: Path) -> None:
    weights = {"slowfast": write_slowfast_pytorchvideo(tmp_path / "weights")}
    assert isinstance(later, OverlappingEncoder)
    assert isinstance(load_video_encoder(EncoderOptions(weights=weights)), OverlappingEncoder)
    assert not isinstance(IndexEncoder(), OverlappingEncoder)


@pytest.mark.parametrize("shares_batches", [True, False])
@pytest.mark.parametrize("chunk_s", [2.0, 30.0])
def test_late_rows_match_their_clips(
    rendered: list[Path], cache: FeatureCache, later: _Later, chunk_s: float, shares_batches: bool
) -> None:
    later.shares_batches = shares_batches
    finished: list[Path] = []

    def listen(event: Any) -> None:
        if isinstance(event, VideoFinished):
            finished.append(event.path)

    encoders = [later, IndexEncoder("motion", kind="slowfast", shares_batches=shares_batches)]
    report = extract_features(
        rendered, encoders, cache, on_event=listen, options=ExtractionOptions(chunk_s=chunk_s)
    )
    assert report.extracted == 5
    assert finished == rendered
    assert sum(later.batches) == 26
    for path in rendered:
        entry = cache.load_video(path, later.spec)
        assert entry is not None
        np.testing.assert_array_equal(entry.features, centre_indices(10 if path == rendered[4] else 4))


def test_few_batches_in_flight(rendered: list[Path], cache: FeatureCache) -> None:
    encoder = _Later(batch_size=1, delay_s=0.03)
    encode_video(rendered[4], [encoder], cache)
    encoder.close()
    assert encoder.most_unread == 6  # five on their way, and the one that was sent to wait for the first


def test_oversized_batch_is_split(rendered: list[Path], cache: FeatureCache) -> None:
    class Refused:
        is_ready = False

        def rows(self) -> NDArray[np.float32]:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    class Small(_Later):
        def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
            return super().submit(parts) if sum(map(len, parts)) <= 2 else Refused()

        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            if len(clips) > 2:
                raise MemoryError
            return super().encode(clips)

    encoder = Small(batch_size=8)
    report = extract_features(rendered, [encoder], cache)
    encoder.close()
    assert report.extracted == 5
    for path in rendered[:4]:
        entry = cache.load_video(path, encoder.spec)
        assert entry is not None
        np.testing.assert_array_equal(entry.features, centre_indices(4))


def test_a_batch_that_does_not_fit_is_cut(rendered: list[Path], cache: FeatureCache) -> None:
    class Small(_Later):
        refused = 0

        def submit(self, parts: Sequence[NDArray[np.uint8]]) -> FutureRows:
            if sum(map(len, parts)) > 2:
                self.refused += 1
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().submit(parts)

        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            if len(clips) > 2:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().encode(clips)

    encoder = Small(batch_size=8, shares_batches=True)
    report = extract_features(rendered, [encoder], cache)
    encoder.close()
    assert report.extracted == 5
    assert encoder.refused == 1
    assert max(encoder.batches) == 2
    for path in rendered[:4]:
        entry = cache.load_video(path, encoder.spec)
        assert entry is not None
        np.testing.assert_array_equal(entry.features, centre_indices(4))


def test_a_fault_that_shows_later_ends_the_run(rendered: list[Path], cache: FeatureCache) -> None:
    class Faulty(_Later):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            if len(self.batches) == 2:
                raise RuntimeError("dead kernel")
            return super().encode(clips)

    encoder = Faulty(batch_size=2)
    with pytest.raises(RuntimeError, match="dead kernel"):
        extract_features(rendered, [encoder], cache)
    encoder.close()
    assert not [path for path in cache.root.rglob("*") if path.suffix in (".tmp", ".lock")]


def test_broken_video_leaves_the_others(
    rendered: list[Path], cache: FeatureCache, later: _Later, tmp_path: Path
) -> None:
    class Meddler(_Later):
        """Adds to the second video while its first clips are on their way."""

        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            if len(self.batches) == 2:
                with broken.open("ab") as file:
                    file.write(b"more")
            return super().encode(clips)

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(rendered[4].read_bytes())
    encoder = Meddler(batch_size=2, shares_batches=True, delay_s=0.05)
    report = extract_features(
        [rendered[0], broken, rendered[1]], [encoder], cache, options=ExtractionOptions(chunk_s=2.0)
    )
    encoder.close()
    assert [result.status for result in report.results] == ["extracted", "failed", "extracted"]
    for path in rendered[:2]:
        entry = cache.load_video(path, encoder.spec)
        assert entry is not None
        np.testing.assert_array_equal(entry.features, centre_indices(4))
